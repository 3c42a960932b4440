"""Aggregates over time, asked of the database; the SQL is sql/steps.sql.

What lives here: the reader, and how its columns become an answer. What does not: what a question and an answer are
made of (`aggregates`), readings as they were stored (`reader`), how answers are written down (`webapi`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.block import MIN_TIME
from telemetry.store.aggregates import (
    Aggregate,
    GroupBy,
    Labels,
    Names,
    NotACounter,
    StepGroup,
    StepQuestion,
    Steps,
    TooManyPoints,
)
from telemetry.store.copy import EPOCH_2000
from telemetry.store.pool import Pool
from telemetry.store.queries import query
from telemetry.store.selection import Numbers, numbers_of
from telemetry.store.session import Connection

__all__ = [
    "Aggregate",
    "GroupBy",
    "NotACounter",
    "Ranked",
    "StepGroup",
    "StepQuestion",
    "StepReader",
    "Steps",
    "TooManyPoints",
]

QUESTIONS = "steps.sql"
"""The file of the statements that are asked here."""

TOP_OF = 100_000
"""GPUs and MIG instances among which the highest are looked for."""

_COLUMNS = (">i8", ">i4", ">i4", ">i4", ">i8", ">f8")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ranked(NamedTuple):
    """One GPU or MIG instance in an order of values."""

    group: StepGroup
    value: float


class Found(NamedTuple):
    """The columns of step_values, of shape (n,): time in µs since 1970; `key` is (code, place, load), shape (n, 3)."""

    time: NDArray[np.int64]
    key: NDArray[np.int64]
    readings: NDArray[np.int64]
    value: NDArray[np.float64]


class StepReader:
    """Asks; safe from any number of threads. Every call may raise StoreError."""

    def __init__(self, *, pool: Pool) -> None:
        self.pool = pool

    def steps(self, question: StepQuestion, most: int) -> Steps:
        """The values of all steps that have readings, ordered by time, then group.

        Raises TooManyPoints when there are more than `most` values in all, and NotACounter when a rate is asked of a
        metric that is none; a rate without metrics is that of all counters.
        """
        question.check_counters()
        with self.pool.use() as connection:
            numbers, names = _numbers(connection, question), Names([], [], [], [])
            # Planning excludes nothing by an empty list or an empty range: without readings to be had, do not ask.
            if not numbers.nothing and question.start <= question.end:
                names = _names(connection, numbers, question.agg)
            if not names.metrics:
                return Steps.none()
            found = _found(connection, question, numbers, names, limit=most + 1)
            keys, group = np.unique(found.key[:most], axis=0, return_inverse=True)
            if len(found.time) > most:
                raise TooManyPoints(most, groups=len(keys))
            labels = _labels(connection, keys)
        groups = [names.group(code, of, question) for code, of in zip(keys[:, 0].tolist(), labels, strict=True)]
        return _answer(question, found, group.reshape(-1), groups)

    def span(self, question: StepQuestion) -> tuple[int, int] | None:
        """When what is selected began and ended, within the question's range, µs since 1970; None: no such GPU.

        It is told by when the GPUs were seen with any metric, which may lag some 10 s behind the newest reading.
        """
        with self.pool.use() as connection:
            numbers = _numbers(connection, question)
            row = connection.execute(query("step_span", file=QUESTIONS), {"gpus": numbers.gpus}).fetchone()
        if numbers.nothing or row is None or row[0] is None:
            return None
        first, last = max(_micros(row[0]), question.start), min(_micros(row[1]), question.end)
        return (first, last) if first <= last else None

    def top(self, question: StepQuestion, k: int, *, lowest: bool = False) -> list[Ranked]:
        """The `k` GPUs with the highest, or lowest, aggregate over the whole range, the first one first.

        `step` and `group_by` of the question do not count; the labels are those of gpu and host. Equal ones are in
        the order of their labels. Raises what `steps` does.
        """
        steps = self.steps(question.over_the_range(group_by=(GroupBy.GPU, GroupBy.HOST)), TOP_OF)
        order = np.lexsort((steps.code, steps.value if lowest else -steps.value))[:k]
        return [Ranked(steps.groups[steps.code[place]], float(steps.value[place])) for place in order]


def _numbers(connection: Connection, question: StepQuestion) -> Numbers:
    numbers = numbers_of(connection, question.selection)
    if question.gpus is None:
        return numbers
    gpus = list(question.gpus) if numbers.gpus is None else sorted(set(question.gpus) & set(numbers.gpus))
    return Numbers(gpus, numbers.metrics, numbers.workloads)


def _names(connection: Connection, numbers: Numbers, agg: Aggregate) -> Names:
    found = connection.execute(query("step_metrics", file=QUESTIONS), {"metrics": numbers.metrics}).fetchall()
    return Names.of(found, counters=agg is Aggregate.RATE)


def _found(connection: Connection, question: StepQuestion, numbers: Numbers, names: Names, limit: int) -> Found:
    step, origin = question.grid()
    values = {
        **names.columns,
        "only": None if numbers.metrics is None and question.agg is not Aggregate.RATE else names.metrics,
        "gpus": numbers.gpus,
        "workloads": numbers.workloads,
        "start": _EPOCH + timedelta(microseconds=question.start),
        "end": _EPOCH + timedelta(microseconds=question.end),
        "step": timedelta(microseconds=step),
        "origin": timedelta(microseconds=origin),
        "agg": question.agg.value,
        "limit": limit,
        **{f"by_{label.value}": label in question.group_by for label in GroupBy},
    }
    with connection.cursor(binary=True) as cursor:
        row = cursor.execute(query("step_values", file=QUESTIONS), values).fetchone()
    return _unpack(row or [None] * len(_COLUMNS))


def _unpack(columns: Sequence[Any]) -> Found:
    """The columns in native byte order; None: no rows. A step that began before the year 1 begins with it."""
    arrays = [np.frombuffer(data or b"", kind) for data, kind in zip(columns, _COLUMNS, strict=True)]
    time, code, place, load, readings = (array.astype(np.int64) for array in arrays[:5])
    key = np.column_stack([code, place, load])
    return Found(np.maximum(time + EPOCH_2000, MIN_TIME), key, readings, arrays[5].astype(np.float64))


def _labels(connection: Connection, keys: NDArray[np.int64]) -> list[Labels]:
    values = {"places": keys[:, 1].tolist(), "loads": keys[:, 2].tolist()}
    return [Labels(*row) for row in connection.execute(query("step_labels", file=QUESTIONS), values)]


def _answer(question: StepQuestion, found: Found, group: NDArray[np.int64], groups: Sequence[StepGroup]) -> Steps:
    value = found.value / found.readings if question.agg is Aggregate.AVG else found.value
    order = sorted(range(len(groups)), key=groups.__getitem__)
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups))
    code = rank[group]
    by_time = np.lexsort((code, found.time))
    return Steps(found.time[by_time], code[by_time], value[by_time], [groups[place] for place in order])


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
