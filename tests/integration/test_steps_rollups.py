"""Aggregates of long ranges, which TimescaleDB Community makes of rollups: they never say anything else than samples.

What does not live here: what the aggregates are (`test_steps`), how a range is cut (`tests/unit/test_rollups`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import product
from typing import Any, LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from telemetry.block import MAX_TIME, MIN_TIME, Workload
from telemetry.store.pool import Pool
from telemetry.store.questions.aggregates import Aggregate, GroupBy
from telemetry.store.questions.fleet import Fleet
from telemetry.store.questions.rollups import BUCKETS
from telemetry.store.questions.selection import Selection
from telemetry.store.questions.steps import StepReader
from tests.fixtures.examples import tried
from tests.fixtures.filled import LABELS, POWER, SECOND, T0, TEMP, Reading, fill, gpu
from tests.fixtures.ledger import EMPTY
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.step_oracle import expected, question, same_values, shown
from tests.fixtures.store import Database, cloned
from tests.fixtures.tiers import ROLLUPS, refresh

pytestmark = pytest.mark.timescale

MINUTE, HOUR, DAY = BUCKETS.values()
DAY0 = T0 // DAY * DAY
COMBINED = (Aggregate.AVG, Aggregate.MIN, Aggregate.MAX, Aggregate.SUM, Aggregate.COUNT)
GPUS = [gpu("node-0", 0), gpu("node-0", 1), gpu("node-1", 0)]
LOADS = [Workload("", pod, "", LABELS) for pod in ("", "trainer")]


@pytest.fixture(scope="module")
def database(shared_database: Database) -> Database:
    return shared_database


@pytest.fixture(scope="module")
def asked(database: Database) -> Iterator[StepReader]:
    pool = Pool(url=database.reader)
    yield StepReader(pool=pool)
    pool.close()


def forget_samples(database: Database) -> None:
    """Delete the samples behind the rollups' backs."""
    database.ask("DELETE FROM samples")
    database.ask("DELETE FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log")


def days(count: int, every: int = 30 * MINUTE) -> list[Reading]:
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
    max_examples=tried(2),
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    turns=st.lists(st.tuples(READINGS, st.lists(REFRESHES, max_size=3)), min_size=1, max_size=4),
    step=STEPS,
    ends=st.tuples(st.integers(0, 9 * DAY), st.integers(0, 9 * DAY)),
)
def test_whatever_was_refreshed_and_came_late_the_answer_is_that_of_the_samples(
    postgres_server: PostgresServer, migrated: str, turns: Any, step: int, ends: tuple[int, int]
) -> None:
    # Not one that was emptied: what a rollup has before the one that it is made of is not taken back with samples.
    with cloned(postgres_server, migrated) as database, closing(Pool(url=database.reader)) as pool:
        stored: list[Reading] = []
        for readings, refreshes in turns:
            fill(database, readings)
            stored += readings
            for name, start, more in refreshes:
                first, last = DAY0 + start * DAY, DAY0 + (start + more) * DAY
                refresh(database, name, start=None if start < 0 else first, end=last)
            assert_right(StepReader(pool=pool), stored, step=step)
            assert_right(StepReader(pool=pool), stored, start=DAY0 + min(ends), end=DAY0 + max(ends), step=step)


@pytest.fixture
def five_days(database: Database) -> list[Reading]:
    """Readings of five whole days, stored and materialised."""
    database.ask(EMPTY)
    readings = days(5)
    fill(database, readings)
    refresh(database)
    return readings


WHOLE = {"start": DAY0 - 1, "end": DAY0 + 5 * DAY}


@pytest.mark.parametrize("step", [0, MINUTE, HOUR, DAY])
def test_whole_buckets_are_asked_of_rollups(
    database: Database, asked: StepReader, five_days: list[Reading], step: int
) -> None:
    forget_samples(database)
    assert_right(asked, five_days, step=step, **WHOLE)


