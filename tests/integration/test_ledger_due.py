"""What nobody published: due, claimed by one, renewed, pardoned, split."""

import psycopg
import pytest

from telemetry.store import ledger as module
from telemetry.store.gate import Standing
from telemetry.store.ledger import Ledger, Reservation
from tests.fixtures.ledger import Store, a_block, at_once


@pytest.fixture(autouse=True)
def _lasting_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is over when a test says so (`lapse`), however long the machine takes."""
    monkeypatch.setattr(module, "PUBLISH_LEASE", 3_600.0)


def test_a_block_is_due_when_its_lease_is_over_and_not_before(store: Store) -> None:
    ledger = store.ledger()
    ledger.reserve(4)
    assert ledger.due(-1, 10) == []
    assert ledger.claim([0]) is None
    store.lapse()
    assert ledger.due(-1, 10) == [0]


def test_due_blocks_come_in_pages(store: Store) -> None:
    store.reserve(1, 1, 1, 1, 1)
    store.lapse()
    ledger = store.ledger()
    assert ledger.due(-1, 2) == [0, 1]
    assert ledger.due(1, 2) == [2, 3]
    assert ledger.due(3, 2) == [4]
    assert ledger.due(4, 2) == []


def test_a_block_in_another_claimers_hands_is_passed_over(store: Store) -> None:
    store.reserve(4, 4)
    store.lapse()
    with psycopg.connect(store.database.writer) as other:
        other.execute("SELECT FROM blocks WHERE first_row = 0 FOR UPDATE")
        ledger = store.ledger()
        assert ledger.claim([0, 4]) == Reservation(4, 4, None, 1)
        assert ledger.claim([0, 4]) is None


def test_claimers_side_by_side_get_each_block_once(store: Store) -> None:
    store.reserve(*[1] * 60)
    store.lapse()

    def claim_all(ledger: Ledger) -> list[int]:
        mine, wanted = [], list(range(60))
        while (found := ledger.claim(wanted)) is not None:
            mine.append(found.first_row)
            wanted.remove(found.first_row)
        return mine

    ledgers = [store.ledger() for _ in range(5)]
    shares = at_once([lambda ledger=ledger: claim_all(ledger) for ledger in ledgers])  # type: ignore[misc]  # bound now
    assert sorted(first_row for share in shares for first_row in share) == list(range(60))
    assert store.database.ask("SELECT DISTINCT tries FROM blocks") == [(1,)]


def test_each_claim_counts_until_it_is_pardoned(store: Store) -> None:
    ledger = store.ledger()
    ledger.reserve(4)
    for tries in (1, 2, 3):
        store.lapse()
        assert ledger.claim([0]) == Reservation(0, 4, None, tries)
    ledger.pardon(0)
    store.lapse()
    assert ledger.claim([0]) == Reservation(0, 4, None, 1)


def test_a_renewed_block_is_not_due(store: Store) -> None:
    ledger = store.ledger()
    ledger.reserve(4)
    store.lapse()
    ledger.renew(0)
    assert ledger.due(-1, 10) == []


def test_a_settled_block_is_nobodys_any_more(store: Store) -> None:
    store.reserve(4)
    assert store.stored(a_block()) == [Standing.STORED]
    store.lapse()
    ledger = store.ledger()
    assert ledger.due(-1, 10) == []
    assert ledger.claim([0]) is None
    ledger.renew(0)
    ledger.pardon(0)
    assert ledger.split(Reservation(0, 4, None, 0), 2) is None
    assert store.row() == (4, True, 4, 0, 0, 0)
    assert store.database.one("SELECT count(*) FROM blocks WHERE leased_until > clock_timestamp()") == 0


def test_a_block_that_was_split_is_stored_in_its_halves_only(store: Store) -> None:
    ledger = store.ledger(length=10, stamped=True)
    reserved = ledger.reserve(10)
    assert reserved is not None
    ledger.split(reserved, 6)
    assert store.stored(a_block(rows=10)) == [Standing.OTHER]
    assert ledger.due(-1, 10) == [6]  # the first half is still in its streamer's hands
    half = ledger.claim([6])
    assert half is not None
    assert (half.rows, half.tries) == (4, 1)
    assert half.time0 == (reserved.time0 or 0) + 6
    assert store.stored(a_block(rows=6), a_block(first_row=6, rows=4)) == [Standing.STORED] * 2
    assert store.values() == list(range(10))
    assert store.account().complete
    assert store.account().reconciles


def test_a_block_is_split_once(store: Store) -> None:
    ledger = store.ledger()
    reserved = ledger.reserve(10)
    assert reserved is not None
    assert ledger.split(reserved, 6) == 6
    assert ledger.split(reserved, 6) is None
    assert ledger.split(reserved, 5) is None
    assert store.database.ask("SELECT first_row, rows FROM blocks ORDER BY first_row") == [(0, 6), (6, 4)]
