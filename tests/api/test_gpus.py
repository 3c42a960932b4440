"""GET /api/v1/gpus and /api/v1/gpus/{id}."""

from typing import Any

import pytest

from tests.fixtures.api import Api
from tests.fixtures.filled import POWER, SECOND, T0, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.store import Database


def test_the_list_is_an_array_of_the_ids_of_all_gpus_with_telemetry(api: Api, database: Database) -> None:
    fill(database, fleet(hosts=2, gpus=2, steps=1))
    database.ask(
        "INSERT INTO gpus (key, id, uuid, gpu_id, device, model_name, hostname, labels)"
        " VALUES ('silent', 'GPU-silent', 'GPU-silent', '0', '', '', '', '{}')"
    )
    assert api.json("/gpus") == ["GPU-node-0-0", "GPU-node-0-1", "GPU-node-1-0", "GPU-node-1-1"]


def test_the_list_of_an_empty_database_is_empty(api: Api) -> None:
    assert api.json("/gpus") == []


@pytest.mark.parametrize(
    ("filters", "hosts"),
    [
        ({"host": "node-1"}, [1]),
        ({"host": "NODE-?"}, [0, 1, 2]),
        ({"host": "*2"}, [2]),
        ({"host": "node_1"}, []),
        ({"host": "%"}, []),
        ({"host": "node\\-1"}, []),
        ({"model": "*h100*"}, [0, 1, 2]),
        ({"model": "*H100*", "host": "node-0"}, [0]),
        ({"model": "*A100*"}, []),
    ],
)
def test_hosts_and_models_are_globs_and_nothing_else_is_special(
    fleet_api: Api, filters: dict[str, str], hosts: list[int]
) -> None:
    assert fleet_api.json("/gpus", **filters) == [f"GPU-node-{host}-{index}" for host in hosts for index in (0, 1)]


def test_pages_of_the_list_are_the_list(api: Api, database: Database) -> None:
    fill(database, fleet(hosts=5, gpus=2, steps=1))
    pages = list(api.pages("/gpus", limit=3, host="node-*"))
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert [item for page in pages for item in page] == api.json("/gpus")


def test_a_list_that_just_fits_has_no_next_page(api: Api, database: Database) -> None:
    fill(database, fleet(hosts=1, gpus=2, steps=1))
    assert "Link" not in api.get("/gpus", limit=2).headers


def test_one_gpu_tells_who_and_where_it_is_and_what_it_measures(api: Api, database: Database) -> None:
    fill(database, fleet(hosts=1, gpus=1, steps=3))
    place = {
        "hostname": "node-0",
        "gpu_id": "0",
        "device": "nvidia0",
        "labels": {},
        "first_seen": "2025-07-18T20:42:34.000000Z",
        "last_seen": "2025-07-18T20:42:36.000000Z",
    }
    assert api.json("/gpus/GPU-node-0-0") == {
        "id": "GPU-node-0-0",
        "uuid": "GPU-node-0-0",
        "model_name": "NVIDIA H100 80GB HBM3",
        **place,
        "mig_instances": [],
        "places": [place],
        "metrics": [TEMP, UTIL, POWER],
    }


def test_a_gpu_answers_to_its_uuid_its_place_and_its_number_where_that_is_enough(api: Api, database: Database) -> None:
    fill(database, [*fleet(hosts=1, gpus=2, steps=1), Reading(gpu("rack:9400", 7), T0, TEMP, 1)])
    assert {api.json(f"/gpus/{name}")["id"] for name in ("GPU-node-0-1", "node-0:1", "1")} == {"GPU-node-0-1"}
    assert api.json("/gpus/rack:9400:7")["id"] == "GPU-rack:9400-7"


def test_a_gpu_without_uuid_is_called_by_its_place(api: Api, database: Database) -> None:
    fill(database, [Reading(gpu("bare", 3, uuid=""), T0, TEMP, 1)])
    assert api.json("/gpus") == ["bare:3"]
    assert api.json("/gpus/bare:3")["uuid"] == ""


def test_a_number_that_several_hosts_have_is_refused_with_their_count_and_examples(
    api: Api, database: Database
) -> None:
    fill(database, fleet(hosts=5, gpus=1, steps=1))
    told = api.problem(404, "/gpus/0")
    assert told["detail"].startswith("5 hosts have a GPU '0'")
    assert told["examples"] == ["node-0:0", "node-1:0", "node-2:0"]


