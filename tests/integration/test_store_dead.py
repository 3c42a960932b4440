"""Dead blocks: buried once with their payload, replayed once, read again, dropped; and every reading accounted for."""

import pytest

from telemetry.block import Rejection
from telemetry.store.deadblocks import RAW_FORMAT
from telemetry.store.gate import Standing
from tests.fixtures.ledger import Store, a_block, at_once


def dead(store: Store) -> list[tuple[object, ...]]:
    return store.database.ask("SELECT id, message_id, source, first_row, rows, reason FROM dead_blocks ORDER BY id")


def test_a_block_that_dies_keeps_its_payload_and_is_settled(store: Store) -> None:
    store.reserve(4)
    assert store.bury(payload=b"\0\xff{", attempts=3, reason="é", origin="o") is Standing.STORED
    assert store.row() == (4, True, 0, 0, 0, 4)
    found = store.dead.show(1)
    assert found is not None
    block, payload = found
    assert payload == b"\0\xff{"
    assert (block.message_id, block.rows, block.attempts, block.reason, block.size) == ("s:0", 4, 3, "é", 3)
    assert store.dead.count() == (1, 4)
    account = store.account()
    assert (account.dead, account.reconciles) == (4, True)
    assert store.stored(a_block()) == [Standing.DEAD]


def test_the_newest_come_first_and_a_payload_may_be_cut(store: Store) -> None:
    for number in range(5):
        store.bury(0, 4, None, payload=b"abcdef", origin=str(number))
    assert [block.id for block in store.dead.newest(2)] == [5, 4]
    assert [block.id for block in store.dead.newest(9, before=4)] == [3, 2, 1]
    assert store.dead.newest(9, before=1) == []
    for most, payload in ((4, b"abcd"), (6, b"abcdef"), (2**31 - 1, b"abcdef")):
        found = store.dead.show(1, most)
        assert found is not None
        assert (found[0].size, found[1]) == (6, payload)


def test_a_block_is_buried_once_when_its_settlement_was_lost(store: Store) -> None:
    store.reserve(4)
    assert store.bury() is Standing.STORED
    assert store.bury() is Standing.DEAD
    assert store.bury(origin="another entry") is Standing.DEAD
    assert len(dead(store)) == 1


def test_a_block_that_was_stored_is_not_buried(store: Store) -> None:
    store.reserve(4)
    store.stored(a_block())
    assert store.bury() is Standing.SETTLED
    assert store.bury(first_row=4) is Standing.STALE
    assert dead(store) == []
    assert store.row() == (4, True, 4, 0, 0, 0)


@pytest.mark.parametrize(("source", "rows"), [("unknown", 4), ("s", 3), (None, 0)])
def test_a_message_that_no_ledger_row_stands_behind_is_kept_once(store: Store, source: str | None, rows: int) -> None:
    store.reserve(4)
    first_row = 0 if source else None
    for origin in ("an entry", "an entry", "another entry"):
        assert store.bury(first_row, rows, source, origin=origin) is Standing.STORED
    assert [row[2:5] for row in dead(store)] == [(None, None, rows)] * 2
    assert store.row() == (4, False, None, None, None, None)
    assert store.account().reconciles


def test_ids_of_any_length_can_be_buried(store: Store) -> None:
    text = "".join(map(chr, range(0x10000, 0x10000 + 2_000)))
    for origin in ("x" * 128, "\U0001f600" * 128):
        assert store.bury(source=None, first_row=None, rows=0, message_id=text, origin=origin) is Standing.STORED
    assert [row[1] for row in dead(store)] == [text, text]


