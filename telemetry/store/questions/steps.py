"""Aggregates over time, asked of the database; the SQL is sql/steps.sql.

What lives here: the reader, and how its columns become an answer. What does not: what a question and an answer are
made of (`aggregates`), readings as they were stored (`reader`), how answers are written down (`webapi`).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, NamedTuple

import numpy as np

from telemetry.store.pool import Pool
from telemetry.store.queries import query
from telemetry.store.questions.aggregates import (
    Aggregate,
    GroupBy,
    NotACounter,
    StepGroup,
    StepQuestion,
    Steps,
    TooManyPoints,
)
from telemetry.store.questions.cutting import cut
from telemetry.store.questions.rates import Rates, Side, Terms
from telemetry.store.questions.rollups import SAMPLES, Piece
from telemetry.store.questions.selection import Numbers, numbers_of
from telemetry.store.questions.slices import Slices
from telemetry.store.questions.stepcolumns import ADDED, COLUMNS, MERGED, Found, merged, unpack
from telemetry.store.questions.stepgroups import NOT_ASKED, OF_LOAD, OF_PLACE, Grouping, Names, loads, places
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

WAYS = {Aggregate.FIRST: "step_first", Aggregate.LAST: "step_last"}
"""The parts of statements for what is not made by grouping readings alone."""

TOP_OF = 100_000
"""GPUs and MIG instances among which the highest are looked for."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ranked(NamedTuple):
    """One GPU or MIG instance in an order of values."""

    group: StepGroup
    value: float


