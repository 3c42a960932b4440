"""Pruning: settled ledger rows become sums, no account changes by it, and nothing is stored again for it."""

from typing import LiteralString

import psycopg
import pytest

from telemetry.block import Rejection
from telemetry.store.accounts import Accounts
from telemetry.store.deadblocks import RAW_FORMAT
from telemetry.store.gate import Standing
from telemetry.store.ledger import Progress
from telemetry.store.pruning import Pruned, Pruning
from tests.fixtures.commands import Call
from tests.fixtures.ledger import Store, a_block, at_once
from tests.fixtures.wait import until

NUMBERS = "SELECT part, source, blocks::text FROM pruned_blocks ORDER BY part, source"


def kept(store: Store) -> list[tuple[object, ...]]:
    return store.database.ask("SELECT source, first_row FROM blocks ORDER BY source, first_row")


def fill(store: Store) -> None:
    """Two sources, side by side: of each a stored block (one of them with a blank and a rejected reading), and more."""
    for _ in range(2):
        store.reserve(8, source="s", length=20)
        store.reserve(8, source="t")
    store.reserve(4, source="s", length=20)
    rejected = [Rejection(7, "value", "x")]
    store.stored(a_block(rows=8, blank=1, rejected=rejected), a_block("t", rows=8), a_block("t", 8, rows=8))


def test_pruning_changes_no_account(store: Store) -> None:
    fill(store)
    store.bury(first_row=8, rows=8)
    before, gpus = store.accounts.of(), store.accounts.gpus("s")
    assert store.prune() == 3
    assert kept(store) == [("s", 8), ("s", 16)]
    assert store.accounts.of() == before
    assert [store.account("s"), store.account("t")] == before
    assert all(account.reconciles for account in before)
    assert (store.accounts.orphans(), store.accounts.gpus("s")) == (0, gpus)
    assert store.database.ask(NUMBERS) == [(0, "s", "{[1,2)}"), (0, "t", "{[2,3),[4,5)}")]
    assert store.prune() == 0


def test_numbers_of_neighbours_become_one_range_however_they_are_pruned(store: Store) -> None:
    store.reserve(*[1] * 5)
    for first_rows in ((1, 3), (0, 2, 4)):
        store.stored(*(a_block(first_row=first_row, rows=1) for first_row in first_rows))
        assert store.prune() == len(first_rows)
    assert store.database.ask(NUMBERS) == [(0, "s", "{[1,6)}")]
    assert store.account().reconciles


def test_young_and_unsettled_rows_stay(store: Store) -> None:
    fill(store)
    assert store.prune(keep=60) == 0
    store.database.ask("UPDATE blocks SET settled_at = settled_at - INTERVAL '61 s' WHERE source = 't'")
    assert store.prune(keep=60) == 2
    assert kept(store) == [("s", 0), ("s", 8), ("s", 16)]


def test_a_step_takes_no_more_than_its_limit_and_the_oldest_first(store: Store) -> None:
    store.reserve(*[2] * 5)
    for first_row in (4, 0, 8, 2, 6):
        store.stored(a_block(first_row=first_row, rows=2))
    pruning = Pruning(session=store.session("streamer"), keep=0)
    assert pruning.step(2) == Pruned(2, 4, True)
    assert kept(store) == [("s", 2), ("s", 6), ("s", 8)]
    assert [pruning.step(2), pruning.step(2), pruning.step(2)] == [(2, 4, True), (1, 2, False), (0, 0, False)]
    assert store.account().reconciles


def test_a_source_remembers_until_when_its_pruned_blocks_were_settled(store: Store) -> None:
    store.reserve(*[2] * 3)
    for first_row in (2, 0, 4):
        store.stored(a_block(first_row=first_row, rows=2))
    first, second, third = store.database.ask("SELECT settled_at FROM blocks ORDER BY settled_at")
    assert store.database.one("SELECT pruned_to FROM stream_progress") is None
    for expected, limit in ((second, 2), (third, 1)):
        store.prune(limit=limit)
        assert store.database.ask("SELECT pruned_to FROM stream_progress") == [expected]
    assert first < second < third


