"""Who is in the way of a drop, or dies in the middle of one: nobody waits for long, and all is counted once.

What does not live here: what is dropped, and when (`test_retention`).
"""

import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, LiteralString

import psycopg
import pytest

from telemetry.collector.retaining import Retaining
from telemetry.store.errors import StoreBusy, StoreError, StoreLost
from telemetry.store.gate import Standing
from telemetry.store.pruning import Pruning
from telemetry.store.retention import Dropped, Outcome
from tests.fixtures.ledger import DAY, NOON, Store, a_block, at_once
from tests.fixtures.pipeline import Pipeline
from tests.fixtures.process import Processes
from tests.fixtures.retention import ALL, chunks, drop, keep, outcomes, retention, roll_up
from tests.fixtures.settling import Settling
from tests.fixtures.wait import until

DROPPED = Outcome.DROPPED
DROPPING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%drop_samples(%' AND state = 'active' AND pid <> pg_backend_pid()
AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_stat_activity.pid AND l.mode = 'ShareLock' AND l.granted)
"""
BETWEEN = DROPPING + " AND wait_event = 'PgSleep'"
COUNTED = """
SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
WHERE l.relation = 'dropped_blocks'::regclass AND l.mode = 'RowExclusiveLock'
"""
END = DROPPING.replace("count(*)", "pg_terminate_backend(pid)")


LEFT = "SELECT count(*) FROM sample_chunks()"


def ask(store: Store, statement: LiteralString) -> Any:
    """The first column of the first row; by one session, as it is asked again and again."""
    with store.asking.use() as connection:
        (found,) = connection.execute(statement).fetchone() or (None,)
    return found


@contextmanager
def reading(store: Store) -> Iterator[None]:
    """A long question: it holds up whoever wants to drop, in the middle, and nothing is done."""
    with psycopg.connect(store.database.reader) as reader:
        reader.execute("SELECT count(*) FROM telemetry")
        yield


def sound(store: Store, stored: int, dropped: int) -> bool:
    """Whether the account says exactly this, and the samples too."""
    account = store.account()
    said = (account.stored, account.dropped, account.reconciles, store.accounts.orphans())
    return said == (stored, dropped, True, 0) and len(store.values()) == stored - dropped


def test_a_reader_is_waited_for_a_while_and_the_drop_is_left_for_later(store: Store) -> None:
    keep(store, NOON, NOON + DAY)
    roll_up(store.database)
    with reading(store):
        assert outcomes(list(retention(store).run())) == [Outcome.LOCKED] * 2
        keep(store, NOON + 40 * DAY)
        assert sound(store, 12, 0)
    roll_up(store.database)
    assert drop(store) == [(DROPPED, 4)] * 3
    assert sound(store, 12, 12)


def test_questions_and_commits_do_not_wait_while_a_drop_waits_between_its_tries(store: Store) -> None:
    keep(store, NOON, NOON + DAY)
    roll_up(store.database)
    one, found = retention(store, patience=60.0), list[Dropped]()
    with reading(store):
        thread = threading.Thread(target=lambda: found.append(one.drop(one.due()[-1])))
        thread.start()
        until(lambda: ask(store, BETWEEN) == 1, "it tries")
        assert ask(store, COUNTED) == 0  # which may take long, and be for nothing
        keep(store, NOON + DAY)
        assert len(store.values()) == 12
    thread.join()
    assert outcomes(found) == [DROPPED]
    assert sound(store, 12, 4)


def test_a_session_that_is_ended_in_the_middle_of_a_drop_leaves_everything_as_it_was(store: Store) -> None:
    keep(store, NOON)
    roll_up(store.database)
    one, failed = retention(store, patience=60.0), list[StoreError]()

    def run() -> None:
        with pytest.raises(StoreLost) as error:
            list(one.run())
        failed.append(error.value)

    with reading(store):
        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: ask(store, DROPPING) == 1, "it tries")
        assert store.database.ask(END) == [(True,)]
        thread.join()
    assert len(failed) == 1
    assert sound(store, 4, 0)
    assert store.database.ask("SELECT * FROM dropped_chunks") == []
    assert outcomes(list(one.run())) == [DROPPED]
    assert sound(store, 4, 4)


def test_what_fails_behind_the_drop_itself_leaves_everything_as_it_was(store: Store) -> None:
    keep(store, NOON)
    roll_up(store.database)
    with psycopg.connect(store.database.owner) as other:
        other.execute("LOCK TABLE dropped_chunks IN SHARE MODE")
        assert drop(store) == [(Outcome.LOCKED, 0)]
    assert sound(store, 4, 0)
    assert drop(store) == [(DROPPED, 4)]
    assert sound(store, 4, 4)


def test_a_process_that_is_killed_in_the_middle_of_a_drop_has_it_done_once_all_the_same(
    store: Store, processes: Processes
) -> None:
    keep(store, NOON)
    roll_up(store.database)
    with reading(store):
        command = [sys.executable, "-m", "telemetry", "retain", "--older-than", "7"]
        retaining = processes.spawn(command, env={"TELEMETRY_DATABASE_URL": store.database.writer})
        until(lambda: ask(store, DROPPING) == 1, "it tries")
        retaining.signal(signal.SIGSTOP)
        assert sound(store, 4, 0)
        retaining.kill()
    until(lambda: not ask(store, DROPPING), "the server has done what it was asked for")
    assert sound(store, 4, 4)
    assert drop(store) == []


def test_of_several_only_one_drops_at_a_time_and_each_chunk_goes_once(store: Store) -> None:
    keep(store, *(NOON + n * DAY for n in range(6)))
    roll_up(store.database)

    def run() -> int:
        one, readings = retention(store), 0
        while one.due():
            readings += sum(dropped.readings for dropped in one.run())
        return readings

    assert sum(at_once([run] * 3)) == 24
    assert store.database.ask("SELECT count(*), max(times) FROM dropped_chunks") == [(6, 1)]
    assert sound(store, 24, 24)


def test_one_that_meets_another_leaves_it_to_that(store: Store) -> None:
    keep(store, NOON, NOON + DAY)
    roll_up(store.database)
    for lock in ("telemetry.retention", "telemetry.rollups"):
        with psycopg.connect(store.database.writer) as other:
            other.execute("SELECT pg_advisory_xact_lock_shared(hashtext(%s))", (lock,))
            assert outcomes(list(retention(store).run())) == [Outcome.BUSY]
    assert drop(store) == [(DROPPED, 4)] * 2


def test_what_is_being_stored_for_a_day_is_waited_for_and_counted(store: Store) -> None:
    keep(store, NOON)
    store.ledger(stamped=True).reserve(4)
    roll_up(store.database)
    late = Settling(store.writer(), a_block(first_row=4))
    assert outcomes(list(retention(store).run())) == [Outcome.LOCKED]
    late.end()
    roll_up(store.database)
    assert drop(store) == [(DROPPED, 8)]
    assert sound(store, 8, 8)


def test_a_collector_that_stands_still_in_its_transaction_is_ended_by_who_wants_to_drop(store: Store) -> None:
    keep(store, NOON)
    store.ledger(stamped=True).reserve(4)
    roll_up(store.database)
    stuck = Settling(store.writer(), a_block(first_row=4))
    stuck.connection.execute("SET application_name = 'telemetry-collector@test'")
    one = retention(store, lease=0.05)
    until(lambda: outcomes(list(one.run())) == [DROPPED], "the day is dropped")
    with pytest.raises(psycopg.OperationalError):
        stuck.end()
    assert store.stored(a_block(first_row=4)) == [Standing.STORED]
    assert sound(store, 8, 4)


def test_a_collector_that_waits_for_a_drop_stores_behind_it_or_is_let_past(store: Store) -> None:
    keep(store, NOON)
    roll_up(store.database)
    store.ledger(stamped=True).reserve(4)
    one, became = retention(store, patience=2.0), list[Standing]()

    def late() -> None:
        writer, block = store.writer(lease=30.0), a_block(first_row=4)
        while not became:
            try:
                became.extend(writer.store([block]))
            except (StoreLost, StoreBusy):  # as a collector's worker does (`patience`)
                continue

    thread = threading.Thread(target=late)
    with reading(store):
        dropping = threading.Thread(target=lambda: list(one.run()))
        dropping.start()
        until(lambda: ask(store, DROPPING) == 1, "it tries")
        thread.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'RowExclusiveLock'"
        until(lambda: became or ask(store, waits) == 1, "the collector waits, or was let past")
    thread.join()
    dropping.join()
    assert became == [Standing.STORED]
    assert sound(store, 8, store.account().dropped)
    roll_up(store.database)
    drop(store)
    assert sound(store, 8, 8)


@pytest.mark.costly
def test_whatever_collectors_pruners_and_retentions_do_at_once_every_reading_is_counted(store: Store) -> None:
    turns = 8

    def store_some(source: str) -> int:
        ledger, writer, dice = store.ledger(source, stamped=True), store.writer(), random.Random(source)
        for _ in range(turns):
            reserved = ledger.reserve(3)
            assert reserved is not None
            block = a_block(source, reserved.first_row, 3, time0=NOON + dice.randrange(3) * DAY)
            standing = None
            while standing not in (Standing.STORED, Standing.SETTLED):
                try:
                    (standing,) = writer.store([block])
                except (StoreLost, StoreBusy):
                    continue
        return 0

    over = threading.Event()

    def drop_all() -> int:
        one, pruning, readings = retention(store), Pruning(session=store.session("streamer"), keep=0.0), 0
        while not over.is_set():
            readings += sum(dropped.readings for dropped in one.run())
            pruning.step(5)
        return readings

    thread = threading.Thread(target=drop_all)
    thread.start()
    try:
        at_once([lambda: store_some("s"), lambda: store_some("t")])
    finally:
        over.set()
        thread.join()
    for account in store.accounts.of():
        assert (account.stored, account.reconciles) == (3 * turns, True)
    assert store.accounts.orphans() == 0
    roll_up(store.database)
    drop(store)
    assert [account.dropped for account in store.accounts.of()] == [3 * turns] * 2


def test_a_collector_drops_by_itself_and_again_after_what_stood_in_the_way(store: Store) -> None:
    keep(store, NOON)
    roll_up(store.database)
    with psycopg.connect(store.database.writer) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('telemetry.retention'))")
        with Retaining(retention=retention(store), every=0.02):
            assert sound(store, 4, 0)
            other.commit()
            until(lambda: not ask(store, LEFT), "the day is dropped")
    assert sound(store, 4, 4)


def test_what_nobody_thought_of_is_logged_and_the_collector_looks_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    keep(store, NOON)
    roll_up(store.database)
    one = retention(store)
    del one.rule
    with Retaining(retention=one, every=0.02):
        until(lambda: "has no attribute 'rule'" in caplog.text, "it is told")
        one.rule = ALL
        until(lambda: not ask(store, LEFT), "the day is dropped")


def test_an_outcome_of_a_later_version_is_asked_for_again() -> None:
    assert Outcome("resting") is Outcome.LOCKED


def test_the_command_collect_drops_as_its_settings_say(pipeline: Pipeline) -> None:
    with closing(Store(pipeline.database)) as store:
        keep(store, NOON, source="file", stamped=False)
        roll_up(store.database)
        collector = pipeline.begin("collect", TELEMETRY_RETENTION="30")
        until(lambda: not ask(store, LEFT), "the day is dropped")
        collector.signal(signal.SIGTERM)
        assert pipeline.run.end(collector).code == 0
        assert store.account("file").dropped == 4


def test_nothing_is_dropped_where_all_is_kept(store: Store) -> None:
    keep(store, NOON)
    with Retaining(retention=None, every=0.0):
        assert len(chunks(store.database)) == 1
    assert ALL.rollups is None


def test_a_database_that_is_away_is_looked_for_again(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    keep(store, NOON)
    roll_up(store.database)
    url, proxy = store.proxied()
    one = retention(store)
    one.session.url = url
    proxy.cut()
    with Retaining(retention=one, every=0.02):
        until(lambda: "could not drop old readings" in caplog.text, "it is told")
        proxy.heal()
        until(lambda: not ask(store, LEFT), "the day is dropped")
