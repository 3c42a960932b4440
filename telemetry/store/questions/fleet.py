"""Questions about all GPUs at once, and about what was ever read; the SQL is sql/fleet.sql.

What lives here: the inventory, the catalogue of metrics as it was met, and the newest values of a fleet. What does
not: one GPU's readings (`reader`), aggregates over steps of time (`steps`), what lies between readings (`integrals`),
how rows of one GPU become one value (`boards`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import fsum
from typing import Any, LiteralString, NamedTuple

from telemetry.block import MIN_TIME
from telemetry.catalog import lookup
from telemetry.store.pool import Pool
from telemetry.store.queries import query
from telemetry.store.questions.cutting import cut
from telemetry.store.questions.reader import GpuRow
from telemetry.store.questions.rollups import SAMPLES, Piece
from telemetry.store.questions.selection import Selection, like, numbers_of

QUESTIONS = "fleet.sql"
"""The file of the statements that are asked here."""

FIRST_WINDOW, WIDER = 10.0, 8
"""Seconds in which the newest values are looked for first, and by how much longer the next window is: the columnstore
reads a whole window of the fleet, and most GPUs report within the first one."""

ENOUGH = 100
"""Readings of the wanted metrics in which they are looked for: of a GPU that has more, nothing older is read."""

LAG = 10.0
"""Seconds by which `last_seen` may be behind a GPU's newest reading."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Item(NamedTuple):
    """A GPU of the inventory: the place is the latest, `instances` counts MIG instances, `places` hosts' slots."""

    id: str
    uuid: str
    model_name: str
    hostname: str
    gpu_id: str
    device: str
    first_seen: datetime
    last_seen: datetime
    instances: int
    places: int


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric name that was read. `value * factor` is in `unit`; `low` and `high`, in it too, are None if unknown."""

    number: int
    name: str
    canonical: str
    unit: str
    kind: str
    description: str
    factor: float
    low: float | None
    high: float | None


class Newest(NamedTuple):
    """The newest value of a metric of one row of a GPU, in the canonical unit; `gpu` and `workload` are numbers."""

    gpu: int
    canonical: str
    workload: int
    time: datetime
    value: float


class Extent(NamedTuple):
    """Readings of one metric and row of a GPU in a range: how many, lowest, highest, sum; in the canonical unit."""

    gpu: int
    canonical: str
    readings: int
    low: float
    high: float
    total: float


@dataclass(frozen=True, slots=True)
class Part:
    """The part of the fleet that a selection names: rows of GPUs by id, and workloads by number (None: all)."""

    rows: Sequence[GpuRow]
    workloads: frozenset[int] | None

    @property
    def numbers(self) -> list[int]:
        """What stands for the rows in samples."""
        return [row.number for row in self.rows]

    @property
    def last_seen(self) -> datetime | None:
        """Of the GPU that was seen last; up to 10 s behind its newest reading."""
        return max((row.last_seen for row in self.rows if row.last_seen), default=None)


class Fleet:
    """Asks; safe from any number of threads. Every call may raise StoreError."""

    def __init__(self, *, pool: Pool) -> None:
        self.pool = pool

    def inventory(
        self, *, host: str | None = None, model: str | None = None, after: str | None = None, limit: int | None = None
    ) -> list[Item]:
        """GPUs that have telemetry, by id in byte order, beyond `after`; `host` and `model` are globs of the latest
        place."""
        values = {"host": like(host), "model": like(model), "after": after, "limit": limit}
        return [Item(*row) for row in self._all("inventory", values)]

    def metrics(self, name: str | None = None) -> list[MetricRow]:
        """The metrics whose name or canonical name matches a glob, by name in byte order; None: all."""
        return [_described(*row) for row in self._all("metrics", {"name": like(name)})]

    def part(self, selection: Selection) -> Part:
        """What a selection names; its metrics do not count. Without telemetry a GPU is none."""
        with self.pool.use() as connection:
            numbers = numbers_of(connection, selection)
        rows = [] if numbers.nothing else self._all("rows", {"gpus": numbers.gpus})
        workloads = None if numbers.workloads is None else frozenset(numbers.workloads)
        return Part([GpuRow(*row) for row in rows], workloads)

    def places_of(self, workloads: Iterable[int]) -> dict[int, tuple[str, str]]:
        """(namespace, pod) of workloads by number."""
        rows = self._all("workloads", {"workloads": list(workloads)})
        return {number: (namespace, pod) for number, namespace, pod in rows}

    def newest(self, part: Part, metrics: Sequence[MetricRow], *, at: datetime, within: float) -> list[Newest]:
        """The newest value of each canonical metric of each row, not older than `within` seconds before `at`.

        One is found that was read in the 10 s before `at` or later, or that is among the row's newest 100 readings of
        these metrics. One whose newest reading is of a workload that is not selected is none.
        """
        known = {metric.number: metric for metric in metrics}
        wanted = len({metric.canonical for metric in metrics})
        found: dict[tuple[int, str], Newest] = {}
        oldest = _earlier(at, within + LAG)
        left = {row.number for row in part.rows if known and row.last_seen and row.last_seen >= oldest}
        for width in _widths(within):
            if not left:
                break
            read = self._newest_from(left, known, _earlier(at, width), found)
            kinds = Counter(gpu for gpu, _ in found)
            left -= {gpu for gpu, count in read.items() if count >= ENOUGH or kinds[gpu] == wanted}
        kept = part.workloads
        return [one for one in found.values() if kept is None or one.workload in kept]

    def extents(
        self, part: Part, metrics: Sequence[MetricRow], *, start: int, end: int, dropped: bool = True
    ) -> list[Extent]:
        """What each row's readings of each metric are from `start` to `end`, both inclusive, µs since 1970.

        Two names of one metric are two extents. Sums may differ in their last bit from one time to the next. Whole
        minutes, hours and days come from rollups, where there are any; those of readings that retention dropped only
        with `dropped`, as integrals have none of them.
        """
        known = {metric.number: metric for metric in metrics}
        # Planning excludes nothing by an empty list or an empty range: without readings to be had, do not ask.
        if not part.rows or not known or part.workloads == frozenset() or start > end:
            return []
        values = {
            "gpus": part.numbers,
            "metrics": sorted(known),
            "workloads": None if part.workloads is None else sorted(part.workloads),
        }
        found: dict[tuple[int, int], list[tuple[Any, ...]]] = defaultdict(list)
        with self.pool.use() as connection, connection.transaction(), connection.cursor(binary=True) as cursor:
            connection.execute(query("step_snapshot", file="steps.sql"))
            for piece in cut(connection, start, end, step=0, dropped=dropped):
                for gpu, number, *amounts in cursor.execute(*_of_piece(piece, values)):
                    found[gpu, number].append(tuple(amounts))
        return [_extent(gpu, known[number], parts) for (gpu, number), parts in sorted(found.items())]

    def _newest_from(
        self,
        gpus: Iterable[int],
        known: Mapping[int, MetricRow],
        start: datetime,
        found: dict[tuple[int, str], Newest],
    ) -> dict[int, int]:
        """Add what is found from `start` on; how many readings each GPU has there."""
        read = {}
        values = {"gpus": sorted(gpus), "metrics": sorted(known), "since": start}
        for gpu, number, workload, time, value, count in self._all("newest_of_many", values):
            read[gpu] = count
            metric = known[number]
            before = found.get((gpu, metric.canonical))
            if before is None or before.time < time:
                found[gpu, metric.canonical] = Newest(gpu, metric.canonical, workload, time, value * metric.factor)
        return read

    def _all(self, name: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self.pool.use() as connection, connection.cursor(binary=True) as cursor:
            return cursor.execute(query(name, file=QUESTIONS), values).fetchall()


def _of_piece(piece: Piece, values: Mapping[str, Any]) -> tuple[LiteralString, Mapping[str, Any]]:
    """What asks a part of a range for extents, of samples or of a rollup, and with which values."""
    start, end = (_EPOCH + timedelta(microseconds=time) for time in (piece.start, piece.end))
    statement = query("extents", file=QUESTIONS)
    if piece.level != SAMPLES:
        statement = query(f"rollup_{piece.level}", file="steps.sql") + "\n" + query("rollup_extents", file=QUESTIONS)
    return statement, {**values, "start": start, "end": end}


def _extent(gpu: int, metric: MetricRow, parts: Sequence[tuple[Any, ...]]) -> Extent:
    """Of (readings, lowest, highest, sum) of parts of a range, in the metric's own unit."""
    readings, lows, highs, totals = zip(*parts, strict=True)
    amounts = (amount * metric.factor for amount in (min(lows), max(highs), fsum(totals)))
    return Extent(gpu, metric.canonical, sum(readings), *amounts)


def _described(number: int, name: str, canonical: str, unit: str, kind: str, description: str) -> MetricRow:
    known = lookup(name)
    if known is None or known.canonical != canonical:  # another version of the catalogue wrote the row
        return MetricRow(number, name, canonical, unit, kind, description, 1.0, None, None)
    return MetricRow(number, name, canonical, unit, kind, description, known.factor, known.low, known.high)


def _widths(within: float) -> Iterable[float]:
    """Seconds to look back, each more than the one before; the last is `within`."""
    width = FIRST_WINDOW
    while width < within:
        yield width
        width *= WIDER
    yield within


def _earlier(moment: datetime, seconds: float) -> datetime:
    first = _EPOCH + timedelta(microseconds=MIN_TIME)
    return first if (moment - first).total_seconds() <= seconds else moment - timedelta(seconds=seconds)
