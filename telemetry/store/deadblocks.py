"""dead_blocks: messages that could not be stored, with their payload; burying, looking, replaying, dropping."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from telemetry.store.errors import StoreBusy
from telemetry.store.gate import Standing, standing_of
from telemetry.store.queries import query
from telemetry.store.session import Connections

RAW_FORMAT = "csv"
"""Format of a slice that no streamer could read: raw rows under their header. It is replayed by reading it again."""

PAGE = 500
LAST = 2**63 - 1
"""The largest id that there may be."""
WHOLE = 2**31 - 1
"""Bytes: more than a payload can have."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that cannot be stored. `source` None: no ledger row can be meant by it.

    `origin` says where it came from (a stream entry, a streamer); a message of one origin is buried once.
    """

    message_id: str
    source: str | None
    first_row: int | None
    rows: int
    format: str
    reason: str
    attempts: int
    origin: str
    payload: bytes


class DeadBlock(NamedTuple):
    """A row of dead_blocks; `size` is the payload's, in bytes."""

    id: int
    message_id: str
    source: str | None
    first_row: int | None
    rows: int
    format: str
    reason: str
    attempts: int
    origin: str
    died_at: datetime
    size: int


class DeadBlocks:
    """The dead blocks, for one session; for many readers at once when that is a pool, which only looks."""

    def __init__(self, *, session: Connections) -> None:
        self.session = session

    def bury(self, letter: Letter) -> Standing:
        """Keep the payload and settle the ledger row as dead, in one transaction.

        Anything but STORED means that nothing had to be kept: the block was settled already.
        """
        values: dict[str, Any] = {field: getattr(letter, field) for field in Letter.__dataclass_fields__}
        with self.session.use() as connection, connection.transaction():
            if letter.source is not None and connection.execute(query("gate_dead"), values).fetchone() is None:
                key = (letter.source, letter.first_row or 0)
                standing = standing_of(connection, [(*key, letter.rows)])[key]
                if standing is Standing.OPEN:
                    raise StoreBusy(f"somebody else was at {letter.message_id}")
                if standing not in (Standing.OTHER, Standing.UNKNOWN):
                    return standing
                values |= {"source": None, "first_row": None}
            connection.execute(query("bury"), values)
        return Standing.STORED

    def bury_again(self, dead_id: int, letter: Letter) -> bool:
        """A block that was replayed died again: keep why. False when that dead block is gone, or another message."""
        values = {"message_id": letter.message_id, "reason": letter.reason, "attempts": letter.attempts}
        return self._one("bury_again", id=dead_id, **values) is not None

    def all(self) -> Iterator[DeadBlock]:
        """Every dead block without its payload, oldest first, read page by page."""
        after = 0
        while page := self.page(after, PAGE):
            yield from page
            after = page[-1].id

    def page(self, after: int, limit: int) -> list[DeadBlock]:
        """At most `limit` dead blocks with an id above `after`."""
        with self.session.use() as connection:
            found = connection.execute(query("dead_list"), {"after": after, "limit": limit}).fetchall()
        return [DeadBlock(*row) for row in found]

    def newest(self, limit: int, before: int = LAST) -> list[DeadBlock]:
        """At most `limit` dead blocks with an id below `before`, the newest first."""
        with self.session.use() as connection:
            found = connection.execute(query("dead_newest"), {"before": before, "limit": limit}).fetchall()
        return [DeadBlock(*row) for row in found]

    def show(self, dead_id: int, most: int = WHOLE) -> tuple[DeadBlock, bytes] | None:
        """One of them and the first `most` bytes of its payload; None when there is none of this id."""
        row = self._one("dead_show", id=dead_id, most=most)
        return None if row is None else (DeadBlock(*row[:-1]), row[-1])

    def count(self) -> tuple[int, int]:
        """(blocks, readings) that are dead."""
        row = self._one("dead_count")
        return (0, 0) if row is None else (row[0], row[1])

    def reread(self, dead_id: int) -> bool:
        """Give a slice in RAW_FORMAT back to the streamers of its source."""
        return self._one("reread", id=dead_id) is not None

    def drop(self, dead_id: int) -> bool:
        """Forget the payload for good; its readings stay counted as dead."""
        return self._one("dead_drop", id=dead_id) is not None

    def _one(self, name: str, **values: object) -> tuple[Any, ...] | None:
        with self.session.use() as connection:
            return connection.execute(query(name), values).fetchone()
