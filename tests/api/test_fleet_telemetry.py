"""GET /api/v1/telemetry: the readings of any part of the fleet, page by page and whole."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import pytest

from telemetry.block import Workload
from tests.fixtures.api import Api, next_url
from tests.fixtures.filled import LABELS, POWER, SECOND, T0, TEMP, UTIL, Reading, fill, gpu
from tests.fixtures.store import Database

ALL = "/telemetry"
START, END = "2025-07-18T20:42:35Z", "2025-07-18T20:42:37Z"


def by_gpu(api: Api, **asked: Any) -> list[dict[str, Any]]:
    """The readings of each GPU, asked one by one."""
    return [record for id in api.json("/gpus") for record in api.json(f"/gpus/{id}/telemetry", **asked)]


def ordered(records: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(record) for record in records)


@pytest.mark.parametrize("asked", [{}, {"metric": [TEMP, "power_usage"]}, {"start": START, "end": END}, {"end": "now"}])
def test_it_is_the_telemetry_of_each_gpu_in_one_order_of_time(fleet_api: Api, asked: dict[str, Any]) -> None:
    told = fleet_api.json(ALL, **asked)
    assert ordered(told) == ordered(by_gpu(fleet_api, **asked))
    assert [record["timestamp"] for record in told] == sorted(record["timestamp"] for record in told)
    assert fleet_api.all(ALL, limit=7, **asked) == told


@pytest.mark.parametrize(
    ("asked", "selects"),
    [
        ({"gpu": ["GPU-node-0-1", "GPU-node-2-0", "GPU-none"]}, {"uuid": {"GPU-node-0-1", "GPU-node-2-0"}}),
        ({"host": "NODE-[0-1]"}, {"hostname": set()}),
        ({"host": "node-?", "model": "*a100*"}, {"hostname": set()}),
        ({"host": "*-1", "metric": UTIL}, {"hostname": {"node-1"}, "metric_name": {UTIL}}),
        ({"pod": "?*"}, {"pod": set()}),
    ],
)
def test_filters_are_what_each_reading_must_pass(
    fleet_api: Api, asked: dict[str, Any], selects: Mapping[str, set[str]]
) -> None:
    expected = [
        record for record in fleet_api.json(ALL) if all(record[field] in allowed for field, allowed in selects.items())
    ]
    assert fleet_api.json(ALL, **asked) == expected


def test_workloads_are_filtered_reading_by_reading(api: Api, database: Database) -> None:
    loads = [Workload("c", pod, space, LABELS) for pod, space in (("train-0", "ml"), ("train-1", "ml"), ("web", "www"))]
    fill(database, [Reading(gpu("n", 0), T0 + number, TEMP, number, loads[number % 3]) for number in range(9)])
    told = api.json(ALL, pod="TRAIN-*", namespace="m?")
    assert [record["value"] for record in told] == [0, 1, 3, 4, 6, 7]
    assert api.json(ALL, pod="train-1", limit=2) == [told[1], told[3]]


def test_one_gpu_is_told_as_by_its_own_address(fleet_api: Api) -> None:
    for asked in ({}, {"format": "csv"}, {"format": "ndjson"}, {"format": "csv", "metric": POWER, "start": START}):
        own = fleet_api.get("/gpus/GPU-node-1-1/telemetry", **asked)
        assert fleet_api.get(ALL, gpu="GPU-node-1-1", **asked).data == own.data


def test_lines_are_the_whole_range_unless_a_page_is_asked_for(fleet_api: Api) -> None:
    told = fleet_api.json(ALL)
    assert len(told) == 90
    rows = csv.DictReader(io.StringIO(fleet_api.get(ALL, format="csv").text, newline=""))
    assert [{**row, "value": float(row["value"])} for row in rows] == told
    page = fleet_api.get(ALL, format="ndjson", limit=89)
    *lines, trailer = [json.loads(line) for line in page.text.splitlines()]
    assert lines == told[:89]
    assert trailer["trailer"]["count"] == 89
    assert fleet_api.json(ALL, cursor=trailer["trailer"]["next"]) == told[89:]


@pytest.mark.parametrize(
    "other",
    [{"host": "node-1"}, {"host": None}, {"gpu": "GPU-node-0-0"}, {"pod": "*"}, {"metric": UTIL}, {"start": START}],
)
def test_a_cursor_is_refused_with_other_filters(fleet_api: Api, other: dict[str, Any]) -> None:
    filters = {"host": "node-*", "metric": [TEMP, UTIL], "end": END}
    url = next_url(fleet_api.get(ALL, limit=2, **filters))
    assert url is not None
    cursor = url.partition("cursor=")[2]
    same = {**filters, "metric": [UTIL, TEMP]}
    assert len(fleet_api.json(ALL, cursor=cursor, **same)) == 6 * 2 * 4 - 2
    asked = {name: value for name, value in {**filters, **other}.items() if value}
    assert "other filters" in fleet_api.problem(422, ALL, cursor=cursor, **asked)["detail"]
    own = "/gpus/GPU-node-0-0/telemetry"
    assert "other filters" in fleet_api.problem(422, own, cursor=cursor, metric=[TEMP, UTIL], end=END)["detail"]


@pytest.mark.parametrize(
    "asked",
    [
        {"start": END, "end": START},
        {"metric": "NO_SUCH"},
        {"start": "now"},
        {"end": "0001-01-01T00:00:00Z"},
        {"gpu": "x"},
    ],
)
def test_where_nothing_is_selected_the_answer_is_empty(fleet_api: Api, asked: dict[str, str]) -> None:
    assert fleet_api.json(ALL, **asked) == []
    assert len(fleet_api.get(ALL, format="csv", **asked).text.splitlines()) == 1


def test_a_page_that_ends_within_a_snapshot_of_the_fleet_goes_on_there(api: Api, database: Database) -> None:
    """Everything at one instant, each reading three times: only the cursor tells where a page ended."""
    fleet = [Reading(gpu(f"n{number}", 0), T0, metric, 1) for number in range(30) for metric in (TEMP, UTIL)]
    fill(database, fleet, fleet, fleet)
    whole = api.json(ALL)
    assert len(whole) == 180
    for limit in (17, 60, 179, 180):
        pages = list(api.pages(ALL, limit=limit))
        assert [record for page in pages for record in page] == whole
        assert {len(page) for page in pages[:-1]} <= {limit}


def test_pages_of_relative_times_stand_still(api: Api, database: Database) -> None:
    fill(database, [Reading(gpu("n", number), T0 + number * SECOND, TEMP, number) for number in range(9)])
    assert len(api.all(ALL, start="now-9999d", end="now-1s", limit=2)) == 9
