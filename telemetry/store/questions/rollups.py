"""Which part of a range is asked of which rollup, and which of samples.

What lives here: the rollups there are, and how a range is cut between them. What does not: asking either (`steps`);
what makes and refreshes them (sql/006_rollups.community.sql, sql/007_rollup_jobs.community.sql).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

SECOND = 1_000_000

BUCKETS: Mapping[int, int] = {1: 60 * SECOND, 2: 3_600 * SECOND, 3: 86_400 * SECOND}
"""µs of a bucket of each rollup: rollup_minute, rollup_hour and rollup_day. Each divides the one after it."""

SAMPLES = 0
"""What is no rollup."""

WORTH = 4
"""Buckets below which a rollup is not asked: another statement costs more than the readings of so short a time."""

PIECES = 4
"""Parts of a range that one rollup is asked for at most, the longest; what lies between them is asked of others."""

Interval = tuple[int, int]
"""From, inclusive, to, exclusive: µs since 1970."""


class Piece(NamedTuple):
    """A part of a range: `level` is SAMPLES or a rollup; `start` and `end` are inclusive, µs since 1970.

    Of a rollup they are the starts of the first and the last bucket.
    """

    level: int
    start: int
    end: int


def fitting(step: int) -> list[int]:
    """The rollups whose buckets divide a step (µs; 0: the whole range is one), the coarsest first."""
    return [level for level in sorted(BUCKETS, reverse=True) if step % BUCKETS[level] == 0]


def pieces(start: int, end: int, levels: Sequence[int], doubts: Mapping[int, Sequence[Interval]]) -> list[Piece]:
    """Cut a range (inclusive): whole buckets without a doubt go to the coarsest of `levels`, the rest to finer ones.

    `doubts` of each level are in order; those of SAMPLES are times whose readings were dropped, where rollups are asked
    however few buckets it is, and samples too: what came later is in no rollup. But for these, pieces are in order, do
    not overlap, and are the range altogether.
    """
    found, at = [], start
    for low, high in doubts.get(SAMPLES, ()):
        low, high = min(max(low, at), end + 1), min(high, end + 1)
        found += [*_pieces(at, low - 1, levels, doubts, WORTH), *_dropped(low, high - 1, levels, doubts)]
        at = max(at, high)
    return found + _pieces(at, end, levels, doubts, WORTH)


def _dropped(start: int, end: int, levels: Sequence[int], doubts: Mapping[int, Sequence[Interval]]) -> list[Piece]:
    """The samples of the whole time, and beside them what rollups kept of those that went: no reading is of both."""
    rollups = [piece for piece in _pieces(start, end, levels, doubts, 1) if piece.level != SAMPLES]
    return [*rollups, Piece(SAMPLES, start, end)] if start <= end else []


def _pieces(
    start: int, end: int, levels: Sequence[int], doubts: Mapping[int, Sequence[Interval]], worth: int
) -> list[Piece]:
    if start > end:
        return []
    if not levels:
        return [Piece(SAMPLES, start, end)]
    level, *finer = levels
    found, at = [], start
    for low, high in _certain(start, end, BUCKETS[level], doubts.get(level, ()), worth):
        found += [*_pieces(at, low - 1, finer, doubts, worth), Piece(level, low, high - BUCKETS[level])]
        at = high
    return found + _pieces(at, end, finer, doubts, worth)


def _certain(start: int, end: int, bucket: int, doubts: Sequence[Interval], worth: int) -> list[Interval]:
    """The longest intervals of whole buckets without a doubt, in order."""
    longest = sorted(_gaps(start, end, bucket, doubts), key=lambda gap: gap[0] - gap[1])[:PIECES]
    return sorted(gap for gap in longest if gap[1] - gap[0] >= worth * bucket)


def _gaps(start: int, end: int, bucket: int, doubts: Sequence[Interval]) -> Iterator[Interval]:
    at, last = -(-start // bucket) * bucket, (end + 1) // bucket * bucket
    for low, high in doubts:
        if at < (before := min(low // bucket * bucket, last)):
            yield at, before
        at = max(at, -(-high // bucket) * bucket)
    if at < last:
        yield at, last
