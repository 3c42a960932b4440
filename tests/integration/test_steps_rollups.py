"""Aggregates of long ranges, which TimescaleDB Community makes of rollups: they never say anything else than samples.

What does not live here: what the aggregates are (`test_steps`), how a range is cut (`tests/unit/test_rollups`).
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from telemetry.block import MAX_TIME, MIN_TIME, Workload
from telemetry.store.aggregates import Aggregate, GroupBy
from telemetry.store.pool import Pool
from telemetry.store.rollups import BUCKETS
from telemetry.store.steps import StepReader
from tests.fixtures.filled import LABELS, POWER, SECOND, T0, TEMP, Reading, fill, gpu
from tests.fixtures.ledger import EMPTY
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.step_oracle import expected, question, same_values, shown
from tests.fixtures.store import Database, create_database, drop_database

pytestmark = pytest.mark.timescale

MINUTE, HOUR, DAY = BUCKETS.values()
DAY0 = T0 // DAY * DAY
ROLLUPS = ("rollup_minute", "rollup_hour", "rollup_day")
COMBINED = (Aggregate.AVG, Aggregate.MIN, Aggregate.MAX, Aggregate.SUM, Aggregate.COUNT)
GPUS = [gpu("node-0", 0), gpu("node-0", 1), gpu("node-1", 0)]
LOADS = [Workload("", pod, "", LABELS) for pod in ("", "trainer")]


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer, migrated: str) -> Iterator[Database]:
    name = create_database(postgres_server, migrated)
    yield Database(postgres_server, name)
    drop_database(postgres_server, name)


@pytest.fixture(scope="module")
def asked(database: Database) -> Iterator[StepReader]:
    pool = Pool(url=database.reader)
    yield StepReader(pool=pool)
    pool.close()


def refresh(database: Database, *names: str, start: int | None = None, end: int = DAY0 + 40 * DAY) -> None:
    """Refresh rollups up to a time, in the order of their names."""
    for name in names or ROLLUPS:
        statement = sql.SQL("CALL refresh_continuous_aggregate({}, to_timestamp({}), to_timestamp({}))")
        ends = [sql.Literal(None if time is None else time / SECOND) for time in (start, end)]
        with psycopg.connect(database.owner, autocommit=True) as connection:
            connection.execute(statement.format(sql.Literal(name), *ends))


def forget_samples(database: Database) -> None:
    """Delete the samples behind the rollups' backs."""
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("SET timescaledb.skip_cagg_invalidation = on")
        connection.execute("DELETE FROM samples")


def days(count: int, every: int = 20 * MINUTE) -> list[Reading]:
    """Two metrics of each GPU, some times an hour for so many days from DAY0."""
    return [
        Reading(each, DAY0 + step * every, metric, float(step % 17 + place), LOADS[step % 2])
        for step in range(count * DAY // every)
        for place, (each, metric) in enumerate(product(GPUS, (TEMP, POWER)))
    ]


def assert_right(asked: StepReader, readings: Sequence[Reading], **terms: Any) -> None:
    """Each aggregate that rollups can give is what plain Python makes of the readings."""
    for agg in COMBINED:
        wanted = question(agg, GroupBy.GPU, GroupBy.POD, **terms)
        assert same_values(shown(asked.steps(wanted, most=100_000)), expected(readings, wanted)), agg


READINGS = st.lists(
    st.builds(
        Reading,
        st.sampled_from(GPUS),
        st.one_of(
            st.integers(DAY0, DAY0 + 9 * DAY),
            st.integers(0, 200).map(lambda n: DAY0 + n * HOUR - 1),
            st.sampled_from([MIN_TIME, -1, MAX_TIME]),
        ),
        st.sampled_from([TEMP, "DCGM_FI_DEV_SM_CLOCK_HERTZ"]),
        st.integers(-1000, 10**9).map(float),
        st.sampled_from(LOADS),
    ),
    min_size=1,
    max_size=12,
)
REFRESHES = st.tuples(st.sampled_from(ROLLUPS), st.integers(-3, 6), st.integers(1, 9))
STEPS = st.sampled_from([0, MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 90 * SECOND])


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    turns=st.lists(st.tuples(READINGS, st.lists(REFRESHES, max_size=3)), min_size=1, max_size=4),
    step=STEPS,
    ends=st.tuples(st.integers(0, 9 * DAY), st.integers(0, 9 * DAY)),
)
def test_whatever_was_refreshed_and_came_late_the_answer_is_that_of_the_samples(
    database: Database, asked: StepReader, turns: Any, step: int, ends: tuple[int, int]
) -> None:
    database.ask(EMPTY)
    stored: list[Reading] = []
    for readings, refreshes in turns:
        fill(database, readings)
        stored += readings
        for name, start, more in refreshes:
            refresh(database, name, start=None if start < 0 else DAY0 + start * DAY, end=DAY0 + (start + more) * DAY)
        assert_right(asked, stored, start=MIN_TIME, end=MAX_TIME, step=step)
        assert_right(asked, stored, start=DAY0 + min(ends), end=DAY0 + max(ends), step=step)
