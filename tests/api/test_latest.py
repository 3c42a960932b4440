"""GET /api/v1/gpus/{id}/latest: the newest value of each metric, how old it is."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from telemetry.block import Workload
from tests.fixtures.api import Api
from tests.fixtures.filled import LABELS, POWER, SECOND, T0, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.store import Database
from webapi import times

ONE = "/gpus/GPU-node-0-0/latest"


def test_each_metric_is_told_once_with_its_newest_value(api: Api, database: Database) -> None:
    fill(database, fleet(hosts=2))
    told = api.json(ONE)
    assert [(one["metric_name"], one["value"], one["unit"]) for one in told] == [
        (TEMP, 4, "C"),
        (UTIL, 14, "%"),
        (POWER, 24, "W"),
    ]
    assert {one["timestamp"] for one in told} == {"2025-07-18T20:42:38.000000Z"}
    assert {(one["hostname"], one["gpu_id"], str(one["labels"])) for one in told} == {("node-0", "0", "{}")}


def test_the_age_is_that_of_the_value_and_tells_whether_it_is_stale(api: Api, database: Database) -> None:
    now = times.micros(datetime.now(UTC))
    ages = {TEMP: 0, UTIL: 100, POWER: 1_000}
    fill(database, [Reading(gpu("n", 0), now - age * SECOND, metric, 1) for metric, age in ages.items()])
    told = {one["metric_name"]: one for one in api.json("/gpus/n:0/latest")}
    passed = told[TEMP]["age_seconds"]
    assert passed >= 0
    assert told[POWER]["age_seconds"] == pytest.approx(1_000 + passed)
    assert [told[metric]["stale"] for metric in ages] == [False, False, True]
    told = {one["metric_name"]: one for one in api.json("/gpus/n:0/latest", stale_after=99)}
    assert [told[metric]["stale"] for metric in ages] == [False, True, True]


def test_a_value_from_a_clock_that_is_ahead_has_an_age_below_zero(api: Api, database: Database) -> None:
    ahead = times.micros(datetime.now(UTC)) + 86_400 * SECOND
    fill(database, [Reading(gpu("n", 0), ahead, TEMP, 1)])
    (told,) = api.json("/gpus/n:0/latest")
    assert (told["age_seconds"] < 0, told["stale"]) == (True, False)


def test_a_pod_that_changes_does_not_split_a_metric(api: Api, database: Database) -> None:
    pods = [Workload("", pod, "", LABELS) for pod in "ab"]
    fill(database, [Reading(gpu("n", 0), T0 + at, TEMP, at, pod) for at, pod in enumerate(pods)])
    assert [one["value"] for one in api.json("/gpus/n:0/latest")] == [1]


def test_mig_instances_are_told_apart_and_a_gpu_that_moved_is_not(api: Api, database: Database) -> None:
    old, new = gpu("h1", 4, uuid="GPU-m"), gpu("h2", 5, uuid="GPU-m")
    parts = [gpu("h2", 5, uuid="GPU-m", mig=number) for number in "12"]
    fill(database, [Reading(one, T0 + at * SECOND, TEMP, at) for at, one in enumerate([*parts, old, new])])
    fill(database, [Reading(old, T0, POWER, 7)])
    told = api.json("/gpus/GPU-m/latest")
    assert [(one["metric_name"], one["value"], one["hostname"], one["labels"].get("GPU_I_ID")) for one in told] == [
        (TEMP, 0, "h2", "1"),
        (TEMP, 1, "h2", "2"),
        (TEMP, 3, "h2", None),
        (POWER, 7, "h1", None),
    ]


def test_a_metric_that_is_reported_seldom_is_found_far_back(api: Api, database: Database) -> None:
    year = 365 * 86_400 * SECOND
    fill(database, [Reading(gpu("n", 0), T0 - year, POWER, 1), Reading(gpu("n", 0), T0, TEMP, 2)])
    assert [(one["value"], one["stale"]) for one in api.json("/gpus/GPU-n-0/latest")] == [(2, True), (1, True)]


def test_an_unknown_gpu_is_refused_and_so_is_a_wrong_age(fleet_api: Api, alone: Api) -> None:
    assert "6 GPUs have telemetry" in fleet_api.problem(404, "/gpus/nobody/latest")["detail"]
    told = alone.problem(422, ONE, stale_after="0")
    assert "stale_after='0' is not a whole number from 1 to 31536000, as in stale_after=60" in told["detail"]
    alone.problem(503, ONE)


def test_a_gpu_of_which_nothing_is_stored_has_no_values(database: Database, make_api: Callable[..., Api]) -> None:
    fill(database, [Reading(gpu("n", 0), T0, TEMP, 1)])
    database.ask("DELETE FROM samples")
    assert make_api(database.reader).json("/gpus/n:0/latest") == []
