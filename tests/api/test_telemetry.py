"""GET /api/v1/gpus/{id}/telemetry: which readings, in which order, page by page."""

import random
from datetime import UTC
from typing import Any

import pytest

from telemetry.block import Workload
from tests.fixtures.api import Api, next_url
from tests.fixtures.filled import LABELS, POWER, SECOND, T0, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.store import Database

ONE = "/gpus/GPU-node-0-0/telemetry"
START = "2025-07-18T20:42:34Z"


def test_records_are_the_rows_of_the_view_in_order_of_time(api: Api, database: Database) -> None:
    odd = Workload('c"1', "pöd", "ns\\", '{"a":"é\\n\\"","pod":null,"__name__":null}')
    fill(database, [*fleet(), Reading(gpu("node-0", 0), T0 + 123_456, TEMP, -0.1, odd)])
    columns = [name for (name,) in database.ask(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'telemetry'::regclass AND attnum > 0 ORDER BY attnum"
    )]  # fmt: skip
    rows = database.ask("SELECT * FROM telemetry WHERE uuid = 'GPU-node-0-0'")
    told = api.json(ONE)
    assert [list(record) for record in told] == [columns] * len(rows)
    times = [row[0].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for row in rows]
    expected = [dict(zip(columns, (time, *row[1:]), strict=True)) for time, row in zip(times, rows, strict=True)]
    assert sorted(told, key=repr) == sorted(expected, key=repr)
    assert [record["timestamp"] for record in told] == sorted(times)


@pytest.mark.parametrize(
    ("range_", "steps"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"start_time": "2025-07-18T20:42:36Z"}, [2, 3, 4]),
        ({"start_time": "2025-07-18T20:42:36.000001Z"}, [3, 4]),
        ({"end_time": "2025-07-18T22:42:36+02:00"}, [0, 1, 2]),
        ({"end_time": "2025-07-18T22:42:36 02:00"}, [0, 1, 2]),
        ({"start": "1752871355", "end": "1752871356000"}, [1, 2]),
        ({"start_time": START, "end_time": START}, [0]),
        ({"start_time": START, "start": "1752871358"}, [0, 1, 2, 3, 4]),
        ({"start_time": "now-1h"}, []),
        ({"end_time": "now"}, [0, 1, 2, 3, 4]),
        ({"start_time": "0001-01-01T00:00:00+14:00", "end_time": "9999-12-31T23:59:59-14:00"}, [0, 1, 2, 3, 4]),
        ({"start_time": "2025-07-18T20:42:36Z", "end_time": START}, []),
    ],
)
def test_a_range_includes_both_its_ends(fleet_api: Api, range_: dict[str, str], steps: list[int]) -> None:
    assert [record["value"] for record in fleet_api.json(ONE, metric=TEMP, **range_)] == steps


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ([TEMP], [TEMP]),
        (["gpu_temp"], [TEMP]),
        (["DCGM_FI_DEV_GPU_TEMP_CELSIUS"], [TEMP]),
        ([TEMP, UTIL], [TEMP, UTIL]),
        (["DCGM_FI_DEV_NO_SUCH"], []),
        (["DCGM_FI_DEV_NO_SUCH", POWER], [POWER]),
    ],
)
def test_metrics_are_found_under_either_generation_of_names(fleet_api: Api, asked: list[str], found: list[str]) -> None:
    assert [record["metric_name"] for record in fleet_api.json(ONE, metric=asked, end_time=START)] == found


def test_a_classic_name_finds_readings_of_the_renamed_metric(api: Api, database: Database) -> None:
    fill(database, [Reading(gpu("n", 0), T0, "DCGM_FI_DEV_GPU_TEMP_CELSIUS", 41)])
    told = api.json("/gpus/n:0/telemetry", metric=TEMP)
    assert [(record["metric_name"], record["value"]) for record in told] == [("DCGM_FI_DEV_GPU_TEMP_CELSIUS", 41)]


def crowd() -> list[list[Reading]]:
    """Blocks whose readings share instants, series, blocks and even values: every kind of tie."""
    dice = random.Random(7)  # the same in each run
    one, two = gpu("node-0", 0), gpu("node-0", 0, mig="1")
    pods = [Workload("", pod, "", LABELS) for pod in ("a", "b")]
    same = [Reading(one, T0, TEMP, 5.0)] * 20
    tied = [Reading(one, T0, TEMP, float(value), pods[0]) for value in (3, 1, 2, 2, 1, 3)]
    mixed = [
        Reading(
            dice.choice([one, two]), T0 + dice.randrange(3), dice.choice([TEMP, UTIL]), dice.random(), dice.choice(pods)
        )
        for _ in range(60)
    ]
    return [same, tied, mixed, same[:9]]


def test_pages_of_any_size_are_the_one_answer_duplicates_included(api: Api, database: Database) -> None:
    fill(database, *crowd())
    whole = api.json(ONE)
    assert len(whole) == 95
    for limit in (1, 7, 20, 94, 95, 96):
        pages = list(api.pages(ONE, limit=limit))
        assert [item for page in pages for item in page] == whole
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


