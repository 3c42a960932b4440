"""New readings in the order in which their transactions were committed; the SQL is sql/tail.sql.

What lives here: which blocks are new to who has seen as much as a mark says, and their readings. What does not: marks
themselves (`marks`), who listens and how fast (`webapi`).

Nothing is polled from a table of its own and nothing is told by who stores: a block that is settled early and committed
late is new when it is committed, to everybody, however many ask and wherever.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from sys import maxsize
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.block import MAX_TIME, MIN_TIME
from telemetry.store.copy import EPOCH_2000
from telemetry.store.queries import query
from telemetry.store.questions.marks import CLOCK, LATE, Mark, Place, Snapshot
from telemetry.store.questions.pages import Page, Readings, Series, unpack
from telemetry.store.questions.reader import Reader, moment

QUESTIONS = "tail.sql"
"""The file of the statements that are asked here."""

KEPT = 3_600_000_000
"""µs for which who was away may go on from where he was."""
TOGETHER = 50_000
"""Readings that are read by one statement, unless one block has more."""

_OVERLAP = 8_000_000
"""µs of the ledger that are looked at again and again, so that late commits seldom take a statement of their own."""
_MANY = 2_000
"""Blocks that one statement is asked for."""
_NEAR = 60_000_000
"""µs between blocks that one statement reads: what lies between is looked through."""

Known = dict[tuple[int, ...], Series]


class Forgotten(LookupError):
    """Raised when what came since a place is not told any more: too long ago, pruned from the ledger, or dropped."""


class OtherOrder(LookupError):
    """Raised when a place belongs to another order of commits: a restored, promoted or other database."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks in the order of their numbers; int64, shape (n,). `first` and `last` in µs since 1970, both inclusive."""

    number: NDArray[np.int64]
    transaction: NDArray[np.int64]
    stored: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, part: slice | NDArray[np.intp]) -> "Blocks":
        return Blocks(self.number[part], self.transaction[part], self.stored[part], self.first[part], self.last[part])

    @property
    def readings(self) -> int:
        """How many they have in all."""
        return int(self.stored.sum())

    def parts(self) -> Iterator["Blocks"]:
        """The same in order, so many at a time as one statement should read."""
        begin, taken, covered, low, high = 0, 0, 0, 0, 0
        for at, (stored, first, last) in enumerate(
            zip(*map(_listed, (self.stored, self.first, self.last)), strict=True)
        ):
            wider = min(low, first), max(high, last)
            covered += last - first
            apart = wider[1] - wider[0] > covered + _NEAR
            if at > begin and (taken + stored > TOGETHER or at - begin >= _MANY or apart):
                yield self[begin:at]
                begin, taken, covered = at, 0, last - first
            low, high = wider if at > begin else (first, last)
            taken += stored
        if len(self):
            yield self[begin:]


