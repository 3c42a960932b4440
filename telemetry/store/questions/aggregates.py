"""What a question about aggregates over time is made of, and the shape of its answer.

What lives here: the words (aggregates, groups, questions, answers) and what may be asked. What does not: asking
(`steps`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.catalog import lookup
from telemetry.store.questions.selection import Selection


class Aggregate(StrEnum):
    """What becomes of the readings of a step. Percentiles are exact and interpolate between readings."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"
    FIRST = "first"
    LAST = "last"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    RATE = "rate"


class GroupBy(StrEnum):
    """What tells one group of readings from another, beside the metric."""

    GPU = "gpu"
    HOST = "host"
    MODEL = "model"
    NAMESPACE = "namespace"
    POD = "pod"


FOR_GAUGES = (Aggregate.AVG, Aggregate.MIN, Aggregate.MAX, Aggregate.LAST)
"""What is asked of a metric that is no counter instead of a rate."""


class TooManyPoints(ValueError):
    """Raised when an answer has more than `most` values; `groups` are in the first of them."""

    def __init__(self, most: int, groups: int) -> None:
        super().__init__(f"more than {most} values")
        self.most, self.groups = most, groups


class NotACounter(ValueError):
    """Raised when a rate is asked of `metric`, whose `kind` is gauge, code or unknown; `instead` would do."""

    def __init__(self, metric: str, kind: str) -> None:
        super().__init__(f"{metric} is a {kind}, not a counter")
        self.metric, self.kind, self.instead = metric, kind, FOR_GAUGES


@dataclass(frozen=True, slots=True)
class StepQuestion:
    """Which readings, and what to make of them.

    `gpus` are numbers of rows of the table gpus; None: whatever `selection` lets through, which holds besides.
    `start` and `end` are inclusive, µs since 1970. `step` is in µs, counted from 1970; 0: the whole range is one.
    """

    gpus: Sequence[int] | None
    selection: Selection
    start: int
    end: int
    step: int
    agg: Aggregate
    group_by: tuple[GroupBy, ...] = ()

    def check_counters(self) -> None:
        """Raise NotACounter when a rate is asked of a metric that is not known to be a counter."""
        if self.agg is Aggregate.RATE:
            for name in self.selection.metrics:
                metric = lookup(name)
                if metric is None or metric.kind != "counter":
                    raise NotACounter(metric.canonical if metric else name, metric.kind if metric else "unknown")

    def grid(self) -> tuple[int, int]:
        """The width of a step and where the first one begins, µs; `start` is not after `end`."""
        if not self.step:
            return self.end - self.start + 1, self.start
        return self.step, self.start // self.step * self.step

    def over_the_range(self, group_by: tuple[GroupBy, ...]) -> StepQuestion:
        """The same of the whole range, grouped otherwise."""
        return replace(self, step=0, group_by=group_by)


class StepGroup(NamedTuple):
    """A series of values: of one metric, and of the readings that share `labels` (the values of `group_by`, in order).

    `metric_name` is the classic name, whatever generation the readings have, and `unit` that of the values. `mig` is
    the GPU_I_ID of a MIG instance when the question is grouped by GPU, else empty: instances are groups of their own.
    """

    metric_name: str
    unit: str
    labels: tuple[str, ...]
    mig: str = ""


@dataclass(frozen=True, slots=True)
class Steps:
    """Values ordered by time, then group; all columns of shape (n,).

    `time` is int64, the start of the step in µs since 1970; `code` indexes `groups`, which are in the order of their
    fields; `value` is float64, in the group's unit. A step without readings is absent.
    """

    time: NDArray[np.int64]
    code: NDArray[np.int64]
    value: NDArray[np.float64]
    groups: Sequence[StepGroup] = ()

    @classmethod
    def none(cls) -> Steps:
        """No values."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