def test_steps_that_no_bucket_divides_and_parts_of_buckets_are_asked_of_samples(
    database: Database, asked: StepReader, five_days: list[Reading]
) -> None:
    forget_samples(database)
    for step, start, end in ((90 * SECOND, DAY0, DAY0 + DAY), (MINUTE, DAY0 + 1, DAY0 + 3 * MINUTE)):
        wanted = question(Aggregate.COUNT, step=step, start=start, end=end)
        assert len(asked.steps(wanted, most=100).time) == 0
    inside = {"step": HOUR, "start": DAY0 + DAY // 2, "end": DAY0 + DAY * 3 // 2}
    kept = [each for each in five_days if inside["start"] <= each.time < inside["end"]]  # its last instant is no bucket
    assert_right(asked, kept, **inside)


def test_late_readings_are_in_the_answer_before_the_next_refresh_and_in_the_rollups_after_it(
    database: Database, asked: StepReader, five_days: list[Reading]
) -> None:
    late = [Reading(GPUS[n % 3], DAY0 + 3 * DAY + n * SECOND, TEMP, 1000.0 + n) for n in range(500)]
    late += [Reading(GPUS[0], DAY0 - 40 * DAY, TEMP, 1.0), Reading(GPUS[0], MAX_TIME, TEMP, 3.0)]
    fill(database, late)
    for step in (HOUR, DAY):
        assert_right(asked, five_days + late, step=step)
    refresh(database, "rollup_minute")
    assert_right(asked, five_days + late, step=DAY)
    refresh(database, "rollup_hour", "rollup_day")
    forget_samples(database)
    assert_right(asked, five_days + late, step=DAY, start=MIN_TIME, end=DAY0 + 5 * DAY)


def test_what_was_under_way_during_a_refresh_is_in_the_answer_once_it_is_committed(
    database: Database, asked: StepReader, five_days: list[Reading]
) -> None:
    number, metric, workload = database.ask("SELECT gpu, metric, workload FROM samples ORDER BY time, gpu, metric")[0]
    with psycopg.connect(database.admin) as writer:
        writer.execute(
            "INSERT INTO samples SELECT to_timestamp(%s), %s, %s, %s, 77, 1 FROM generate_series(1, 5)",
            ((DAY0 + 3 * DAY) / SECOND, number, metric, workload),
        )
        fill(database, [Reading(GPUS[1], DAY0 + 3 * DAY, POWER, 5.0)])
        refresh(database)
        before = asked.steps(question(Aggregate.COUNT, step=DAY), most=1_000).value.sum()
        writer.commit()
    after = asked.steps(question(Aggregate.COUNT, step=DAY), most=1_000).value.sum()
    assert (before, after) == (len(five_days) + 1, len(five_days) + 6)


def test_extents_of_whole_minutes_are_asked_of_rollups_too(
    database: Database, asked: StepReader, five_days: list[Reading]
) -> None:
    forget_samples(database)
    fleet = Fleet(pool=asked.pool)
    part, metrics = fleet.part(Selection(pod="trainer")), fleet.metrics()
    ids = {row.number: row.id for row in part.rows}
    found = fleet.extents(part, metrics, start=DAY0 - 1, end=DAY0 + 5 * DAY)
    told = {(ids[one.gpu], one.canonical): one[2:] for one in found}
    values = defaultdict(list)
    for each in five_days:
        if each.workload.pod == "trainer":
            values[each.gpu.uuid, each.metric].append(each.value)
    assert told == {key: (len(each), min(each), max(each), sum(each)) for key, each in values.items()}


def test_no_value_ends_a_refresh(database: Database, asked: StepReader) -> None:
    database.ask(EMPTY)
    fill(database, [Reading(GPUS[0], DAY0 + n * HOUR, TEMP, value) for n in range(3) for value in (1.7e308, 1.6e308)])
    refresh(database)
    steps = asked.steps(question(Aggregate.MAX, step=DAY), most=10)
    assert (steps.time.tolist(), steps.value.tolist()) == ([DAY0], [1.7e308])
    assert asked.steps(question(Aggregate.SUM, step=DAY), most=10).value.tolist() == [pytest.approx(6e270)]


def test_the_rollups_show_the_same_to_who_asks_them_in_sql(database: Database, five_days: list[Reading]) -> None:
    for name, bucket in zip(ROLLUPS, (MINUTE, HOUR, DAY), strict=True):
        statement = sql.SQL("SELECT count(*), sum(readings), min(min), max(max) FROM {}").format(sql.Identifier(name))
        with psycopg.connect(database.reader) as connection:
            row = connection.execute(statement).fetchone()
        keys = {(each.time // bucket, each.gpu, each.metric, each.workload) for each in five_days}
        values = [each.value for each in five_days]
        assert row == (len(keys), len(five_days), min(values), max(values))


def test_jobs_refresh_all_that_changed_and_end_before_now(database: Database) -> None:
    ask: LiteralString = """
        SELECT config ->> 'rollup', (config ->> 'end')::interval > INTERVAL '0', scheduled
        FROM timescaledb_information.jobs WHERE proc_name = 'refresh_rollups' ORDER BY 1
    """
    assert database.ask(ask) == [(name, True, True) for name in sorted(ROLLUPS)]
    policies = (
        "SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_refresh_continuous_aggregate'"
    )
    assert database.one(policies) == 0