def test_collectors_that_bury_and_store_one_block_at_once_settle_it_once(store: Store) -> None:
    writers = [store.writer(), store.writer()]
    for turn in range(15):
        first_row = 4 * turn
        store.reserve(4)
        block = a_block(first_row=first_row)
        found = at_once(
            [
                lambda: writers[0].store([block])[0],  # noqa: B023
                lambda: store.bury(first_row=first_row),  # noqa: B023
                lambda: writers[1].store([block])[0],  # noqa: B023
            ]
        )
        others = Standing.DEAD if found[1] is Standing.STORED else Standing.SETTLED
        assert sorted(found, key=str) == sorted([Standing.STORED, others, others], key=str)
    account = store.account()
    assert account.reconciles
    assert (account.read, account.dead) == (60, store.dead.count()[1])


def test_a_replay_is_stored_once_however_often_it_comes(store: Store) -> None:
    store.reserve(4)
    store.bury()
    writer = store.writer()
    block = a_block(blank=1, rejected=[Rejection(3, "value", "x")])
    assert writer.store_replayed(block, 1) is Standing.STORED
    assert writer.store_replayed(block, 1) is Standing.SETTLED
    assert writer.store([block]) == [Standing.SETTLED]
    assert store.row() == (4, True, 2, 1, 1, 0)
    assert dead(store) == []
    assert store.account().reconciles


def test_replays_of_one_block_at_once_store_it_once(store: Store) -> None:
    writers = [store.writer() for _ in range(3)]
    for turn in range(10):
        store.reserve(4)
        store.bury(first_row=4 * turn)
        block = a_block(first_row=4 * turn)
        number = store.dead.page(0, 1)[0].id
        found = at_once([lambda w=w: w.store_replayed(block, number) for w in writers])  # type: ignore[misc]  # noqa: B023
        assert sorted(found, key=str) == sorted([Standing.STORED] + [Standing.SETTLED] * 2, key=str)
    assert store.values() == list(range(40))
    assert store.account().reconciles


@pytest.mark.parametrize(("first_row", "rows"), [(0, 3), (0, 5), (4, 4), (1, 4)])
def test_a_replay_of_other_rows_is_not_stored_and_stays_dead(store: Store, first_row: int, rows: int) -> None:
    store.reserve(4, 4)
    store.stored(a_block(first_row=4))
    store.bury()
    assert store.writer().store_replayed(a_block(first_row=first_row, rows=rows), 1) is Standing.OTHER
    assert [row[1] for row in dead(store)] == ["s:0"]
    assert store.values() == [4, 5, 6, 7]


def test_a_message_that_names_a_dead_block_of_others_takes_nothing_from_it(store: Store) -> None:
    store.reserve(4, 4)
    store.bury()
    assert store.writer().store_replayed(a_block(first_row=4), 1) is Standing.OTHER
    assert len(dead(store)) == 1
    assert store.row(4) == (4, False, None, None, None, None)


@pytest.mark.parametrize("source", ["s", "nobodys"])
def test_a_replay_whose_commit_was_lost_is_stored_once_and_its_gpus_are_listed(store: Store, source: str) -> None:
    if source == "s":
        store.reserve(4)
    store.bury(source=source)
    url, proxy = store.proxied()
    writer = store.writer(url=url)
    proxy.lose_reply(b"COMMIT")
    with pytest.raises(Exception, match="connection"):
        writer.store_replayed(a_block(source), 1)
    seen = "SELECT count(*) FROM gpus WHERE first_seen IS NOT NULL AND last_seen IS NOT NULL"
    assert store.database.one(seen) == 0
    for delivered in (writer, store.writer()):
        assert delivered.store_replayed(a_block(source), 1) is Standing.SETTLED
        assert store.database.one(seen) == 1
        store.database.ask("UPDATE gpus SET first_seen = NULL, last_seen = NULL")
    assert store.values() == [0, 1, 2, 3]


def test_a_replay_that_dies_again_stays_the_same_dead_block(store: Store) -> None:
    store.reserve(4)
    store.bury(attempts=2)
    letter = store.letter(reason="still no good", attempts=3)
    assert store.dead.bury_again(1, letter)
    assert not store.dead.bury_again(2, letter)
    assert not store.dead.bury_again(1, store.letter(first_row=4))
    (found,) = store.dead.page(0, 10)
    assert (found.reason, found.attempts) == ("still no good", 5)
    assert store.row() == (4, True, 0, 0, 0, 4)


