"""Pruning the ledger: rows of blocks that were settled long ago become sums and number ranges.

What does not live here: samples. They stay, and `accounts` goes on telling them from samples of no block.
"""

from typing import NamedTuple

from telemetry.store.queries import query
from telemetry.store.session import Session

BATCH = 1_000
"""Ledger rows of one statement, which holds the cursor of each of their sources for some milliseconds."""

FRESH = 10.0
"""Seconds for which a person's pruning leaves rows alone: who listens to the live tail looks every 5 s at most, and one
whose blocks are gone before he saw them has to begin anew."""


class Pruned(NamedTuple):
    """What one step did. `more`: it stopped at its limit, or another session was at it and may have."""

    blocks: int
    readings: int
    more: bool


class Pruning:
    """Prunes rows settled more than `keep` seconds ago, for one session. Several may do so at a time."""

    def __init__(self, *, session: Session, keep: float) -> None:
        self.session, self.keep = session, keep

    def step(self, limit: int = BATCH) -> Pruned:
        """Prune at most `limit` rows, the oldest first; none while another session is at it."""
        with self.session.use() as connection:
            row = connection.execute(query("prune"), {"keep": self.keep, "limit": limit}).fetchone()
        blocks, readings, alone = row or (0, 0, True)
        return Pruned(blocks, readings, blocks >= limit or not alone)
