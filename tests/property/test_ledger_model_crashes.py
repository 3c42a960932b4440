"""The ledger's model with deaths: processes end between a step's work and its commit, and work at the same time.

What lives here: steps that leave nothing behind, and steps whose order nobody knows. The others are in
`test_ledger_model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from telemetry.store.errors import StoreError
from telemetry.store.gate import Standing
from telemetry.store.ledger import Reservation
from telemetry.store.pruning import Pruning
from telemetry.store.session import Session
from tests.fixtures.ledger import Store, at_once
from tests.fixtures.ledger_model import run_model
from tests.property.test_ledger_model import PICK, WHO, Model


class Crashing(Model):
    """The same steps, and what comes of them when somebody dies or two are at it."""

    @contextmanager
    def doomed(self, session: Session, kill: bool) -> Iterator[None]:
        """What happens inside never comes to its commit: its server process is ended, or its own took back all."""
        try:
            with session.use() as connection, connection.transaction(force_rollback=not kill):
                yield
                if kill:
                    pid = connection.info.backend_pid
                    assert self.store.database.one("SELECT pg_terminate_backend(%s, 30000)", pid)
        except StoreError:
            assert kill
        else:
            assert not kill

    @precondition(lambda self: self.known.sent)
    @rule(picks=st.lists(PICK, min_size=1, max_size=5), who=WHO, kill=st.booleans())
    def a_collector_dies_before_its_commit(self, picks: list[int], who: int, kill: bool) -> None:
        """The gate was open, and samples were copied."""
        with self.doomed(self.writers[who].session, kill):
            self.writers[who].store(self.known.batch(picks))

    @precondition(lambda self: any(sent.dead_id for sent in self.known.sent))
    @rule(pick=PICK, who=WHO, kill=st.booleans())
    def a_collector_dies_before_a_replays_commit(self, pick: int, who: int, kill: bool) -> None:
        """The dead block was deleted, and its samples were copied."""
        replays = [sent for sent in self.known.sent if sent.dead_id]
        sent = replays[pick % len(replays)]
        with self.doomed(self.writers[who].session, kill):
            self.writers[who].store_replayed(self.known.block(sent.first_row, sent.rows), sent.dead_id or 0)

    @precondition(lambda self: self.known.sent)
    @rule(pick=PICK, kill=st.booleans())
    def a_collector_dies_while_it_buries(self, pick: int, kill: bool) -> None:
        """The ledger row was settled as dead."""
        sent = self.known.any_sent(pick)
        with self.doomed(self.store.asking, kill):
            self.store.dead.bury(self.known.letter(self.store, sent))

    @rule(limit=st.integers(1, 9), kill=st.booleans())
    def a_pruner_dies(self, limit: int, kill: bool) -> None:
        """Ledger rows were deleted, and sums were written."""
        with self.doomed(self.pruning.session, kill):
            self.pruning.step(limit)

    @rule(pick=PICK, what=st.sampled_from(["reserve", "claim", "split", "reread", "drop"]), kill=st.booleans())
    def a_statement_is_lost(self, pick: int, what: str, kill: bool) -> None:
        """It reached the server, which then went away."""
        dead_ids = sorted(self.known.dead_ids()) or [0]
        dead_id = dead_ids[pick % len(dead_ids)]
        first_row, row = self.known.any_row(pick) or (0, None)
        rows = max(2, row.rows if row else 0)  # one alone cannot be split
        steps: dict[str, Callable[[], object]] = {
            "reserve": lambda: self.ledger.reserve(rows),
            "claim": lambda: self.ledger.claim(self.known.due()),
            "split": lambda: self.ledger.split(Reservation(first_row, rows, None, 0), rows // 2),
            "reread": lambda: self.store.dead.reread(dead_id),
            "drop": lambda: self.store.dead.drop(dead_id),
        }
        session = self.store.asking if what in ("reread", "drop") else self.ledger.session
        with self.doomed(session, kill):
            steps[what]()

    @precondition(lambda self: self.known.sent)
    @rule(picks=st.lists(PICK, min_size=2, max_size=6), limit=st.integers(1, 4))
    def two_collectors_hold_the_same_blocks_beside_a_pruner(self, picks: list[int], limit: int) -> None:
        """Each block that is open is stored by one of them; the pruner takes only what is settled."""
        known, blocks = self.known, self.known.batch(picks)
        if not blocks:
            return
        expected = {block.first_row: known.expected(block.first_row, block.rows) for block in blocks}
        beside = Pruning(session=self.store.asking, keep=0)
        steps: list[Callable[[], Any]] = [
            lambda: self.writers[0].store(blocks),
            lambda: self.writers[1].store(blocks[::-1]),
            lambda: beside.step(limit),
        ]
        one, other, _ = at_once(steps)
        for first_row, first, second in zip(expected, one, other[::-1], strict=True):
            if expected[first_row] is Standing.STORED:
                assert sorted([first, second], key=lambda s: s is not Standing.STORED)[0] is Standing.STORED
                assert {first, second} - {Standing.STORED} <= {Standing.SETTLED, Standing.STALE}
                assert first is not second
                known.rows[first_row].fate = "stored"
            else:
                assert {first, second} <= {expected[first_row], Standing.STALE}
        prunable = known.prunable()
        assert self.note_pruned() <= prunable


@pytest.mark.timeout(600)  # a failure is made as short as it can be
def test_deaths_before_the_commit_and_steps_side_by_side_change_nothing_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_model(Crashing, store, monkeypatch, examples=4, steps=30)