def test_rows_that_nobody_reserved_are_replayed_into_a_stream_of_their_own(store: Store) -> None:
    for first_row in (0, 4, 4):
        store.bury(source="u", first_row=first_row, origin=f"o{len(dead(store))}")
    writer = store.writer()
    assert writer.store_replayed(a_block("u"), 1) is Standing.STORED
    assert writer.store_replayed(a_block("u", first_row=4), 2) is Standing.STORED
    assert writer.store_replayed(a_block("u", first_row=4), 3) is Standing.OTHER
    assert store.values() == list(range(8))
    assert [(a.source, a.read, a.stored, a.reconciles) for a in store.accounts.of()] == [("u:replayed", 8, 8, True)]
    assert store.accounts.orphans() == 0


def test_a_streamer_that_comes_to_a_source_after_its_replay_reads_all_of_it(store: Store) -> None:
    store.bury(source="u", first_row=4)
    assert store.writer().store_replayed(a_block("u", first_row=4), 1) is Standing.STORED
    store.reserve(4, 4, source="u", length=8)
    assert store.stored(a_block("u"), a_block("u", first_row=4)) == [Standing.STORED] * 2
    assert store.account("u").complete
    assert store.account("u").reconciles


def test_a_replay_of_rows_that_a_streamer_will_come_to_is_left_to_it(store: Store) -> None:
    store.bury(source="u", first_row=4)
    store.reserve(4, source="u")
    assert store.writer().store_replayed(a_block("u", first_row=4), 1) is Standing.OTHER
    store.reserve(4, source="u")
    assert store.stored(a_block("u", first_row=4)) == [Standing.STORED]
    assert len(dead(store)) == 1


def test_a_slice_that_nobody_could_read_goes_back_to_the_streamers_once(store: Store) -> None:
    store.reserve(4)
    store.bury(format=RAW_FORMAT)
    rereads = at_once([lambda: store.dead_of_its_own().reread(1)] * 3)
    assert sorted(rereads) == [False, False, True]
    assert dead(store) == []
    assert store.row() == (4, False, None, None, None, None)
    store.lapse()
    claimed = store.ledger().claim([0])
    assert claimed is not None
    assert claimed.tries == 1
    assert store.stored(a_block()) == [Standing.STORED]


def test_a_slice_without_a_ledger_row_is_not_lost_by_reading_again(store: Store) -> None:
    store.reserve(4)
    store.bury(format=RAW_FORMAT)
    store.bury(format=RAW_FORMAT, source=None, first_row=None)
    store.database.ask("DELETE FROM blocks")
    assert not store.dead.reread(1)
    assert not store.dead.reread(2)
    assert len(dead(store)) == 2


def test_what_is_dropped_stays_counted_and_cannot_be_replayed(store: Store) -> None:
    store.reserve(4)
    store.bury()
    assert store.dead.drop(1)
    assert not store.dead.drop(1)
    assert store.dead.show(1) is None
    assert store.writer().store_replayed(a_block(), 1) is Standing.SETTLED
    assert store.database.one("SELECT count(*) FROM gpus") == 0
    assert store.values() == []
    account = store.account()
    assert (account.dead, account.reconciles) == (4, True)


def test_dead_blocks_are_listed_page_by_page(store: Store) -> None:
    store.database.ask(
        "INSERT INTO dead_blocks (message_id, rows, format, reason, attempts, origin, payload)"
        " SELECT n::text, 1, '', '', 1, '', '' FROM generate_series(1, 1203) n"
    )
    assert [block.message_id for block in store.dead.all()] == [str(n) for n in range(1, 1204)]
    assert [block.id for block in store.dead.page(1_200, 2)] == [1_201, 1_202]
    assert store.dead.count() == (1_203, 1_203)
