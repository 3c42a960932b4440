"""The streamer's side of the ledger: reserving rows of a source, and finding what still has to be published.

The protocol (DESIGN, section 4): a reservation and the cursor move in one statement; every block that is not
settled some seconds later is looked for in the queue and published again when it is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.store.queries import query
from telemetry.store.session import Session

PUBLISH_LEASE = 3.0
"""Seconds from reserving a block to having published it; renewed while the queue is full."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Rows of a source that this streamer alone shall publish now.

    `time0` (µs since 1970) is when the first one was read, None for a source with times of its own;
    `tries` counts the streamers that claimed it and did not come to publish it.
    """

    first_row: int
    rows: int
    time0: int | None
    tries: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the streamers of a source are. `length` None: it has no end."""

    next_row: int
    length: int | None
    unsettled: int

    @property
    def done(self) -> bool:
        """Every reading is reserved, and every block is settled."""
        return self.length is not None and self.next_row >= self.length and not self.unsettled


class Ledger:
    """The ledger of one source, for one streamer (one thread)."""

    def __init__(self, *, session: Session, source: str, length: int | None, stamped: bool) -> None:
        self.session, self.source, self.length, self.stamped = session, source, length, stamped

    def reserve(self, rows: int) -> Reservation | None:
        """The next `rows` readings, fewer at the end; None when all are reserved."""
        found = self._one("reserve", rows=rows, length=self.length, stamped=self.stamped, lease=PUBLISH_LEASE)
        return None if found is None else Reservation(*found)

    def due(self, after: int, limit: int) -> list[int]:
        """First rows, in order, of blocks that are neither settled nor leased; at most `limit` beyond `after`."""
        with self.session.use() as connection:
            found = connection.execute(query("due"), {"source": self.source, "after": after, "limit": limit})
            return [first_row for (first_row,) in found]

    def claim(self, first_rows: Sequence[int]) -> Reservation | None:
        """One of these blocks, if it is still due and nobody else's."""
        found = self._one("claim", first_rows=list(first_rows), lease=PUBLISH_LEASE)
        return None if found is None else Reservation(*found)

    def renew(self, first_row: int) -> None:
        """Keep a reservation while the queue is full."""
        self._one("renew", first_row=first_row, lease=PUBLISH_LEASE)

    def pardon(self, first_row: int) -> None:
        """The tries of a claimed block do not count: it was published, or the queue was away, not its reader."""
        self._one("pardon", first_row=first_row)

    def split(self, reserved: Reservation, keep: int) -> int | None:
        """Cut a block that is too large for a message: the first row of the second part, which is due at once.

        None when the ledger has no such unsettled block any more: another streamer cut it first, or it is settled.
        """
        found = self._one("split", first_row=reserved.first_row, rows=reserved.rows, keep=keep)
        return None if found is None else found[0]

    def progress(self) -> Progress | None:
        """None before the first reservation."""
        found = self._one("progress")
        return None if found is None else Progress(*found)

    def _one(self, name: str, **values: object) -> tuple[int, ...] | None:
        with self.session.use() as connection:
            cursor = connection.execute(query(name), {"source": self.source, **values})
            return cursor.fetchone() if cursor.description else None
