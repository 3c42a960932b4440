"""Readings as columns, a page at a time, and the place where the next page begins.

What lives here: unpacking what the statements give, without an object per reading. What does not: asking
(`reader`), writing answers down (`webapi`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.store.copy import EPOCH_2000

COLUMNS = (("time", ">i8"), ("gpu", ">i4"), ("metric", ">i2"), ("workload", ">i4"), ("block", ">i8"), ("value", ">f8"))
"""The columns that the statements give, as PostgreSQL's send functions write them: big-endian."""

ROW = np.dtype(list(COLUMNS))
"""All of them, one after the other."""

PIECE = 10_000
"""Readings of a range that are in memory at a time: as numbers some 2 MB, of which there are a few copies."""


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


def pieces(rows: Iterable[tuple[Any, ...]]) -> Iterator[Page]:
    """The readings in rows that have all of COLUMNS in one, as many at a time as PIECE."""
    left = iter(rows)
    while some := [row for (row,) in islice(left, PIECE)]:
        columns = np.frombuffer(b"".join(some), ROW)
        if len(columns) != len(some):
            raise ValueError("a range gives other columns than were asked for")
        time, gpu, metric, workload, block = (columns[name].astype(np.int64) for name, _ in COLUMNS[:5])
        yield Page(time + EPOCH_2000, gpu, metric, workload, block, columns["value"].astype(np.float64), more=False)
