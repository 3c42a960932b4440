"""GET /api/v1/gpus/{id}/telemetry as CSV: the same readings, the whole range at once, while it is read."""

import csv
import http.client
import io
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from telemetry.block import Workload
from tests.fixtures.api import CALM, Api, Serve, fetch
from tests.fixtures.exports import source_of
from tests.fixtures.filled import POWER, SECOND, T0, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.process import eventually
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.store import Database, cloned
from webapi.schemas import PAGE_ROWS

Start = Callable[..., Serve]
ONE = "/gpus/GPU-node-0-0/telemetry"
MANY = 400_000
"""Readings that take 18 MB on the way from the database: more than sockets keep, so who does not read stops it."""
ACTIVE = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
    "AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND query LIKE '%ORDER BY time, gpu%'"
)


def records(text: str) -> list[dict[str, Any]]:
    """What a reader of CSV finds, values as numbers."""
    return [{**row, "value": float(row["value"])} for row in csv.DictReader(io.StringIO(text, newline=""))]


def dense(count: int) -> list[Reading]:
    return [Reading(gpu("node-0", 0), T0 + number, (TEMP, UTIL, POWER)[number % 3], number) for number in range(count)]


@pytest.fixture(scope="module")
def many(postgres_server: PostgresServer, migrated: str) -> Iterator[Database]:
    """A database with so many readings, for tests that only ask."""
    with cloned(postgres_server, migrated) as database:
        fill_many(database)
        yield database


def fill_many(database: Database) -> None:
    """MANY readings of one GPU, made by the server."""
    fill(database, [Reading(gpu("node-0", 0), T0, TEMP, 0)])
    database.ask(
        "INSERT INTO samples (time, gpu, metric, workload, value, block) "
        "SELECT time + n * interval '1 us', gpu, metric, workload, n, block FROM samples, generate_series(1, %s) AS n",
        MANY - 1,
    )


def test_it_holds_the_records_of_the_json_field_by_field(api: Api, database: Database) -> None:
    odd = Workload('c"1', "pöd, too", "ns\\", '{"a":"é\\n\\"","pod":null,"__name__":null}')
    lines = Workload("two\nlines", "\r", " ", '"verbatim,\\n\\"text\\""')
    fill(database, [*fleet(), *(Reading(gpu("node-0", 0), T0 + 1, TEMP, -0.1, workload) for workload in (odd, lines))])
    told = api.json(ONE)
    answer = api.get(ONE, format="csv")
    assert answer.content_type.startswith("text/csv; charset=utf-8")
    assert records(answer.text) == told
    assert len(told) == 17
    assert answer.text.splitlines()[0].split(",") == list(told[0])


@pytest.mark.parametrize("metric", [None, [TEMP], [POWER, TEMP], ["gpu_temp"], ["NO_SUCH"]])
@pytest.mark.parametrize("range_", [{}, {"start": "1752871355", "end": "1752871357"}, {"start": "now"}, {"end": "1"}])
@pytest.mark.parametrize("path", [ONE, "/gpus/node-1:1/telemetry"])
def test_it_answers_the_same_questions(fleet_api: Api, path: str, metric: Any, range_: dict[str, str]) -> None:
    asked = {**range_, **({"metric": metric} if metric else {})}
    assert records(fleet_api.get(path, format="csv", **asked).text) == fleet_api.json(path, **asked)


def test_a_refusal_is_a_problem_whatever_was_asked_for(fleet_api: Api) -> None:
    fleet_api.problem(404, "/gpus/nobody/telemetry", format="csv")


def test_without_a_limit_it_is_the_whole_range_and_with_one_a_page(api: Api, database: Database) -> None:
    fill(database, dense(2 * PAGE_ROWS + 5_001))
    whole = api.get(ONE, format="csv")
    assert "Link" not in whole.headers
    assert [record["value"] for record in records(whole.text)] == list(range(2 * PAGE_ROWS + 5_001))
    page = api.get(ONE, format="csv", limit=10_000)
    assert page.headers["Link"].startswith("<?format=csv&limit=10000&cursor=")
    assert page.text == "".join(whole.text.splitlines(keepends=True)[:10_001])
    second = api.client.get(f"/api/v1{ONE}{page.headers['Link'].partition('>')[0][1:]}")
    assert [record["value"] for record in records(second.text)] == list(range(10_000, 20_000))


