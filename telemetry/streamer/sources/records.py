"""Where the records of a CSV file begin and end, found in bytes at the speed of numpy.

A record ends at a newline outside quotes (RFC 4180). A stray quote must not swallow the rest of the file: a
line with an odd number of quotes stands alone when it is well-formed by itself, is joined with the lines up to
the next such line when that is well-formed, has the right number of fields and fits MAX_RECORD, and is broken
otherwise: a record of its own that is rejected. This is a pure function of the bytes from a record's start on,
so whoever starts at any record sees the same ones.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_RECORD = 1 << 16
"""Longest record, in bytes; a longer one is broken. An export's row has about 450."""
CHUNK = 1 << 21
"""Bytes read at a time when a whole file is scanned."""

_NEWLINE, _QUOTE, _RETURN = 10, 34, 13

Read = Callable[[int, int], bytes]
"""read(offset, size) -> at most `size` bytes of the file."""


@dataclass(frozen=True, slots=True)
class Records:
    """Consecutive records of a file: `starts`, `ends` (int64) index `data`; `broken` (bool) ones are unusable.

    `offset` is the place of data[0] in the file. A record longer than MAX_RECORD keeps its beginning only.
    `joined` says that one of them may be several lines, `odd` that a line has an odd number of quotes.
    """

    offset: int
    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    broken: NDArray[np.bool_]
    joined: bool
    odd: bool = False

    def __len__(self) -> int:
        return len(self.starts)

    def cut(self, low: int, high: int) -> "Records":
        """The records low .. high - 1 by themselves, in memory of their own.

        What lies between them (blank lines, the rest of lines too long) is left out where it is the larger part:
        then `data` holds one record per line and is no longer a piece of the file.
        """
        starts, ends = self.starts[low:high], self.ends[low:high]
        sizes, first = ends - starts, int(starts[0])
        data = self.data[first : int(ends[-1])]
        starts = starts - first
        if len(data) > 2 * int(sizes.sum() + len(sizes)):
            data = b"\n".join(data[at : at + size] for at, size in zip(starts.tolist(), sizes.tolist(), strict=True))
            starts = np.cumsum(sizes + 1) - sizes - 1
        return Records(self.offset + first, data, starts, starts + sizes, self.broken[low:high], self.joined)


def scan(read: Read, offset: int, fields: int, chunk: int = CHUNK, *, even: bool = False) -> Iterator[Records]:
    """The records from `offset` (the start of one) to the end of the file, some at a time.

    `fields` is the header's number of columns; `even` says that no line has an odd number of quotes, as was found out
    before. Memory is bounded by the chunk, whatever the file holds.
    """
    data = b""
    while True:
        more = read(offset + len(data), chunk)
        data += more
        if not data:
            return
        records, used = _split(offset, data, fields, final=not more, even=even)
        if not used and len(data) >= 2 * MAX_RECORD:  # one line longer than any record may be
            records, used = _giant(read, offset, data)
        if len(records):
            yield records
        data, offset = data[used:], offset + used


def _split(offset: int, data: bytes, fields: int, *, final: bool, even: bool) -> tuple[Records, int]:
    """The whole records in `data`, and how many bytes they take."""
    bytes_ = np.frombuffer(data, np.uint8)
    line_ends = np.flatnonzero(bytes_ == _NEWLINE)
    if final and (not line_ends.size or line_ends[-1] != len(data) - 1):
        line_ends = np.append(line_ends, len(data))
    if not line_ends.size:
        return _records(offset, data, [], [], []), 0
    line_starts = np.concatenate(([0], line_ends[:-1] + 1))
    odd = np.empty(0, np.int64) if even else _odd(bytes_[: line_ends[-1] + 1], line_starts)
    if not odd.size:
        return _records(offset, data, line_starts, line_ends, np.zeros(len(line_ends), np.bool_)), _used(
            line_ends, len(data)
        )
    return _join(offset, data, fields, line_starts, line_ends, odd, final)


def _odd(bytes_: NDArray[np.uint8], line_starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lines with an odd number of quotes; what no line end follows is not among them."""
    return np.flatnonzero(np.bitwise_xor.reduceat((bytes_ == _QUOTE).view(np.uint8), line_starts))


def _join(
    offset: int,
    data: bytes,
    fields: int,
    line_starts: NDArray[np.int64],
    line_ends: NDArray[np.int64],
    odd: NDArray[np.int64],
    final: bool,
) -> tuple[Records, int]:
    """As `_split`, where some lines leave a quote open."""
    keep = np.ones(len(line_ends), np.bool_)
    broken = np.zeros(len(line_ends), np.bool_)
    ends = line_ends.copy()
    after, limit = -1, len(line_ends)
    for position, first in enumerate(odd):
        if first <= after:
            continue
        if _well_formed(data[line_starts[first] : line_ends[first]], fields):
            continue
        closing = odd[position + 1] if position + 1 < len(odd) else None
        if closing is None and not final and len(data) - line_starts[first] <= MAX_RECORD:
            limit = int(first)  # the closing quote may still come
            break
        if closing is not None and _well_formed(data[line_starts[first] : line_ends[closing]], fields):
            keep[first + 1 : closing + 1] = False
            ends[first] = line_ends[closing]
            after = int(closing)
        else:
            broken[first] = True
    used = int(line_starts[limit]) if limit < len(line_ends) else _used(line_ends, len(data))
    kept = np.flatnonzero(keep[:limit])
    return _records(offset, data, line_starts[kept], ends[kept], broken[kept], joined=after >= 0, odd=True), used


def _well_formed(lines: bytes, fields: int) -> bool:
    """Whether lines with a quote are one record of `fields` fields, strictly."""
    if len(lines) > MAX_RECORD:
        return False
    try:
        records = list(csv.reader([lines.decode("latin-1")], strict=True))
    except csv.Error:
        return False
    return len(records[0]) == fields


def _records(
    offset: int, data: bytes, starts: object, ends: object, broken: object, *, joined: bool = False, odd: bool = False
) -> Records:
    """Without empty lines; what is longer than MAX_RECORD is broken."""
    starts_, ends_ = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    size = ends_ - starts_
    broken_ = np.asarray(broken, np.bool_) | (size > MAX_RECORD)
    empty = size == 0
    single = np.flatnonzero(size == 1)
    empty[single] = np.frombuffer(data, np.uint8)[starts_[single]] == _RETURN
    ends_ = np.minimum(ends_, starts_ + MAX_RECORD + 1)
    if empty.any():
        starts_, ends_, broken_ = starts_[~empty], ends_[~empty], broken_[~empty]
    return Records(offset, data, starts_, ends_, broken_, joined, odd)


def _giant(read: Read, offset: int, data: bytes) -> tuple[Records, int]:
    """The record that a line longer than the buffer makes: its beginning, and where the line ends."""
    position = offset + len(data)
    while more := read(position, CHUNK):
        found = more.find(b"\n")
        if found >= 0:
            position += found + 1
            break
        position += len(more)
    return _records(offset, data[: MAX_RECORD + 1], [0], [MAX_RECORD + 1], [True]), position - offset


def _used(line_ends: NDArray[np.int64], size: int) -> int:
    return min(int(line_ends[-1]) + 1, size)
