"""Rates of counters that real fleets have: renamed, moved, scraped twice, read in a loop, shared by pods.

What does not live here: rates of any readings, against plain Python (`test_steps`).
"""

from collections.abc import Iterator, Sequence

import pytest

from telemetry.block import Workload
from telemetry.store.pool import Pool
from telemetry.store.questions.aggregates import Aggregate, GroupBy
from telemetry.store.questions.selection import Selection
from telemetry.store.questions.steps import StepReader
from tests.fixtures.filled import IDLE, LABELS, SECOND, T0, Reading, fill, gpu
from tests.fixtures.ledger import EMPTY
from tests.fixtures.step_oracle import question, shown
from tests.fixtures.store import Database

ENERGY, JOULES = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL"
REPLAYS = "DCGM_FI_DEV_PCIE_REPLAY_COUNTER"
MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND
START = T0 // HOUR * HOUR
WATTS = 300.0
OLD, NEW = gpu("old", 0, uuid="GPU-moved"), gpu("new", 3, uuid="GPU-moved")
A, B = Workload("c", "a", "x", LABELS), Workload("c", "b", "x", LABELS)


@pytest.fixture
def database(shared_database: Database) -> Database:
    shared_database.ask(EMPTY)
    return shared_database


@pytest.fixture
def asked(shared_database: Database) -> Iterator[StepReader]:
    pool = Pool(url=shared_database.reader)
    yield StepReader(pool=pool)
    pool.close()


def drawn(minute: float, watts: float = WATTS) -> float:
    """mJ on a counter that was some way on when the hour began."""
    return 1e12 + watts * 1e3 * 60 * minute


def at(minute: int, value: float, *, on: object = OLD, metric: str = ENERGY, load: Workload = IDLE) -> Reading:
    assert on in (OLD, NEW)
    return Reading(NEW if on == NEW else OLD, START + minute * MINUTE, metric, value, load)


def watts(asked: StepReader, *group_by: GroupBy, **filters: str) -> dict[tuple[str, ...], float]:
    """The rate of the hour by the labels of its groups."""
    wanted = question(Aggregate.RATE, *group_by, step=HOUR, selection=Selection(metrics=(ENERGY,), **filters))  # type: ignore[arg-type]
    return {group.labels: value / 1e3 for (_, group), value in shown(asked.steps(wanted, most=10)).items()}


def steady(value: float = WATTS) -> object:
    return pytest.approx(value, rel=1e-9)


def test_a_counter_that_gets_another_name_and_unit_goes_on(database: Database, asked: StepReader) -> None:
    before = [at(minute, drawn(minute)) for minute in range(30)]
    after = [at(minute, drawn(minute) / 1e3, metric=JOULES) for minute in range(25, 60)]
    fill(database, before + after)
    assert watts(asked) == {(): steady()}
    assert watts(asked, GroupBy.GPU) == {("GPU-moved",): steady()}


def test_a_gpu_that_moves_goes_on_and_each_host_has_what_ends_there(database: Database, asked: StepReader) -> None:
    fill(database, [at(minute, drawn(minute), on=OLD if minute < 30 else NEW) for minute in range(60)])
    assert watts(asked) == {(): steady()}
    assert watts(asked, GroupBy.HOST) == {("old",): steady(), ("new",): steady()}
    wanted = question(Aggregate.RATE, step=0, selection=Selection(metrics=(ENERGY,)))
    assert [(entry.group.labels, entry.value) for entry in asked.top(wanted, 9)] == [
        (("GPU-moved", host), steady(WATTS * 1e3)) for host in ("new", "old")
    ]


def test_what_a_gpu_drew_before_it_came_counts_for_the_host_it_came_to(database: Database, asked: StepReader) -> None:
    fill(database, [at(0, drawn(0)), at(10, drawn(10), on=NEW)])
    assert watts(asked, GroupBy.HOST) == {("new",): steady()}
    assert watts(asked, host="new") == {(): steady()}
    assert watts(asked, host="old") == {}


def test_two_scrapers_that_stamp_the_same_instants_are_one_series(database: Database, asked: StepReader) -> None:
    late = [at(minute, drawn(minute + 0.5)) for minute in range(60)]
    early = [at(minute, drawn(minute)) for minute in range(60)]
    fill(database, late, early)
    assert watts(asked) == {(): steady()}


def test_a_file_that_is_read_in_a_loop_is_no_reset(database: Database, asked: StepReader) -> None:
    fill(database, [at(minute, drawn(minute % 20)) for minute in range(60)])
    assert watts(asked) == {(): steady()}


def test_a_counter_of_energy_that_was_set_back_counts_from_0(database: Database, asked: StepReader) -> None:
    fill(database, [at(minute, drawn(minute) if minute < 30 else drawn(minute - 29) - 1e12) for minute in range(60)])
    assert watts(asked) == {(): steady()}


def test_any_fall_of_another_counter_is_a_reset(database: Database, asked: StepReader) -> None:
    fill(database, [at(minute, value, metric=REPLAYS) for minute, value in enumerate((1e8, 9e7, 9e7 + 6))])
    steps = asked.steps(question(Aggregate.RATE, step=0), most=10)
    assert steps.value.tolist() == [pytest.approx((9e7 + 6) / 120)]


def taking_turns() -> Sequence[Reading]:
    """Pod a draws 100 W, but for 40 minutes in which pod b draws 700."""
    readings, value = [], drawn(0)
    for minute in range(60):
        load = B if 10 <= minute < 50 else A
        value += (700 if load is B else 100) * 1e3 * 60
        readings.append(at(minute, value, load=load))
    return readings


def test_a_pod_has_the_same_rate_alone_and_in_a_group(database: Database, asked: StepReader) -> None:
    fill(database, taking_turns())
    assert watts(asked, GroupBy.POD) == {("a",): steady(100), ("b",): steady(700)}
    assert watts(asked, pod="a") == {(): steady(100)}
    assert watts(asked, pod="b") == watts(asked, pod="b", namespace="x", host="old") == {(): steady(700)}


def test_pods_that_share_a_gpu_share_its_instants_and_equal_readings_are_no_reset(
    database: Database, asked: StepReader
) -> None:
    thirds = (0.1, 0.2, 0.3)
    forward = [at(0, value, metric=REPLAYS, load=load) for value, load in zip(thirds, (A, B, IDLE), strict=True)]
    backward = [at(1, value, metric=REPLAYS, load=load) for value, load in zip(thirds[::-1], (A, B, IDLE), strict=True)]
    fill(database, forward, backward)
    grouped = asked.steps(question(Aggregate.RATE, GroupBy.POD, step=0), most=10)
    assert (len(grouped.groups), grouped.value.tolist()) == (3, [0.0, 0.0, 0.0])