def test_an_id_that_stands_for_several_rows_gives_all_of_them_in_order(api: Api, database: Database) -> None:
    rows = [gpu("n", 0, uuid="GPU-m"), gpu("old", 4, uuid="GPU-m"), gpu("n", 0, uuid="GPU-m", mig="7")]
    fill(database, [Reading(rows[at % 3], T0 + at // 2, (TEMP, UTIL)[at % 2], at % 5) for at in range(3_000)])
    told = api.json("/gpus/GPU-m/telemetry")
    assert len(told) == 3_000
    assert records(api.get("/gpus/GPU-m/telemetry", format="csv").text) == told


def test_it_can_be_read_as_a_source(api: Api, database: Database) -> None:
    fill(database, [*fleet(), Reading(gpu("node-0", 0), T0 + 7 * SECOND, POWER, 1.25, Workload("c", "p", "n"))])
    with source_of(api.get(ONE, format="csv").data, times=True) as source:
        block = source.block("again", 0, source.length, None)
    assert (block.stored, block.rows) == (16, 16)
    assert [{"timestamp": T0 + 7 * SECOND, "value": 1.25}] == [
        {"timestamp": int(block.time0 + block.dt[-1]), "value": float(block.value[-1])}
    ]
    assert {one.uuid for one in block.gpus} == {"GPU-node-0-0"}


@contextmanager
def asked(served: Serve, kind: str) -> Iterator[http.client.HTTPResponse]:
    """An answer of which the first bytes were taken."""
    place = urlsplit(served.url)
    with closing(http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)) as connection:
        connection.request("GET", f"/api/v1{ONE}?format={kind}")
        with connection.getresponse() as response:
            assert response.read(10) == {"csv": b"timestamp,", "ndjson": b'{"timestam'}[kind]
            yield response


@contextmanager
def begun(served: Serve, database: Database, kind: str) -> Iterator[http.client.HTTPResponse]:
    """Such an answer, whose statement is still under way."""
    with asked(served, kind) as response:
        eventually(lambda: database.one(ACTIVE) == 1, "its statement, and the end of one before")
        yield response


def test_a_client_that_goes_away_ends_the_statement_and_leaves_its_room(serve: Start, database: Database) -> None:
    fill_many(database)
    served = serve(threads=1, crowd_wait=60.0)  # who has its last byte may ask before its place is left
    for kind in ("csv", "ndjson"):
        with begun(served, database, kind):
            pass
        eventually(lambda: database.one(ACTIVE) == 0, "the end of the statement")
        eventually(lambda: fetch(f"{served.url}/api/v1/gpus").status == 200, "room for the next request")
        with begun(served, database, kind) as answer:
            *_, last, end = answer.read().split(b"\n")
        assert end == b""
        assert last == b'{"trailer":{"count":400000,"next":null}}' or kind == "csv"
    assert "Traceback" not in served.process.stderr, served.process.stderr


def test_a_client_that_stands_still_is_left_and_its_statement_ends(serve: Start, database: Database) -> None:
    fill_many(database)
    served = serve(threads=1, stalled_after=1, crowd_wait=60.0)
    with asked(served, "csv") as answer:
        eventually(lambda: database.one(ACTIVE) == 0, "the end of the statement")
        eventually(lambda: fetch(f"{served.url}/api/v1/gpus").status == 200, "room for the next request")
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert "a client does not take its answer" in served.process.stderr
    assert "Traceback" not in served.process.stderr, served.process.stderr


def test_an_answer_that_cannot_be_finished_is_broken_off_and_not_short(serve: Start, database: Database) -> None:
    fill_many(database)
    served = serve()
    for kind in ("csv", "ndjson"):
        with begun(served, database, kind) as answer:
            database.ask(f"SELECT pg_terminate_backend(pid) FROM ({ACTIVE.replace('count(*)', 'pid')}) AS one")
            with pytest.raises(http.client.IncompleteRead) as raised:
                answer.read()
        assert b"trailer" not in raised.value.partial[-1_000:]
    assert "an answer was broken off" in served.process.stderr
    assert "Traceback" not in served.process.stderr, served.process.stderr


def test_it_is_so_for_a_client_that_knows_no_chunks_too(serve: Start, database: Database) -> None:
    fill_many(database)
    served = serve()
    place = urlsplit(served.url)
    with socket.create_connection((str(place.hostname), place.port or 0), timeout=60) as client:
        client.sendall(f"GET /api/v1{ONE}?format=csv HTTP/1.0\r\nHost: {place.netloc}\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.0 200"
        eventually(lambda: database.one(ACTIVE) == 1, "the statement")
        database.ask(f"SELECT pg_terminate_backend(pid) FROM ({ACTIVE.replace('count(*)', 'pid')}) AS one")
        with pytest.raises(ConnectionResetError):
            deque(iter(lambda: client.recv(1 << 16), b""), maxlen=0)


def test_what_goes_wrong_before_the_first_reading_is_a_problem(
    database: Database, make_api: Callable[..., Api]
) -> None:
    fill(database, fleet())
    impatient = make_api(database.reader, **CALM, export_timeout=2.0, requests=2)  # one export at a time
    with psycopg.connect(database.admin) as blocker:
        blocker.execute("LOCK TABLE samples IN ACCESS EXCLUSIVE MODE")
        told = impatient.problem(503, ONE, format="csv")
    assert told["type"] == "urn:telemetry:problem:too-slow"
    assert len(records(impatient.get(ONE, format="csv").text)) == 15


def test_a_whole_range_may_take_longer_than_any_other_question(
    database: Database, make_api: Callable[..., Api]
) -> None:
    fill(database, fleet())
    api = make_api(database.reader, **{**CALM, "statement_timeout": 2.0})
    waits_long = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND clock_timestamp() - query_start > interval '2.1 s'"
    )
    with psycopg.connect(database.admin) as blocker, ThreadPoolExecutor(1) as beside:
        blocker.execute("LOCK TABLE samples IN ACCESS EXCLUSIVE MODE")
        asked = beside.submit(api.get, ONE, format="csv")
        eventually(lambda: database.one(waits_long) == 1, "an export that waits for longer")
        blocker.rollback()
        assert len(records(asked.result().text)) == 15


def test_a_whole_range_is_broken_off_once_its_time_is_over(
    database: Database, make_api: Callable[..., Api], caplog: pytest.LogCaptureFixture
) -> None:
    fill(database, dense(15_000))
    api = make_api(database.reader, **CALM, export_timeout=4.0)
    with api.client.get(f"/api/v1{ONE}?format=csv") as answer:
        sent, began = answer.iter_encoded(), time.monotonic()
        assert next(sent).startswith(b"timestamp,")
        eventually(lambda: time.monotonic() > began + 4.0, "the end of its time")
        with pytest.raises(ConnectionResetError) as raised:
            deque(sent, maxlen=0)
    assert "an export took longer than 4 s" in str(raised.value.__cause__)
    assert "an answer was broken off" in caplog.text


def test_whole_ranges_are_half_of_what_is_under_way_at_most(many: Database, make_api: Callable[..., Api]) -> None:
    client = make_api(many.reader, requests=3).client
    with client.get(f"/api/v1{ONE}?format=csv") as answer:
        assert next(answer.iter_encoded())
        with client.get(f"/api/v1{ONE}?format=ndjson") as refused:
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert refused.get_json(force=True)["type"] == "urn:telemetry:problem:too-many-exports"
        with client.get(f"/api/v1{ONE}?limit=7") as page:
            assert page.status_code == 200
    for _ in range(2):
        with client.get(f"/api/v1{ONE}?format=csv&metric=NO_SUCH") as answer:
            assert (answer.status_code, records(answer.get_data(as_text=True))) == (200, [])


@pytest.mark.parametrize("packed", ["", "gzip"])
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_who_leaves_after_the_headers_or_the_first_part_ends_the_statement(
    many: Database, make_api: Callable[..., Api], kind: str, packed: str
) -> None:
    api = make_api(many.reader, connections=2)
    for _ in range(2):
        with api.client.head(f"/api/v1{ONE}?format={kind}", headers={"Accept-Encoding": packed}) as answer:
            assert (answer.status_code, answer.data) == (200, b"")
        with api.client.get(f"/api/v1{ONE}?format={kind}", headers={"Accept-Encoding": packed}) as answer:
            assert answer.headers.get("Content-Encoding", "") == packed
            assert next(answer.iter_encoded())
            eventually(lambda: many.one(ACTIVE) == 1, "its statement, and the end of the one before")
    eventually(lambda: many.one(ACTIVE) == 0, "the end of the statements")
