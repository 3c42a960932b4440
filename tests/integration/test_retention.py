"""Retention: old samples go a chunk at a time, and every account stays exact.

What does not live here: who stands in the way, or dies (`test_retention_faults`), rollups (`test_retention_rollups`).
"""

import json
from datetime import UTC, datetime
from typing import LiteralString

import psycopg
import pytest
from psycopg import errors

from telemetry.store.accounts import Accounts
from telemetry.store.gate import Standing
from telemetry.store.pool import Pool
from telemetry.store.queries import sql_folder
from telemetry.store.questions.reader import Reader
from telemetry.store.questions.state import state_upto
from telemetry.store.questions.tail import Forgotten, Tail
from telemetry.store.retention import Outcome, Rule
from tests.fixtures.commands import Call
from tests.fixtures.ledger import DAY, NOON, Store, a_block, a_gpu
from tests.fixtures.retention import ALL, STAMPED, chunks, drop, keep, retention, roll_up

DROPPED = Outcome.DROPPED
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


def now(store: Store) -> int:
    found: int = store.database.one(NOW)
    return found


COSTLY = pytest.mark.costly


@pytest.mark.parametrize(
    "pruned", ["never", pytest.param("before", marks=COSTLY), pytest.param("after", marks=COSTLY), "both"]
)
def test_old_days_are_dropped_and_each_account_says_what_it_said(store: Store, pruned: str) -> None:
    keep(store, NOON, NOON + DAY, now(store))
    keep(store, NOON, now(store), source="t", rows=6)
    roll_up(store.database)
    before = store.accounts.of()
    if pruned in ("before", "both"):
        assert store.prune(limit=3 if pruned == "both" else 9) == (3 if pruned == "both" else 5)
    assert drop(store) == [(DROPPED, 4), (DROPPED, 10)]
    if pruned in ("after", "both"):
        assert store.prune() > 0
    after = store.accounts.of()
    assert [(one.stored, one.dropped, one.read, one.reconciles) for one in after] == [
        (12, 8, 12, True),
        (12, 6, 12, True),
    ]
    assert [one.stored for one in before] == [12, 12]
    assert [store.account("s"), store.account("t")] == after
    assert store.accounts.orphans() == 0
    assert store.values() == [6, 7, 8, 8, 9, 9, 10, 10, 11, 11]
    assert drop(store) == []


def test_what_was_dropped_becomes_sums_with_the_ledger(store: Store) -> None:
    keep(store, NOON, NOON + DAY)
    roll_up(store.database)
    assert drop(store) == [(DROPPED, 4)] * 2
    assert store.database.ask("SELECT * FROM dropped_blocks ORDER BY 1") == [(1, 4), (2, 4)]
    store.prune()
    keep(store, NOON + 2 * DAY)
    roll_up(store.database)
    assert drop(store) == [(DROPPED, 4)]
    assert store.database.ask("SELECT * FROM dropped_blocks") == [(3, 4)]
    assert store.database.ask("SELECT * FROM dropped_sources") == [("s", 8)]
    account = store.account()
    assert (account.stored, account.dropped, account.reconciles) == (12, 12, True)


def test_a_block_of_two_days_goes_in_two_parts(store: Store) -> None:
    store.ledger(stamped=True).reserve(4)
    store.stored(a_block(dt=[0, 1, DAY, DAY + 1]))
    roll_up(store.database)
    one = retention(store)
    first, second = one.due()
    assert (one.drop(first).readings, store.account().dropped) == (2, 2)
    assert store.account().reconciles
    assert (one.drop(second).readings, store.account().dropped) == (2, 4)
    assert store.account().reconciles


def test_by_default_only_days_go_that_have_nothing_with_times_of_its_source(store: Store) -> None:
    keep(store, NOON, NOON + DAY)
    keep(store, NOON + DAY, NOON + 2 * DAY, source="file", stamped=False)
    roll_up(store.database)
    assert drop(store, STAMPED) == [(DROPPED, 4)]
    assert len(chunks(store.database)) == 2
    store.prune()
    assert drop(store, STAMPED) == []
    roll_up(store.database)
    assert drop(store, ALL) == [(DROPPED, 4), (DROPPED, 8)]
    assert all(account.reconciles for account in store.accounts.of())


def test_a_day_that_came_to_have_such_readings_since_it_was_found_due_is_kept(store: Store) -> None:
    keep(store, NOON)
    roll_up(store.database)
    one = retention(store, STAMPED)
    (chunk,) = one.due()
    keep(store, NOON, source="file", stamped=False)
    assert one.drop(chunk).outcome is Outcome.KEPT
    assert store.account().dropped == 0


