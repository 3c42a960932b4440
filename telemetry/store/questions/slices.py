"""Readings of a range, one slice of time after the other, in flat memory.

What lives here: how wide a slice is, and its columns. What does not: what becomes of them (`integrals`, `rates`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.store.copy import EPOCH_2000
from telemetry.store.errors import StoreBusy
from telemetry.store.queries import query
from telemetry.store.session import Connection

QUESTIONS = "fleet.sql"
"""The file of the statement that is asked here."""

FIRST_SLICE, WIDER = 10_000_000, 8
"""µs of the first slice of a range, and by how much longer a slice is than the one before, at most."""
SLICE = 200_000
"""Readings that a slice should have; it may have three times as many, each some 200 bytes while it is looked at."""

_KINDS = (">i8", ">i4", ">i2", ">i4", ">f8")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Columns:
    """Readings in no order; all of shape (n,). `time` is in µs since 1970."""

    time: Ints
    gpu: Ints
    metric: Ints
    workload: Ints
    value: Floats

    def __len__(self) -> int:
        return len(self.time)

    def picked(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Columns:
        """Some of them, in the order that is given."""
        return Columns(*(column[which] for column in self._all()))

    def after(self, others: Columns) -> Columns:
        """Others, then these."""
        return Columns(*(np.concatenate(pair) for pair in zip(others._all(), self._all(), strict=True)))

    def _all(self) -> Sequence[NDArray[Any]]:
        return self.time, self.gpu, self.metric, self.workload, self.value

    @classmethod
    def none(cls) -> Columns:
        """No readings."""
        none = np.empty(0, np.int64)
        return cls(none, none, none, none, np.empty(0))


@dataclass(frozen=True, slots=True)
class Slices:
    """Asks for slices. `use` gives a connection for each; `patience` is how many seconds all of them may take, `size`
    how many readings should be in memory at a time."""

    use: Callable[[], AbstractContextManager[Connection]]
    patience: float
    size: int = SLICE

    def read(self, gpus: Sequence[int], factors: Mapping[int, float], start: int, end: int) -> Iterator[Columns]:
        """The readings of GPUs and metrics (by number) from `start` to `end`, both inclusive, µs since 1970.

        Values come multiplied by the metric's factor; those beyond 1e270 count as 1e270, so that sums stay finite.
        Raises StoreBusy when it takes longer than the patience.
        """
        deadline, width = time.monotonic() + self.patience, FIRST_SLICE
        while start <= end:
            if time.monotonic() > deadline:
                raise StoreBusy(f"the readings of a range took longer than {self.patience:g} s")
            last = min(start + width - 1, end)
            readings, taken = self._ask(gpus, factors, start, last), last - start + 1
            if len(readings) > 3 * self.size and taken > 1:
                width = max(taken // WIDER, 1)
                continue
            yield readings
            start = last + 1
            width = max(min(taken * WIDER, taken * self.size // max(len(readings), 1)), 1)

    def _ask(self, gpus: Sequence[int], factors: Mapping[int, float], first: int, last: int) -> Columns:
        values: dict[str, Any] = {
            "gpus": list(gpus),
            "metrics": list(factors),
            "start": _EPOCH + timedelta(microseconds=first),
            "end": _EPOCH + timedelta(microseconds=last),
            "limit": None if first == last else 3 * self.size + 1,
        }
        with self.use() as connection, connection.cursor(binary=True) as cursor:
            columns = cursor.execute(query("slice", file=QUESTIONS), values).fetchall()[0]
        parts = [np.frombuffer(part or b"", kind) for part, kind in zip(columns, _KINDS, strict=True)]
        moment, gpu, metric, workload = (part.astype(np.int64) for part in parts[:4])
        return Columns(
            moment + EPOCH_2000, gpu, metric, workload, parts[4] * looked_up([*factors], [*factors.values()], metric)
        )


def looked_up(numbers: Sequence[int], values: Sequence[float], asked: Ints) -> NDArray[Any]:
    """The value of each number that is asked for, shape (n,), of the values' type; 0 of one that is not there."""
    if not numbers:
        return np.zeros(len(asked), np.int64)
    order = np.argsort(numbers)
    keys = np.array(numbers)[order]
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, np.array(values)[order][place], 0)
