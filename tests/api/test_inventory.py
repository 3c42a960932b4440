"""GET /api/v1/inventory: GPUs as objects, each at the place where it was seen last."""

import csv
import io

import pytest

from tests.fixtures.api import Api
from tests.fixtures.filled import SECOND, T0, TEMP, Reading, fill, gpu
from tests.fixtures.store import Database


def test_each_gpu_is_an_object_and_only_the_filters_leave_some_out(fleet_api: Api) -> None:
    found = fleet_api.json("/inventory")
    assert [one["id"] for one in found] == fleet_api.json("/gpus")
    assert found[0] == {
        "id": "GPU-node-0-0",
        "uuid": "GPU-node-0-0",
        "model_name": "NVIDIA H100 80GB HBM3",
        "hostname": "node-0",
        "gpu_id": "0",
        "device": "nvidia0",
        "first_seen": "2025-07-18T20:42:34.000000Z",
        "last_seen": "2025-07-18T20:42:38.000000Z",
        "mig_instances": 0,
        "places": 1,
    }
    for filters in ({"host": "NODE-1"}, {"host": "node-?", "model": "*h100*"}, {"model": "*A100*"}, {"host": "%"}):
        assert [one["id"] for one in fleet_api.json("/inventory", **filters)] == fleet_api.json("/gpus", **filters)


def test_pages_of_the_inventory_are_the_inventory_and_a_cursor_is_bound_to_its_filters(fleet_api: Api) -> None:
    pages = list(fleet_api.pages("/inventory", limit=4, host="node-*"))
    assert [len(page) for page in pages] == [4, 2]
    assert [one for page in pages for one in page] == fleet_api.json("/inventory")
    cursor = fleet_api.get("/inventory", limit=2).headers["Link"].partition("cursor=")[2].partition(">")[0]
    assert "other filters" in fleet_api.problem(422, "/inventory", limit=2, host="x", cursor=cursor)["detail"]
    assert "is no cursor" in fleet_api.problem(404, "/inventory", limit=2, cursor="abc")["detail"]
    assert "Link" not in fleet_api.get("/inventory", limit=6).headers


def test_a_gpu_that_moved_stands_once_where_it_is_now_with_its_instances_counted(api: Api, database: Database) -> None:
    rows = [gpu("old", 3, uuid="GPU-m"), *(gpu("new", 5, uuid="GPU-m", mig=number) for number in "12")]
    fill(database, [Reading(row, T0 + at * SECOND, TEMP, 1) for at, row in enumerate([*rows, gpu("bare", 0, uuid="")])])
    bare, moved = sorted(api.json("/inventory"), key=lambda one: one["uuid"] != "")
    assert (bare["id"], bare["uuid"], bare["places"]) == ("bare:0", "", 1)
    assert (moved["hostname"], moved["gpu_id"], moved["mig_instances"], moved["places"]) == ("new", "5", 2, 2)
    assert (moved["first_seen"], moved["last_seen"]) == ("2025-07-18T20:42:34.000000Z", "2025-07-18T20:42:36.000000Z")
    assert api.json("/inventory", host="old") == []
    assert [one["id"] for one in api.json("/inventory", host="new")] == ["GPU-m"]


def test_it_comes_as_csv_too(fleet_api: Api) -> None:
    table = list(csv.DictReader(io.StringIO(fleet_api.get("/inventory", format="csv").text)))
    assert [row["id"] for row in table] == fleet_api.json("/gpus")
    assert list(table[0]) == list(fleet_api.json("/inventory")[0])


@pytest.mark.parametrize(("parameter", "value"), [("limit", "0"), ("host", ""), ("model", "a\0b"), ("hots", "x")])
def test_a_wrong_parameter_is_named(alone: Api, parameter: str, value: str) -> None:
    assert alone.problem(422, "/inventory", **{parameter: value})["errors"][0]["parameter"] == parameter


def test_without_telemetry_it_is_empty_and_without_a_database_it_says_so(api: Api, alone: Api) -> None:
    assert api.json("/inventory") == []
    alone.problem(503, "/inventory")
