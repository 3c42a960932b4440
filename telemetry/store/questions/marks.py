"""Where somebody stands in the order of commits, and how that is written down to go on from there.

What lives here: which transactions a mark shows, and from which time on the blocks of the others were settled. What
does not: asking the database (`tail`), sending events (`webapi`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import orjson

CLOCK = 2_000_000
"""µs by which the server's clock may be set back while somebody follows."""
LATE = 900_000_000
"""µs for which transactions may have been under way, at most, that were so when somebody began to follow."""

_LONGEST = 6_000
"""Characters of a place: an HTTP header must take it."""
_WAYS = 64
"""Ways that a mark keeps: while a transaction is under way for hours each look would add one."""
_MOST = 2**63


class NoPlace(ValueError):
    """Raised when a text is no place that was ever given out."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """PostgreSQL's word on which transactions have ended (`pg_snapshot`), and where and when it was given.

    Under way are those that are `running`, and those from `end` on. None from `next` on had begun at `time` (µs since
    1970). `timeline` is that of the server's log of changes; 0 on a replica, which does not tell which are `running`:
    all from `begin` on may be. `pruned` is of how many readings the ledger's rows were pruned, `pruned_to` when the
    latest of these was settled (µs since 1970), `pruned_upto` the last transaction that settled one; None: not known.
    """

    begin: int
    end: int
    running: frozenset[int]
    next: int
    time: int
    timeline: int
    pruned: int = 0
    pruned_to: int | None = None
    pruned_upto: int | None = None

    @classmethod
    def of(
        cls,
        text: str,
        next: int,
        time: int,
        timeline: int,
        pruned: int = 0,
        pruned_to: int | None = None,
        pruned_upto: int | None = None,
    ) -> Snapshot:
        """Of the text `xmin:xmax:xip,..`."""
        begin, end, running = text.split(":")
        ids = frozenset(int(one) for one in running.split(",") if one)
        return cls(int(begin), int(end), ids, next, time, timeline, pruned, pruned_to, pruned_upto)

    @property
    def text(self) -> str | None:
        """As PostgreSQL writes it; None on a replica."""
        return f"{self.begin}:{self.end}:{','.join(map(str, sorted(self.running)))}" if self.timeline else None


@dataclass(frozen=True, slots=True)
class Mark:
    """What was seen of the ledger: the blocks of all transactions below `end` but those that were `running`.

    `end` is not the next free number, but that behind the last transaction whose blocks were seen: a server that
    crashes may give numbers again that came to nothing, and these are behind it. `running` names all that were under
    way below `listed`. Each of `ways` is (number, µs since 1970): transactions from this number on began after that
    time, less what clocks are set back; ascending. `time` is when all this was so, and `pruned` of how many readings
    the ledger's rows were gone by then; None: it is not said.
    """

    time: int
    end: int
    running: frozenset[int]
    listed: int
    ways: tuple[tuple[int, int], ...]
    timeline: int
    pruned: int | None = None

    @classmethod
    def at(cls, now: Snapshot, last: int) -> Mark:
        """Where who begins now stands; `last` transaction of the blocks settled in LATE that `now` shows, or 0."""
        end = last + 1
        if not now.timeline:
            return cls(now.time, end, frozenset(), end, ((0, now.time - LATE),), 0, now.pruned)
        ways = ((0, now.time - LATE), (now.next, now.time))
        return cls(now.time, end, now.running, now.end, ways, now.timeline, now.pruned)

    def after(self, now: Snapshot, last: int) -> Mark:
        """Where one stands who has seen, beyond this mark, all that `now` shows; `last` transaction seen, 0: none."""
        end = max(self.end, last + 1)
        if not now.timeline:
            kept = frozenset(one for one in self.running if now.begin <= one < end)
            return Mark(now.time, end, kept, end, ((0, now.time - LATE),), 0, now.pruned)
        needed = [way for way in self.ways if way[0] > now.begin]
        before = [way for way in self.ways if way[0] <= now.begin][-1:] or [(0, self.since)]
        ways = *before, *_thinned(needed), (now.next, now.time)
        return Mark(now.time, end, now.running, now.end, ways, now.timeline, now.pruned)

    def with_all_of(self, other: Mark) -> Mark:
        """Where one stands who has seen what both show."""
        newer = max(self, other, key=lambda mark: mark.time)
        hidden = {one for one in {*self.running, *other.running} if not (self.shows(one) or other.shows(one))}
        return replace(newer, end=max(self.end, other.end), running=frozenset(hidden))

    def shows(self, transaction: int) -> bool:
        """Whether the blocks of this transaction were seen."""
        return transaction < self.end and transaction not in self.running

    def missed(self, now: Snapshot) -> bool:
        """Whether blocks that this does not show may have been pruned before `now`: it would not show them either.

        Not by rows that were gone already at this mark, however late they were settled: who begins right after all was
        pruned has missed nothing. Nor by rows of blocks that this shows.
        """
        if now.pruned == self.pruned or now.pruned_to is None or now.pruned_to < self.since:
            return False
        last = now.pruned_upto
        return last is None or last >= self.end or any(one <= last and one not in now.running for one in self.hidden)

    def began(self, transaction: int) -> int:
        """From when on (µs since 1970) a transaction may have settled blocks."""
        return max(time for number, time in self.ways if number <= transaction or not number) - CLOCK

    @property
    def hidden(self) -> list[int]:
        """Transactions below `end` that it does not show."""
        return sorted(one for one in self.running if one < self.end)

    @property
    def snapshot(self) -> str:
        """As PostgreSQL writes a pg_snapshot."""
        hidden = self.hidden
        return f"{min(hidden, default=self.end)}:{self.end}:{','.join(map(str, hidden))}"

    @property
    def since(self) -> int:
        """From when on (µs since 1970) any block may have been settled that this does not show."""
        return self.began(min(self.running, default=self.listed))

    @property
    def news(self) -> int:
        """From when on those may have been settled whose transactions began later."""
        return self.ways[-1][1] - CLOCK

    def late(self, now: Snapshot) -> int | None:
        """From when on those may have been settled that `now` shows and that were under way already at this mark."""
        unlisted = range(self.listed, min(self.ways[-1][0], now.end))
        ended = (one for one in chain(sorted(self.running), unlisted) if one not in now.running)
        first = next(ended, None)
        return None if first is None else self.began(first)

    def packed(self) -> list[int]:
        """As few numbers as say it: whoever goes on from there asks for all from one time on."""
        return [self.time, self.time - self.since, self.end, self.timeline, *(self.end - one for one in self.hidden)]

    @classmethod
    def unpacked(cls, numbers: Sequence[int]) -> Mark:
        """The mark of such numbers. Raises NoPlace."""
        if len(numbers) < 4 or not all(type(number) is int and 0 <= number < _MOST for number in numbers):
            raise NoPlace("a mark is four numbers or more")
        time, back, end, timeline, *hidden = numbers
        if time >= 2**57 or back > time or not all(0 < one < end for one in hidden):
            raise NoPlace("a mark's numbers are out of range")
        return cls(time, end, frozenset(end - one for one in hidden), end, ((0, time - back + CLOCK),), timeline)


def _thinned(ways: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """So few that they can be kept: without one, what it said is said by the one before, only less sharply."""
    return ways if len(ways) < _WAYS else ways[::2]


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody has come: all that `seen` shows, and of what `upto` shows beyond it the first part.

    That part is all blocks with a lower number than `block`, and of this one the first `row` readings.
    """

    seen: Mark
    upto: Mark | None = None
    block: int = 0
    row: int = 0

    @property
    def text(self) -> str:
        """Letters, digits, - and _; who has it can go on from there, at any server of this database."""
        rest = [] if self.upto is None else [self.upto.packed(), self.block, self.row]
        return base64.urlsafe_b64encode(orjson.dumps([self.seen.packed(), *rest])).rstrip(b"=").decode()

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place of a text. Raises NoPlace."""
        if len(text) > _LONGEST:
            raise NoPlace("it is too long")
        try:
            found = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        except (ValueError, binascii.Error):
            raise NoPlace("it cannot be read") from None
        match found:
            case [[*seen]]:
                return cls(Mark.unpacked(seen))
            case [[*seen], [*upto], int(block), int(row)] if 0 <= block < _MOST and 0 <= row < _MOST:
                return cls(Mark.unpacked(seen), Mark.unpacked(upto), block, row)
        raise NoPlace("it has other parts")
