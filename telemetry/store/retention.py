"""Retention: samples older than a time are dropped, a chunk at a time, and counted as they go.

What lives here: which chunks are due, and asking for them to be dropped. What does not: the transaction that counts and
drops (sql/idempotent/310_retention.sql), who asks and how often (`telemetry.collector.retaining`), rows of the ledger
(`pruning`).

What was dropped is kept by block as long as the ledger has the block, then by source: so each account of
`telemetry verify` stays exact, at the price of some bytes for a block. It is counted in the samples that go, by the
transaction in which they go: what was deleted by hand before stays known as missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from telemetry.store.errors import StoreLocked
from telemetry.store.peers import end_stuck_peers
from telemetry.store.queries import query
from telemetry.store.session import Session

QUESTIONS = "retention.sql"
"""The file of the statements that are asked here."""

LEAST = 86_400.0
"""Seconds for which samples are kept in any case: a chunk is a day, and rollups are to be made of it first."""


SAMPLES = "samples"

PATIENCE = 10.0
"""Seconds for which a counted chunk is tried to be locked for its drop, again and again for moments."""


class Outcome(Enum):
    """What became of a chunk that was due."""

    DROPPED = "dropped"
    KEPT = "kept"
    """It has readings with times of their source, and only stamped ones are to go; or a rollup's samples are left."""
    WAITING = "waiting"
    """Its rollups do not say yet all that it says: a refresh has to come first."""
    LOCKED = "locked"
    """Somebody reads it, or stores in it, for longer than one may stand in the way. What another version says, too."""
    BUSY = "busy"
    """Another session drops, or rollups are being refreshed."""
    GONE = "gone"
    YOUNG = "young"

    @classmethod
    def _missing_(cls, value: object) -> "Outcome":
        return cls.LOCKED


@dataclass(frozen=True, slots=True)
class Rule:
    """For how many seconds samples are kept, and rollups (None: for ever), which is no shorter.

    `stamped_only`: days with readings whose times are their source's own are kept all the same.
    """

    keep: float
    stamped_only: bool
    rollups: float | None = None


class Chunk(NamedTuple):
    """A chunk, or a partition, of a table; `ends` is exclusive. `own_times`: some of its readings may have these."""

    number: int
    begins: datetime
    ends: datetime
    own_times: bool
    table: str = SAMPLES


class Dropped(NamedTuple):
    """What became of one chunk, and how many readings were dropped."""

    chunk: Chunk
    outcome: Outcome
    readings: int


class Retention:
    """Drops what a rule no longer keeps, for one session. Of several only one does at a time. May raise StoreError."""

    def __init__(self, *, session: Session, rule: Rule, lease: float, patience: float = PATIENCE) -> None:
        self.session, self.rule, self.lease, self.patience = session, rule, lease, patience

    def due(self) -> list[Chunk]:
        """The chunks that the rule no longer keeps, the latest first."""
        return [chunk for chunk in self._due("due", self.rule.keep) if not (chunk.own_times and self.rule.stamped_only)]

    def due_rollups(self) -> list[Chunk]:
        """The chunks of rollups that are not kept any longer and of whose times no samples are left."""
        return [] if self.rule.rollups is None else self._due("due_rollups", self.rule.rollups)

    def _due(self, name: str, keep: float) -> list[Chunk]:
        with self.session.use() as connection:
            return [Chunk(*row) for row in connection.execute(query(name, file=QUESTIONS), {"keep": keep})]

    def drop(self, chunk: Chunk) -> Dropped:
        """Drop one. Where somebody is in the way, sessions of our own that stand still for two leases are ended."""
        samples = chunk.table == SAMPLES
        name, keep = ("drop", self.rule.keep) if samples else ("drop_rollup", self.rule.rollups)
        values = {
            "chunk": chunk.number,
            "keep": keep,
            "stamped_only": self.rule.stamped_only,
            "patience": self.patience,
        }
        try:
            with self.session.use() as connection:
                row = connection.execute(query(name, file=QUESTIONS), values).fetchone()
        except StoreLocked:
            with self.session.use() as connection:
                end_stuck_peers(connection, older_than=2 * self.lease)
            return Dropped(chunk, Outcome.LOCKED, 0)
        outcome, readings = row or (Outcome.GONE.value, 0)
        return Dropped(chunk, Outcome(outcome), readings)

    def run(self) -> Iterator[Dropped]:
        """Drop all that is due, one after the other, until another session is at it."""
        for due in (self.due, self.due_rollups):
            for chunk in due():
                dropped = self.drop(chunk)
                yield dropped
                if dropped.outcome is Outcome.BUSY:
                    return
