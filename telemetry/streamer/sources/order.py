"""In which order kinds of rows come: an export writes the same series tick after tick.

What lives here: which kind followed which, and which rows are what was foreseen. What does not: what a kind is, and
all rows that are anything else (`kinds`).
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from telemetry.streamer.sources.cutting import Cut, Pieces, begins_quoted, trimmed, without_quote
from telemetry.streamer.sources.slices import Slice

MOST_RUNS = 64
"""Jumps after which what comes next is no longer foreseen."""
AT_ONCE = 1_000
"""Rows that are compared at a time: their copies stay in the processor's cache."""
LOST = 16
"""Rows on end that are otherwise after which the file is out of step."""

Key = tuple[bytes, ...]
"""The pieces of a row that stay the same."""


class Foreseen(NamedTuple):
    """The next rows: their kinds, and by piece the bytes (chunked Arrow arrays) and their sizes (int64)."""

    kinds: NDArray[np.int64]
    same: list[Any]
    sizes: list[NDArray[np.int64]]


class Order:
    """What follows each kind of a file, as it was the last time.

    Kinds are laid out so that most stand before the one that follows; where that is not so a run ends.
    """

    def __init__(self) -> None:
        self._after = self._instead = np.empty(0, np.int64)
        self._kinds = self._ends = self._next = np.empty(0, np.int64)
        self._place = np.empty(0, np.int64)
        self._same: list[Any] = []
        self._new: list[Key] = []
        self._sizes: list[NDArray[np.int64]] = []
        self._missed = 0

    def add(self, keys: Sequence[Key]) -> None:
        """New kinds, numbered on, by the pieces that stay the same of their rows."""
        self._new.extend(keys)
        self._after, self._instead = (np.append(of, np.full(len(keys), -1)) for of in (self._after, self._instead))

    def learn(self, kinds: NDArray[np.int64], missed: int) -> None:
        """These came one after the other (-1: a row of no kind), `missed` of them unforeseen.

        What contradicts the order is believed when it comes twice: a series that is missing once soon comes again.
        """
        self._missed += missed
        pairs = (kinds[:-1] >= 0) & (kinds[1:] >= 0)
        before, after = kinds[:-1][pairs], kinds[1:][pairs]
        believed = (self._after[before] < 0) | (self._instead[before] == after)
        news = self._after[before] != after
        self._instead[before[news]] = after[news]
        self._after[before[believed]] = after[believed]

    def lay_out(self) -> None:
        """Take up what was learnt, when as much was missed by it as this costs."""
        if 2 * self._missed > len(self._kinds) and len(self._after):
            self._lay_out()

    def keep(self, kinds: NDArray[np.bool_]) -> None:
        """Only these kinds, numbered anew; what followed one that is gone is to be learnt."""
        self._lay_out()
        numbers = np.append(np.where(kinds, np.cumsum(kinds) - 1, -1), -1)
        left = kinds[self._kinds]
        self._kinds = numbers[self._kinds[left]]
        self._same = [array.filter(pa.array(left)) for array in self._same]
        self._place = np.empty(len(self._kinds), np.int64)
        self._place[self._kinds] = np.arange(len(self._kinds))
        self._after, self._instead = (numbers[of[kinds]] for of in (self._after, self._instead))
        self._lay_out()

    def _lay_out(self) -> None:
        stands = np.append(self._place, np.arange(len(self._place), len(self._after)))
        self._kinds = np.array(_chained(self._after.tolist()), np.int64)
        self._place = np.empty(len(self._after), np.int64)
        self._place[self._kinds] = np.arange(len(self._kinds))
        follows = self._after[self._kinds]
        self._ends = np.flatnonzero(follows != np.append(self._kinds[1:], -2)) + 1
        last = follows[self._ends - 1]
        self._next = np.where(last >= 0, self._place[last], -1)
        new = [pa.array(pieces, pa.binary()) for pieces in zip(*self._new, strict=True)]
        old = self._same or [array[:0] for array in new]
        every = [pa.concat_arrays(both) for both in zip(old, new, strict=True)] if new else old
        self._same = [array.take(pa.array(stands[self._kinds])) for array in every]
        self._sizes = [pc.binary_length(array).to_numpy().astype(np.int64) for array in self._same]
        self._new, self._missed = [], 0

    def foresee(self, kind: int, rows: int) -> Foreseen | None:
        """The rows from one of this kind on, at most so many; None when nothing is known of it."""
        if kind >= len(self._place):
            return None
        runs: list[tuple[int, int]] = []
        at = int(self._place[kind])
        while rows > 0 and at >= 0 and len(runs) < MOST_RUNS:
            run = int(np.searchsorted(self._ends, at, side="right"))
            end = min(int(self._ends[run]), at + rows)
            runs.append((at, end))
            rows, at = rows - (end - at), int(self._next[run])
        kinds = np.concatenate([self._kinds[low:high] for low, high in runs])
        same = [pa.chunked_array([array[low:high] for low, high in runs]) for array in self._same]
        sizes = [np.concatenate([size[low:high] for low, high in runs]) for size in self._sizes]
        return Foreseen(kinds, same, sizes)


