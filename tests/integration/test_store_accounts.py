"""verify: whatever somebody does to the tables by hand is found."""

from collections.abc import Iterator
from typing import LiteralString

import pytest

from telemetry.block import Rejection
from telemetry.store.accounts import Accounts
from tests.fixtures.ledger import Store, a_block


@pytest.fixture(scope="module")
def kept(shared_store: Store) -> Store:
    """16 readings: 8 stored (2 of them of a second block), 1 blank, 1 rejected, 4 dead, 2 unsettled."""
    shared_store.reserve(8, 2, 4, 2, length=100)
    shared_store.reserve(4, source="other")
    rejected = [Rejection(7, "value", "x")]
    shared_store.stored(a_block(rows=8, blank=1, rejected=rejected), a_block(first_row=8, rows=2), a_block("other"))
    shared_store.bury(first_row=10)
    return shared_store


@pytest.fixture
def harmed(kept: Store) -> Iterator[Accounts]:
    """Accounts whose session is the superuser's, in a transaction that is rolled back."""
    session = kept.session(url=kept.database.admin)
    with session.use() as connection, connection.transaction(force_rollback=True):
        yield Accounts(session=session)


def harm(accounts: Accounts, *statements: LiteralString) -> None:
    with accounts.session.use() as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount >= 1


def test_an_account_says_what_became_of_every_reading(kept: Store) -> None:
    account = kept.account()
    assert (account.next_row, account.length, account.read, account.unsettled) == (16, 100, 14, 2)
    assert (account.stored, account.blank, account.rejected, account.dead) == (8, 1, 1, 4)
    assert (account.differing, account.lost, account.reconciles, account.complete) == (0, 0, True, False)
    assert kept.accounts.orphans() == 0
    assert kept.accounts.gpus("s") == 1
    assert [one.source for one in kept.accounts.of()] == ["other", "s"]
    assert kept.accounts.of("nobody") == []
    assert kept.accounts.gpus("nobody") == 0


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM samples WHERE value = 5",
        "DELETE FROM samples WHERE value >= 8",
        "INSERT INTO samples SELECT * FROM samples WHERE value = 5",
        "INSERT INTO samples SELECT time, gpu, metric, workload, value,"
        " (SELECT block FROM blocks WHERE settled_at IS NULL) FROM samples WHERE value = 3",
        "INSERT INTO samples SELECT time, gpu, metric, workload, value,"
        " (SELECT block FROM blocks WHERE dead > 0) FROM samples WHERE value = 3",
        "UPDATE blocks SET stored = stored + 1, blank = blank - 1 WHERE blank = 1",
        "UPDATE blocks SET dead = 0 WHERE dead > 0",
        "UPDATE blocks SET blank = blank + 1 WHERE first_row = 8",
        "DELETE FROM blocks WHERE settled_at IS NULL",
        "DELETE FROM blocks WHERE dead > 0",
        "DELETE FROM blocks WHERE first_row = 0 AND source = 's'",
        "UPDATE stream_progress SET next_row = next_row + 1",
    ],
)
def test_what_somebody_did_to_the_tables_is_found(harmed: Accounts, statement: LiteralString) -> None:
    assert harmed.of("s")[0].reconciles
    harm(harmed, statement)
    assert not harmed.of("s")[0].reconciles


def test_samples_that_move_between_blocks_are_found_though_their_number_is_right(harmed: Accounts) -> None:
    copy = "INSERT INTO samples SELECT time, gpu, metric, workload, value, block + 1 FROM samples"
    harm(harmed, copy + " WHERE value = 3 AND block = (SELECT min(block) FROM blocks)")
    harm(harmed, "DELETE FROM samples WHERE value = 3 AND block = (SELECT min(block) FROM blocks)")
    (account,) = harmed.of("s")
    assert (account.stored, account.differing, account.reconciles) == (8, 2, False)


def test_samples_of_no_block_are_found(harmed: Accounts) -> None:
    copy = "INSERT INTO samples SELECT time, gpu, metric, workload, value, 999 FROM samples WHERE value = 5"
    harm(harmed, copy)
    assert harmed.orphans() == 1
    assert harmed.of("s")[0].reconciles
