"""Readings of a whole selection, ascending by time, page by page; the SQL is sql/fleet_readings.sql.

What lives here: how far a page has to look. No tier keeps samples in the order of time alone, so a window of time is
read at once, and a page is as many windows as it takes: nothing of the rest is read. What does not: one GPU's readings
(`reader`), how a page is unpacked (`pages`), what is selected (`selection`).
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry.store.ordering import order_by
from telemetry.store.queries import query
from telemetry.store.questions.pages import Page, Position, Readings, Series, unpack
from telemetry.store.questions.reader import Reader, moment
from telemetry.store.questions.selection import Numbers, Selection, numbers_of
from telemetry.store.session import Connection

QUESTIONS = "fleet_readings.sql"
"""The file of the statements that are asked here."""

FIRST_WINDOW, LEAST_WINDOW = 60_000_000, 1_000_000
"""µs. A window that holds too much is narrowed, for little; one that holds little is followed by a wider one."""
WIDER = 16
"""By how much at most, so that no page reads more than so many times what it needs."""
DENSE = 4
"""A window with more than so many times the readings that are wanted is narrowed."""
AT_ONCE, MOST = 20_000, 40_000
"""Readings that are wanted of a window at most, and that it may have at most: the columnstore unpacks some minutes for
any part of them, and each is several times in memory, from the connection's buffer to the sorted columns."""
AT_LEAST = 500
"""Readings that are wanted of a window, however small a page is: asking costs more than they do."""

