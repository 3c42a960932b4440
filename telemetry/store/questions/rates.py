"""What counters rose per second, step by step, from readings that come slice by slice.

What lives here: the arithmetic, in flat memory. What does not: which readings (`slices`), what a question and its
answer are called (`steps`, `stepgroups`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.block import MIN_TIME
from telemetry.store.ordering import order_by
from telemetry.store.questions.slices import Columns, Floats, Ints, looked_up
from telemetry.store.questions.stepcolumns import Found

LEAST = 1e-270
"""What is nearer to 0 counts as 0, as it does where the database adds up."""


class Side(NamedTuple):
    """Numbers of a dimension, and the part that each adds to the key of its group."""

    numbers: Sequence[int]
    keys: Sequence[int]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a question asks, in the numbers of the tables; `step` and `origin` (where a step begins) in µs since 1970.

    `most` is what each of the metrics may rise in a second. `series` are rows of gpus and the series that each belongs
    to. `gpus` and `workloads` are those that count, None: all.
    """

    step: int
    origin: int
    metrics: Side
    places: Side
    loads: Side
    most: Sequence[float]
    series: Sequence[tuple[int, int]]
    gpus: Sequence[int] | None
    workloads: Sequence[int] | None


class _Shares(NamedTuple):
    """What readings have of what their series rose, and of the seconds in which it did; all of shape (n,)."""

    step: Ints
    key: Ints
    series: Ints
    rise: Floats
    seconds: Floats

    def picked(self, which: NDArray[np.bool_]) -> _Shares:
        return _Shares(self.step[which], self.key[which], self.series[which], self.rise[which], self.seconds[which])

    def added(self, others: _Shares) -> _Shares:
        """These and others, those of the same step, key and series as one."""
        step, key, series = (np.concatenate(pair) for pair in zip(self[:3], others[:3], strict=True))
        rise, seconds = (np.concatenate(pair) for pair in zip(self[3:], others[3:], strict=True))
        order, starts = _groups(step, key, series)
        first = order[starts]
        sums = [np.add.reduceat(column[order], starts) if len(starts) else column for column in (rise, seconds)]
        return _Shares(step[first], key[first], series[first], *sums)

    @classmethod
    def none(cls) -> _Shares:
        none = np.empty(0, np.int64)
        return cls(none, none, none, np.empty(0), np.empty(0))


class Rates:
    """Of readings that are added in the order of time: slice by slice, in any order within one.

    A rise belongs to the readings of the instant at which it was seen, in equal shares; each instant is the mean of
    its readings. After a fall a counter counts from 0. Of the time in which one would have risen more than `most`
    nothing is known: its source jumped.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        meanings = {key: place for place, key in enumerate(sorted(set(terms.metrics.keys)))}
        self._meanings = [meanings[key] for key in terms.metrics.keys]
        self._last = Columns.none()
        self._open = _Shares.none()
        self._done: list[Found] = []
        self.values = 0

    def add(self, readings: Columns) -> None:
        """Go on with these, which are later than all before them."""
        if not len(readings):
            return
        together = readings.after(self._last)
        line, order = self._ordered(together)
        together, line = together.picked(order), line[order]
        fresh = np.r_[True, (line[1:] != line[:-1]) | (together.time[1:] != together.time[:-1])]
        starts = np.flatnonzero(fresh)
        instant, sizes = np.cumsum(fresh) - 1, np.diff(np.r_[starts, len(line)])
        self._open = self._open.added(self._shared(together, line, starts, sizes, instant))
        ends = np.r_[line[starts[1:]] != line[starts[:-1]], True]
        self._last = together.picked(ends[instant])
        self._close(self._steps(readings.time.max(keepdims=True))[0])

    def _ordered(self, readings: Columns) -> tuple[Ints, NDArray[np.intp]]:
        """Which line each belongs to, a metric's of a series; and their order by line, time, then value.

        The order by value makes equal means of equal readings: a fall by the rounding of a sum would be a reset.
        """
        meaning = looked_up(self._terms.metrics.numbers, self._meanings, readings.metric)
        line = self._series(readings.gpu) * len(self._meanings) + meaning
        order = order_by(line, readings.time)
        if ((np.diff(line[order]) == 0) & (np.diff(readings.time[order]) == 0)).any():
            order = np.lexsort((readings.value, readings.time, line))
        return line, order

    def _shared(self, readings: Columns, line: Ints, starts: NDArray[np.intp], sizes: Ints, instant: Ints) -> _Shares:
        value = np.where(np.abs(readings.value) < LEAST, 0.0, readings.value)
        mean, moment = np.add.reduceat(value, starts) / sizes, readings.time[starts]
        after = np.flatnonzero(line[starts[1:]] == line[starts[:-1]]) + 1
        rise, seconds, known = np.zeros(len(starts)), np.zeros(len(starts)), np.zeros(len(starts), np.bool_)
        risen = np.where(mean[after] >= mean[after - 1], mean[after] - mean[after - 1], np.maximum(mean[after], 0.0))
        rise[after], seconds[after] = risen, (moment[after] - moment[after - 1]) / 1e6
        most = looked_up(self._terms.metrics.numbers, self._terms.most, readings.metric[starts])
        known[after] = rise[after] <= most[after] * seconds[after]
        share = _Shares(
            self._steps(readings.time),
            self._keys(readings),
            self._series(readings.gpu),
            (rise / sizes)[instant],
            (seconds / sizes)[instant],
        )
        return share.picked(known[instant] & self._counting(readings))

    def _series(self, gpu: Ints) -> Ints:
        numbers, series = zip(*self._terms.series, strict=True)
        found: Ints = looked_up(numbers, series, gpu)
        return found

    def _steps(self, time: Ints) -> Ints:
        terms = self._terms
        return (time - terms.origin) // terms.step * terms.step + terms.origin

    def _keys(self, readings: Columns) -> Ints:
        terms, columns = self._terms, (readings.metric, readings.gpu, readings.workload)
        sides = (terms.metrics, terms.places, terms.loads)
        metric, place, load = (looked_up(*side, column) for side, column in zip(sides, columns, strict=True))
        key: Ints = metric + place + load
        return key

    def _counting(self, readings: Columns) -> NDArray[np.bool_]:
        counting = np.ones(len(readings), np.bool_)
        for column, wanted in ((readings.gpu, self._terms.gpus), (readings.workload, self._terms.workloads)):
            if wanted is not None:
                counting &= np.isin(column, np.array(wanted, np.int64))
        return counting

    def _close(self, step: int) -> None:
        """All before a step is complete: rates of series become those of groups."""
        complete = self._open.step < step
        shares, self._open = self._open.picked(complete), self._open.picked(~complete)
        if len(shares.step):
            order, starts = _groups(shares.step, shares.key)
            value = np.add.reduceat((shares.rise / shares.seconds)[order], starts)
            time, key = shares.step[order][starts], shares.key[order][starts]
            self._done.append(Found(np.maximum(time, MIN_TIME), key, np.ones(len(key), np.int64), value))
            self.values += len(key)

    def found(self) -> Found:
        """The rate of each step and group, all of them; nothing can be added after it."""
        self._close(np.iinfo(np.int64).max)
        none = np.empty(0, np.int64)
        parts = [Found(none, none, none, np.empty(0)), *self._done]
        return Found(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _groups(*columns: Ints) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """An order in which equal rows stand together, and where each group begins."""
    order = order_by(*columns)
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = np.logical_or.reduce([np.diff(column[order]) != 0 for column in columns])
    return order, np.flatnonzero(fresh)
