"""The live stream without a socket: what is told, from where on, to whom, and what is refused."""

import base64
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from telemetry.block import Workload
from telemetry.store.pruning import Pruning
from telemetry.store.questions.marks import Place
from telemetry.store.session import Session
from tests.fixtures.api import Api, port_of, through
from tests.fixtures.filled import LABELS, POWER, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.listening import Ear, listen
from tests.fixtures.proxy import Proxy
from tests.fixtures.store import Database
from tests.fixtures.wait import until
from webapi.live import stream
from webapi.live.sieve import matches

MakeApi = Callable[..., Api]


@pytest.fixture(scope="module")
def database(shared_database: Database) -> Database:
    """One for the file: whoever listens hears of what comes afterwards."""
    return shared_database


def readings(*values: float, time: int = 0, host: str = "node-0", **fields: object) -> list[Reading]:
    """Readings of one GPU, a µs apart."""
    return [Reading(gpu(host, 0), time + n, POWER, value, **fields) for n, value in enumerate(values)]  # type: ignore[arg-type]  # fields of Reading


def listening(api: Api, **query: Any) -> Ear:
    """Listen, as soon as the database is reached: a connection may take longer than this app waits for one."""

    def accepted() -> Ear | None:
        try:
            return listen(api, **query).ready()
        except AssertionError:
            return None

    ear = until(accepted, "a database that is reached")
    assert ear is not None
    return ear


def place_at(seconds: float, timeline: int = 1) -> str:
    """A place as it was given out at that time."""
    mark = [int(seconds * 1e6), 2_000_000, 100, timeline]
    return base64.urlsafe_b64encode(orjson.dumps([mark])).decode().rstrip("=")


def test_what_is_stored_is_told_as_it_comes_with_all_its_fields(api: Api, database: Database) -> None:
    fill(database, readings(9))
    ear = listen(api, max_events=2).ready()
    fill(database, readings(1, 2, 3), readings(4))
    assert ear.ends().values == [1, 2, 3, 4]
    assert [len(event.data) for event in ear.events] == [3, 1]
    whole = api.json("/gpus/node-0:0/telemetry", start_time="1970-01-01T00:00:00.000002Z")
    assert ear.events[0].data[2] in whole


def test_an_event_holds_readings_of_one_block_and_500_at_most(api: Api, database: Database) -> None:
    ear = listen(api, max_events=4).ready()
    fill(database, readings(*range(1_201)), readings(*range(1_201, 1_210)))
    assert ear.ends().values == list(range(1_210))
    assert [len(event.data) for event in ear.events] == [500, 500, 201, 9]


def test_from_any_event_on_the_rest_is_told_once_at_another_server_too(
    api: Api, database: Database, make_api: MakeApi
) -> None:
    ear = listen(api, max_events=5).ready()
    fill(database, readings(*range(1_100)), readings(*range(1_100, 1_103)), readings(1_103))
    ear.ends()
    other = make_api(database.reader)
    for at, event in enumerate(ear.events[:-1]):
        rest = [record["value"] for later in ear.events[at + 1 :] for record in later.data]
        asked = {"last": event.id} if at % 2 else {"last_event_id": event.id}
        assert listen(other, max_events=len(ear.events) - at - 1, **asked).ends().values == rest


def test_the_header_wins_over_the_parameter_because_a_browser_repeats_its_url(api: Api, database: Database) -> None:
    ear = listen(api, max_events=2).ready()
    first = ear.id
    fill(database, readings(1), readings(2))
    ear.ends()
    assert listen(api, last=ear.events[0].id, last_event_id=first, max_events=1).ends().values == [2]


def test_a_heartbeat_carries_the_place_though_nothing_that_was_asked_for_came(api: Api, database: Database) -> None:
    ear = listen(api, heartbeat=1, max_seconds=60, host="nobody").ready()
    first = Place.parse(ear.id)
    fill(database, readings(1))
    until(lambda: Place.parse(ear.id).seen.end > first.seen.end, "a heartbeat behind the reading")
    assert ear.heartbeats
    last = ear.id
    fill(database, readings(2))
    assert listen(api, last=last, max_events=1).ends().values == [2]
    assert ear.values == []


def test_a_stream_ends_after_the_seconds_that_were_asked_for(api: Api) -> None:
    ear = listen(api, heartbeat=1, max_seconds=1).ends()
    assert (ear.events, ear.fault) == ([], None)