@pytest.mark.parametrize("path", ["/gpus/nobody", "/gpus/nobody/telemetry", "/gpus/node-0:9", "/gpus/%00", "/gpus/;--"])
def test_an_unknown_gpu_is_refused_with_what_would_be_right(fleet_api: Api, path: str) -> None:
    told = fleet_api.problem(404, path)
    assert "6 GPUs have telemetry, one is GPU-node-0-0. GET /api/v1/gpus lists them" in told["detail"]
    assert told["examples"] == ["GPU-node-0-0"]


def test_without_any_telemetry_an_unknown_gpu_is_told_so(api: Api) -> None:
    assert "none has telemetry yet" in api.problem(404, "/gpus/nobody")["detail"]


def test_an_overlong_name_is_cut_in_the_answer(api: Api) -> None:
    assert len(api.problem(404, f"/gpus/{'x' * 4000}")["detail"]) < 300


def test_a_gpu_that_moved_shows_every_place_the_latest_first(api: Api, database: Database) -> None:
    moved = [
        Reading(gpu(host, 1, uuid="GPU-m"), T0 + time * SECOND, TEMP, 1) for time, host in ((0, "old"), (60, "new"))
    ]
    fill(database, moved)
    found = api.json("/gpus/GPU-m")
    assert (found["hostname"], [place["hostname"] for place in found["places"]]) == ("new", ["new", "old"])
    assert (found["first_seen"], found["last_seen"]) == ("2025-07-18T20:42:34.000000Z", "2025-07-18T20:43:34.000000Z")
    assert api.json("/gpus") == ["GPU-m"]


def test_a_place_shows_nothing_of_the_gpu_that_was_replaced(api: Api, database: Database) -> None:
    month = 30 * 86_400 * SECOND
    readings = [
        Reading(gpu("h1", 0, uuid=f"GPU-{name}"), T0 + number * month, TEMP, 1) for number, name in enumerate("AB")
    ]
    fill(database, readings)
    found = api.json("/gpus/h1:0")
    assert (found["id"], found["first_seen"], len(found["places"])) == ("GPU-B", "2025-08-17T20:42:34.000000Z", 1)
    assert found == api.json("/gpus/GPU-B")


def test_a_place_that_a_gpu_left_shows_it_where_it_is_now_as_any_of_its_places_does(
    api: Api, database: Database
) -> None:
    fill(database, [Reading(gpu(host, 5, uuid="GPU-m"), T0 + at, TEMP, 1) for at, host in enumerate(("h1", "h2"))])
    found = api.json("/gpus/GPU-m")
    assert [place["hostname"] for place in found["places"]] == ["h2", "h1"]
    assert api.json("/gpus/h1:5") == api.json("/gpus/h2:5") == found


def test_an_id_that_reads_like_a_place_is_that_id(api: Api, database: Database) -> None:
    bare, named = gpu("h1", 0, uuid=""), gpu("h1", 0)
    fill(database, [Reading(bare, T0, TEMP, 1), Reading(named, T0 + SECOND, TEMP, 1)])
    assert [api.json(f"/gpus/{name}")["id"] for name in api.json("/gpus")] == api.json("/gpus") == ["GPU-h1-0", "h1:0"]


def test_mig_instances_of_a_gpu_are_told_apart_by_their_labels(api: Api, database: Database) -> None:
    fill(database, [Reading(gpu("node", 0, mig=number), T0, TEMP, int(number)) for number in "123"])
    found: Any = api.json("/gpus/GPU-node-0")
    assert [instance["gpu_i_id"] for instance in found["mig_instances"]] == ["1", "2", "3"]
    assert api.json("/gpus") == ["GPU-node-0"]


def test_metrics_are_found_far_back_when_a_gpu_reports_little(api: Api, database: Database) -> None:
    year = 365 * 86_400 * SECOND
    fill(database, [Reading(gpu("n", 0), T0 - year, POWER, 1), Reading(gpu("n", 0), T0, TEMP, 1)])
    assert api.json("/gpus/GPU-n-0")["metrics"] == [TEMP, POWER]