_Step = tuple[Page, Position | None]
"""Readings in order, and where those after them begin; None at the end of the range."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is asked about: GPUs, metrics and workloads by number; `statement` asks for a window of it."""

    numbers: Numbers
    statement: str

    def part(self, page: Page, want: int) -> int:
        """How many of the wanted readings are of the GPUs in a page: where an index leads, they come GPU by GPU."""
        return max(1, want * len(np.unique(page.gpu)) // len(self.numbers.gpus)) if self.numbers.gpus else want


class FleetReadings:
    """Asks for readings of any GPUs; safe from any number of threads. Every call may raise StoreError.

    `patience` (seconds) is how long a page goes on looking, where little is selected of much.
    """

    def __init__(self, *, reader: Reader, patience: float = 5.0) -> None:
        self.reader, self._patience = reader, patience

    def page(
        self, selection: Selection, *, start: int, end: int, after: Position | None = None, limit: int
    ) -> Readings:
        """At most `limit` readings from `start` to `end`, both inclusive, µs since 1970, in the order of Readings.

        Fewer, even none, where the patience ended first: it is `cut_short`, and what is `after` them tells that there
        may be more.
        """
        page, following = self._page(selection, start, end, after, limit)
        last = page.end(after)
        readings = self.reader.described(page, {})
        return replace(readings, after=last or following, cut_short=last is None and following is not None)

    def _page(self, selection: Selection, start: int, end: int, after: Position | None, limit: int) -> _Step:
        until = time.monotonic() + self._patience
        parts: list[Page] = []
        following: Position | None = None
        for part, place in self._walk(selection, start, end, after, min(limit + 1, AT_ONCE)):
            parts.append(part)
            following = place
            if sum(map(len, parts)) > limit or time.monotonic() > until:
                break
        return _cut(_joined(parts), 0, limit), following

    def whole(self, selection: Selection, *, start: int, end: int) -> Generator[Readings, None, None]:
        """All readings of such a range in the same order, some thousand at a time, in flat memory.

        Every window is a statement of its own, and takes a connection no longer than it is read.
        """
        known: dict[tuple[int, ...], Series] = {}
        for part, _ in self._walk(selection, start, end, None, AT_ONCE):
            if len(part):
                yield self.reader.described(part, known)

    def _walk(self, selection: Selection, start: int, end: int, after: Position | None, want: int) -> Iterator[_Step]:
        """All there is in that range beyond `after`, some `want` readings at a time, perhaps none."""
        scope = self._scope(selection) if start <= end else None
        if scope is None:
            return
        if after is not None and start <= after.time <= end:
            start = after.time
            if after != _at(start):
                yield from self._instant(scope, after, end, want)
                start += 1
        width, want = FIRST_WINDOW, max(want, AT_LEAST)
        while start <= end:
            last = min(start + width - 1, end)
            page = self._ask(scope, scope.statement, min(DENSE * want, MOST), start=moment(start), end=moment(last))
            if not page.more:
                yield _ordered(page), (_at(last + 1) if last < end else None)
                width = _wider(page.time, start, last, want)
                start = last + 1
            elif start < last:
                width = _narrower(page.time, start, last, scope.part(page, want))
            else:
                yield from self._instant(scope, _at(start), end, want)
                start += 1

    def _instant(self, scope: _Scope, place: Position | None, end: int, want: int) -> Iterator[_Step]:
        """What is left of an instant from a place on: a fleet's snapshot may be larger than any page."""
        while place is not None:
            key = {"after_gpu": place.gpu, "after_metric": place.metric, "after_workload": place.workload}
            more = {"start": moment(place.time), "after_block": place.block, "skip": place.skip}
            page = self._ask(scope, "instant", want, **key, **more)
            following = _at(place.time + 1) if place.time < end else None
            place = page.end(place)
            yield page, place or following

    def _scope(self, selection: Selection) -> _Scope | None:
        """What is asked about, None when nothing can be found. Where an index goes by GPU, every GPU is named."""
        with self.reader.pool.use() as connection:
            numbers = numbers_of(connection, selection)
            if numbers.nothing:
                return None
            if not _first(connection, "by_gpu")[0]:
                return _Scope(numbers, "window")
            gpus = _first(connection, "all_gpus")[0] if numbers.gpus is None else numbers.gpus
            return _Scope(Numbers(gpus, numbers.metrics, numbers.workloads), "window_by_gpu") if gpus else None

    def _ask(self, scope: _Scope, statement: str, limit: int, **values: Any) -> Page:
        numbers = scope.numbers
        values |= {"gpus": numbers.gpus, "metrics": numbers.metrics, "workloads": numbers.workloads}
        with self.reader.pool.use() as connection:
            return unpack(_first(connection, statement, most=limit + 1, **values), limit)


def _first(connection: Connection, name: str, **values: Any) -> Sequence[Any]:
    """The only row of a statement's answer."""
    with connection.cursor(binary=True) as cursor:
        (row,) = cursor.execute(query(name, file=QUESTIONS), values)
        return row


def _at(instant: int) -> Position:
    """Before all readings of an instant: numbers begin with 1."""
    return Position(instant, 0, 0, 0, 0, 0)


def _wider(times: NDArray[np.int64], start: int, last: int, want: int) -> int:
    """The width of the window that comes next, by how dense this one is from its first reading on."""
    dense_from = int(times.min()) if len(times) else start
    factor = min(WIDER, max(0.5, want / (len(times) + 1)))
    return max(LEAST_WINDOW, int((last - dense_from + 1) * factor))


def _narrower(times: NDArray[np.int64], start: int, last: int, want: int) -> int:
    """A width that may hold what is wanted, by so many of these times: they are some of the window's, in any order."""
    nearer = int(np.partition(times, want)[want])
    return nearer - start + 1 if nearer < last else (last - start + 1) // 2


def _ordered(page: Page) -> Page:
    """In the order of Readings; values only tell those apart that are equal in all else."""
    columns = _columns(page)
    order = order_by(*columns[:-1])
    if np.logical_and.reduce([np.diff(column[order]) == 0 for column in columns[:-1]]).any():
        order = np.lexsort(columns[::-1])
    return _page([column[order] for column in columns])


def _joined(pages: Sequence[Page]) -> Page:
    parts = [_columns(page) for page in pages] or [_columns(unpack([None] * 6, 0))]
    return _page([np.concatenate(column) for column in zip(*parts, strict=True)])


def _cut(page: Page, first: int, last: int) -> Page:
    return _page([column[first:last] for column in _columns(page)], more=len(page) > last)


def _columns(page: Page) -> Sequence[NDArray[Any]]:
    return page.time, page.gpu, page.metric, page.workload, page.block, page.value


def _page(columns: Sequence[NDArray[Any]], more: bool = False) -> Page:
    instants, gpu, metric, workload, block, value = columns
    return Page(instants, gpu, metric, workload, block, value, more)
