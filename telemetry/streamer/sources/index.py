"""The one pass over a file: its hash, how many records it has, and where every so many of them begin.

The table of offsets never grows beyond MAX_MARKS entries: it is thinned instead, so memory is the same for a
file of a thousand rows and one of a billion. What does not live here: keeping an index for others (`indexcache`).
"""

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry.streamer.sources.records import CHUNK, Read, scan

MAX_MARKS = 1 << 16
FIRST_STEP = 128
AHEAD = 2
"""Pieces of the file that are not hashed yet, at most: then reading waits, so memory is bounded."""


@dataclass(frozen=True, slots=True)
class Index:
    """`marks[i]` (int64) is the file offset of record `i * step`; record 0 follows the header.

    `even` says that no line has an odd number of quotes: who reads the file again need not count them.
    """

    digest: str
    records: int
    size: int
    step: int
    marks: NDArray[np.int64]
    even: bool

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
    with ThreadPoolExecutor(1, "hash") as thread:  # which is gone at the end, however that comes
        return _passed(_Hashed(read, thread), body, fields, progress)


def _passed(content: "_Hashed", body: int, fields: int, progress: Callable[[int], None] | None) -> Index:
    content.take(0, body)
    marks: list[NDArray[np.int64]] = []
    step, count, kept, even = FIRST_STEP, 0, 0, True
    for records in scan(content.take, body, fields):
        first = -count % step
        if first < len(records):
            marks.append(records.offset + records.starts[first::step])
            kept += len(marks[-1])
        count += len(records)
        even &= not records.odd
        if kept > MAX_MARKS:
            marks, step = [np.concatenate(marks)[::2]], step * 2
            kept = len(marks[0])
        if progress is not None:
            progress(content.done)
    while content.take(content.done, CHUNK):
        pass
    table = np.concatenate(marks) if marks else np.array([body], np.int64)
    return Index(content.digest(), count, content.done, step, table, even)


class _Hashed:
    """Reads once from front to back, while `thread` hashes what passed.

    Half of the pass is hashing, which runs without the interpreter's lock, beside the search for line ends.
    """

    def __init__(self, read: Read, thread: ThreadPoolExecutor) -> None:
        self.read, self.done, self._sha = read, 0, hashlib.sha256()
        self._thread = thread
        self._waiting: deque[Future[None]] = deque()

    def take(self, offset: int, size: int) -> bytes:
        """As `read`; what is new of it is hashed meanwhile. Raises what hashing earlier pieces raised."""
        data = self.read(offset, size)
        new = memoryview(data)[max(0, self.done - offset) :]
        if new:
            self._leave(AHEAD - 1)
            self._waiting.append(self._thread.submit(self._sha.update, new))
        self.done = max(self.done, offset + len(data))
        return data

    def digest(self) -> str:
        """Of all that passed, in hex."""
        self._leave(0)
        return self._sha.hexdigest()

    def _leave(self, pieces: int) -> None:
        while len(self._waiting) > pieces:
            self._waiting.popleft().result()