def test_the_link_to_the_next_page_names_no_host_and_no_path(fleet_api: Api) -> None:
    for path in (ONE, "/gpus", "/gpus/node-0:0/telemetry"):
        response = fleet_api.client.get(f"/api/v1{path}?limit=2", headers={"Host": "evil.example"})
        assert response.headers["Link"].startswith("<?limit=2&cursor=")
        assert "evil" not in response.headers["Link"]


def test_pages_keep_their_filters(api: Api, database: Database) -> None:
    fill(database, *crowd())
    whole = api.json(ONE, metric=[TEMP, UTIL], end_time=str((T0 + SECOND) // SECOND))
    assert api.all(ONE, metric=[UTIL, TEMP], end_time="2025-07-18T20:42:35Z", limit=7) == whole


def test_readings_that_arrive_while_pages_are_read_shift_nothing(api: Api, database: Database) -> None:
    fill(database, fleet(hosts=1, gpus=1, steps=4))
    before = api.json(ONE)
    response = api.get(ONE, limit=5)
    late = [Reading(gpu("node-0", 0), T0 - SECOND, TEMP, -1), Reading(gpu("node-0", 0), T0 + 60 * SECOND, TEMP, -2)]
    fill(database, late)
    told: list[Any] = response.json or []
    while url := next_url(response):
        response = api.client.get(url)
        told += response.json or []
    assert told[:-1] == before
    assert told[-1]["value"] == -2


def test_a_relative_range_stands_still_while_pages_are_read(api: Api, database: Database) -> None:
    fill(database, fleet(hosts=1, gpus=1, steps=4))
    whole = api.json(ONE, end_time="now-1s")
    assert api.all(ONE, end_time="now-1s", limit=5) == whole


@pytest.mark.parametrize(
    "other",
    [
        {"metric": UTIL},
        {"start_time": "2025-07-18T20:42:34.000001Z"},
        {"start_time": "now-20000d"},
        {"end_time": START},
        {"metric": [TEMP, UTIL]},
    ],
)
def test_a_cursor_is_refused_with_other_filters(fleet_api: Api, other: dict[str, Any]) -> None:
    filters = {"metric": TEMP, "start_time": START, "end_time": "2025-07-19T00:00:00Z"}
    url = next_url(fleet_api.get(ONE, limit=2, **filters))
    assert url is not None
    cursor = url.partition("cursor=")[2]
    assert len(fleet_api.json(ONE, cursor=cursor, **filters)) == 3
    told = fleet_api.problem(422, ONE, cursor=cursor, **{**filters, **other})
    assert told["errors"][0]["parameter"] == "cursor"
    assert "other filters" in told["detail"]
    assert "other filters" in fleet_api.problem(422, "/gpus/GPU-node-0-1/telemetry", cursor=cursor, **filters)["detail"]


@pytest.mark.parametrize("cursor", ["x", "WyJhIl0", "bnVsbA", "e30", "é", "A" * 4000, "WyJhIiwxLDIsMyw0LDUsNiwiNyJd"])
def test_a_text_that_is_no_cursor_names_no_page(fleet_api: Api, cursor: str) -> None:
    for path in (ONE, "/gpus"):
        told = fleet_api.problem(404, path, cursor=cursor)
        assert told["errors"][0]["parameter"] == "cursor"
        assert "leave it out for the first page" in told["detail"]


def test_an_id_that_stands_for_several_rows_answers_with_all_of_them(api: Api, database: Database) -> None:
    rows = [gpu("node-0", 0, uuid="GPU-m"), gpu("node-1", 4, uuid="GPU-m"), gpu("node-1", 4, uuid="GPU-m", mig="7")]
    fill(database, [Reading(row, T0 + number, TEMP, number) for number, row in enumerate(rows)])
    assert [record["value"] for record in api.json("/gpus/GPU-m/telemetry")] == [0, 1, 2]
    assert [record["value"] for record in api.json("/gpus/node-1:4/telemetry")] == [0, 1, 2]


def test_a_place_answers_with_the_gpu_that_was_seen_there_last_and_with_no_other(api: Api, database: Database) -> None:
    month = 30 * 86_400 * SECOND
    old, new = (gpu("h1", 0, uuid=uuid) for uuid in ("GPU-A", "GPU-B"))
    fill(database, [Reading(old, T0, TEMP, 1), Reading(new, T0 + month, TEMP, 2)])
    assert [record["uuid"] for record in api.json("/gpus/h1:0/telemetry")] == ["GPU-B"]
    assert [record["uuid"] for record in api.json("/gpus/GPU-A/telemetry")] == ["GPU-A"]
    fill(database, [Reading(old, T0 + 2 * month, TEMP, 3)])  # put back
    assert [record["value"] for record in api.json("/gpus/h1:0/telemetry")] == [1, 3]


def test_values_keep_every_digit(api: Api, database: Database) -> None:
    values = [0.1 + 0.2, 1e300, -5e-324, 9007199254740993.0, 112.351]
    fill(database, [Reading(gpu("n", 0), T0 + number, POWER, value) for number, value in enumerate(values)])
    assert [record["value"] for record in api.json("/gpus/n:0/telemetry")] == values
