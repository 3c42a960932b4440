"""What lies between readings: energy from power, and from the counter that GPUs keep of it.

What lives here: integrating a range, in flat memory. What does not: reading it (`slices`), which part of the fleet
(`fleet`), grouping what comes out (`webapi`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from math import fsum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.catalog import METRICS
from telemetry.store.ordering import order_by
from telemetry.store.pool import Pool
from telemetry.store.questions.fleet import MetricRow, Part
from telemetry.store.questions.reader import GpuRow
from telemetry.store.questions.slices import SLICE, Columns, Floats, Slices

POWER, COUNTER = "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
MOST_WATTS = METRICS[POWER].high
"""What no board draws."""
MOST_PER_SECOND = MOST_WATTS * 1e3
"""The same as a counter of energy counts it, in mJ."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Integral(NamedTuple):
    """Of one row of a GPU and one workload: what the rule makes of a range, in seconds times the metric's unit.

    `seconds` are those between readings that counted, `readings` how many there were, `total` the sum of their values.
    """

    gpu: int
    workload: int
    amount: float
    seconds: float
    readings: int
    total: float


class Between(NamedTuple):
    """What lies between two successive instants of a board: the amount of each half, and the seconds that count."""

    first: Floats
    second: Floats
    seconds: Floats


Rule = Callable[[Floats, Floats, Floats], Between]
"""From the value before, the value after and the seconds between them, each of shape (n,)."""


def trapezoid(max_gap: float) -> Rule:
    """The trapezoidal rule; what lies between two readings that are more than `max_gap` seconds apart is unknown."""

    def between(before: Floats, after: Floats, seconds: Floats) -> Between:
        counted = np.where(seconds <= max_gap, seconds, 0.0)
        return Between(before * counted / 2, after * counted / 2, counted)

    return between


def increase(before: Floats, after: Floats, seconds: Floats) -> Between:
    """What a counter of mJ rose by, however long it was silent.

    One that fell was set back and counts from 0 again. What no board could have drawn in that time is not counted: then
    the source itself jumped, as a file does that is read in a loop, or read faster than it was written.
    """
    rise = np.where(after >= before, after - before, np.maximum(after, 0.0))
    half = np.where(rise <= MOST_PER_SECOND * seconds, rise, 0.0) / 2
    return Between(half, half, seconds)


class Quantity(NamedTuple):
    """Metrics that are one quantity under several names, and how it is integrated."""

    metrics: Sequence[MetricRow]
    rule: Rule


class Integrator:
    """Asks; safe from any number of threads. `patience` is how many seconds an answer may take in all, `slice_` how
    many readings should be in memory at a time."""

    def __init__(self, *, pool: Pool, patience: float, slice_: int = SLICE) -> None:
        self.pool, self.patience, self.slice = pool, patience, slice_

    def integrals(
        self, part: Part, metrics: Sequence[MetricRow], *, start: int, end: int, rule: Rule
    ) -> list[Integral]:
        """What lies between the readings of each board from `start` to `end`, both inclusive, µs since 1970.

        A board is one series, whatever MIG instances and places its rows are, and whatever names the metric has: the
        readings of one instant count as their mean, and share what lies before and after them equally. Each half of
        what lies between two instants belongs to the row and workload of its reading; those of workloads that are not
        selected are left out afterwards. Raises StoreBusy when it takes longer than its patience.
        """
        return self.together(part, [Quantity(metrics, rule)], start=start, end=end)[0]

    def together(self, part: Part, quantities: Sequence[Quantity], *, start: int, end: int) -> list[list[Integral]]:
        """The integrals of several quantities, for which the range is read once. No metric is of two of them."""
        running = [_Running(part.rows, one.rule) for one in quantities]
        factors = {metric.number: metric.factor for one in quantities for metric in one.metrics}
        if part.rows and factors:
            first = min((_micros(row.first_seen) for row in part.rows if row.first_seen), default=start)
            slices = Slices(self.pool.use, self.patience, self.slice)
            for readings in slices.read(part.numbers, factors, max(start, first), end):
                for one, quantity in zip(running, quantities, strict=True):
                    one.add(readings.picked(np.isin(readings.metric, [metric.number for metric in quantity.metrics])))
        kept = part.workloads
        return [[one for one in each.integrals() if kept is None or one.workload in kept] for each in running]


class _Running:
    """What was integrated so far. What is added comes later than all that was added before."""

    def __init__(self, rows: Sequence[GpuRow], rule: Rule) -> None:
        ids = {id: code for code, id in enumerate(dict.fromkeys(row.id for row in rows))}
        pairs = np.array(sorted((row.number, ids[row.id]) for row in rows), np.int64).reshape(-1, 2)
        self._numbers, self._board = pairs[:, 0], pairs[:, 1]
        self._rule = rule
        self._last = Columns.none()
        self._sums: dict[tuple[int, int], list[tuple[float, ...]]] = defaultdict(list)

    def add(self, readings: Columns) -> None:
        """Go on with these; the last instant of each board is kept, for what lies between it and the next one."""
        if not len(readings):
            return
        known, together = len(self._last), readings.after(self._last)
        board = self._board[np.searchsorted(self._numbers, together.gpu)]
        order = order_by(board, together.time)
        together, board = together.picked(order), board[order]
        starts = np.flatnonzero(np.r_[True, (board[1:] != board[:-1]) | (together.time[1:] != together.time[:-1])])
        sizes = np.diff(np.r_[starts, len(board)])
        same = board[starts[1:]] == board[starts[:-1]]
        amount, seconds = self._integrated(together, starts, sizes, same)
        instant = np.repeat(np.arange(len(starts)), sizes)
        self._sum(together, (amount / sizes)[instant], (seconds / sizes)[instant], order >= known)
        self._last = together.picked(~np.r_[same, False][instant])

    def _integrated(
        self, readings: Columns, starts: NDArray[np.intp], sizes: NDArray[np.intp], same: NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """The amount and the seconds of each instant; `same` says whether the next one is of the same board."""
        mean, moment = np.add.reduceat(readings.value, starts) / sizes, readings.time[starts]
        before = np.flatnonzero(same)
        between = self._rule(mean[before], mean[before + 1], (moment[before + 1] - moment[before]) / 1e6)
        amount, seconds = np.zeros(len(starts)), np.zeros(len(starts))
        amount[before] += between.first
        amount[before + 1] += between.second
        seconds[before] += between.seconds / 2
        seconds[before + 1] += between.seconds / 2
        return amount, seconds

    def _sum(self, readings: Columns, amount: Floats, seconds: Floats, fresh: NDArray[np.bool_]) -> None:
        """By row and workload; readings that are not fresh were counted before."""
        keys, code = np.unique(readings.gpu << 32 | readings.workload, return_inverse=True)
        weights = (amount, seconds, fresh.astype(np.float64), np.where(fresh, readings.value, 0.0))
        sums = np.column_stack([np.bincount(code, each) for each in weights]).tolist()
        for key, parts in zip(keys.tolist(), sums, strict=True):
            self._sums[key >> 32, key & 0xFFFFFFFF].append(tuple(parts))

    def integrals(self) -> list[Integral]:
        """By row, then workload."""
        return [_summed(gpu, workload, parts) for (gpu, workload), parts in sorted(self._sums.items())]


def _summed(gpu: int, workload: int, parts: Sequence[tuple[float, ...]]) -> Integral:
    amount, seconds, readings, total = (fsum(column) for column in zip(*parts, strict=True))
    return Integral(gpu, workload, amount, seconds, int(readings), total)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
