"""Aggregates over time, value by value against plain Python; who may be asked what, and how much."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from telemetry.block import MAX_TIME, MIN_TIME, Workload
from telemetry.store.pool import Pool
from telemetry.store.questions.aggregates import Aggregate, GroupBy, NotACounter, StepGroup, TooManyPoints
from telemetry.store.questions.selection import Selection
from telemetry.store.questions.steps import StepReader
from tests.fixtures.examples import tried
from tests.fixtures.filled import LABELS, SECOND, T0, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.ledger import EMPTY
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.step_oracle import expected, question, same_values, shown
from tests.fixtures.store import Database, cloned

ENERGY, JOULES = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL"
RATIO, ODD, REPLAYS = "DCGM_FI_DEV_GPU_UTIL_RATIO", "my_metric", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER"
MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND
GPUS = [
    gpu("node-0", 0), gpu("node-0", 1), gpu("node-1", 0, model="A100"), gpu("node-1", 1, uuid=""),
    gpu("node-2", 0, mig="1"), gpu("node-2", 0, mig="2"), gpu("node-3", 5, uuid="GPU-node-0-0"),
]  # fmt: skip
LOADS = [Workload("c", pod, space, LABELS) for pod, space in (("", ""), ("a", "x"), ("b", "x"), ("a", "y"))]
COUNTERS = (ENERGY, JOULES, REPLAYS)
METRICS = [TEMP, UTIL, RATIO, *COUNTERS, ODD]


@pytest.fixture(scope="module")
def database(shared_database: Database) -> Database:
    return shared_database


@pytest.fixture(scope="module")
def pool(database: Database) -> Iterator[Pool]:
    pool = Pool(url=database.reader)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def asked(pool: Pool) -> StepReader:
    return StepReader(pool=pool)


@pytest.fixture
def empty(database: Database) -> Database:
    database.ask(EMPTY)
    return database


@pytest.fixture
def fleet_of_six(empty: Database) -> Database:
    fill(empty, fleet())
    return empty


READINGS = st.lists(
    st.builds(
        Reading,
        st.sampled_from(GPUS),
        st.one_of(
            st.integers(T0, T0 + 5 * MINUTE),
            st.integers(0, 8).map(lambda n: T0 // MINUTE * MINUTE + n * MINUTE),
            st.sampled_from([MIN_TIME, -1, 0, MAX_TIME]),
        ),
        st.sampled_from(METRICS),
        st.one_of(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), st.integers(0, 2**53).map(float)),
        st.sampled_from(LOADS),
    ),
    min_size=1,
    max_size=60,
)
GROUPS = st.lists(st.sampled_from(GroupBy), unique=True, max_size=3).map(tuple)


@settings(
    max_examples=tried(2),
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(readings=READINGS, groups=GROUPS, step=st.sampled_from([0, SECOND, MINUTE, 7 * MINUTE, HOUR, 24 * HOUR]),
       ends=st.tuples(st.integers(0, 6 * MINUTE), st.integers(0, 6 * MINUTE)), open_=st.booleans())  # fmt: skip
def test_every_aggregate_is_what_plain_python_makes_of_the_readings(
    database: Database,
    asked: StepReader,
    readings: Sequence[Reading],
    groups: tuple[GroupBy, ...],
    step: int,
    ends: tuple[int, int],
    open_: bool,
) -> None:
    database.ask(EMPTY)
    fill(database, readings)
    numbers = {tuple(row[1:]): row[0] for row in database.ask("SELECT workload, pod, namespace FROM workloads")}
    # What is at one instant, and of one block, is told apart by workload, then value.
    stored = sorted(readings, key=lambda each: (numbers[each.workload[1:3]], each.value * factor(each)))
    start, end = (MIN_TIME, MAX_TIME) if open_ else (T0 + min(ends), T0 + max(ends))
    for agg in Aggregate:
        wanted = question(agg, *groups, start=start, end=end, step=step)
        kept = [each for each in stored if agg is not Aggregate.RATE or each.metric in COUNTERS]
        assert same_values(shown(asked.steps(wanted, most=10_000)), expected(kept, wanted)), agg
    some = replace(wanted, agg=Aggregate.RATE, selection=Selection(host="node-0", pod="a"))
    counted = [each for each in stored if each.metric in COUNTERS]
    assert same_values(shown(asked.steps(some, most=10_000)), expected(counted, some, on_node_0_and_of_a))


def on_node_0_and_of_a(reading: Reading) -> bool:
    return (reading.gpu.hostname, reading.workload.pod) == ("node-0", "a")


def factor(reading: Reading) -> float:
    return {RATIO: 100.0, JOULES: 1000.0}.get(reading.metric, 1.0)


def test_mig_instances_of_one_gpu_stay_apart_and_rows_of_a_gpu_that_moved_do_not(
    empty: Database, asked: StepReader
) -> None:
    fill(empty, [Reading(each, T0, TEMP, float(number)) for number, each in enumerate(GPUS)])
    steps = shown(asked.steps(question(Aggregate.SUM, GroupBy.GPU, step=0), most=100))
    sums = {(*group.labels, group.mig): value for (_, group), value in steps.items()}
    assert sums == {
        ("GPU-node-0-0", ""): 0 + 6,
        ("GPU-node-0-1", ""): 1,
        ("GPU-node-1-0", ""): 2,
        ("node-1:1", ""): 3,
        ("GPU-node-2-0", "1"): 4,
        ("GPU-node-2-0", "2"): 5,
    }


def test_only_what_is_selected_counts(fleet_of_six: Database, asked: StepReader) -> None:
    def count(numbers: Sequence[int] | None = None, **filters: Any) -> float:
        wanted = question(Aggregate.COUNT, step=0, selection=Selection(**filters), gpus=numbers)
        return float(asked.steps(wanted, most=100).value.sum())

    rows = [number for (number,) in fleet_of_six.ask("SELECT gpu FROM gpus WHERE hostname = 'node-0'")]
    assert count() == 3 * 2 * 3 * 5
    assert count(host="NODE-?", metrics=("gpu_temp",)) == 3 * 2 * 5
    assert count(gpus=("GPU-node-1-0",)) == count(rows[:1]) == 3 * 5
    assert count(rows, host="node-0") == 2 * 3 * 5
    assert count(rows, host="node-1") == count([]) == count(metrics=("nobody's",)) == count(pod="x*") == 0


def test_an_empty_range_is_an_empty_answer(fleet_of_six: Database, asked: StepReader) -> None:
    for agg in Aggregate:
        steps = asked.steps(question(agg, start=T0 + 1, end=T0, step=SECOND), most=1)
        assert (len(steps.time), list(steps.groups)) == (0, [])


def test_more_values_than_are_wanted_are_refused_and_the_groups_are_told(
    fleet_of_six: Database, asked: StepReader
) -> None:
    wanted = question(Aggregate.AVG, GroupBy.GPU, step=SECOND)
    assert len(asked.steps(wanted, most=90).time) == 90
    with pytest.raises(TooManyPoints) as refused:
        asked.steps(wanted, most=89)
    assert (refused.value.most, refused.value.groups) == (89, 18)


@pytest.mark.parametrize(
    ("metric", "kind"), [("gpu_temp", "gauge"), ("DCGM_FI_DEV_XID_ERRORS", "code"), (ODD, "unknown")]
)
def test_a_rate_is_refused_of_what_is_no_counter(asked: StepReader, metric: str, kind: str) -> None:
    wanted = question(Aggregate.RATE, step=0, selection=Selection(metrics=(ENERGY, metric)))
    with pytest.raises(NotACounter) as refused:
        asked.steps(wanted, most=1)
    assert (refused.value.kind, Aggregate.LAST in refused.value.instead) == (kind, True)


def test_a_rate_without_metrics_is_that_of_the_counters_in_both_generations(empty: Database, asked: StepReader) -> None:
    one, two = gpu("node-0", 0), gpu("node-0", 1)
    mine = [Reading(one, T0 + n * SECOND, ENERGY, value) for n, value in enumerate((1e6, 3e6, 1e6, 2e6))]
    other = [Reading(two, T0 + n * 10 * SECOND, JOULES, value) for n, value in enumerate((0.0, 100.0))]
    fill(empty, [*mine, *other, Reading(one, T0, TEMP, 1), Reading(one, T0, ENERGY, 1e6)])
    steps = asked.steps(question(Aggregate.RATE, step=0), most=10)
    assert list(steps.groups) == [StepGroup(ENERGY, "mJ/s", ())]
    assert steps.value.tolist() == [pytest.approx((2e6 + 1e6 + 1e6) / 3 + 1e5 / 10)]


HARD = [1.7976931348623157e308, 1.7e308, -1.7e308, 5e-324, 2e-323, 0.0, -0.0]


@pytest.fixture(scope="module")
def extremes(postgres_server: PostgresServer, migrated: str) -> Iterator[StepReader]:
    """Values at the ends of what a double can be, of a counter in both generations."""
    readings = [
        Reading(gpu("node-0", 0), T0 + place * SECOND // 2, name, value)
        for place, value in enumerate((*HARD, *reversed(HARD)))
        for name in (ENERGY, JOULES)
    ]
    with cloned(postgres_server, migrated) as database, closing(Pool(url=database.reader)) as pool:
        fill(database, readings)
        yield StepReader(pool=pool)


@pytest.mark.parametrize("agg", Aggregate)
def test_no_value_is_too_large_or_small_for_an_answer(extremes: StepReader, agg: Aggregate) -> None:
    for step in (0, SECOND, HOUR):
        steps = extremes.steps(question(agg, step=step, selection=Selection(metrics=(ENERGY,))), most=100)
        assert len(steps.value)
        assert np.isfinite(steps.value).all()


def test_the_highest_and_the_lowest_come_first_and_equal_ones_by_name(
    fleet_of_six: Database, asked: StepReader
) -> None:
    wanted = question(Aggregate.MAX, step=SECOND, selection=Selection(metrics=("gpu_temp",)))
    highest = asked.top(wanted, 2)
    assert [(entry.group.labels, entry.value) for entry in highest] == [
        (("GPU-node-2-1", "node-2"), 2104.0),
        (("GPU-node-2-0", "node-2"), 2004.0),
    ]
    assert asked.top(wanted, 1, lowest=True)[0].value == 4.0
    counted = asked.top(question(Aggregate.COUNT, step=0, selection=Selection(metrics=("gpu_temp",))), 9)
    assert [entry.group.labels[0] for entry in counted] == [f"GPU-node-{n}-{m}" for n in range(3) for m in range(2)]


def test_the_span_of_what_is_selected_is_known_without_reading_samples(
    fleet_of_six: Database, asked: StepReader
) -> None:
    first, last = asked.span(question(Aggregate.AVG, step=0)) or (0, 0)
    assert (first, last) == (T0, T0 + 4 * SECOND)
    assert asked.span(question(Aggregate.AVG, start=T0 + 1, end=T0 + 2, step=0)) == (T0 + 1, T0 + 2)
    assert asked.span(question(Aggregate.AVG, start=0, end=T0 - 1, step=0)) is None
    assert asked.span(question(Aggregate.AVG, step=0, selection=Selection(host="nobody"))) is None