class StepReader:
    """Asks; safe from any number of threads. Every call may raise StoreError."""

    def __init__(self, *, pool: Pool) -> None:
        self.pool = pool

    def steps(self, question: StepQuestion, most: int) -> Steps:
        """The values of all steps that have readings, ordered by time, then group.

        Raises TooManyPoints when there are more than `most` values in all, and NotACounter when a rate is asked of a
        metric that is none; a rate without metrics is that of all counters.

        A rate is that of series: of a metric, whatever its name, on a board or a MIG instance, wherever it stood. The
        readings of one instant count as their mean. What a series rose since the instant before within the range, and
        the seconds since then, count for the reading that ends them, for its step, place and workload, in equal shares
        if there are several; what is not selected is left out after that, so that a pod has one rate, whether it is
        asked for alone or in a group. A fall is a reset to 0. Energy that no board could have drawn in the time, and
        that time, are left out, as in `integrals.increase`: the source jumped.
        """
        question.check_counters()
        with self.pool.use() as connection, connection.transaction():
            connection.execute(query("step_snapshot", file=QUESTIONS))
            asked = _Asked.of(connection, question)
            if asked is None:
                return Steps.none()
            if question.agg is Aggregate.RATE:
                found = asked.rates(connection, limit=most, patience=self.pool.patience)
            else:
                found = asked.found(connection, limit=most + 1)
        return asked.answer(found, most)

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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question in the numbers of the tables."""

    question: StepQuestion
    numbers: Numbers
    grouping: Grouping
    series: Sequence[tuple[int, int]]
    """Rows of gpus and the series that each belongs to, where a rate is asked."""

    @classmethod
    def of(cls, connection: Connection, question: StepQuestion) -> "_Asked | None":
        """None: it has no readings. Planning excludes nothing by an empty list or range, so it is not to be asked."""
        numbers = _numbers(connection, question)
        if numbers.nothing or question.start > question.end:
            return None
        rows = connection.execute(query("step_metrics", file=QUESTIONS), {"metrics": numbers.metrics}).fetchall()
        names = Names.of(rows, counters=question.agg is Aggregate.RATE)
        if not names.factors:
            return None
        grouping = _grouping(connection, question, numbers, names)
        return cls(question, numbers, grouping, _series(connection, question, numbers))

    def found(self, connection: Connection, limit: int) -> Found:
        """The values, `limit` or more if there are so many, from wherever they are had soonest."""
        question, parts = self.question, [Piece(SAMPLES, self.question.start, self.question.end)]
        if question.agg in MERGED:
            parts = cut(connection, question.start, question.end, question.step)
        return merged([self._piece(connection, part, limit) for part in parts], question.agg)

    def rates(self, connection: Connection, limit: int, patience: float) -> Found:
        """The rates, more than `limit` if there are so many. Raises StoreBusy beyond the patience."""
        question, numbers, names = self.question, self.numbers, self.grouping.names
        columns, rows = self.grouping.columns, [row for row, _ in self.series]
        step, origin = question.grid()
        metrics = Side(columns["metrics"], columns["metric_keys"])
        places, loads = (Side(columns[f"{name}s"], columns[f"{name}_keys"]) for name in ("place", "load"))
        terms = Terms(step, origin, metrics, places, loads, names.most, self.series, numbers.gpus, numbers.workloads)
        rates = Rates(terms)
        ((first, _),) = connection.execute(query("step_span", file=QUESTIONS), {"gpus": rows}).fetchall()
        start = max(question.start, _micros(first)) if first else question.start
        factors = dict(zip(metrics.numbers, names.factors, strict=True))
        for readings in Slices(lambda: nullcontext(connection), patience).read(rows, factors, start, question.end):
            rates.add(readings)
            if rates.values > limit:
                break
        return rates.found()

    def _piece(self, connection: Connection, piece: Piece, limit: int) -> Found:
        with connection.cursor(binary=True) as cursor:
            row = cursor.execute(_statement(piece.level, self.question.agg), self._values(piece, limit)).fetchone()
        return unpack(row or [None] * len(COLUMNS))

    def _values(self, piece: Piece, limit: int) -> dict[str, Any]:
        question, numbers, names = self.question, self.numbers, self.grouping.names
        step, origin = question.grid()
        return {
            **self.grouping.columns,
            "only": None if numbers.metrics is None else names.side.numbers,
            "gpus": numbers.gpus,
            "workloads": numbers.workloads,
            "start": _moment(piece.start),
            "end": _moment(piece.end),
            "step": timedelta(microseconds=step),
            "origin": timedelta(microseconds=origin),
            "agg": question.agg.value,
            "as_is": set(names.factors) == {1.0} and question.agg not in ADDED,
            "limit": limit,
        }

    def answer(self, found: Found, most: int) -> Steps:
        """The values in order, under their names. Raises TooManyPoints."""
        keys, place = np.unique(found.key, return_inverse=True)
        if len(found.time) > most:
            raise TooManyPoints(most, groups=len(keys))
        groups = [self.grouping.group(key, self.question) for key in keys.tolist()]
        order = sorted(range(len(groups)), key=groups.__getitem__)
        rank = np.empty(len(groups), np.int64)
        rank[order] = np.arange(len(groups))
        code = rank[place]
        by_time = np.lexsort((code, found.time))
        value = found.value / found.readings if self.question.agg is Aggregate.AVG else found.value
        return Steps(found.time[by_time], code[by_time], value[by_time], [groups[each] for each in order])


def _grouping(connection: Connection, question: StepQuestion, numbers: Numbers, names: Names) -> Grouping:
    """Only what is asked for is looked up: workloads may be many."""
    of_place, of_load = NOT_ASKED, NOT_ASKED
    if not set(OF_PLACE).isdisjoint(question.group_by):
        found = connection.execute(query("step_places", file=QUESTIONS), {"gpus": numbers.gpus})
        of_place = places(found, question.group_by)
    if not set(OF_LOAD).isdisjoint(question.group_by):
        found = connection.execute(query("step_loads", file=QUESTIONS), {"workloads": numbers.workloads})
        of_load = loads(found, question.group_by)
    return Grouping(names, of_place, of_load)


def _series(connection: Connection, question: StepQuestion, numbers: Numbers) -> Sequence[tuple[int, int]]:
    """Only a rate asks for them; they have rows that are not selected, too."""
    if question.agg is not Aggregate.RATE:
        return ()
    return connection.execute(query("step_series", file=QUESTIONS), {"gpus": numbers.gpus}).fetchall()


def _statement(level: int, agg: Aggregate) -> LiteralString:
    """The one for a rollup or samples, put together of the parts that are named in the file."""
    parts = (f"rollup_{level}", "rollup_grouped") if level else ("step_of_samples", WAYS.get(agg, "step_grouped"))
    return "\n".join(query(name, file=QUESTIONS) for name in (*parts, "step_columns"))


def _moment(time: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
