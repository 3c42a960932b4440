"""The ledger against a model: whatever order things happen in, each block is settled once and every reading counted.

What lives here: one step at a time, by streamers, collectors, pruners and a person. What does not: deaths in mid-step,
and steps at the same time (`test_ledger_model_crashes`).
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from telemetry.store.gate import Standing
from telemetry.store.ledger import Reservation
from tests.fixtures.ledger import Store
from tests.fixtures.ledger_model import Machine, Row, run_model

PICK = st.integers(0, 60)
SIZE = st.integers(1, 6)
WHO = st.integers(0, 1)


class Model(Machine):
    """Streamers, collectors, pruners and a person, one step at a time, on one source."""

    @initialize(stamped=st.booleans(), length=st.none() | st.integers(20, 60), sizes=st.lists(SIZE, max_size=8))
    def begin(self, stamped: bool, length: int | None, sizes: list[int]) -> None:
        """A source of any kind, of which nothing or some blocks are published."""
        self.open(stamped, length)
        for rows in sizes:
            self.reserve(rows)
            self.publish(len(self.known.rows) - 1)

    @rule(rows=SIZE)
    def reserve(self, rows: int) -> None:
        """A streamer takes the next rows, and may die before it publishes them."""
        known, length = self.known, self.ledger.length
        reserved = self.ledger.reserve(rows)
        known.reserved = True
        if length is not None and known.next_row >= length:
            assert reserved is None
            return
        assert reserved is not None
        least = rows if length is None else min(rows, length - known.next_row)
        assert reserved == Reservation(known.next_row, least, reserved.time0, 0)
        assert (reserved.time0 is not None) == self.ledger.stamped
        known.rows[known.next_row] = Row(least, reserved.time0, leased=True)
        known.next_row += rows

    @rule(pick=PICK)
    def publish(self, pick: int) -> None:
        """A block comes into the queue, for the first time or again."""
        if found := self.known.of_fate("open", pick):
            self.known.send(found[0], found[1].rows)

    @rule(first_row=st.integers(0, 20), rows=st.integers(1, 4))
    def forge(self, first_row: int, rows: int) -> None:
        """A message of rows that are perhaps not reserved, or in another size."""
        self.known.send(first_row, rows)

    @rule(pick=PICK, everything=st.booleans())
    def lapse(self, pick: int, everything: bool) -> None:
        """A lease runs out, or all of them."""
        found = [first_row for first_row, row in self.known.rows.items() if row.leased and row.fate == "open"]
        lapsed = found if everything or not found else [found[pick % len(found)]]
        for first_row in lapsed:
            self.known.rows[first_row].leased = False
        lapse = "UPDATE blocks SET leased_until = '-infinity' WHERE source = %s AND first_row = ANY(%s)"
        with self.ledger.session.use() as connection:
            connection.execute(lapse, [self.known.source, lapsed])

    @rule(absent=st.sets(st.integers(0, 9)), published=st.booleans())
    def republish(self, absent: set[int], published: bool) -> None:
        """What is due is what is open and not leased; of that, what the queue does not have is claimed."""
        due = self.ledger.due(-1, 1_000)
        assert due == self.known.due()
        wanted = [first_row for n, first_row in enumerate(due) if n in absent]
        while (claimed := self.ledger.claim(wanted)) is not None:
            row = self.known.rows[claimed.first_row]
            row.leased, row.tries = True, row.tries + 1
            assert claimed == Reservation(claimed.first_row, row.rows, row.time0, row.tries)
            wanted.remove(claimed.first_row)
            if published:
                self.known.send(claimed.first_row, claimed.rows)
                self.ledger.pardon(claimed.first_row)
                row.tries = 0
        assert wanted == []

    @rule(pick=PICK)
    def renew(self, pick: int) -> None:
        """The queue is full; by then the block is perhaps settled, or pruned."""
        if found := self.known.any_row(pick):
            first_row, row = found
            self.ledger.renew(first_row)
            row.leased |= row.fate == "open"

    @rule(pick=PICK, stale=st.booleans())
    def split(self, pick: int, stale: bool) -> None:
        """A block is too large for a message; `stale`: it was cut before."""
        found = self.known.any_row(pick)
        if found is None or found[1].rows == 1:
            return
        first_row, row = found
        keep = row.rows // 2
        second = self.ledger.split(Reservation(first_row, row.rows + stale, row.time0, 0), keep)
        assert second == (first_row + keep if row.fate == "open" and not stale else None)
        if second is not None:
            time0 = None if row.time0 is None else row.time0 + keep
            self.known.rows[second], row.rows = Row(row.rows - keep, time0), keep

    @precondition(lambda self: self.known.sent)
    @rule(picks=st.lists(PICK, min_size=1, max_size=5), who=WHO)
    def deliver(self, picks: list[int], who: int) -> None:
        """A collector gets some messages: fresh, stale, for the second time, of another size."""
        blocks = self.known.batch(picks)
        expected = [self.known.expected(block.first_row, block.rows) for block in blocks]
        assert self.writers[who].store(blocks) == expected
        for block, standing in zip(blocks, expected, strict=True):
            if standing is Standing.STORED:
                self.known.rows[block.first_row].fate = "stored"

    @precondition(lambda self: self.known.sent)
    @rule(pick=PICK)
    def die(self, pick: int) -> None:
        """A collector cannot store a message; a replay goes back to where it was, if that is there."""
        known, dead = self.known, self.store.dead
        sent = known.any_sent(pick)
        letter = known.letter(self.store, sent)
        if sent.dead_id is not None:
            there = sent.dead_id in known.dead_ids()
            assert dead.bury_again(sent.dead_id, letter) == there
            if there:
                return
        expected = known.expected(sent.first_row, sent.rows)
        beside = expected in (Standing.OTHER, Standing.UNKNOWN)
        assert dead.bury(letter) is (Standing.STORED if beside else expected)
        kept_before = any(other.entry == sent.entry for other in known.beside.values())
        if beside and not kept_before:
            known.beside[self.newest_dead()] = sent
        elif expected is Standing.STORED:
            row = known.rows[sent.first_row]
            # Where the letter was kept before its rows were reserved it is not kept again.
            row.fate, row.dead_id = "dead", None if kept_before else self.newest_dead()

    @rule(pick=PICK)
    def send_again(self, pick: int) -> None:
        """A person sends a dead block through the queue again; more than once, perhaps."""
        if found := sorted(self.known.dead_ids().items()):
            dead_id, (first_row, rows) = found[pick % len(found)]
            self.known.send(first_row, rows, dead_id)

    @precondition(lambda self: any(sent.dead_id for sent in self.known.sent))
    @rule(pick=PICK, who=WHO)
    def deliver_replay(self, pick: int, who: int) -> None:
        """A collector gets a replay."""
        replays = [sent for sent in self.known.sent if sent.dead_id]
        sent = replays[pick % len(replays)]
        expected = self.known.expected_of_replay(sent)
        block = self.known.block(sent.first_row, sent.rows)
        assert self.writers[who].store_replayed(block, sent.dead_id or 0) is expected
        if expected is Standing.STORED:
            self.known.replayed(sent)

    @rule(pick=PICK)
    def reread(self, pick: int) -> None:
        """A person gives a dead block back to the streamers."""
        if found := sorted(self.known.dead_ids().items()):
            dead_id, (first_row, _) = found[pick % len(found)]
            row = self.known.rows.get(first_row)
            meant = row is not None and row.dead_id == dead_id and row.fate == "dead"
            assert self.store.dead.reread(dead_id) == meant
            if row is not None and meant:
                self.known.rows[first_row] = Row(row.rows, row.time0)

    @rule(pick=PICK)
    def drop(self, pick: int) -> None:
        """A person gives a dead block up."""
        if found := sorted(self.known.dead_ids().items()):
            dead_id, (first_row, _) = found[pick % len(found)]
            assert self.store.dead.drop(dead_id)
            if self.known.beside.pop(dead_id, None) is None:
                self.known.rows[first_row].dead_id = None

    @rule(limit=st.integers(1, 4))
    def prune(self, limit: int) -> None:
        """What is settled becomes sums."""
        prunable = self.known.prunable()
        assert self.pruning.step(limit).blocks == min(limit, len(prunable))
        assert self.note_pruned() <= prunable

    @invariant()
    def everything_is_accounted_for(self) -> None:
        """At every step."""
        self.check()


@pytest.mark.timeout(600)  # a failure is made as short as it can be
def test_whatever_order_things_happen_in_each_block_is_settled_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_model(Model, store, monkeypatch, examples=8, steps=40)
