"""The ledger against a model: whatever order things happen in, each block is settled once and every reading counted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

import psycopg
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from telemetry.block import Block, Rejection
from telemetry.store.gate import Standing, open_gate
from telemetry.store.ledger import Reservation
from tests.fixtures.ledger import Store, a_block

PICK = st.integers(0, 10_000)
SOURCES = count()


@dataclass
class Row:
    """What the model knows of a ledger row."""

    rows: int
    fate: str = "open"  # open, stored or dead
    dead_id: int | None = None


Message = tuple[int, int, int | None]
"""(first row, rows, dead block that it replays) of what was ever published: it may be delivered again at any time."""


class Model(RuleBasedStateMachine):
    """Streamers, collectors and a person, one step at a time, on one source."""

    def __init__(self, store: Store, collectors: list[Any]) -> None:
        super().__init__()
        self.store, self.writers = store, collectors
        self.source = f"model-{next(SOURCES)}"
        self.ledger = store.ledger(self.source)
        self.rows: dict[int, Row] = {}
        self.published: list[Message] = []
        self.dropped = 0

    def block(self, first_row: int, rows: int) -> Block:
        """The readings of these rows: of three, one is blank, of four, one more is rejected."""
        rejected = [Rejection(first_row, "value", str(first_row))] if rows > 3 else []
        return a_block(self.source, first_row, rows, blank=int(rows > 2), rejected=rejected)

    def some(self, fate: str, pick: int) -> tuple[int, Row]:
        """One of the rows of this fate."""
        found = [(first_row, row) for first_row, row in self.rows.items() if row.fate == fate]
        return found[pick % len(found)]

    def has(self, fate: str) -> bool:
        """Whether there is one."""
        return any(row.fate == fate for row in self.rows.values())

    def expected(self, first_row: int, rows: int, when_open: Standing) -> Standing:
        """What the gate must say."""
        row = self.rows.get(first_row)
        if row is None:
            return Standing.STALE if self.rows else Standing.UNKNOWN
        if row.fate != "open":
            return Standing.DEAD if row.fate == "dead" else Standing.SETTLED
        return when_open if row.rows == rows else Standing.OTHER

    @rule(rows=st.integers(1, 6))
    def reserve(self, rows: int) -> None:
        """A streamer takes the next rows, and may die before it publishes them."""
        reserved = self.ledger.reserve(rows)
        assert reserved == Reservation(sum(row.rows for row in self.rows.values()), rows, None, 0)
        self.rows[reserved.first_row] = Row(rows)

    @precondition(lambda self: self.has("open"))
    @rule(pick=PICK)
    def publish(self, pick: int) -> None:
        """A block comes into the queue, for the first time or again."""
        first_row, row = self.some("open", pick)
        self.published.append((first_row, row.rows, None))

    @rule()
    def republish(self) -> None:
        """Everything that is due is claimed: what is open, and nothing else."""
        with self.ledger.session.use() as connection:
            connection.execute("UPDATE blocks SET leased_until = '-infinity' WHERE source = %s", (self.source,))
        due = self.ledger.due(-1, 1_000)
        assert due == sorted(first_row for first_row, row in self.rows.items() if row.fate == "open")
        while (claimed := self.ledger.claim(due)) is not None:
            self.published.append((claimed.first_row, claimed.rows, None))
            due.remove(claimed.first_row)
        assert due == []

    @precondition(lambda self: self.has("open"))
    @rule(pick=PICK)
    def split(self, pick: int) -> None:
        """A block is too large for a message."""
        first_row, row = self.some("open", pick)
        if row.rows > 1:
            keep = row.rows // 2
            self.ledger.split(Reservation(first_row, row.rows, None, 0), keep)
            self.rows[first_row + keep], row.rows = Row(row.rows - keep), keep

    @precondition(lambda self: self.published)
    @rule(picks=st.lists(PICK, min_size=1, max_size=4), who=st.integers(0, 1), crash=st.booleans())
    def deliver(self, picks: list[int], who: int, crash: bool) -> None:
        """A collector gets some messages, and may die before its commit."""
        chosen = {pick % len(self.published) for pick in picks}
        found = {m[0]: m for m in (self.published[n] for n in chosen) if m[2] is None}
        blocks = [self.block(first_row, rows) for first_row, rows, _ in found.values()]
        if not blocks:
            return
        if crash:
            with self.writers[who].session.use() as connection, connection.transaction() as transaction:
                open_gate(connection, blocks)
                raise psycopg.Rollback(transaction)
            return
        expected = [self.expected(block.first_row, block.rows, Standing.STORED) for block in blocks]
        assert self.writers[who].store(blocks) == expected
        for block, standing in zip(blocks, expected, strict=True):
            if standing is Standing.STORED:
                self.rows[block.first_row].fate = "stored"

    @precondition(lambda self: self.published)
    @rule(pick=PICK)
    def die(self, pick: int) -> None:
        """A collector cannot store a message."""
        first_row, rows, dead_id = self.published[pick % len(self.published)]
        letter = self.store.letter(first_row, rows, self.source)
        if dead_id is not None and self.store.dead.bury_again(dead_id, letter):
            return
        expected = self.expected(first_row, rows, Standing.STORED)
        if expected is Standing.OTHER:
            return  # kept beside the ledger: of no account
        assert self.store.dead.bury(letter) is expected
        if expected is Standing.STORED:
            (newest,) = self.store.database.ask("SELECT max(id) FROM dead_blocks WHERE source = %s", self.source)[0]
            self.rows[first_row].fate, self.rows[first_row].dead_id = "dead", newest

    @precondition(lambda self: self.has("dead"))
    @rule(pick=PICK)
    def send_again(self, pick: int) -> None:
        """A person sends a dead block through the queue again; more than once, perhaps."""
        first_row, row = self.some("dead", pick)
        if row.dead_id is not None:
            self.published.append((first_row, row.rows, row.dead_id))

    @precondition(lambda self: any(message[2] is not None for message in self.published))
    @rule(pick=PICK, who=st.integers(0, 1))
    def deliver_replay(self, pick: int, who: int) -> None:
        """A collector gets a replay."""
        replays = [message for message in self.published if message[2] is not None]
        first_row, rows, dead_id = replays[pick % len(replays)]
        row = self.rows[first_row]
        there = row.fate == "dead" and row.dead_id == dead_id
        became = self.writers[who].store_replayed(self.block(first_row, rows), dead_id)
        assert became is (Standing.STORED if there else Standing.SETTLED)
        if there:
            row.fate, row.dead_id = "stored", None

    @precondition(lambda self: self.has("dead"))
    @rule(pick=PICK)
    def reread(self, pick: int) -> None:
        """A person gives a dead block back to the streamers."""
        _, row = self.some("dead", pick)
        if row.dead_id is not None:
            assert self.store.dead.reread(row.dead_id)
            row.fate, row.dead_id = "open", None

    @precondition(lambda self: self.has("dead"))
    @rule(pick=PICK)
    def drop(self, pick: int) -> None:
        """A person gives a dead block up."""
        _, row = self.some("dead", pick)
        if row.dead_id is not None:
            assert self.store.dead.drop(row.dead_id)
            row.dead_id = None

    @invariant()
    def every_reading_is_counted(self) -> None:
        """read = stored + blank + rejected + dead + unsettled, and each is what the model says."""
        if not self.rows:
            return
        account = self.store.account(self.source)
        assert account.reconciles
        by_fate = {f: sum(row.rows for row in self.rows.values() if row.fate == f) for f in ("open", "stored", "dead")}
        assert (account.unsettled, account.dead) == (by_fate["open"], by_fate["dead"])
        assert account.stored + account.blank + account.rejected == by_fate["stored"]

    def teardown(self) -> None:
        """What stands in the tables is each stored block's readings, once."""
        blocks = [self.block(first_row, row.rows) for first_row, row in self.rows.items() if row.fate == "stored"]
        values = "SELECT s.value FROM samples s JOIN blocks b USING (block) WHERE b.source = %s ORDER BY s.value"
        found = [value for (value,) in self.store.database.ask(values, self.source)]
        assert found == sorted(value for block in blocks for value in block.value.tolist())
        rejected = self.store.database.ask("SELECT row FROM rejected_rows WHERE source = %s ORDER BY row", self.source)
        assert rejected == sorted((item.row,) for block in blocks for item in block.rejected)
        self.ledger.session.close()


def test_whatever_order_things_happen_in_each_block_is_settled_once(store: Store) -> None:
    writers = [store.writer(), store.writer()]
    model: Any = lambda: Model(store, writers)  # noqa: E731  # hypothesis asks for a class, and only calls it
    run_state_machine_as_test(model, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))
    assert store.accounts.orphans() == 0
