"""Partitions of plain PostgreSQL that are made before they are needed: tomorrow's, where data is live.

What does not live here: days that readings fall on (`test_store_copy`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import psycopg
import pytest
from psycopg import sql

from telemetry.store.errors import StoreLocked
from telemetry.store.gate import Standing
from tests.fixtures.ledger import DAY, NOON, Store, a_block
from tests.fixtures.store import Database

MAKING = "SELECT pg_advisory_xact_lock(hashtext('telemetry.ensure_days'))"
"""What whoever makes a day holds."""


@pytest.fixture(autouse=True)
def _plain_only(store: Store) -> None:
    if not store.database.one("SELECT relkind = 'p' FROM pg_class WHERE oid = 'samples'::regclass"):
        pytest.skip("TimescaleDB makes its chunks by itself")


@pytest.fixture
def noon(store: Store) -> int:
    """The server's day, at noon, in µs since 1970."""
    day: int = store.database.one("SELECT extract(epoch FROM clock_timestamp())::bigint / 86400")
    return day * DAY + DAY // 2


def days(database: Database) -> list[int]:
    """The days that have a partition, in days since 1970."""
    names = database.ask("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'samples'::regclass")
    of_each = (date.fromisoformat(name.removeprefix("samples_")) for (name,) in names)
    return sorted((day - date(1970, 1, 1)) // timedelta(days=1) for day in of_each)


@contextmanager
def nobody_makes_a_day(database: Database) -> Iterator[None]:
    with psycopg.connect(database.admin) as other:
        other.execute(MAKING)
        yield


def test_the_first_readings_of_today_have_tomorrow_made(store: Store, noon: int) -> None:
    store.reserve(4)
    assert store.stored(a_block(time0=noon)) == [Standing.STORED]
    assert days(store.database) == [noon // DAY, noon // DAY + 1]


def test_at_midnight_nobody_waits_for_a_day_to_be_made(store: Store, noon: int) -> None:
    store.reserve(4, 4)
    one, other = store.writer(), store.writer(lease=1.0)
    one.store([a_block(time0=noon)])
    with nobody_makes_a_day(store.database):
        assert other.store([a_block(first_row=4, time0=noon + DAY)]) == [Standing.STORED]
    assert store.account().reconciles


@pytest.mark.parametrize("time0", [NOON, NOON + 36_525 * DAY])
def test_readings_of_another_day_than_today_make_no_day_but_theirs(store: Store, time0: int) -> None:
    store.reserve(4)
    store.stored(a_block(time0=time0))
    assert days(store.database) == [time0 // DAY]


def test_readings_are_stored_though_tomorrow_cannot_be_made_now(store: Store, noon: int) -> None:
    store.reserve(4, 4)
    today = noon // DAY
    store.database.ask("SELECT ensure_days(ARRAY['1970-01-01'::date + %s::int])", today)
    with nobody_makes_a_day(store.database):
        writer = store.writer(lease=1.0)
        with pytest.raises(StoreLocked):
            writer.store([a_block(time0=NOON)])
        assert writer.store([a_block(time0=noon)]) == [Standing.STORED]
        assert days(store.database) == [today]
    assert store.stored(a_block(first_row=4, time0=noon)) == [Standing.STORED]
    assert days(store.database) == [today, today + 1]


def test_a_day_that_is_dropped_after_it_was_used_is_made_again(store: Store) -> None:
    store.reserve(4, 4)
    writer = store.writer()
    writer.store([a_block(time0=NOON)])
    name = store.database.one("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'samples'::regclass")
    with psycopg.connect(store.database.admin, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    assert writer.store([a_block(first_row=4, time0=NOON)]) == [Standing.STORED]
    assert store.database.one("SELECT count(*) FROM samples") == 4
