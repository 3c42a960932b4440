"""Aggregates over steps: of one GPU and of the fleet, how wide the steps are, and what is refused."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from statistics import fmean, median
from typing import Any

import pytest
from werkzeug.test import TestResponse

from telemetry.block import MAX_TIME, MIN_TIME, Workload
from tests.fixtures.api import CALM, Api
from tests.fixtures.filled import LABELS, SECOND, T0, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.store import Database, cloned
from webapi.app import close, create_app
from webapi.options import ApiOptions

ONE, ALL = "/gpus/GPU-node-0-0/telemetry", "/telemetry"
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
PODS = [Workload("", pod, space, LABELS) for pod, space in (("a", "ml"), ("b", "ml"), ("", ""))]


def mixed() -> list[Reading]:
    """Two models, a MIG instance, three pods, metrics under new names, and a counter that is reset."""
    mig = gpu("h1", 0, mig="7")
    return [
        *(Reading(gpu("h0", 0), T0 + at * SECOND, TEMP, at, PODS[at % 3]) for at in range(6)),
        *(Reading(gpu("h1", 0, model="A100"), T0 + at * SECOND, TEMP, 100 + at, PODS[0]) for at in range(6)),
        *(Reading(mig, T0 + at * SECOND, "DCGM_FI_DEV_GPU_TEMP_CELSIUS", 50 + at) for at in range(6)),
        *(Reading(mig, T0 + at * SECOND, "DCGM_FI_DEV_GPU_UTIL_RATIO", 0.25) for at in range(2)),
        *(
            Reading(gpu("h0", 0), T0 + at * 2 * SECOND, ENERGY, value)
            for at, value in enumerate((1_000, 5_000, 2_000, 4_000))
        ),
    ]


@pytest.fixture(scope="module")
def mixed_api(postgres_server: PostgresServer, migrated: str) -> Iterator[Api]:
    with cloned(postgres_server, migrated) as database:
        fill(database, mixed())
        app = create_app(database_url=database.reader, options=ApiOptions(**CALM))
        yield Api(app.test_client())
        close(app)


def values(records: list[dict[str, Any]]) -> list[float]:
    return [record["value"] for record in records]


@pytest.mark.parametrize(
    ("agg", "of"),
    [
        (None, fmean), ("avg", fmean), ("min", min), ("max", max), ("sum", sum), ("count", len), ("p50", median),
        ("first", lambda found: found[0]), ("last", lambda found: found[-1]),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("step", "width"), [("2s", 2), ("3", 3), ("60000ms", 60), ("100w", 60_480_000)])
def test_a_value_is_what_becomes_of_the_readings_in_its_step(
    fleet_api: Api, agg: str | None, of: Callable[[list[float]], float], step: str, width: int
) -> None:
    readings: dict[tuple[int, str], list[float]] = defaultdict(list)
    for one in fleet(hosts=1, gpus=1):
        readings[one.time // SECOND // width * width, one.metric].append(one.value)
    told = fleet_api.json(ONE, step=step, **({"agg": agg} if agg else {}))
    assert values(told) == [of(found) for _, found in sorted(readings.items())]
    assert [record["metric_name"] for record in told] == [metric for _, metric in sorted(readings)]
    assert {tuple(record) for record in told} == {("timestamp", "metric_name", "unit", "gpu", "gpu_i_id", "value")}


def test_steps_begin_where_their_width_divides_the_time_since_1970(fleet_api: Api) -> None:
    told = fleet_api.json(ONE, step="2s", metric=TEMP)
    assert [(record["timestamp"], record["value"]) for record in told] == [
        ("2025-07-18T20:42:34.000000Z", 0.5), ("2025-07-18T20:42:36.000000Z", 2.5), ("2025-07-18T20:42:38.000000Z", 4.0)
    ]  # fmt: skip
    assert [record["timestamp"] for record in fleet_api.json(ONE, step="1d", metric=TEMP)] == [
        "2025-07-18T00:00:00.000000Z"
    ]


def test_only_readings_in_the_range_count_in_steps_at_its_ends(fleet_api: Api) -> None:
    told = fleet_api.json(ONE, step="2s", metric=TEMP, agg="sum", start="1752871355", end="1752871356")
    assert values(told) == [1, 2]


LABELLED: dict[str, Callable[[Reading], dict[str, str]]] = {
    "gpu": lambda one: {"gpu": one.gpu.uuid, "gpu_i_id": json.loads(one.gpu.labels).get("GPU_I_ID", "")},
    "host": lambda one: {"hostname": one.gpu.hostname},
    "model": lambda one: {"model_name": one.gpu.model_name},
    "namespace": lambda one: {"namespace": one.workload.namespace},
    "pod": lambda one: {"pod": one.workload.pod},
}


@pytest.mark.parametrize(
    "group_by", [[], ["gpu"], ["host"], ["pod", "host"], ["namespace", "model"], ["pod", "gpu", "pod"], [*LABELLED]]
)
def test_each_group_has_values_of_its_own_and_says_which_it_is(mixed_api: Api, group_by: list[str]) -> None:
    groups: dict[str, list[float]] = defaultdict(list)
    fields = [name for name in LABELLED if name in group_by]
    for one in mixed():
        if "GPU_TEMP" in one.metric:
            labels = {field: text for name in fields for field, text in LABELLED[name](one).items()}
            groups[json.dumps(labels)].append(one.value)
    told = mixed_api.json(ALL, step="1h", metric=TEMP, group_by=group_by)
    shared = {"timestamp": "2025-07-18T20:00:00.000000Z", "metric_name": TEMP, "unit": "C"}
    expected = [{**shared, **json.loads(labels), "value": fmean(found)} for labels, found in groups.items()]
    assert sorted(map(json.dumps, told)) == sorted(map(json.dumps, expected)), "field by field, in the same order"


def test_of_one_gpu_its_mig_instances_are_apart(mixed_api: Api) -> None:
    told = mixed_api.json("/gpus/h1:0/telemetry", max_points=1, metric=TEMP)
    assert [(record["gpu"], record["gpu_i_id"], record["value"]) for record in told] == [
        ("GPU-h1-0", "", 102.5), ("GPU-h1-0", "7", 52.5)
    ]  # fmt: skip


def test_values_are_in_the_unit_of_the_classic_metric_whatever_the_source_called_it(mixed_api: Api) -> None:
    (told,) = mixed_api.json(ALL, step="1h", metric="GPU_UTIL_RATIO", agg="max")
    assert (told["metric_name"], told["unit"], told["value"]) == (UTIL, "%", 25)


def test_a_rate_is_of_counters_and_a_reset_is_no_fall(mixed_api: Api) -> None:
    told = mixed_api.json(ALL, step="4s", agg="rate", metric=["gpu_energy_joules_total", "TOTAL_ENERGY_CONSUMPTION"])
    assert [(record["timestamp"][17:19], record["unit"], record["value"]) for record in told] == [
        ("36", "mJ/s", (4_000 + 2_000) / 4), ("40", "mJ/s", 2_000 / 2)
    ]  # fmt: skip
    assert mixed_api.json(ALL, step="4s", agg="rate") == told, "of all counters"


@pytest.mark.parametrize(
    ("asked", "step"),
    [
        ({"max_points": 1}, 30), ({"max_points": 15}, 1), ({"max_points": 14}, 5), ({"max_points": 3}, 10),
        ({"max_points": 60, "start": "1752868800", "end": "1752872400"}, 300),
        ({"max_points": 61, "start": "1752868800", "end": "1752872400"}, 60),
        ({"max_points": 2, "start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59Z"}, 10),
        ({"max_points": 300, "start": "1752872400", "end": "1752868800"}, 1),
        ({"max_points": 300, "host": "nowhere"}, 1),
        ({"step": "90m"}, 5400), ({"step": "1500ms"}, 1.5),
    ],
)  # fmt: skip
def test_the_width_of_a_step_is_told(fleet_api: Api, asked: dict[str, Any], step: float) -> None:
    answer = fleet_api.get(ALL, metric=TEMP, **asked)
    assert (answer.status_code, float(answer.headers["X-Step"])) == (200, step), answer.text
    assert len(answer.json or []) <= asked.get("max_points", 10)


def test_all_formats_hold_the_same(fleet_api: Api) -> None:
    asked = {"step": "2s", "group_by": ["gpu", "host"], "agg": "p95"}
    told = fleet_api.json(ALL, **asked)
    assert len(told) == 3 * 3 * 6
    rows = csv.DictReader(io.StringIO(fleet_api.get(ALL, format="csv", **asked).text, newline=""))
    assert [{**row, "value": float(row["value"])} for row in rows] == told
    lines = fleet_api.client.get(
        f"/api/v1{ALL}", query_string=asked, headers={"Accept": "application/x-ndjson"}
    ).text.splitlines()
    assert [json.loads(line) for line in lines] == [*told, {"trailer": {"count": len(told), "next": None}}]


@pytest.mark.parametrize(
    "asked",
    [
        {"metric": "NO_SUCH"}, {"start": "now", "end": "now-1h"}, {"gpu": "nobody"}, {"start": "now-1ms"},
        {"end": "0001-01-01T00:00:00Z"}, {"start": "9999-12-31T23:59:59Z"}, {"pod": "?*", "agg": "rate"},
    ],
)  # fmt: skip
def test_where_nothing_is_selected_the_answer_is_empty(fleet_api: Api, asked: dict[str, str]) -> None:
    assert fleet_api.json(ALL, step="1m", **asked) == []
    header = "timestamp,metric_name,unit,pod,value\n"
    assert fleet_api.get(ALL, step="1m", group_by="pod", format="csv", **asked).text == header


@pytest.mark.parametrize(
    ("path", "asked", "name", "remedy"),
    [
        *((ONE, {"step": step}, "step", "is no width; write a whole number from 1 on with ms, s, m, h, d or w")
          for step in ("0", "-1m", "1y", "", "0.5", "5 m", "m", "1e3", "٣s", "5m\n", "1" * 30)),
        (ONE, {"max_points": "0"}, "max_points", "is not a whole number from 1 to 11000, as in max_points=300"),
        (ONE, {"max_points": "11001"}, "max_points", "is not a whole number from 1 to 11000"),
        (ONE, {"step": "1m", "agg": "mean"}, "agg", "perhaps avg, as in agg=avg"),
        (ONE, {"step": "1m", "agg": "Median"}, "agg", "perhaps p50, as in agg=p50"),
        (ONE, {"step": "1m", "agg": "ratte"}, "agg", "perhaps rate, as in agg=rate"),
        (ONE, {"agg": "max"}, "agg", "is for steps: say how wide they are, as in step=5m&agg=max"),
        (ONE, {"step": "1m", "max_points": "5"}, "max_points", "chooses a step; give it or a step, as in step=5m"),
        (ONE, {"step": "1m", "limit": "5"}, "limit", "is for pages of readings, which steps have not: leave it out"),
        (ONE, {"max_points": "9", "cursor": "abc"}, "cursor", "is for pages of readings, which steps have not"),
        (ONE, {"step": "1m", "group_by": "gpu"}, "group_by", "is no parameter here"),
        (ALL, {"group_by": ["host", "pod"]}, "group_by", "is for steps: say how wide they are"),
        (ALL, {"step": "1m", "group_by": "host,pod"}, "group_by", "for several repeat it, as in group_by=host"),
        (ALL, {"step": "1m", "group_by": ""}, "group_by", "is none of gpu, host, model, namespace, pod"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_what_can(
    fleet_api: Api, path: str, asked: dict[str, Any], name: str, remedy: str
) -> None:
    (fault,) = fleet_api.problem(422, path, **asked)["errors"]
    assert fault["parameter"] == name
    assert remedy in fault["detail"]


@pytest.mark.parametrize("metric", [TEMP, "gpu_temp_celsius", "NO_SUCH", "XID_ERRORS"])
def test_a_rate_of_what_is_no_counter_is_refused_by_its_kind(fleet_api: Api, metric: str) -> None:
    for path in (ONE, ALL):
        detail = fleet_api.problem(422, path, step="1m", agg="rate", metric=[metric, ENERGY])["detail"]
        assert "is for counters" in detail
        assert "take avg, min, max, last, as in agg=avg" in detail


@pytest.mark.parametrize(
    "asked",
    [
        {"step": "1s", "start": "2025-07-18T20:42:34Z", "end": "2025-07-18T23:45:54Z"},
        {"step": "1ms", "start": "1752871354", "end": "1752871365"},
        {"step": "1s", "start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59Z"},
        {"step": "1s", "start": "now-99999d"},
    ],
)
def test_a_step_is_not_refused_for_times_without_readings(fleet_api: Api, asked: dict[str, str]) -> None:
    assert len(fleet_api.json(ALL, metric=TEMP, group_by="gpu", **asked)) == 30
    assert fleet_api.json(ALL, host="nowhere", **asked) == []


def test_too_many_steps_are_refused_with_a_step_that_fits(api: Api, database: Database) -> None:
    year = 366 * 86_400 * SECOND
    fill(database, [Reading(gpu("n", 0), time, TEMP, 1) for time in (T0, T0 + year)])
    for asked in ({}, {"start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59Z"}, {"start": "now-9999d"}):
        told = api.problem(422, "/gpus/n:0/telemetry", step="1s", **asked)
        assert "31,622,401 steps" in told["detail"]
        assert told["detail"].endswith("as in step=1h.")
        assert values(api.json("/gpus/n:0/telemetry", step="1h", **asked)) == [1, 1]
    assert "max_points=3" in api.problem(422, "/telemetry", max_points=1, start="-1", end="1")["detail"]


def test_steps_reach_to_both_ends_of_time(api: Api, database: Database) -> None:
    fill(database, [Reading(gpu("n", 0), time, TEMP, 1) for time in (MIN_TIME, -1, 0, 1, MAX_TIME)])
    longest = [("0001-01-01", 2), ("1970-01-01", 2), ("7445-10-25", 1)]
    for asked, expected in (
        ({"step": "9999999999w"}, longest),
        ({"max_points": 3}, None),
        ({"max_points": 11_000}, None),
        ({"step": "36500d"}, None),
    ):
        for path in ("/gpus/n:0/telemetry", ALL):
            told = api.json(path, agg="count", **asked)
            assert sum(values(told)) == 5
            assert told[0]["timestamp"] == "0001-01-01T00:00:00.000000Z"
            assert expected is None or [(one["timestamp"][:10], one["value"]) for one in told] == expected


@pytest.mark.parametrize("path", [ONE, ALL])
def test_who_has_the_steps_of_the_past_is_told_so_until_something_is_stored_there(
    api: Api, database: Database, path: str
) -> None:
    def ask(tag: str = "", **asked: str) -> TestResponse:
        query = {"end": "1752871357", **asked}
        return api.client.get(f"/api/v1{path}", headers={"If-None-Match": tag} if tag else {}, query_string=query)

    fill(database, fleet(hosts=1))
    tags = {}
    for number in range(2):
        fill(database, [Reading(gpu("node-0", 0), T0 - number * SECOND, TEMP, 70)])
        for asked in (
            {"step": "1s"},
            {"max_points": "9"},
            {"step": "1s", "agg": "p99"},
            {"step": "1s", "format": "csv"},
        ):
            answer = ask(**asked)
            tags[answer.headers["ETag"]] = answer.data
            assert ask(answer.headers["ETag"], **asked).status_code == 304
            for other in ({"step": "2s"}, {"step": "1s", "end": "1752871356"}, {"step": "1s", "metric": TEMP}):
                assert ask(answer.headers["ETag"], **other).status_code == 200
    assert (len(tags), len(set(tags.values()))) == (2 * 4 - 2, 2 * 4 - 2), "9 points are those of 1s: one question"
    assert all(tag.startswith("W/") for tag in tags)
    assert "ETag" not in api.get(path, step="1s").headers


@pytest.mark.costly
def test_too_many_values_are_refused_with_a_step_of_which_there_are_few_enough(api: Api, database: Database) -> None:
    fill(database, [Reading(gpu("n", number), T0, TEMP, 0) for number in range(101)])
    database.ask(
        "INSERT INTO samples (time, gpu, metric, workload, value, block) "
        "SELECT time + n * interval '1 s', gpu, metric, workload, n, block FROM samples, generate_series(1, 9999) AS n"
    )
    told = api.problem(422, ALL, step="1s", group_by="gpu", start=str(T0 // SECOND), end=str(T0 // SECOND + 10_000))
    assert "more than 1,000,000 values, of 101 series" in told["detail"]
    assert told["detail"].endswith("as in step=5s.")
    assert len(api.json(ALL, step="1s", group_by="host", agg="count")) == 10_000
    assert len(api.json(ALL, step="5s", group_by="gpu")) == 101 * 2_001
