"""GET /api/v1/fleet/energy and /idle: held against the trapezoidal rule over the same readings, made in Python."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.api.test_fleet import ALL, moment
from tests.fixtures.api import Api
from tests.fixtures.busy import END, USED, of
from tests.fixtures.filled import POWER, SECOND, T0, UTIL, Reading

RANGE = {"start_time": moment(T0), "end_time": moment(END)}
NAMES = {"gpu": "gpu", "host": "hostname", "model": "model_name", "namespace": "namespace", "pod": "pod"}


class Share(NamedTuple):
    """What one reading stands for."""

    reading: Reading
    joules: float
    seconds: float


def shares(found: list[Reading], max_gap: float = 300) -> Iterator[Share]:
    """Half of what lies before and half of what lies after each reading of power, shared by those of one instant."""
    boards: dict[str, dict[int, list[Reading]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        if one.metric == POWER:
            boards[one.gpu.uuid][one.time].append(one)
    for at in boards.values():
        halves: dict[int, float] = dict.fromkeys(at, 0.0)
        for before, after in pairwise(sorted(at)):
            if (seconds := (after - before) / SECOND) <= max_gap:
                halves[before] += seconds / 2
                halves[after] += seconds / 2
        for time, here in at.items():
            yield from (Share(one, one.value * halves[time] / len(here), halves[time] / len(here)) for one in here)


def group(one: Reading, by: list[str]) -> tuple[str, ...]:
    place, load = one.gpu, one.workload
    all_of = {"gpu": place.uuid, "host": place.hostname, "model": place.model_name}
    all_of |= {"namespace": load.namespace, "pod": load.pod}
    return tuple(all_of[name] for name in by)


def told_of(found: list[dict[str, Any]], by: list[str]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    return {
        tuple(one[NAMES[name]] for name in by): (one["kwh"], one["covered_seconds"], one["readings"], one["gpus"])
        for one in found
    }


def expected_of(found: list[Share], by: list[str]) -> dict[tuple[str, ...], Any]:
    groups = defaultdict(list)
    for share in found:
        groups[group(share.reading, by)].append(share)
    return {
        key: (
            pytest.approx(math.fsum(one.joules for one in each) / 3.6e6, abs=1e-8),
            pytest.approx(math.fsum(one.seconds for one in each), abs=1e-5),
            len(each),
            len({one.reading.gpu.uuid for one in each}),
        )
        for key, each in groups.items()
    }


@pytest.mark.parametrize("by", [[], ["host"], ["gpu"], ["model"], ["namespace"], ["host", "pod"], [*NAMES]])
def test_energy_is_that_of_the_trapezoids_in_all_and_by_group(busy_api: Api, by: list[str]) -> None:
    told = busy_api.json("/fleet/energy", **RANGE, group_by=by)
    found = [share for share in shares(of("", ALL)) if share.reading.time <= END]
    assert told_of(told, by) == expected_of(found, by)
    assert {one[name] for one in told for key, name in NAMES.items() if key not in by} <= {None}
    assert {(one["start_time"], one["end_time"]) for one in told} == {tuple(RANGE.values())}


def test_energy_of_one_gpu_is_numpys_trapezoid_over_each_stretch_without_a_gap(busy_api: Api) -> None:
    found = sorted((one.time, one.value) for one in of("rack-1", ALL) if one.gpu.gpu_id == "4" and one.metric == POWER)
    time, value = np.array(found).T
    time = (time - T0) / SECOND
    for max_gap in (60, 300, 500):
        cuts = np.flatnonzero(np.diff(time) > max_gap) + 1
        parts = zip(np.split(value, cuts), np.split(time, cuts), strict=True)
        joules = math.fsum(float(np.trapezoid(watts, seconds)) for watts, seconds in parts)
        (told,) = busy_api.json("/fleet/energy", **RANGE, gpu="GPU-rack-1-4", max_gap=max_gap)
        covered = math.fsum(gap for gap in np.diff(time).tolist() if gap <= max_gap)
        assert told["kwh"] == pytest.approx(joules / 3.6e6, abs=1e-8)
        assert told["covered_seconds"] == pytest.approx(covered)
        assert told["mean_watts"] == pytest.approx(joules / covered)


def test_energy_of_a_pod_does_not_bridge_the_time_in_which_others_had_the_gpu(busy_api: Api) -> None:
    for pod in ("train-0", "serve-1"):
        (told,) = busy_api.json("/fleet/energy", **RANGE, host="rack-*", pod=pod, max_gap=3_600)
        kept = [one for one in shares(of("rack-", ALL), 3_600) if one.reading.workload.pod == pod]
        assert told_of([told], []) == expected_of(kept, [])


def test_the_power_of_a_board_is_one_series_whatever_instances_tell_it(busy_api: Api) -> None:
    found = {one.time: one.value for one in of("mig-0", ALL) if one.metric == POWER}
    (told,) = busy_api.json("/fleet/energy", **RANGE, host="mig-0")
    assert told["kwh"] == pytest.approx(float(np.trapezoid([*found.values()], dx=30)) / 3.6e6, abs=1e-8)
    assert (told["covered_seconds"], told["readings"], told["gpus"]) == (59 * 30, 180, 1)


def test_a_gpu_that_moves_goes_on_and_each_host_has_its_part(busy_api: Api) -> None:
    told = busy_api.json("/fleet/energy", **RANGE, gpu="GPU-van", group_by="host")
    assert [(one["hostname"], one["covered_seconds"]) for one in told] == [("dock-a", 29.5 * 60), ("dock-b", 29.5 * 60)]


def test_a_counter_that_starts_anew_goes_on_from_0_and_a_file_that_is_read_again_adds_nothing(busy_api: Api) -> None:
    told = busy_api.json("/fleet/energy", **RANGE, host="meter-0", group_by="gpu")
    anew, again = 30 + 30 + 9 + 30, 30 + 30 + 0 + 30
    assert [one["counter_kwh"] for one in told] == pytest.approx([anew / 3_600, again / 3_600])
    assert [one["kwh"] for one in told] == pytest.approx([300 * 400 / 3.6e6] * 2, abs=1e-8)
    assert {one["counter_kwh"] for one in busy_api.json("/fleet/energy", **RANGE, host="rack-*")} == {None}


def test_a_range_is_inclusive_and_without_a_start_it_is_the_day_before_its_end(busy_api: Api) -> None:
    (told,) = busy_api.json("/fleet/energy", host="meter-0", gpu="GPU-meter-0-0", end_time=moment(T0 + 200 * SECOND))
    assert (told["start_time"], told["covered_seconds"], told["readings"]) == ("2025-07-17T20:45:54.000000Z", 200, 3)
    (told,) = busy_api.json("/fleet/energy", gpu="GPU-meter-0-0", start=moment(T0), end=moment(T0))
    assert (told["kwh"], told["covered_seconds"], told["readings"], told["mean_watts"]) == (0, 0, 1, None)
    assert busy_api.json("/fleet/energy", start=moment(END), end=moment(T0), group_by="pod") == []
    assert busy_api.json("/fleet/energy")[0]["readings"] == 0
    everything = busy_api.json("/fleet/energy", start="0001-01-01T00:00:00Z", end="9999-12-31T23:59:59Z")
    assert everything[0]["readings"] == sum(one.metric == POWER for one in of("", ALL))


def idle_by_hand(found: list[Reading], max_util: float, min_memory: float) -> dict[str, dict[str, Any]]:
    of_gpu: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        of_gpu[one.gpu.uuid][one.metric].append(one.value)
    joules: dict[str, float] = defaultdict(float)
    for share in shares(found):
        joules[share.reading.gpu.uuid] += share.joules
    return {
        id: {
            "max_utilization_percent": pytest.approx(max(series[UTIL])),
            "min_memory_mib": pytest.approx(min(series[USED])),
            "mean_watts": pytest.approx(math.fsum(series[POWER]) / len(series[POWER])),
            "wasted_kwh": pytest.approx(joules[id] / 3.6e6, abs=1e-8),
        }
        for id, series in of_gpu.items()
        if max(series[UTIL]) <= max_util and min(series[USED]) >= min_memory
    }


@pytest.mark.parametrize(
    ("max_util", "min_memory", "some"), [(0, 1_000, 2), (0, 0, 4), (100, 70_000, 2), (100, 12, 12), (90, 70_001, 0)]
)
def test_idle_gpus_are_those_that_never_did_more_and_never_held_less(
    busy_api: Api, max_util: float, min_memory: float, some: int
) -> None:
    found, asked = of("rack-", ALL), {"max_util": max_util, "min_memory": min_memory}
    told = busy_api.json("/fleet/idle", **RANGE, host="rack-*", **asked)
    expected = idle_by_hand(found, max_util, min_memory)
    assert {one["gpu"]: {name: one[name] for name in expected[one["gpu"]]} for one in told} == expected
    assert len(told) == some
    assert [one["wasted_kwh"] for one in told] == sorted((one["wasted_kwh"] for one in told), reverse=True)
    for one in told:
        covered = math.fsum(share.seconds for share in shares(found) if share.reading.gpu.uuid == one["gpu"])
        assert one["observed_seconds"] == pytest.approx(covered)
        assert one["gpu"] == f"GPU-{one['hostname']}-{one['gpu_id']}"


def test_a_gpu_whose_utilisation_is_not_read_is_not_known_to_be_idle(busy_api: Api) -> None:
    assert busy_api.json("/fleet/idle", **RANGE, host="mig-0", max_util=100, min_memory=0) == []
    assert busy_api.json("/fleet/idle") == []


@pytest.mark.parametrize(("path", "asked"), [("energy", {"group_by": "host"}), ("idle", {"max_util": 100})])
def test_the_lists_come_as_csv_too(busy_api: Api, path: str, asked: dict[str, Any]) -> None:
    told = busy_api.json(f"/fleet/{path}", **RANGE, **asked)
    table = list(csv.DictReader(io.StringIO(busy_api.get(f"/fleet/{path}", format="csv", **RANGE, **asked).text)))
    assert [list(row) for row in table] == [list(row) for row in told]
    assert [row["hostname"] for row in table] == [row["hostname"] for row in told]
