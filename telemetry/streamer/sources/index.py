"""The one pass over a file: its hash, how many records it has, and where every so many of them begin.

The table of offsets never grows beyond MAX_MARKS entries: it is thinned instead, so memory is the same for a
file of a thousand rows and one of a billion.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry.streamer.sources.records import CHUNK, Read, scan

MAX_MARKS = 1 << 16
FIRST_STEP = 128


@dataclass(frozen=True, slots=True)
class Index:
    """`marks[i]` (int64) is the file offset of record `i * step`; record 0 follows the header."""

    digest: str
    records: int
    size: int
    step: int
    marks: NDArray[np.int64]

    def before(self, record: int) -> tuple[int, int]:
        """(offset, number) of the marked record at or before `record`."""
        mark = min(record // self.step, len(self.marks) - 1)
        return int(self.marks[mark]), mark * self.step

    @property
    def mean_bytes(self) -> float:
        """Bytes per record, on average."""
        return (self.size - int(self.marks[0])) / max(1, self.records)


def build(read: Read, body: int, fields: int, progress: Callable[[int], None] | None = None) -> Index:
    """Index of a file whose first record begins at `body` and has `fields` columns.

    `digest` is the SHA-256 of the whole file, header included, in hex. `progress(bytes done)` is for a person.
    """
    content = _Hashed(read)
    content.take(0, body)
    marks: list[NDArray[np.int64]] = []
    step, count, kept = FIRST_STEP, 0, 0
    for records in scan(content.take, body, fields):
        first = -count % step
        if first < len(records):
            marks.append(records.offset + records.starts[first::step])
            kept += len(marks[-1])
        count += len(records)
        if kept > MAX_MARKS:
            marks, step = [np.concatenate(marks)[::2]], step * 2
            kept = len(marks[0])
        if progress is not None:
            progress(content.done)
    while content.take(content.done, CHUNK):
        pass
    table = np.concatenate(marks) if marks else np.array([body], np.int64)
    return Index(content.sha.hexdigest(), count, content.done, step, table)


class _Hashed:
    """Reads once from front to back, hashing what passes."""

    def __init__(self, read: Read) -> None:
        self.read, self.done, self.sha = read, 0, hashlib.sha256()

    def take(self, offset: int, size: int) -> bytes:
        data = self.read(offset, size)
        self.sha.update(data[max(0, self.done - offset) :])
        self.done = max(self.done, offset + len(data))
        return data