@pytest.mark.parametrize("pruned", [False, True])
def test_what_a_collector_of_the_version_before_stores_with_times_of_its_own_is_kept(
    store: Store, pruned: bool
) -> None:
    keep(store, NOON, source="csv@1:loop:now")
    keep(store, NOON + DAY, source="csv@2:once:source", stamped=False)
    store.database.ask("TRUNCATE source_days")  # such a collector knows of none
    if pruned:
        assert store.prune() == 2
    roll_up(store.database)
    assert sorted(drop(store, STAMPED), key=str) == [(DROPPED, 4), (Outcome.KEPT, 0)]
    assert drop(store, STAMPED) == []
    assert store.database.ask("SELECT day::text FROM source_days") == [("2024-10-05",)]
    assert store.account("csv@2:once:source").dropped == 0


def test_by_default_readings_of_no_block_are_kept(store: Store) -> None:
    keep(store, NOON)
    store.database.ask("INSERT INTO samples SELECT time, gpu, metric, workload, value, 77 FROM samples LIMIT 1")
    roll_up(store.database)
    assert drop(store, STAMPED) == [(Outcome.KEPT, 0)]
    assert store.accounts.orphans() == 1


def test_replays_of_nobodys_rows_are_kept_by_default(store: Store) -> None:
    store.bury(source="nobody")
    assert store.writer().store_replayed(a_block("nobody"), 1) is Standing.STORED
    assert drop(store, STAMPED) == []
    assert len(store.values()) == 4


def test_readings_that_come_for_a_dropped_day_are_stored_and_go_the_next_time(store: Store) -> None:
    keep(store, NOON)
    roll_up(store.database)
    assert drop(store) == [(DROPPED, 4)]
    keep(store, NOON, rows=3)
    assert (store.values(), store.account().dropped) == ([4, 5, 6], 4)
    assert store.account().reconciles
    assert drop(store) == [(DROPPED, 3)]
    assert store.database.ask("SELECT readings, orphans, times FROM dropped_chunks") == [(7, 0, 2)]
    account = store.account()
    assert (account.stored, account.dropped, account.reconciles) == (7, 7, True)


def test_young_chunks_stay_and_none_is_younger_than_a_day(store: Store) -> None:
    keep(store, now(store))
    day = Rule(keep=86_400.0, stamped_only=False)
    assert drop(store, day) == []
    with psycopg.connect(store.database.writer) as writer:
        ask = "SELECT (drop_samples(chunk, '24:00:00', false, '0')).outcome FROM sample_chunks()"
        assert set(writer.execute(ask).fetchall()) == {("young",)}
        for nothing in ("NULL, false, '0'", "'24:00:00', NULL, '0'", "'24:00:00', false, NULL"):
            assert not writer.execute(f"SELECT drop_samples(chunk, {nothing}) FROM sample_chunks()").fetchall()
        assert not writer.execute("SELECT drop_rollup(chunk, NULL) FROM sample_chunks()").fetchall()
        assert writer.execute(
            "SELECT outcome FROM drop_samples('gpus'::regclass, '24:00:00', false, '0')"
        ).fetchall() == [("gone",)]


@pytest.mark.parametrize("keep_for", ["23:59:59", "-1 day", "-12 months 361 days"])
def test_nobody_may_drop_what_is_younger_than_a_day(shared_store: Store, keep_for: str) -> None:
    for ask in ("SELECT drop_samples('gpus'::regclass, %s, false, '0')", "SELECT drop_rollup('gpus'::regclass, %s)"):
        with (
            psycopg.connect(shared_store.database.writer) as writer,
            pytest.raises(errors.InvalidParameterValue, match="a day at least"),
        ):
            writer.execute(ask, (keep_for,))


HARM: list[LiteralString] = ["DELETE FROM samples WHERE value = 5", "DELETE FROM samples WHERE block = 2"]


@pytest.mark.parametrize(("statement", "pruned"), [(HARM[0], False), (HARM[1], True)])
def test_what_was_gone_before_the_drop_is_missed_after_it_too(
    store: Store, statement: LiteralString, pruned: bool
) -> None:
    keep(store, NOON, NOON, NOON)
    if pruned:
        store.prune()
    admin = Accounts(session=store.session(url=store.database.admin))
    with admin.session.use() as connection:
        connection.execute(statement)
    roll_up(store.database)
    drop(store)
    account = store.account()
    assert (account.reconciles, account.differing) == (False, 1)


def test_samples_of_no_block_stay_known_as_a_fault(store: Store) -> None:
    keep(store, NOON)
    store.database.ask("INSERT INTO samples SELECT time, gpu, metric, workload, value, 77 FROM samples LIMIT 1")
    roll_up(store.database)
    assert store.accounts.orphans() == 1
    assert drop(store) == [(DROPPED, 5)]
    assert store.accounts.orphans() == 1
    assert store.account().reconciles


def test_who_asked_before_is_answered_anew_and_gpus_stay(store: Store) -> None:
    keep(store, NOON, NOON + DAY)
    roll_up(store.database)
    pool = Pool(url=store.database.reader)
    reader = Reader(pool=pool)
    told, gpus = state_upto(pool, NOON + DAY), reader.gpus_called("GPU-0")
    one = retention(store)
    one.drop(one.due()[0])
    assert state_upto(pool, NOON + DAY) not in (told, None)
    drop(store)
    assert (reader.gpu_ids(), reader.gpus_called("GPU-0")) == (["GPU-0"], gpus)
    assert gpus[0].first_seen == datetime.fromtimestamp(NOON / 1e6, UTC)
    assert reader.newest(gpus) == []
    assert len(reader.readings([gpus[0].number], start=NOON - DAY, end=NOON + DAY, limit=9).time) == 0
    pool.close()