def test_messages_of_a_pruned_block_are_stale_whatever_becomes_of_them(store: Store) -> None:
    store.reserve(4, 4)
    store.stored(a_block())
    store.prune()
    assert store.stored(a_block(), a_block(rows=8)) == [Standing.STALE, Standing.STALE]
    assert store.bury() is Standing.STALE
    assert store.dead.count() == (0, 0)
    assert store.values() == [0, 1, 2, 3]
    assert store.account().reconciles


def test_a_source_that_was_read_to_its_end_and_pruned_is_not_read_again(store: Store) -> None:
    store.reserve(4, 4, length=8)
    store.stored(a_block(), a_block(first_row=4))
    before = store.account()
    assert store.prune() == 2
    ledger = store.ledger(length=8)
    assert ledger.reserve(4) is None
    assert ledger.due(-1, 10) == []
    assert ledger.progress() == Progress(next_row=8, length=8, unsettled=0)
    assert store.account() == before
    assert (before.complete, before.reconciles) == (True, True)


def test_a_dead_blocks_row_stays_until_it_was_replayed(store: Store) -> None:
    store.reserve(4)
    store.bury()
    assert store.prune() == 0
    assert store.writer().store_replayed(a_block(), 1) is Standing.STORED
    assert store.prune() == 1
    assert store.writer().store_replayed(a_block(), 1) is Standing.SETTLED
    account = store.account()
    assert (account.read, account.stored, account.reconciles) == (4, 4, True)


def test_a_dead_slices_row_stays_until_it_was_read_again(store: Store) -> None:
    store.reserve(4)
    store.bury(format=RAW_FORMAT)
    assert store.prune() == 0
    assert store.dead.reread(1)
    assert store.prune() == 0
    assert store.stored(a_block()) == [Standing.STORED]
    assert store.prune() == 1


def test_a_dropped_blocks_row_is_pruned_and_its_readings_stay_counted_as_dead(store: Store) -> None:
    store.reserve(4, 4)
    store.bury()
    store.bury(first_row=4)
    store.dead.drop(1)
    assert store.prune() == 1
    assert kept(store) == [("s", 4)]
    account = store.account()
    assert (account.read, account.dead, account.reconciles) == (8, 8, True)


def test_a_message_that_died_before_its_rows_were_reserved_can_be_replayed_after_pruning(store: Store) -> None:
    assert store.bury(origin="too early") is Standing.STORED
    store.reserve(4)
    assert store.bury(origin="in time") is Standing.STORED
    store.dead.drop(2)
    assert store.prune() == 0
    assert store.writer().store_replayed(a_block(), 1) is Standing.STORED
    assert store.prune() == 1
    assert store.account().reconciles


def test_a_replay_without_a_stream_is_remembered(store: Store) -> None:
    for origin in ("an entry", "another entry"):
        store.bury(source="nobody", origin=origin)
    assert store.writer().store_replayed(a_block("nobody"), 1) is Standing.STORED
    assert store.prune() == 0
    assert store.writer().store_replayed(a_block("nobody"), 2) is Standing.OTHER
    assert store.values() == [0, 1, 2, 3]


@pytest.fixture
def harmed(store: Store) -> Accounts:
    """Accounts of two sources, of each two pruned blocks and one that is not, for the superuser's hand."""
    for source in ("s", "t"):
        store.reserve(4, 4, 4, source=source, length=12)
        store.stored(a_block(source), a_block(source, 4))
    assert store.prune() == 4
    store.stored(a_block("s", 8), a_block("t", 8))
    return Accounts(session=store.session(url=store.database.admin))


def harm(accounts: Accounts, statement: LiteralString) -> None:
    with accounts.session.use() as connection:
        assert connection.execute(statement).rowcount >= 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO samples SELECT * FROM samples WHERE block = 1",
        "DELETE FROM samples WHERE block = 2",
        "DELETE FROM samples WHERE block = 2 AND value = 5",
        "UPDATE stream_progress SET pruned_stored = pruned_stored - 1, pruned_blank = pruned_blank + 1"
        " WHERE stream_id = 's'",
        "UPDATE stream_progress SET pruned_rows = pruned_rows - 4, pruned_stored = pruned_stored - 4"
        " WHERE stream_id = 's'",
        "DELETE FROM pruned_blocks WHERE source = 's'",
    ],
)
def test_what_somebody_did_to_pruned_blocks_is_found(harmed: Accounts, statement: LiteralString) -> None:
    harm(harmed, statement)
    (account,) = harmed.of("s")
    assert not account.reconciles
    assert harmed.of() == [account, *harmed.of("t")]
    assert harmed.of("t")[0].reconciles


