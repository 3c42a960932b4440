"""Aggregates over time, value by value against plain Python; who may be asked what, and how much."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from telemetry.block import MAX_TIME, MIN_TIME, Workload
from telemetry.store.aggregates import Aggregate, GroupBy
from telemetry.store.pool import Pool
from telemetry.store.selection import Selection
from telemetry.store.steps import StepReader
from tests.fixtures.filled import LABELS, SECOND, T0, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.ledger import EMPTY
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.step_oracle import expected, question, same_values, shown
from tests.fixtures.store import Database, create_database, drop_database

ENERGY, JOULES = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL"
RATIO, ODD = "DCGM_FI_DEV_GPU_UTIL_RATIO", "my_metric"
MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND
EVER = {"start": MIN_TIME, "end": MAX_TIME}
GPUS = [
    gpu("node-0", 0), gpu("node-0", 1), gpu("node-1", 0, model="A100"), gpu("node-1", 1, uuid=""),
    gpu("node-2", 0, mig="1"), gpu("node-2", 0, mig="2"), gpu("node-3", 5, uuid="GPU-node-0-0"),
]  # fmt: skip
LOADS = [Workload("c", pod, space, LABELS) for pod, space in (("", ""), ("a", "x"), ("b", "x"), ("a", "y"))]
METRICS = [TEMP, UTIL, RATIO, ENERGY, JOULES, ODD]


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer, migrated: str) -> Iterator[Database]:
    name = create_database(postgres_server, migrated)
    yield Database(postgres_server, name)
    drop_database(postgres_server, name)


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
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
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
    counters = Selection(metrics=(ENERGY, JOULES))
    for agg in Aggregate:
        selection = counters if agg is Aggregate.RATE else Selection()
        wanted = question(agg, *groups, start=start, end=end, step=step, selection=selection)
        kept = [each for each in stored if agg is not Aggregate.RATE or each.metric in (ENERGY, JOULES)]
        assert same_values(shown(asked.steps(wanted, most=10_000)), expected(kept, wanted)), agg


def factor(reading: Reading) -> float:
    return {RATIO: 100.0, JOULES: 1000.0}.get(reading.metric, 1.0)