def _chained(after: Sequence[int]) -> list[int]:
    """All kinds, each before the one that follows it where that is still to be had."""
    order: list[int] = []
    seen = bytearray(len(after))
    for kind in range(len(after)):
        while kind >= 0 and not seen[kind]:
            seen[kind] = True
            order.append(kind)
            kind = after[kind]
    return order


def compare(
    piece: Slice, first: int, foreseen: Foreseen, sizes: Sequence[int], *, names: Sequence[str], leads: bool
) -> tuple[Cut, NDArray[np.int64], int]:
    """(records from `first` on that are as foreseen, their kinds, the record from which on they no longer are).

    `names` are the fields that change, `sizes` how long they are in the first record: all but the value must be as long
    in the others. `leads`: a row begins with one of them. Only what changes is cut out.
    """
    records = np.arange(first, first + len(foreseen.kinds))
    places, same = _places(piece, records, foreseen, list(zip(names, sizes, strict=True)), leads)
    pieces = Pieces(piece.data, places)
    for number, expected in zip(pieces.same(leads), foreseen.same, strict=True):
        for low in range(0, len(records), AT_ONCE):
            high = min(low + AT_ONCE, len(records))
            equal = pc.equal(pieces.some(number, low, high), expected[low:high])
            same[low:high] &= equal.to_numpy(zero_copy_only=False)
    cut = Cut(records, [], pieces.all(pieces.changing(leads)))
    same &= without_quote(cut.changing, len(records))
    lost = _lost(np.flatnonzero(same), len(records))
    same[lost:] = False
    return cut.only(same), foreseen.kinds[same], first + max(lost, 1)


def _places(
    piece: Slice, records: NDArray[np.int64], foreseen: Foreseen, sizes: Sequence[tuple[str, int]], leads: bool
) -> tuple[list[NDArray[np.int64]], NDArray[np.bool_]]:
    """(where to cut records that are as foreseen, which of them can be); there is nothing between those of others."""
    starts = piece.starts[records]
    rest = trimmed(piece, records) - starts - sum(foreseen.sizes) - sum(size for _, size in sizes) - leads
    changing = [size + rest if name == "value" else np.full(len(rest), size) for name, size in sizes]
    fits = ~piece.broken[records] & np.logical_and.reduce([size >= 0 for size in changing])
    if leads:
        fits &= begins_quoted(piece, records)
    parts = zip(changing, foreseen.sizes, strict=True) if leads else zip_longest(foreseen.sizes, changing)
    steps = [np.ones(len(starts), np.int64)] * leads + [step for pair in parts for step in pair if step is not None]
    places = [starts]
    for step in steps:
        places.append(places[-1] + step * fits)
    return places, fits


def _lost(rows: NDArray[np.int64], of: int) -> int:
    """Of so many rows, the first of LOST on end that are not among `rows` (ascending)."""
    edges = np.concatenate(([-1], rows))
    far = np.flatnonzero(np.diff(edges, append=of) > LOST)
    return int(edges[far[0]]) + 1 if len(far) else of
