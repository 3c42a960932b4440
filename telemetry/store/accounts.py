"""Reconciling: what a source gave against what stands in the tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.store.queries import query
from telemetry.store.session import Session

QUESTIONS = "accounts.sql"
"""The file of the statements that are asked here."""


@dataclass(frozen=True, slots=True)
class Account:
    """One source and what became of its readings. `stored` is a count of samples, by block, of pruned blocks too.

    Of those stored, `dropped` were counted as retention dropped them, and are there no more.

    `read` is the sum of the settled blocks' rows, `unsettled` that of the others: under way, or to be published again.
    `differing` blocks have another number of samples than the ledger says, all pruned blocks of the source counting
    as one; `length` None: the source has no end.
    """

    source: str
    next_row: int
    length: int | None
    read: int
    unsettled: int
    stored: int
    blank: int
    rejected: int
    dead: int
    differing: int
    dropped: int = 0

    @property
    def lost(self) -> int:
        """Readings that were reserved and stand in no block; anything but 0 is a fault."""
        reserved = self.next_row if self.length is None else min(self.next_row, self.length)
        return reserved - self.read - self.unsettled

    @property
    def reconciles(self) -> bool:
        """read = stored + blank + rejected + dead, no block is missing, and each has its own samples."""
        settled = self.stored + self.blank + self.rejected + self.dead
        return self.read == settled and not self.differing and not self.lost

    @property
    def complete(self) -> bool:
        """Everything that the source has was read and is settled."""
        return self.length is not None and self.read == self.length and not self.unsettled


class Accounts:
    """Questions about the ledger as a whole, for one session."""

    def __init__(self, *, session: Session) -> None:
        self.session = session

    def of(self, source: str | None = None) -> Sequence[Account]:
        """One source's account, or all, by name. Reads every sample's block number: seconds on large tables."""
        with self.session.use() as connection:
            return [
                Account(*row)
                for row in connection.execute(query("reconcile", file=QUESTIONS), {"source": source}).fetchall()
            ]

    def orphans(self) -> int:
        """Samples that no block of the ledger explains, pruned or not, there or dropped; anything but 0 is a fault."""
        with self.session.use() as connection:
            row = connection.execute(query("orphans", file=QUESTIONS)).fetchone()
        return row[0] if row else 0

    def gpus(self, source: str) -> int:
        """How many GPUs have samples of this source."""
        with self.session.use() as connection:
            row = connection.execute(query("source_gpus", file=QUESTIONS), {"source": source}).fetchone()
        return row[0] if row else 0