POD = Workload("main", "Trainer-0", "ml-vision", LABELS)
MIXED = [
    *fleet(hosts=2, gpus=1, steps=1),
    Reading(gpu("node-9", 0, model="NVIDIA A100"), 5, TEMP, 70, POD),
    Reading(gpu("edge", 0, uuid=""), 6, "DCGM_FI_DEV_BOARD_POWER_WATTS", 80),
]
FILTERS: list[dict[str, str | list[str]]] = [
    {"gpu": ["GPU-node-1-0", "edge:0"]}, {"host": "NODE-?"}, {"model": "*a100"}, {"namespace": "ml-*"},
    {"pod": "trainer-?"}, {"metric": "POWER_USAGE"}, {"metric": ["GPU_TEMP", UTIL]}, {"host": "node_0"},
    {"metric": "dcgm_fi_dev_gpu_temp", "host": "node-1"},
]  # fmt: skip


def test_filters_choose_what_they_choose_elsewhere(new_database: Callable[[], Database], make_api: MakeApi) -> None:
    database = new_database()
    api = make_api(database.reader)
    ear = listen(api, max_events=1).ready()
    begin = ear.id
    fill(database, MIXED)
    assert len(ear.ends().values) == len(MIXED)
    counts: set[int] = set()
    for filters in FILTERS:
        expected = sorted(record["value"] for record in api.json("/telemetry", **filters))
        told = listen(api, last=begin, max_events=1, max_seconds=1 if not expected else 60, **filters).ends()
        assert sorted(told.values) == expected, filters
        counts.add(len(expected))
    assert counts >= {0, 1, 3, 4, 7}


@pytest.mark.parametrize(
    ("glob", "text", "fits"),
    [
        ("*", "", True), ("?", "", False), ("", "", True), ("a*b*c", "aXXbYYc", True), ("a*b*c", "aXXbYY", False),
        ("*ab", "aab", True), ("*a?", "xxab", True), ("A[b]", "a[B]", True), ("a%", "ab", False), ("**", "x", True),
        ("*" + "a*" * 500, "a" * 499, False), ("*a" * 500 + "b", "a" * 1_000, False),
    ],
)  # fmt: skip
def test_a_glob_matches_without_looking_for_ever(glob: str, text: str, fits: bool) -> None:
    assert matches(glob, text) is fits


def test_places_are_limited_and_given_back(database: Database, make_api: MakeApi) -> None:
    api = make_api(database.reader, streams=2, retry_after=7)
    ears = [listen(api, max_events=1).ready() for _ in range(2)]
    refused = api.get("/stream")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "7")
    assert orjson.loads(refused.data)["type"] == "urn:telemetry:problem:too-many-streams"
    assert api.problem(422, "/stream", max_events=0)
    assert api.problem(404, "/stream", last_event_id="x")
    assert api.get("/gpus").status_code == 200
    fill(database, readings(1))
    assert [ear.ends().values for ear in ears] == [[1], [1]]
    ears = [listen(api, max_events=1).ready() for _ in range(2)]
    fill(database, readings(2))
    assert [ear.ends().values for ear in ears] == [[2], [2]]


def test_head_takes_no_place(database: Database, make_api: MakeApi) -> None:
    api = make_api(database.reader, streams=1)
    for _ in range(3):
        response = api.client.head("/api/v1/stream")
        assert (response.status_code, response.mimetype) == (200, "text/event-stream")


def test_nobody_looks_while_nobody_listens(api: Api, database: Database) -> None:
    threads = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%%stream%%' AND query LIKE %s"
    listen(api, heartbeat=1, max_seconds=1).ends()
    until(lambda: not [one for one in threading.enumerate() if one.name == "tail"], "the end of the looking")
    assert database.one(threads, "%settled%") >= 1


def test_a_database_that_goes_away_is_told_and_nothing_is_missed(
    database: Database, make_api: MakeApi, proxies: list[Proxy]
) -> None:
    proxies.append(Proxy(port_of(database.reader)))
    api = make_api(through(database.reader, proxies[0].port), connection_wait=0.2)
    ear = listening(api, max_events=3, heartbeat=1)
    fill(database, readings(1))
    ear.hears(1)
    last = ear.id
    proxies[0].cut()
    until(lambda: ear.told("database")[-1:] == [{"reachable": False}], "the word that the database is away")
    fill(database, readings(2))
    assert api.get("/stream", last_event_id=last).status_code == 503
    proxies[0].heal()
    fill(database, readings(3))
    assert ear.ends().values == [1, 2, 3]
    assert ear.told("database")[-2:] == [{"reachable": False}, {"reachable": True}]