def test_samples_of_no_block_are_found_beside_pruned_ones(harmed: Accounts) -> None:
    assert harmed.orphans() == 0
    for number in (0, 7, 1_001, 999_999):
        copy = "INSERT INTO samples SELECT time, gpu, metric, workload, value, %s FROM samples LIMIT 1"
        with harmed.session.use() as connection:
            connection.execute(copy, [number])
    assert harmed.orphans() == 4
    assert all(account.reconciles for account in harmed.of())


def test_pruning_beside_streamers_collectors_and_other_pruners_counts_each_block_once(store: Store) -> None:
    sources, turns = ("s", "t", "u"), 25

    def stream(source: str) -> int:
        ledger, writer = store.ledger(source), store.writer()
        for turn in range(turns):
            ledger.reserve(2)
            assert writer.store([a_block(source, 2 * turn, rows=2)]) == [Standing.STORED]
        return 0

    def prune() -> int:
        pruning, steps = Pruning(session=store.session("streamer"), keep=0), [0]

        def done() -> bool:
            steps.append(pruning.step(7).blocks)
            found: int = store.database.one("SELECT coalesce(sum(pruned_rows), 0)::bigint FROM stream_progress")
            return found == 2 * turns * len(sources)

        until(done, "all is pruned")
        return sum(steps)

    pruned = at_once([*(lambda source=source: stream(source) for source in sources), prune, prune])
    assert sum(pruned) == turns * len(sources)
    assert kept(store) == []
    for account in store.accounts.of():
        assert (account.read, account.stored, account.reconciles) == (2 * turns, 2 * turns, True)
    assert store.accounts.orphans() == 0


def test_one_pruner_leaves_the_work_to_another_that_is_at_it(store: Store) -> None:
    store.reserve(4)
    store.stored(a_block())
    with psycopg.connect(store.database.writer) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('telemetry.prune'))")
        assert store.prune() == 0
    assert store.prune() == 1


def test_a_pruner_that_dies_before_its_commit_leaves_everything_as_it_was(store: Store) -> None:
    fill(store)
    before, rows = store.accounts.of(), kept(store)
    session = store.session("streamer")
    with session.use() as connection, connection.transaction(force_rollback=True):
        assert Pruning(session=session, keep=0).step().blocks == 3
    assert (store.accounts.of(), kept(store), store.database.ask(NUMBERS)) == (before, rows, [])
    assert store.prune() == 3
    assert store.accounts.of() == before


def test_a_person_prunes_and_verify_says_the_same_as_before(store: Store, call: Call) -> None:
    fill(store)
    store.bury(first_row=8, rows=8)
    url = {"TELEMETRY_DATABASE_URL": store.database.writer}
    said = call("verify", "--json", **url).out
    assert call("prune", "--older-than", 1, "--json", **url).result == {"blocks": 0, "readings": 0}
    assert call("prune", "--older-than", 0, "--json", **url).result == {"blocks": 0, "readings": 0}  # too fresh
    store.database.ask("UPDATE blocks SET settled_at = settled_at - INTERVAL '11 s' WHERE settled_at IS NOT NULL")
    assert call("prune", "--older-than", 0, "--json", **url).result == {"blocks": 3, "readings": 24}
    assert "pruned 0 blocks" in call("prune", "--older-than", 0, **url).out
    assert call("verify", "--json", **url).out == said
    assert call("prune", **url).code == 2


def test_a_step_while_another_session_prunes_says_that_there_may_be_more(store: Store) -> None:
    store.reserve(4)
    store.stored(a_block())
    pruning = Pruning(session=store.session("streamer"), keep=0.0)
    with psycopg.connect(store.database.owner) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('telemetry.prune'))")
        assert pruning.step() == (0, 0, True)
    assert pruning.step() == (1, 4, False)
