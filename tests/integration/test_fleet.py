"""The fleet's questions where HTTP does not matter: how far back is looked, in which pieces, and for how long."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from telemetry.block import MAX_TIME, MIN_TIME, Workload
from telemetry.catalog import lookup
from telemetry.store.errors import StoreBusy
from telemetry.store.pool import Pool
from telemetry.store.questions.boards import mean, newest_of, total
from telemetry.store.questions.fleet import ENOUGH, Fleet, MetricRow, Newest, Part
from telemetry.store.questions.integrals import Integral, Integrator, increase, trapezoid
from telemetry.store.questions.reader import GpuRow
from telemetry.store.questions.selection import Selection
from tests.fixtures.filled import LABELS, POWER, SECOND, T0, TEMP, UTIL, Reading, fill, gpu
from tests.fixtures.store import Database

PODS = [Workload("", pod, "", LABELS) for pod in "ab"]
DAY = 86_400 * SECOND
COUNTER = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"


@pytest.fixture
def pool(database: Database) -> Iterator[Pool]:
    made = Pool(url=database.reader)
    yield made
    made.close()


def asked(pool: Pool, *names: str) -> tuple[Fleet, Part, list[MetricRow]]:
    fleet = Fleet(pool=pool)
    return fleet, fleet.part(Selection()), [one for one in fleet.metrics() if one.name in names]


def test_the_newest_values_are_looked_for_far_back_but_not_beyond_enough_readings(
    database: Database, pool: Pool
) -> None:
    """Of each GPU 250 s back a temperature, then power: rarely, often, and in between nothing more of the one."""
    often = [Reading(gpu("n", 1), T0 + at * SECOND // 2, POWER, at) for at in range(-ENOUGH, 1)]
    rarely = [Reading(gpu("n", 0), T0 + at * SECOND, POWER, at) for at in (-200, -60, 0)]
    seldom = [Reading(gpu("n", index), T0 - 250 * SECOND, TEMP, 40 + index) for index in range(3)]
    fill(database, [*often, *rarely, *seldom])
    fleet, part, metrics = asked(pool, POWER, TEMP)
    ids = {row.number: row.id for row in part.rows}
    at = part.last_seen
    assert at is not None
    for within, expected in (
        (300.0, {("GPU-n-0", TEMP): 40, ("GPU-n-0", POWER): 0, ("GPU-n-1", POWER): 0, ("GPU-n-2", TEMP): 42}),
        (249.0, {("GPU-n-0", POWER): 0, ("GPU-n-1", POWER): 0}),
    ):
        found = fleet.newest(part, metrics, at=at, within=within)
        assert {(ids[one.gpu], one.canonical): one.value for one in found} == expected
    assert fleet.newest(part, [], at=at, within=300.0) == []


def test_a_newer_reading_of_another_workload_hides_that_of_the_one_that_is_asked_for(
    database: Database, pool: Pool
) -> None:
    one = gpu("n", 0)
    fill(database, [Reading(one, T0, POWER, 1, PODS[0]), Reading(one, T0 + SECOND, POWER, 2, PODS[1])])
    fleet, _, metrics = asked(pool, POWER)
    found = []
    for pod in "ab":
        part = fleet.part(Selection(pod=pod))
        assert part.last_seen is not None
        found.append([one.value for one in fleet.newest(part, metrics, at=part.last_seen, within=60)])
    assert found == [[], [2]]


def energies(pool: Pool, *, slice_: int, start: int = MIN_TIME, end: int = MAX_TIME) -> list[Integral]:
    _, part, metrics = asked(pool, POWER)
    integrator = Integrator(pool=pool, patience=60.0, slice_=slice_)
    return integrator.integrals(part, metrics, start=start, end=end, rule=trapezoid(300))


def test_a_range_is_the_same_in_however_many_slices_it_is_read(database: Database, pool: Pool) -> None:
    """Dense minutes, a silent day, dense again; two GPUs, pods that take turns, readings of one instant."""
    dense = [at * SECOND + day * DAY for day in (0, 1) for at in range(0, 300, 7)]
    readings = [
        Reading(gpu("n", index), T0 + at, POWER, 100 + at % 13, PODS[at // SECOND % 2])
        for at in dense
        for index in (0, 1)
    ]
    fill(database, [*readings, *readings[:10]])
    whole = energies(pool, slice_=1_000_000)
    steps = [
        (100 + before % 13 + 100 + after % 13) / 2 * 7
        for before, after in pairwise(dense)
        if after - before < 300 * SECOND
    ]
    assert sum(one.amount for one in whole) == pytest.approx(2 * sum(steps))
    assert sum(one.readings for one in whole) == len(readings) + 10
    for slice_ in (3, 40):
        parts = energies(pool, slice_=slice_)
        assert [(*one[:2], one.readings) for one in parts] == [(*one[:2], one.readings) for one in whole]
        for name in ("amount", "seconds", "total"):
            assert [getattr(one, name) for one in parts] == pytest.approx([getattr(one, name) for one in whole])
    assert energies(pool, slice_=5, start=T0 + SECOND, end=T0) == []


def test_what_takes_longer_than_its_patience_is_given_up(database: Database, pool: Pool) -> None:
    fill(database, [Reading(gpu("n", 0), T0, POWER, 1)])
    _, part, metrics = asked(pool, POWER)
    with pytest.raises(StoreBusy, match="longer than 0 s"):
        Integrator(pool=pool, patience=0.0).integrals(part, metrics, start=T0, end=MAX_TIME, rule=trapezoid(300))


def test_a_counter_rises_and_is_set_back_only_as_far_as_a_board_could_have_drawn_it(
    database: Database, pool: Pool
) -> None:
    told = {(5e9, 5e9 + 1e6, 5e9 + 3e6): 3e6, (5e9, 5e9 + 2e6, 1e6): 3e6, (5e9, 5e9 + 1e6, 4.9e9): 1e6}
    told |= {(5e9, 5e9, 0): 0, (5e9, 6e9, 6e9 + 1e6): 1e6}
    series = [(gpu("n", index), values) for index, values in enumerate(told)]
    fill(
        database,
        [Reading(one, T0 + at * SECOND, COUNTER, value) for one, values in series for at, value in enumerate(values)],
    )
    _, part, metrics = asked(pool, COUNTER)
    found = Integrator(pool=pool, patience=60.0).integrals(part, metrics, start=T0, end=MAX_TIME, rule=increase)
    amounts = {row.id: one.amount for one in found for row in part.rows if row.number == one.gpu}
    assert amounts == {one.uuid: told[values] for one, values in series}


def test_values_beyond_all_reason_make_large_numbers_and_no_errors(database: Database, pool: Pool) -> None:
    huge = [1.7976931348623157e308, -1.7976931348623157e308, 5e-324, 1e308, 1e308]
    fill(database, [Reading(gpu("n", at % 2), T0 + at * SECOND, POWER, value) for at, value in enumerate(huge)])
    fleet, part, metrics = asked(pool, POWER)
    assert all(abs(one.amount) < 1e280 for one in energies(pool, slice_=1_000))
    found = fleet.extents(part, metrics, start=MIN_TIME, end=MAX_TIME)
    assert sorted((one.low, one.high, one.readings) for one in found) == [(-1e270, 1e270, 2), (5e-324, 1e270, 3)]


def test_two_names_of_one_metric_are_one_series_in_the_classic_unit(database: Database, pool: Pool) -> None:
    one, ratio = gpu("n", 0), "DCGM_FI_DEV_GPU_UTIL_RATIO"
    fill(database, [Reading(one, T0, UTIL, 50), Reading(one, T0 + SECOND, ratio, 0.75)])
    fleet, part, metrics = asked(pool, UTIL, ratio)
    assert part.last_seen is not None
    (newest,) = fleet.newest(part, metrics, at=part.last_seen, within=10.0)
    assert (newest.canonical, newest.value) == (UTIL, 75)
    assert [extent.total for extent in fleet.extents(part, metrics, start=T0, end=MAX_TIME)] == [50, 75]
    integrator = Integrator(pool=pool, patience=60.0)
    found = integrator.integrals(part, metrics, start=T0, end=MAX_TIME, rule=trapezoid(300))
    assert sum(one.amount for one in found) == pytest.approx(62.5)


def test_a_metric_row_that_another_catalogue_wrote_is_taken_as_it_stands(database: Database, pool: Pool) -> None:
    fill(database, [Reading(gpu("n", 0), T0, "DCGM_FI_DEV_GPU_UTIL_RATIO", 1)])
    known = lookup("GPU_UTIL_RATIO")
    assert known is not None
    assert Fleet(pool=pool).metrics()[0].factor == known.factor == 100
    database.ask("UPDATE metrics SET canonical = name, unit = 'ratio'")
    (row,) = Fleet(pool=pool).metrics()
    assert (row.factor, row.unit, row.low) == (1.0, "ratio", None)


def test_a_board_has_its_own_word_before_those_of_its_instances_and_the_newest_wherever_it_was() -> None:
    def row(number: int, host: str, mig: str = "") -> GpuRow:
        labels = {"GPU_I_ID": mig, "GPU_I_PROFILE": "1g"} if mig else {}
        return GpuRow(number, "GPU-m", "GPU-m", "0", "", "", host, labels, None, None)

    rows = [row(1, "new", "1"), row(2, "new", "2"), row(3, "old", "1")]
    start = datetime.fromisoformat("2025-07-18T20:42:34Z")
    told = {
        (number, POWER): Newest(number, POWER, 0, start + timedelta(seconds=at), value)
        for number, at, value in ((1, 5, 10), (2, 5, 30), (3, 9, 20))
    }
    found = {instance: one.value for instance, one in newest_of(rows, told, POWER).items()}
    assert sorted(found.values()) == [20, 30]
    assert (mean(found), total(found)) == (25, 50)
    assert (mean({**found, (): 7}), total({**found, (): 7})) == (7, 7)
    assert (mean({}), total({})) == (None, None)