def test_a_listener_is_told_that_blocks_were_pruned_before_he_could_be_told_of_them(
    new_database: Callable[[], Database], make_api: MakeApi, proxies: list[Proxy]
) -> None:
    database = new_database()
    proxies.append(Proxy(port_of(database.reader)))
    api = make_api(through(database.reader, proxies[0].port), connection_wait=0.2)
    ear = listening(api, heartbeat=1)
    fill(database, readings(1))
    ear.hears(1)
    last = ear.id
    proxies[0].cut()
    until(lambda: ear.told("database")[-1:] == [{"reachable": False}], "the word that the database is away")
    fill(database, readings(2))
    with Session(url=database.writer, name="telemetry-prune@test") as session:
        assert Pruning(session=session, keep=0).step().blocks == 2
    proxies[0].heal()
    (end,) = ear.ends().told("end")
    assert "pruned" in end["reason"]
    assert ear.values == [1]
    assert api.problem(410, "/stream", last_event_id=last)["type"] == "urn:telemetry:problem:stream-interrupted"
    later = listening(api, max_events=1)
    fill(database, readings(3))
    assert later.ends().values == [3]


def test_a_slow_listener_is_dropped_and_the_others_hear_everything(database: Database, make_api: MakeApi) -> None:
    api = make_api(database.reader, stream_held=1_000)
    response = api.client.get("/api/v1/stream", buffered=False)
    slow = response.iter_encoded()
    next(slow)
    ear = listen(api, max_events=20).ready()
    for turn in range(10):
        fill(database, readings(*range(turn * 600, turn * 600 + 600)))
        if turn == 0:
            b"".join(next(slow) for _ in range(2))  # he joined, and took a block
        ear.hears(600 * (turn + 1))  # no listener is dropped whose turn it was not yet to run
    assert ear.ends().values == list(range(6_000))
    rest = b"".join(slow)
    assert b"event: end" in rest
    assert b"too slow" in rest
    response.close()


def test_all_streams_end_with_the_server_and_none_begins(api: Api, database: Database) -> None:
    ear = listen(api).ready()
    stream.end(api.client.application)
    assert ear.ends().told("end") == [{"reason": "the server ends; connect again"}]
    assert api.get("/stream").status_code == 503


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"heartbeat": 0}, "heartbeat"), ({"heartbeat": 61}, "heartbeat"), ({"max_events": "x"}, "max_events"),
        ({"max_seconds": 3601}, "max_seconds"), ({"last_event_id": ""}, "last_event_id"), ({"metrc": "x"}, "metrc"),
        ({"gpu": "\0"}, "gpu"), ({"last_event_id": "x" * 6_001}, "last_event_id"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(alone: Api, query: dict[str, object], name: str) -> None:
    problem = alone.problem(422, "/stream", **query)
    assert [error["parameter"] for error in problem["errors"]] == [name]


@pytest.mark.parametrize("text", ["x", "W1tdXQ", "W1sxLDIsMywwXV0" * 9, "é"])
def test_an_id_of_no_event_is_told_so(alone: Api, text: str) -> None:
    problem = alone.problem(404, "/stream", last_event_id=text)
    assert problem["type"] == "urn:telemetry:problem:unknown-event"
    assert problem["errors"][0]["parameter"] == "last_event_id"
    refused = alone.client.get("/api/v1/stream", headers={"Last-Event-ID": text})
    assert refused.status_code == 404
    assert orjson.loads(refused.data)["errors"][0]["parameter"] == "Last-Event-ID"


@pytest.mark.parametrize(("seconds", "timeline"), [(7_200, 1), (-7_200, 1), (0, 2)])
def test_an_id_that_is_too_old_or_of_another_database_is_gone(fleet_api: Api, seconds: int, timeline: int) -> None:
    problem = fleet_api.problem(410, "/stream", last_event_id=place_at(time.time() - seconds, timeline))
    assert problem["type"] == "urn:telemetry:problem:stream-interrupted"
    assert "/api/v1/telemetry" in problem["detail"]


def test_without_a_database_a_stream_is_refused_and_not_begun(alone: Api) -> None:
    assert alone.problem(503, "/stream")["type"] == "urn:telemetry:problem:database-away"
