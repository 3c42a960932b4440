"""Retention where there are rollups, and beside the other tiers: what rollups say of a dropped time stays.

What does not live here: how a range is cut between rollups and samples (`tests/unit/test_rollups`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import product
from typing import Any

import psycopg
import pytest

from telemetry.store.pool import Pool
from telemetry.store.queries import sql_folder
from telemetry.store.questions.aggregates import Aggregate, GroupBy
from telemetry.store.questions.fleet import Fleet
from telemetry.store.questions.integrals import Integrator
from telemetry.store.questions.rollups import BUCKETS
from telemetry.store.questions.selection import Selection
from telemetry.store.questions.state import state_upto
from telemetry.store.questions.steps import StepReader
from telemetry.store.retention import Outcome, Rule
from telemetry.store.tiers import Tier
from tests.fixtures.filled import POWER, SECOND, T0, TEMP, UTIL, Reading, fill, gpu
from tests.fixtures.ledger import EMPTY, Store
from tests.fixtures.retention import ALL, STAMPED, WEEK, chunks, drop, retention, roll_up
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.step_oracle import expected, question, same_values, shown
from tests.fixtures.store import Database, create_database, drop_database
from tests.fixtures.tiers import one_on_each, refresh
from webapi.fleet.idle import idle
from webapi.times import Moment

pytestmark = pytest.mark.timescale

MINUTE, HOUR, DAY = BUCKETS.values()
DAY0 = T0 // DAY * DAY
GPUS = [gpu("node-0", 0), gpu("node-1", 0)]
COMBINED = (Aggregate.AVG, Aggregate.MIN, Aggregate.MAX, Aggregate.SUM, Aggregate.COUNT)
DROPPED = (Outcome.DROPPED, 192)
"""One of the days below."""
FIRST_DAY: dict[str, Any] = {"start": DAY0, "end": DAY0 + DAY - 1}


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer, migrated: str) -> Iterator[Database]:
    name = create_database(postgres_server, migrated)
    yield Database(postgres_server, name)
    drop_database(postgres_server, name)


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    database.ask(EMPTY)
    with closing(Store(database)) as one:
        yield one


@pytest.fixture(scope="module")
def asked(database: Database) -> Iterator[StepReader]:
    pool = Pool(url=database.reader)
    yield StepReader(pool=pool)
    pool.close()


def days(count: int = 3) -> list[Reading]:
    """Two metrics of each GPU, every half hour of so many days."""
    return [
        Reading(each, DAY0 + half * 30 * MINUTE + 7, metric, float(half % 17 + place))
        for half in range(48 * count)
        for place, (each, metric) in enumerate(product(GPUS, (TEMP, POWER)))
    ]


def assert_right(
    asked: StepReader, readings: Sequence[Reading], *aggregates: Aggregate, step: int, **terms: Any
) -> None:
    for agg in aggregates or COMBINED:
        wanted = question(agg, GroupBy.GPU, step=step, **terms)
        assert same_values(shown(asked.steps(wanted, most=100_000)), expected(readings, wanted)), (agg, step)


def test_what_was_dropped_is_answered_as_before_and_no_refresh_erases_it(store: Store, asked: StepReader) -> None:
    readings, late = days(), [Reading(GPUS[0], DAY0 + DAY + 5, TEMP, 9_999.0)]
    fill(store.database, readings)
    roll_up(store.database)
    assert drop(store) == [DROPPED] * 3
    for turn in range(3):
        assert store.database.one("SELECT count(*) FROM samples") == (0, 0, 1)[turn]
        for step in (MINUTE, HOUR, 6 * HOUR, DAY, 0):
            assert_right(asked, readings, step=step, start=DAY0, end=DAY0 + 3 * DAY - 1)
        if turn == 1:  # a late reading for a dropped day puts nothing in doubt, is in no rollup, and is told with them
            readings += late
            fill(store.database, late)
            assert_right(asked, readings, step=HOUR, start=DAY0, end=DAY0 + 3 * DAY - 1)
        roll_up(store.database)
    assert len(asked.steps(question(Aggregate.P95, step=DAY, start=DAY0, end=DAY0 + 3 * DAY), most=10).time) == 1
    assert drop(store) == [(Outcome.DROPPED, 1)]
    assert store.account("filled").reconciles


def test_a_few_buckets_of_a_dropped_day_are_answered_and_what_lies_between_kept_days_too(
    store: Store, asked: StepReader
) -> None:
    readings = days()
    fill(store.database, readings[:192], readings[384:])
    fill(store.database, readings[192:384], source="stamped", stamped=True)
    roll_up(store.database)
    assert drop(store, Rule(keep=WEEK, stamped_only=True)) == [DROPPED]
    for start, end in ((DAY + HOUR, DAY + HOUR + 2 * MINUTE - 1), (DAY - HOUR, DAY + HOUR - 1), (0, 3 * DAY - 1)):
        for step in (MINUTE, HOUR):
            kept = [each for each in readings if DAY0 + start <= each.time <= DAY0 + end]
            assert_right(asked, kept, step=step, start=DAY0 + start, end=DAY0 + end)
    late = [Reading(GPUS[0], DAY0 + n * HOUR, TEMP, 50.0) for n in (1, 70)]
    fill(store.database, late)
    for _ in range(2):
        assert_right(asked, readings + late, step=HOUR, start=DAY0, end=DAY0 + 3 * DAY - 1)
        roll_up(store.database)


def test_what_is_imported_for_a_dropped_day_is_told_once_with_what_rollups_kept_of_it(
    new_database: Callable[[], Database],
) -> None:
    """Rollups are made of what there is: beyond that, on the same day, they would show what comes later of samples."""
    with closing(Store(new_database())) as store, closing(Pool(url=store.database.reader)) as pool:
        asked, old = StepReader(pool=pool), [each for each in days(1) if each.time < DAY0 + 12 * HOUR]
        third = gpu("node-2", 0)
        new = [Reading(each, DAY0 + n * HOUR, TEMP, 7.5) for each in (GPUS[0], third) for n in (1, 5, 13, 20)]
        fill(store.database, old, source="stamped", stamped=True)
        roll_up(store.database)
        assert drop(store, STAMPED) == [(Outcome.DROPPED, 96)]
        fill(store.database, new)
        for _ in range(2):
            for step in (MINUTE, HOUR, DAY, 0):
                assert_right(asked, old + new, step=step, **FIRST_DAY)
            fleet = Fleet(pool=pool)
            extents = fleet.extents(fleet.part(Selection()), fleet.metrics(), start=DAY0, end=DAY0 + DAY - 1)
            assert sum(one.readings for one in extents) == 104
            roll_up(store.database)
            assert drop(store, STAMPED) == []


def test_a_day_is_dropped_only_when_all_rollups_say_what_it_says(store: Store) -> None:
    fill(store.database, days(1))
    for name in ("rollup_minute", "rollup_hour", "rollup_day"):
        assert drop(store) == [(Outcome.WAITING, 0)]
        refresh(store.database, name)
    late = [Reading(GPUS[0], DAY0 + HOUR, TEMP, 50.0)]
    fill(store.database, late)
    assert drop(store) == [(Outcome.WAITING, 0)]
    roll_up(store.database)
    assert drop(store) == [(Outcome.DROPPED, 193)]


def test_a_refresh_and_a_drop_never_meet(store: Store, asked: StepReader) -> None:
    readings = days(1)
    fill(store.database, readings)
    with psycopg.connect(store.database.owner) as dropping:
        dropping.execute("SELECT pg_advisory_xact_lock(hashtext('telemetry.rollups'))")
        roll_up(store.database)
    assert drop(store) == [(Outcome.WAITING, 0)]
    roll_up(store.database)
    with psycopg.connect(store.database.owner) as refreshing:
        refreshing.execute("SELECT pg_advisory_xact_lock_shared(hashtext('telemetry.rollups'))")
        assert drop(store) == [(Outcome.BUSY, 0)]
    assert drop(store) == [DROPPED]
    roll_up(store.database)
    assert_right(asked, readings, step=DAY, **FIRST_DAY)


def went(store: Store, rule: Rule) -> list[tuple[str, int]]:
    """Of which tables chunks were dropped, and on what day these began, in days from the first one."""
    day0 = datetime.fromtimestamp(DAY0 / SECOND, UTC)
    dropped = [one.chunk for one in retention(store, rule).run() if one.outcome is Outcome.DROPPED]
    return [(chunk.table, (chunk.begins - day0).days) for chunk in dropped]


def test_rollups_go_when_they_are_to_and_only_after_their_samples(new_database: Callable[[], Database]) -> None:
    with closing(Store(new_database())) as store, closing(Pool(url=store.database.reader)) as pool:
        asked, readings = StepReader(pool=pool), days(1)
        fill(store.database, [Reading(GPUS[0], DAY0 + 100 * DAY, TEMP, 1.0)])
        fill(store.database, readings, source="stamped", stamped=True)
        roll_up(store.database)
        assert went(store, Rule(keep=1_000 * WEEK, stamped_only=True, rollups=WEEK)) == []
        assert went(store, STAMPED) == [("samples", 0)]
        told = state_upto(pool, DAY0 + DAY)
        assert state_upto(pool, DAY0 + DAY) == told
        rule = Rule(keep=WEEK, stamped_only=True, rollups=WEEK)
        assert went(store, rule) == [("rollup_minute", 0), ("rollup_hour", -7)]
        assert state_upto(pool, DAY0 + DAY) not in (told, None)
        roll_up(store.database)
        assert len(asked.steps(question(Aggregate.AVG, step=MINUTE, **FIRST_DAY), most=10).time) == 0
        assert len(asked.steps(question(Aggregate.AVG, step=HOUR, **FIRST_DAY), most=10).time) == 0
        assert_right(asked, readings, step=DAY, **FIRST_DAY)
        assert store.account("filled").reconciles


def test_policies_that_somebody_removed_do_not_keep_their_jobs_from_being_made(store: Store) -> None:
    text = (sql_folder() / "007_rollup_jobs.community.sql").read_text(encoding="utf-8")
    removing = [line for line in text.splitlines() if line.startswith("SELECT remove_")]
    with psycopg.connect(store.database.owner, autocommit=True) as owner:
        assert [owner.execute(line.encode()).rowcount for line in removing] == [1] * 3


@pytest.fixture
def stores(server_of_each_tier: Mapping[Tier, PostgresServer]) -> Iterator[Mapping[Tier, Store]]:
    with one_on_each(server_of_each_tier) as found, ExitStack() as stack:
        yield {tier: stack.enter_context(closing(Store(database))) for tier, database in found.items()}


def test_all_tiers_drop_the_same_and_tell_the_same_of_it(stores: Mapping[Tier, Store]) -> None:
    late = [Reading(GPUS[0], DAY0 + HOUR, TEMP, 50.0)]
    told, terms = {}, {"max_util": 0.0, "min_memory": 0.0, "max_gap": 300, "start_time": Moment(DAY0)}
    busy, rests = Reading(GPUS[1], DAY0 + HOUR, UTIL, 90.0), Reading(GPUS[1], 2 * DAY0, UTIL, 0.0)
    for tier, store in stores.items():
        fill(store.database, [*days(2), busy], [Reading(GPUS[1], 2 * DAY0, TEMP, 1.0), rests])
        roll_up(store.database)
        store.prune(limit=1)
        steps = [drop(store, ALL)]
        fill(store.database, late)
        steps += [drop(store, ALL), drop(store, ALL)]
        pool = Pool(url=store.database.reader)
        raw = question(Aggregate.P50, step=HOUR, start=DAY0, end=3 * DAY0)
        answer = shown(StepReader(pool=pool).steps(raw, most=100))
        resting = idle(Fleet(pool=pool), Integrator(pool=pool, patience=30.0), terms, 3 * DAY0)
        pool.close()
        told[tier] = (
            steps,
            store.accounts.of(),
            store.accounts.orphans(),
            store.values(),
            answer,
            chunks(store.database),
            [(one["gpu"], one["max_utilization_percent"]) for one in resting],
        )
    assert len(told) == 3
    assert all(one == told[Tier.PLAIN] for one in told.values())
    steps, (account,), *_, idlers = told[Tier.PLAIN]
    assert steps == [[DROPPED, (Outcome.DROPPED, 193)], [(Outcome.DROPPED, 1)], []]
    assert (account.stored, account.dropped, account.reconciles) == (388, 386, True)
    assert idlers == [("GPU-node-1-0", 0.0)]  # and was busy in what is gone, as rollups know
