"""A CSV export as a source: any range of its readings as a Block, by seeking, in flat memory.

The file is hashed and indexed in one pass when it is opened; from then on it must stay as it is. Reading
numbers run on beyond the end when the file is looped: reading r is reading r mod length.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.block import Block, Rejection
from telemetry.catalog import lookup
from telemetry.streamer.errors import SourceChanged, SourceError
from telemetry.streamer.sources.cells import parse_records
from telemetry.streamer.sources.columns import Layout, parse_header
from telemetry.streamer.sources.index import Index, build
from telemetry.streamer.sources.readings import Readings, readings
from telemetry.streamer.sources.records import MAX_RECORD, Records, scan

RAW_KEPT = 2_000
"""Characters of a rejected row's text that are kept."""

_MAGIC = {
    b"\xff\xfe": "is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 {} > utf8.csv",
    b"\xfe\xff": "is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 {} > utf8.csv",
    b"\x1f\x8b": "is compressed; unpack it first: gunzip -k {}",
    b"PK": "is a zip archive; unpack it first: unzip {}",
}


class _Stamp(NamedTuple):
    """What tells that a file is still the one that was hashed."""

    inode: int
    size: int
    modified_ns: int


class CsvSource:
    """A CSV file. `times` says whether the readings keep the file's own times (`--time source`).

    The constructor does no I/O; `open` raises SourceError when the file cannot be a source.
    """

    def __init__(self, *, path: Path, times: bool) -> None:
        self.path, self.times = path, times
        self._fd = -1
        self._layout: Layout
        self._index: Index
        self._stamp: _Stamp
        self._resume = (-1, -1)

    def open(self, progress: Callable[[int, int], None] | None = None) -> "CsvSource":
        """Hash and index the file. `progress(bytes done, bytes in all)` is for a person."""
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            self._stamp = _stamp(os.fstat(self._fd))
            head = self._read(0, 4 * MAX_RECORD)
        except OSError as error:
            self.close()
            raise SourceError(f"{self.path}: {error.strerror}; name a CSV export that can be read") from None
        try:
            body = self._open_head(head)
            total = self._stamp.size
            step = None if progress is None else lambda done: progress(done, total)
            self._index = build(self._read, body, len(self._layout.names), step)
            if not self._index.records:
                raise SourceError("holds a header and no rows")
            self._unchanged()
        except SourceError as error:
            self.close()
            raise type(error)(f"{self.path}: {error}") from None
        return self

    def close(self) -> None:
        """Close the file; harmless when it is not open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hex."""
        return self._index.digest

    @property
    def length(self) -> int:
        """Readings in the file."""
        return self._index.records * self._layout.per_record

    @property
    def per_record(self) -> int:
        """Readings in a row of the file; blocks are cut at whole rows."""
        return self._layout.per_record

    def block(self, source: str, first_row: int, rows: int, time0: int | None) -> Block:
        """Readings first_row .. first_row + rows - 1 as a Block of `source`.

        `time0` (µs since 1970) stamps them 1 µs apart; None keeps the file's own times. Raises SourceChanged.
        """
        rows_of_file = self._slice(first_row // self.per_record, rows // self.per_record)
        got, rejected = self._parse(rows_of_file)
        self._unchanged()
        if time0 is None:
            time0 = int(got.time.min()) if len(got.time) else 0
            dt = got.time - time0
        else:
            dt = got.row
        return Block(
            source=source,
            first_row=first_row,
            rows=rows,
            time0=time0,
            gpus=got.gpus,
            metrics=got.metrics,
            workloads=got.workloads,
            gpu=got.gpu,
            metric=got.metric,
            workload=got.workload,
            dt=dt,
            value=got.value,
            blank=got.blank,
            rejected=[Rejection(first_row + row, reason, raw) for row, reason, raw in rejected],
        )

    def raw(self, first_row: int, rows: int, limit: int) -> bytes:
        """The header and the raw bytes of these readings' rows, `limit` bytes at most: what a dead letter keeps."""
        piece = self._slice(first_row // self.per_record, rows // self.per_record)
        header = ",".join(self._layout.names).encode()
        return b"\n".join([header, *(piece.raw(record) for record in range(len(piece)))])[:limit]

    def _open_head(self, head: bytes) -> int:
        """Read the header into the layout; the offset of the first row."""
        for magic, remedy in _MAGIC.items():
            if head.startswith(magic):
                raise SourceError(remedy.format(self.path))
        if not head.strip():
            raise SourceError("is empty; a CSV export with a header line is needed")
        if b"\0" in head:
            raise SourceError("holds NUL bytes and is no UTF-8 text; export it again as CSV in UTF-8")
        bom = 3 if head.startswith(b"\xef\xbb\xbf") else 0
        end = head.find(b"\n")
        line = head[bom : end if end >= 0 else len(head)].rstrip(b"\r")
        self._layout = parse_header(line, _is_metric, times=self.times)
        return end + 1 if end >= 0 else len(head)

    def _parse(self, piece: "_Slice") -> tuple[Readings, list[Rejection]]:
        """The usable readings of a slice, `row` counted from its start, and the rejected ones."""
        per = self.per_record
        good = np.flatnonzero(~piece.broken)
        wanted = sorted({*self._layout.column.values(), *self._layout.metrics})
        arrays, bad = parse_records(piece.data(good), self._layout.names, wanted)
        reasons = {int(record): _broken_reason(piece, int(record)) for record in np.flatnonzero(piece.broken)}
        reasons |= {int(good[number]): reason for number, reason in bad.items()}
        kept = np.delete(good, list(bad)) if bad else good
        got = readings(self._layout, arrays, len(kept))
        row = kept[got.row // per] * per + got.row % per
        faults = {int(kept[number // per]) * per + number % per: reason for number, reason in got.faults}
        faults |= {record * per + part: reason for record, reason in reasons.items() for part in range(per)}
        rejected = [Rejection(number, why, _text(piece.raw(number // per))) for number, why in sorted(faults.items())]
        return got._replace(row=row), rejected

    def _slice(self, first: int, count: int) -> "_Slice":
        """Records first .. first + count - 1, beginning anew at the end of the file."""
        parts: list[tuple[Records, int, int]] = []
        while count > 0:
            start = first % self._index.records
            take = min(count, self._index.records - start)
            parts.extend(self._find(start, take))
            first, count = first + take, count - take
        return _Slice(parts)

    def _find(self, first: int, count: int) -> Iterator[tuple[Records, int, int]]:
        """(records, low, high): the ranges of scanned records that make up first .. first + count - 1."""
        offset, number = self._index.before(first)
        if number <= self._resume[1] <= first:
            offset, number = self._resume
        chunk = int((first - number + count + 1) * self._index.mean_bytes * 1.05)
        for records in scan(self._read, offset, len(self._layout.names), chunk):
            low, high = max(0, first - number), min(len(records), first + count - number)
            if low < high:
                yield records, low, high
            number += len(records)
            if number >= first + count:
                if high < len(records):
                    self._resume = (records.offset + int(records.starts[high]), first + count)
                return
        raise SourceChanged("has become shorter while it was read")

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def _unchanged(self) -> None:
        """Raise SourceChanged unless the path still names the file, unmodified, that was hashed."""
        try:
            same = _stamp(os.fstat(self._fd)) == self._stamp == _stamp(os.stat(self.path))
        except OSError:
            same = False
        if not same:
            raise SourceChanged(
                "changed while it was read; what was read is safe. Start again: the new content is a source of its own"
            )


class _Slice:
    """Records that follow each other in reading order, from one or more scanned pieces."""

    def __init__(self, parts: Sequence[tuple[Records, int, int]]) -> None:
        self._parts = parts
        self._lengths = np.cumsum([high - low for _, low, high in parts], dtype=np.int64)
        self.broken = np.concatenate([records.broken[low:high] for records, low, high in parts])

    def __len__(self) -> int:
        return len(self.broken)

    def raw(self, record: int) -> bytes:
        """The bytes of one record."""
        part = int(np.searchsorted(self._lengths, record, side="right"))
        records, _, high = self._parts[part]
        at = record - int(self._lengths[part]) + high
        return records.data[int(records.starts[at]) : int(records.ends[at])]

    def data(self, good: NDArray[np.int64]) -> bytes:
        """The bytes of the records `good`, one per line; in one piece where they are so in the file."""
        if len(good) == len(self):
            return b"\n".join(_contiguous(*part) for part in self._parts)
        return b"\n".join(self.raw(int(record)) for record in good)


def _contiguous(records: Records, low: int, high: int) -> bytes:
    return records.data[int(records.starts[low]) : int(records.ends[high - 1])]


def _stamp(stat: os.stat_result) -> _Stamp:
    return _Stamp(stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _is_metric(name: str) -> bool:
    return name.upper().startswith("DCGM_") or lookup(name) is not None


def _broken_reason(piece: _Slice, record: int) -> str:
    long = len(piece.raw(record)) > MAX_RECORD
    return f"longer than {MAX_RECORD} bytes" if long else "a quote is opened and never closed"


def _text(raw: bytes) -> str:
    """For a person: shortened, and what is no UTF-8 or no text shown as escapes."""
    text = raw[: 4 * RAW_KEPT].decode("utf-8", "backslashreplace")[:RAW_KEPT]
    return text.replace("\0", "\\x00")