def test_who_goes_on_with_the_live_stream_is_told_when_readings_are_gone(store: Store) -> None:
    keep(store, now(store), source="live")
    pool = Pool(url=store.database.reader)
    tail = Tail(reader=Reader(pool=pool))
    mark = tail.begin()
    keep(store, NOON)
    roll_up(store.database)
    found = tail.follow(mark)
    (part,) = found.blocks.parts()
    assert len(tail.read(found, part, {})) == 4
    assert drop(store) == [(DROPPED, 4)]
    with pytest.raises(Forgotten, match="older than the retention"):
        tail.read(found, part, {})
    pool.close()


def test_a_person_drops_and_verify_says_so(store: Store, call: Call) -> None:
    keep(store, NOON)
    keep(store, NOON + DAY, source="file", stamped=False)
    roll_up(store.database)
    url = {"TELEMETRY_DATABASE_URL": store.database.writer}
    due = [("samples", "2024-10-04T00:00:00+00:00", "2024-10-05T00:00:00+00:00")]
    listed = call("retain", "--dry-run", "--json", **url).result
    assert [tuple(one.values()) for one in listed["due"]] == due
    assert len(call("retain", "--dry-run", "--older-than", 1, "--json", **url).result["due"]) == 2
    assert call("retain", "--json", TELEMETRY_RETENTION="none", **url).result == {"dropped": [], "left": []}
    done = call("retain", "--json", **url).result
    assert [tuple(one.values()) for one in done["dropped"]] == [(*due[0], 4)]
    roll_up(store.database)
    said = call("retain", "--older-than", 7, **url)
    assert (said.code, "dropped 4 readings of 1 chunks" in said.out) == (0, True)
    verified = call("verify", "--json", **url)
    assert verified.code == 0
    assert [one["dropped"] for one in json.loads(verified.out)["streams"]] == [4, 4]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--older-than", "0.5"), "0.5 is not in the range"),
        (("--retention", "soon"), "--retention (or TELEMETRY_RETENTION) 'soon': write days (1 to 36500), none or auto"),
        (("--retention", "0"), "--retention (or TELEMETRY_RETENTION) '0': write days (1 to 36500), none or auto"),
        (("--retention", "nan"), "write days (1 to 36500), none or auto"),
        (
            ("--rollup-retention", "x"),
            "--rollup-retention (or TELEMETRY_ROLLUP_RETENTION) 'x': write days (1 to 36500), none",
        ),
        (("--rollup-retention", "6"), "cannot go before them (--retention auto); write more days, or none"),
        (("--rollup-retention", "9", "--retention", "none"), "cannot go before them (--retention none)"),
        (("--rollup-retention", "9", "--retention", "10"), "cannot go before them (--retention 10)"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call: Call, words: tuple[str, ...], error: str) -> None:
    for command in ("retain", "collect") if words[0] != "--older-than" else ("retain",):
        done = call(
            command, *words, TELEMETRY_DATABASE_URL="postgresql://x@127.0.0.1:1/x", TELEMETRY_REDIS_URL="redis://x"
        )
        assert done.code == 2
        assert error in done.err
        assert "Traceback" not in done.err


def test_days_that_were_stored_before_this_version_are_kept_where_they_may_be_of_a_source(store: Store) -> None:
    keep(store, NOON)
    keep(store, NOON + DAY, source="csv@1:once:now")
    keep(store, NOON + 2 * DAY, NOON - DAY, NOON + 2 * DAY + 1, source="csv@2:once:source", stamped=False)
    statement = (sql_folder() / "007_retention.sql").read_text(encoding="utf-8").partition("\nDO $$")[2]
    for pruned in (False, True):
        store.database.ask("TRUNCATE source_days")
        if pruned:
            store.prune()
        with psycopg.connect(store.database.owner, autocommit=True) as owner:
            owner.execute(f"DO $${statement}")
        assert len(retention(store, STAMPED).due()) == (0 if pruned else 2)


@pytest.mark.costly
def test_a_fleet_of_many_blocks_is_counted_by_block(store: Store) -> None:
    ledger, writer = store.ledger(stamped=True), store.writer()
    for turn in range(30):
        ledger.reserve(50)
        writer.store(
            [a_block(first_row=turn * 50, rows=50, time0=NOON + turn * DAY // 10, gpus=[a_gpu(n) for n in range(9)])]
        )
        if turn % 4 == 0:
            store.prune(limit=3)
    roll_up(store.database)
    assert sum(readings for _, readings in drop(store)) == 1_500
    account = store.account()
    assert (account.stored, account.dropped, account.differing, account.reconciles) == (1_500, 1_500, 0, True)
