"""More requests than a server works on at a time: a few wait a moment, others are refused, and probes are answered."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import orjson
import psycopg

from telemetry.runtime import Report
from tests.fixtures.api import Answer, Api, Serve, fetch, port_of, through
from tests.fixtures.contract import Contract
from tests.fixtures.filled import fill, fleet
from tests.fixtures.process import eventually
from tests.fixtures.proxy import Proxy
from tests.fixtures.store import Database
from tests.fixtures.tokens import Keyring
from tests.fixtures.wait import PATIENCE
from webapi.document import NOWHERE, document
from webapi.process.crowd import SCRAPES, Room
from webapi.readiness import Readiness
from webapi.scraped.kept import OPEN_METRICS, Kept, Text

Start = Callable[..., Serve]
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@contextmanager
def waiting(served: Serve, database: Database, count: int) -> Iterator[list[Future[Answer]]]:
    """So many requests that wait for a locked table; when this ends, the table is free."""
    with ThreadPoolExecutor(count) as clients, psycopg.connect(database.admin) as blocker:
        blocker.execute("LOCK TABLE gpus IN ACCESS EXCLUSIVE MODE")
        asked = [clients.submit(fetch, f"{served.url}/api/v1/gpus") for _ in range(count)]
        eventually(lambda: database.one(WAITING) == count, "the requests waiting for the table")
        yield asked


def test_requests_beyond_those_under_way_are_refused_and_probes_answered(serve: Start, database: Database) -> None:
    fill(database, fleet(hosts=1, gpus=1, steps=1))
    served = serve(threads=2)
    assert fetch(f"{served.url}/readyz").status == 200
    with waiting(served, database, 2) as asked:
        for path in ("/gpus", "/gpus/GPU-node-0-0/telemetry", "/gpus?limit=0", "/no/such"):
            refused = fetch(f"{served.url}/api/v1{path}")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
            assert refused.headers["Content-Type"] == "application/problem+json"
            told = orjson.loads(refused.body)
            assert told["type"] == "urn:telemetry:problem:too-many-requests"
            assert told["request_id"] == refused.headers["X-Request-ID"]
        for path in ("/livez", "/readyz", "/healthz", "/metrics", "/openapi.json", "/swagger"):
            assert fetch(f"{served.url}{path}").status == 200, path
        assert not any(request.done() for request in asked)
    assert [request.result().status for request in asked] == [200, 200]
    eventually(lambda: fetch(f"{served.url}/api/v1/gpus").status == 200, "their places being left")
    for _ in range(5):
        assert fetch(f"{served.url}/api/v1/gpus").status == 200


def test_as_many_as_are_worked_on_may_wait_for_their_turn_and_get_it(serve: Start, database: Database) -> None:
    served = serve(threads=2, crowd_wait=60.0)
    with ThreadPoolExecutor(4) as clients:
        with waiting(served, database, 2) as asked:
            more = [clients.submit(fetch, f"{served.url}/api/v1/gpus") for _ in range(2)]
            assert fetch(f"{served.url}/livez").status == 200
            assert not any(request.done() for request in (*asked, *more))
        assert [request.result().status for request in (*asked, *more)] == [200] * 4
    with ThreadPoolExecutor(2) as clients:  # each may ask again before its last answer has left its place
        busy = [clients.submit(fetch, f"{served.url}/api/v1/gpus") for _ in range(100)]
        assert {request.result().status for request in busy} == {200}


def test_a_place_goes_to_who_waits_longest() -> None:
    room, order = Room(1), list[int]()
    assert room.enter(0)

    def come(number: int) -> None:
        assert room.enter(60)
        order.append(number)
        room.leave()

    with ThreadPoolExecutor(1) as first:
        done = first.submit(come, 1)
        eventually(lambda: len(room.line) == 1, "the one in line")
        assert not room.enter(60)  # the line is as long as the room is large
        room.leave()
        done.result()
    assert order == [1]
    assert room.enter(0)
    assert not room.enter(0.001)
    assert not room.line


def test_a_server_of_one_request_at_a_time_answers_probes_too(serve: Start, database: Database) -> None:
    served = serve(threads=1)
    with waiting(served, database, 1):
        assert fetch(f"{served.url}/api/v1/gpus").status == 503
        assert fetch(f"{served.url}/livez").status == 200
        assert fetch(f"{served.url}/readyz").status == 200


def test_refused_and_failed_requests_leave_their_room_to_others(
    database: Database, make_api: Callable[..., Api]
) -> None:
    api = make_api(database.reader, requests=1)
    for path, status in (("/gpus", 200), ("/gpus/nobody", 404), ("/gpus?limit=0", 422), ("/no/such", 404)) * 2:
        with api.client.get(f"/api/v1{path}") as response:
            assert response.status_code == status
            assert api.get("/gpus").status_code == 503


def test_a_scrape_beyond_those_under_way_is_refused_as_the_contract_says(make_api: Callable[..., Api]) -> None:
    client, contract = make_api(NOWHERE, requests=1, connection_wait=0.05).client, Contract(document())
    with ExitStack() as under_way:
        for _ in range(SCRAPES):
            assert under_way.enter_context(client.get("/metrics/gpus")).status_code == 200
        refused = client.get("/metrics/gpus")
    scrape = next(operation for operation in contract.operations if operation.path == "/metrics/gpus")
    assert contract.faults(scrape, 503, dict(refused.headers), refused.data) == []
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert client.get("/metrics/gpus").status_code == 200


def test_a_crowd_of_strangers_at_metrics_hides_neither_that_nor_the_gpus(
    make_api: Callable[..., Api], keyring: Keyring
) -> None:
    client = make_api(NOWHERE, requests=1, connection_wait=0.05, tokens=keyring.open()).client
    with ExitStack() as under_way:
        for path, status in (("/metrics", 200), ("/metrics/gpus", 401)):
            for _ in range(SCRAPES + 1):
                assert under_way.enter_context(client.get(path)).status_code == status
        known = client.get("/metrics/gpus", headers=keyring.header("read"))
        told = [client.get("/metrics", headers={"Accept": kind}) for kind in ("text/plain", OPEN_METRICS)]
    assert (known.status_code, "telemetry_gpus_up 0\n" in known.text) == (200, True)
    assert [(answer.status_code, "telemetry_database_up 0.0" in answer.text) for answer in told] == [(200, True)] * 2
    assert [answer.text.endswith("# EOF\n") for answer in told] == [False, True], "strangers asked for the other format"


def test_a_text_that_is_too_old_is_made_by_one_thread_while_others_get_the_last_one() -> None:
    goes_on, asked = threading.Event(), threading.Event()
    old, new, other = (b"old", "text/plain"), (b"new", "text/plain"), (b"new", OPEN_METRICS)
    kept, first_ones = Kept(lasts=0.0, meanwhile=3_600.0), Kept()
    assert kept.lately(None, lambda: old) == old

    def slow() -> Text:
        asked.set()
        goes_on.wait(PATIENCE)
        return new

    with ThreadPoolExecutor(1) as first:
        made = first.submit(kept.lately, "*/*", slow)
        assert asked.wait(PATIENCE)
        assert kept.lately(None, lambda: new) == old
        assert kept.lately(OPEN_METRICS, lambda: other) == other, "nobody is at it in this format"
        goes_on.set()
        assert made.result() == new
    assert first_ones.lately(None, lambda: first_ones.lately(None, lambda: new) or old) == old, "there was none before"
    assert Kept().keep(new) == Kept().lately(None, lambda: new)


def test_a_table_that_stays_locked_is_told_within_the_patience_for_locks(
    database: Database, make_api: Callable[..., Api]
) -> None:
    api = make_api(database.reader, lock_wait=0.1)
    with psycopg.connect(database.admin) as blocker:
        blocker.execute("LOCK TABLE gpus IN ACCESS EXCLUSIVE MODE")
        told = api.problem(503, "/gpus")
    assert told["type"] == "urn:telemetry:problem:database-busy"
    assert api.json("/gpus") == []


def test_connections_that_say_nothing_keep_no_thread(serve: Start) -> None:
    served = serve(threads=1)
    place = urlsplit(served.url)
    with ExitStack() as silent:
        for _ in range(60):
            silent.enter_context(socket.create_connection((place.hostname, place.port), timeout=30))
        assert fetch(f"{served.url}/livez").status == 200


def test_a_database_that_stands_still_leaves_probes_answering(
    serve: Start, database: Database, proxies: list[Proxy]
) -> None:
    proxies.append(proxy := Proxy(port_of(database.reader)))
    served = serve(through(database.reader, proxy.port), threads=1)
    assert fetch(f"{served.url}/readyz").status == 200
    with ThreadPoolExecutor(8) as clients:
        proxy.stall()
        asked = [clients.submit(fetch, f"{served.url}{path}") for path in ("/api/v1/gpus", *["/readyz"] * 5)]
        eventually(lambda: fetch(f"{served.url}/readyz").status == 503, "a check that takes too long to be told")
        assert fetch(f"{served.url}/livez").status == 200
        proxy.heal()
        eventually(lambda: fetch(f"{served.url}/readyz").status == 200, "readiness after the database goes on")
    assert asked[0].result().status in (200, 503)


def test_who_asks_while_a_check_is_under_way_gets_the_report_before() -> None:
    readiness: Readiness
    meanwhile: list[Report] = []

    def check() -> Report:
        meanwhile.append(readiness.report())
        return Report((("database", True, ""),))

    readiness = Readiness(check, patience=3_600)
    assert readiness.report().ok
    assert "is under way for" in meanwhile[0].text()
    assert not meanwhile[0].ok
    assert readiness.report().ok
    assert meanwhile[1].ok


def test_a_check_that_hangs_is_waited_for_by_nobody_and_takes_one_thread() -> None:
    goes_on, begun = threading.Event(), []

    def check() -> Report:
        begun.append(1)
        goes_on.wait(60)
        return Report((("database", True, ""),))

    readiness = Readiness(check, patience=0.2)
    for _ in range(3):
        assert "is under way for" in readiness.report().text()
    eventually(lambda: begun, "a thread that begins")
    assert begun == [1]
    goes_on.set()
    eventually(lambda: readiness.report().ok, "readiness after the check went on")
