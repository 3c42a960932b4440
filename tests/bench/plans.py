"""How the server answers each read that is measured: EXPLAIN (ANALYZE, BUFFERS) of its statements on the filled table.

What lives here: asking the reader, and a second time with EXPLAIN before each of its statements. What does not: how
long an answer takes over HTTP (`reads`). The texts are for people who look for what is slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import psycopg

from telemetry.block import MAX_TIME, MIN_TIME
from telemetry.store.pool import Pool
from telemetry.store.questions.fleet import Fleet, Part
from telemetry.store.questions.integrals import POWER, Integrator, trapezoid
from telemetry.store.questions.reader import Reader
from telemetry.store.questions.selection import Selection
from telemetry.store.questions.steps import Aggregate, GroupBy, StepQuestion, StepReader
from telemetry.store.session import Connection
from tests.bench.filled import filled, gpus
from tests.bench.stage import Stage, say
from webapi.schemas import PAGE_ROWS


def _page(reader: Reader, id: str) -> object:
    numbers = [row.number for row in reader.gpus_called(id)]
    return reader.readings(numbers, start=MIN_TIME, end=MAX_TIME, limit=PAGE_ROWS)


def _whole(reader: Reader, id: str) -> object:
    numbers = [row.number for row in reader.gpus_called(id)]
    return [*reader.whole_range(numbers, start=MIN_TIME, end=MAX_TIME)]


def _steps(reader: Reader, id: str) -> object:
    numbers = [row.number for row in reader.gpus_called(id)]
    return _five_minutes(reader, numbers, Selection(), GroupBy.GPU)


def _five_minutes(reader: Reader, gpus: Sequence[int] | None, selection: Selection, by: GroupBy) -> object:
    question = StepQuestion(gpus, selection, MIN_TIME, MAX_TIME, STEP, Aggregate.AVG, (by,))
    return StepReader(pool=reader.pool).steps(question, most=STEPS_MAX)


def _fleet_now(reader: Reader, _: str) -> object:
    fleet, part = _fleet(reader)
    return part.last_seen and fleet.newest(part, fleet.metrics(), at=part.last_seen, within=300.0)


def _fleet_energy(reader: Reader, _: str) -> object:
    fleet, part = _fleet(reader)
    power = [metric for metric in fleet.metrics() if metric.canonical == POWER]
    integrator = Integrator(pool=reader.pool, patience=600.0)
    return integrator.integrals(part, power, start=MIN_TIME, end=MAX_TIME, rule=trapezoid(300))


def _fleet_extents(reader: Reader, _: str) -> object:
    fleet, part = _fleet(reader)
    return fleet.extents(part, fleet.metrics(), start=MIN_TIME, end=MAX_TIME)


def _fleet(reader: Reader) -> tuple[Fleet, Part]:
    fleet = Fleet(pool=reader.pool)
    return fleet, fleet.part(Selection())


_READS = re.compile(r"(\s*--.*\n)*\s*(SELECT|WITH)\b")
STEP, STEPS_MAX = 300 * 10**6, 10**6
"""µs of a step; values of an answer at most."""

READS: Mapping[str, Callable[[Reader, str], object]] = MappingProxyType(
    {
        "GPU list": lambda reader, _: reader.gpu_ids(),
        "latest": lambda reader, id: reader.newest(reader.gpus_called(id)),
        "range as a page of JSON": _page,
        "range as CSV": _whole,
        "steps of 5 min": _steps,
        "steps of 5 min of each host": lambda reader, _: _five_minutes(
            reader, None, Selection(metrics=("POWER_USAGE",)), GroupBy.HOST
        ),
        "summary of the fleet": _fleet_now,
        "energy of the fleet": _fleet_energy,
        "idle GPUs": _fleet_extents,
    }
)
"""By what the API does with each."""


@dataclass(frozen=True)
class Plan:
    """One statement of a read, and how it was answered, by the server's own words."""

    tier: str
    rows: int
    read: str
    statement: str
    plan: str

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return dict(vars(self))


class Explained(Pool):
    """A pool whose statements are each explained before they are answered; `seen` has what was said."""

    def __init__(self, *, url: str) -> None:
        super().__init__(url=url, size=2, statement_timeout=600.0)
        self.seen: list[tuple[str, str]] = []
        self._factory = type("Explaining", (_Explaining,), {"seen": self.seen})

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """A connection that explains."""
        with super().use() as connection:
            plain, connection.cursor_factory = connection.cursor_factory, self._factory
            try:
                yield connection
            finally:
                connection.cursor_factory = plain  # what the pool itself asks is nobody's read


class _Explaining(psycopg.Cursor[Any]):
    seen: list[tuple[str, str]]

    def execute(self, query: Any, params: Any = None, **more: Any) -> Self:
        self._explain(query, params)
        return super().execute(query, params, **more)

    def stream(self, query: Any, params: Any = None, **more: Any) -> Iterator[Any]:
        self._explain(query, params)
        return super().stream(query, params, **more)

    def _explain(self, query: str, params: Any) -> None:
        if not _READS.match(query):
            return  # a setting of the transaction
        super().execute(f"EXPLAIN (ANALYZE, BUFFERS) {query}".encode(), params)  # with parameters as they are sent
        self.seen.append((query.strip(), "\n".join(line for (line,) in self.fetchall())))


def plans(stage: Stage) -> Iterator[Plan]:
    """Every statement of every read, of one GPU among all, when it has been asked before."""
    database = filled(stage)
    (asked,) = gpus(database, 1)
    for read, ask in READS.items():
        say(f"  explaining {read}")
        with closing(Explained(url=database.reader)) as pool:
            for _ in range(2):  # connected, and in memory what the first one read
                pool.seen.clear()
                ask(Reader(pool=pool), asked.id)
        yield from (Plan(stage.tier.value, stage.rows, read, *each) for each in pool.seen)


def text(found: Sequence[Plan]) -> str:
    """For people."""
    return "\n\n".join(f"== {one.read}, {one.tier}, {one.rows:,} rows\n{one.statement}\n\n{one.plan}" for one in found)
