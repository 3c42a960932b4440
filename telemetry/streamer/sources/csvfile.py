"""A CSV export as a source: any range of its readings as a Block, by seeking, in flat memory.

The file is hashed and indexed in one pass when it is opened, by one process for its whole machine where there is a
cache; from then on it must stay as it is. Reading numbers run on beyond the end when the file is looped: reading r is
reading r mod length.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from telemetry.block import Block, Rejection
from telemetry.catalog import lookup
from telemetry.streamer.errors import SourceChanged, SourceError
from telemetry.streamer.sources.columns import Layout, header_line, parse_header
from telemetry.streamer.sources.index import Index, build
from telemetry.streamer.sources.indexcache import IndexCache, Progress
from telemetry.streamer.sources.kinds import Kinds
from telemetry.streamer.sources.readings import Readings, in_order, merged, readings
from telemetry.streamer.sources.records import CHUNK, MAX_RECORD, Records, scan
from telemetry.streamer.sources.slices import Slice

SLICE_BYTES = 8 << 20
"""About how much of the file is parsed at a time: some 18,000 rows of an export, 128 of the longest."""


class _Stamp(NamedTuple):
    """What tells that a file is still the one that was hashed."""

    device: int
    inode: int
    size: int
    modified_ns: int


class CsvSource:
    """A CSV file. `times` says whether the readings keep the file's own times (`--time source`).

    `cache` keeps the index of a large file for other processes of this machine; without one it is always made anew.
    The constructor does no I/O; `open` raises SourceError when the file cannot be a source.
    """

    def __init__(self, *, path: Path, times: bool, cache: IndexCache | None = None) -> None:
        self.path, self.times, self._cache = path, times, cache
        self._fd = -1
        self._header = b""
        self._layout: Layout
        self._index: Index
        self._kinds: Kinds
        self._stamp: _Stamp
        self._resume = (-1, -1)

    def open(self, progress: Callable[[int, int], None] | None = None) -> "CsvSource":
        """Hash and index the file. `progress(bytes done, bytes in all)` is for a person."""
        # Otherwise a SIGTERM in the midst of a parse ends the parse with an error: how to stop is the role's business.
        pa.enable_signal_handlers(False)
        try:
            with self._named():
                self._open_file()
                self._header, body = header_line(self._read(0, MAX_RECORD))
                self._layout = parse_header(self._header, _is_metric, times=self.times)
                self._kinds = Kinds(self._layout)
                total = self._stamp.size
                step = None if progress is None else lambda done: progress(done, total)
                self._index = self._indexed(body, step)
                self._unchanged()
                if not self._index.records:
                    raise SourceError("holds a header and no rows; name an export with readings")
        except SourceError:
            self.close()
            raise
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
        """Readings first_row .. first_row + rows - 1 as a Block of `source`; both are multiples of `per_record`.

        `time0` (µs since 1970) stamps them 1 µs apart; None keeps the file's own times. Raises SourceChanged.
        """
        with self._named():
            got, rejected = self._parse(first_row, rows)
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
        lines, size = [self._header], len(self._header)
        with self._named():
            for piece in self._slices(first_row, rows):
                if size < limit:
                    lines.extend(piece.raw(record) for record in range(len(piece)))
                    size = sum(map(len, lines))
            self._unchanged()
        return b"\n".join(lines)[:limit]

    def _open_file(self) -> None:
        self._fd = os.open(
            self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        )  # a pipe without a writer must not hang
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise SourceError("is no regular file; name a CSV export on a disk")
        self._stamp = _stamp(status)

    def _indexed(self, body: int, progress: Progress) -> Index:
        shape = body, len(self._layout.names)
        make = partial(build, self._read, *shape)
        return make(progress) if self._cache is None else self._cache.index(self._fd, shape, make, progress)

    def _parse(self, first_row: int, rows: int) -> tuple[Readings, list[Rejection]]:
        """The usable readings of a range, `row` counted from its start, and the rejected ones."""
        parts: list[Readings] = []
        rejected: list[Rejection] = []
        done = 0
        for piece in self._slices(first_row, rows):
            got, bad = self._understood(piece)
            parts.append(got._replace(row=got.row + done))
            rejected.extend(Rejection(done + number, why, raw) for number, why, raw in bad)
            done += len(piece) * self.per_record
        return merged(parts), rejected

    def _understood(self, piece: Slice) -> tuple[Readings, list[Rejection]]:
        """The same of one slice."""
        known, others = self._kinds.readings(piece)
        if known is not None and not len(others):
            return known, []
        got, rejected = self._read_anew(piece, others)
        return (got if known is None else in_order(merged([known, got]))), rejected

    def _read_anew(self, piece: Slice, records: NDArray[np.int64]) -> tuple[Readings, list[Rejection]]:
        """The same of some records of a slice, field by field."""
        per = self.per_record
        columns, kept, bad = piece.parse(self._layout.names, self._layout.wanted, records)
        got = readings(self._layout, columns, len(kept))
        row = kept[got.row // per] * per + got.row % per
        faults = {int(kept[number // per]) * per + number % per: reason for number, reason in got.faults}
        faults |= {record * per + part: reason for record, reason in bad.items() for part in range(per)}
        texts = {record: piece.text(record) for record in {number // per for number in faults}}
        return got._replace(row=row, faults=[]), [
            Rejection(number, why, texts[number // per]) for number, why in sorted(faults.items())
        ]

    def _slices(self, first_row: int, rows: int) -> Iterator[Slice]:
        """The records of a range of readings, beginning anew at the end of the file, SLICE_BYTES or so at a time."""
        if rows < 1 or first_row < 0 or first_row % self.per_record or rows % self.per_record:
            raise ValueError(f"readings {first_row} + {rows} are not whole rows of {self.per_record}")
        first, count = first_row // self.per_record, rows // self.per_record
        parts: list[Records] = []
        size = 0
        while count > 0:
            start = first % self._index.records
            take = min(count, self._index.records - start)
            for part in self._find(start, take):
                parts.append(part)
                size += len(part.data)
                if size >= SLICE_BYTES:
                    yield Slice(parts)
                    parts, size = [], 0
            first, count = first + take, count - take
        if parts:
            yield Slice(parts)

    def _find(self, first: int, count: int) -> Iterator[Records]:
        """The records first .. first + count - 1, some at a time."""
        offset, number = self._index.before(first)
        if number <= self._resume[1] <= first:
            offset, number = self._resume
        expected = int((first - number + count + 1) * self._index.mean_bytes * 1.05)
        chunk = max(expected // (expected // CHUNK + 1), MAX_RECORD)  # equal parts, so that little is read in vain
        for records in scan(self._read, offset, len(self._layout.names), chunk, even=self._index.even):
            low, high = max(0, first - number), min(len(records), first + count - number)
            if low < high:
                yield records.cut(low, high)
            number += len(records)
            if number >= first + count:
                if high < len(records):
                    self._resume = (records.offset + int(records.starts[high]), first + count)
                return
        raise SourceChanged("has become shorter while it was read")

    def _read(self, offset: int, size: int) -> bytes:
        """No further than the file reached when it was opened: one that grows must not be followed."""
        return os.pread(self._fd, max(0, min(size, self._stamp.size - offset)), offset)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors about the file name it."""
        try:
            yield
        except SourceError as error:
            raise type(error)(f"{self.path}: {error}") from None
        except OSError as error:
            raise SourceError(f"{self.path}: {error.strerror}; name a CSV export that can be read") from None

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


def _stamp(status: os.stat_result) -> _Stamp:
    return _Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _is_metric(name: str) -> bool:
    return name.upper().startswith("DCGM_") or lookup(name) is not None
