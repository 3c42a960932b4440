"""Readings as columns, a page at a time, and the place where the next page begins.

What lives here: unpacking what the statements give, without an object per reading. What does not: asking
(`reader`), writing answers down (`webapi`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.store.copy import EPOCH_2000, HEADER, TRAILER

COLUMNS = (("time", ">i8"), ("gpu", ">i4"), ("metric", ">i2"), ("workload", ">i4"), ("block", ">i8"), ("value", ">f8"))
"""The columns that the statements give, as PostgreSQL's send functions write them: big-endian."""

ROW = np.dtype(
    [("fields", ">i2"), *(part for name, kind in COLUMNS for part in ((f"{name}_size", ">i4"), (name, kind)))]
)
"""One of these in binary COPY: every size is the same, because no column is ever NULL."""

_SIZES = {"fields": len(COLUMNS), **{f"{name}_size": np.dtype(kind).itemsize for name, kind in COLUMNS}}

PIECE = 5_000
"""Readings of a range that are in memory at a time: as text some 3 MB, of which there are a few copies. Twice as many
are written down no faster."""


class Series(NamedTuple):
    """The fields of the view telemetry that all readings of a GPU, metric and workload share, in its order."""

    metric_name: str
    gpu_id: str
    device: str
    uuid: str
    model_name: str
    hostname: str
    container: str
    pod: str
    namespace: str
    labels_raw: str


class Position(NamedTuple):
    """Where a page begins: at this key (time in µs since 1970), after `skip` readings that have exactly this key."""

    time: int
    gpu: int
    metric: int
    workload: int
    block: int
    skip: int


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings in the order of (time, gpu, metric, workload, block, value), all columns of shape (n,).

    `time` is int64, µs since 1970; `code` indexes `series`; `value` is float64. `after` is where the next page
    begins, None at the end. `cut_short`: looking for them took so long that fewer are here than might be.
    """

    time: NDArray[np.int64]
    code: NDArray[np.int64]
    value: NDArray[np.float64]
    series: Sequence[Series] = ()
    after: Position | None = None
    cut_short: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One page as numbers, not yet described; the columns of COLUMNS in native byte order."""

    time: NDArray[np.int64]
    gpu: NDArray[np.int64]
    metric: NDArray[np.int64]
    workload: NDArray[np.int64]
    block: NDArray[np.int64]
    value: NDArray[np.float64]
    more: bool

    def __len__(self) -> int:
        return len(self.time)

    def triples(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The distinct (gpu, metric, workload), shape (k, 3), and which of them each reading has, shape (n,)."""
        _, pair = np.unique(self.gpu << 16 | self.metric, return_inverse=True)
        _, first, code = np.unique(pair << 32 | self.workload, return_index=True, return_inverse=True)
        return np.column_stack([self.gpu[first], self.metric[first], self.workload[first]]), code

    def end(self, began: Position | None) -> Position | None:
        """Where the next page begins, None when there is none; `began` is where this one did."""
        if not self.more:
            return None
        columns = (self.time, self.gpu, self.metric, self.workload, self.block)
        time, gpu, metric, workload, block = (int(column[-1]) for column in columns)
        key = Position(time, gpu, metric, workload, block, 0)
        tied = np.logical_and.reduce([column == last for column, last in zip(columns, key[:5], strict=True)])
        before = began.skip if began is not None and tied.all() and began[:5] == key[:5] else 0
        return key._replace(skip=int(tied.sum()) + before)


def unpack(columns: Sequence[bytes | None], limit: int) -> Page:
    """The page in the columns' bytes (None: no rows); a row beyond `limit` says that there is another one."""
    arrays = [np.frombuffer(data or b"", kind) for data, (_, kind) in zip(columns, COLUMNS, strict=True)]
    time, gpu, metric, workload, block = (array[:limit].astype(np.int64) for array in arrays[:5])
    value = arrays[5][:limit].astype(np.float64)
    return Page(time + EPOCH_2000, gpu, metric, workload, block, value, more=len(arrays[0]) > limit)


def pieces(copy: Iterable[bytes | bytearray | memoryview]) -> Iterator[Page]:
    """The readings in a binary COPY of COLUMNS, as many at a time as PIECE, however the bytes come in parts."""
    parts = iter(copy)
    skip, rest = len(HEADER), b""
    while chunk := list(islice(parts, PIECE)):
        data = rest + b"".join(chunk)
        whole = skip + (len(data) - skip) // ROW.itemsize * ROW.itemsize
        if whole > skip:
            yield _page_of(np.frombuffer(data[skip:whole], ROW))
        skip, rest = 0, data[whole:]
    if rest != TRAILER:
        raise ValueError(f"a COPY ended with {rest[:40]!r}")


def _page_of(rows: NDArray[np.void]) -> Page:
    if not all((rows[name] == size).all() for name, size in _SIZES.items()):
        raise ValueError("a COPY gives other columns than were asked for, or a NULL")
    time, gpu, metric, workload, block = (rows[name].astype(np.int64) for name, _ in COLUMNS[:5])
    return Page(time + EPOCH_2000, gpu, metric, workload, block, rows["value"].astype(np.float64), more=False)