@dataclass(frozen=True, slots=True)
class Found:
    """Blocks that `upto` shows and `seen` does not."""

    seen: Mark
    upto: Mark
    blocks: Blocks


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings of some blocks of `upto`, in the order of (block, time, gpu, metric, workload, value).

    `block` is the number of each reading's block, `row` its place among this one's readings, from 0 on. `last`: of what
    `upto` shows nothing is left.
    """

    blocks: Blocks
    upto: Mark
    last: bool
    readings: Readings
    block: NDArray[np.int64]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.block)


class Tail:
    """Asks for what is new; safe from any number of threads. Every call may raise StoreError."""

    def __init__(self, *, reader: Reader) -> None:
        self.reader = reader

    def begin(self) -> Mark:
        """Where who begins now stands: to him all is new that is committed from now on."""
        return Mark.at(*self._now(within=LATE + CLOCK))

    def check(self, mark: Mark) -> None:
        """Raise Forgotten or OtherOrder when who stands there cannot go on without missing something."""
        now, _ = self._now()
        _check_order(mark, now)
        if abs(now.time - mark.time) > KEPT:  # or to come: the clock was set back, and bounds mean nothing
            raise Forgotten(f"it is of {(now.time - mark.time) // 1_000_000} s ago")
        _check_pruned(mark, now)

    def follow(self, seen: Mark) -> Found:
        """All that is new to who has seen this much. OtherOrder, Forgotten: it can no more be said."""
        until = seen.news - _OVERLAP
        now, blocks = self._settled(seen, since=until)
        late = seen.late(now)
        if late is not None and late < until:
            blocks = _merged(blocks, self._settled(seen, since=late, until=until, upto=now.text)[1])
        return Found(seen, seen.after(now, int(blocks.transaction.max(initial=0))), blocks)

    def between(self, seen: Mark, upto: Mark, *, block: int = 0) -> Found:
        """What `upto` shows beyond `seen`, from this block's number on. OtherOrder, Forgotten: as for `follow`."""
        return Found(seen, upto, self._settled(seen, since=seen.since, upto=upto.snapshot, block=block)[1])

    def rest(self, place: Place) -> Found:
        """What is new to who has come to a place. Of its block all readings come, those before its row too."""
        if place.upto is None:
            return self.follow(place.seen)
        return self.between(place.seen, place.upto, block=place.block)

    def read(self, found: Found, part: Blocks, known: Known) -> Batch:
        """The readings of one of the parts. `known` is kept by who asks: series that need not be asked for again.

        Forgotten: retention dropped some of them since.
        """
        values = {"blocks": part.number.tolist(), "first": moment(int(part.first.min()))}
        columns = self._one("readings_of_blocks", values | {"last": moment(int(part.last.max()))})
        page = _sorted(unpack(columns, maxsize))
        if len(page) < part.readings:
            raise Forgotten("readings that came since are older than the retention, and were dropped")
        begins = np.flatnonzero(np.diff(page.block, prepend=-1))
        row = np.arange(len(page)) - np.repeat(begins, np.diff(begins, append=len(page)))
        last = not len(found.blocks) or part.number[-1] == found.blocks.number[-1]
        return Batch(part, found.upto, bool(last), self.reader.described(page, known), page.block, row)

    def _settled(
        self, seen: Mark, *, since: int, until: int | None = None, upto: str | None = None, block: int = 0
    ) -> tuple[Snapshot, Blocks]:
        values = {"seen": seen.snapshot, "upto": upto, "since": moment(since), "block": block}
        row = self._one("settled", values | {"until": "infinity" if until is None else moment(until)})
        number, transaction, stored, first, last = (
            np.frombuffer(data or b"", ">i8").astype(np.int64) for data in row[7:]
        )
        now = Snapshot.of(*row[:7])
        _check_order(seen, now)
        _check_pruned(seen, now)
        return now, Blocks(number, transaction, stored, _times(first), _times(last))

    def _now(self, *, within: int = 0) -> tuple[Snapshot, int]:
        """The snapshot, and the last transaction whose blocks it shows of those settled within so many µs; 0: none."""
        *now, last = self._one("now", {"within": within})
        return Snapshot.of(*now), last

    def _one(self, name: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
        with self.reader.pool.use() as connection, connection.cursor(binary=True) as cursor:
            (row,) = cursor.execute(query(name, file=QUESTIONS), values).fetchall()
            return row


def _check_order(mark: Mark, now: Snapshot) -> None:
    """A replica may be behind the server that gave the mark; a server is never behind itself."""
    if not now.timeline:
        return
    if mark.timeline not in (0, now.timeline) or mark.end > now.end:
        raise OtherOrder("the database was restored or replaced, or another server took its place")


def _check_pruned(mark: Mark, now: Snapshot) -> None:
    """Of the same snapshot as the blocks: a row that is pruned right after it was found was found."""
    if mark.missed(now):
        raise Forgotten("the ledger of blocks was pruned since")


def _times(since_2000: NDArray[np.int64]) -> NDArray[np.int64]:
    """µs since 1970; infinities become the ends of time."""
    return np.clip(since_2000, MIN_TIME - EPOCH_2000, MAX_TIME - EPOCH_2000) + EPOCH_2000


def _merged(one: Blocks, other: Blocks) -> Blocks:
    joined = Blocks(
        np.concatenate([one.number, other.number]),
        np.concatenate([one.transaction, other.transaction]),
        np.concatenate([one.stored, other.stored]),
        np.concatenate([one.first, other.first]),
        np.concatenate([one.last, other.last]),
    )
    return joined[np.argsort(joined.number)]


def _sorted(page: Page) -> Page:
    order = np.lexsort((page.value, page.workload, page.metric, page.gpu, page.time, page.block))
    numbers = (page.time, page.gpu, page.metric, page.workload, page.block)
    time, gpu, metric, workload, block = (column[order] for column in numbers)
    return Page(time, gpu, metric, workload, block, page.value[order], more=False)


def _listed(column: NDArray[np.int64]) -> list[int]:
    return column.tolist()  # type: ignore[no-any-return]  # numpy does not say it
