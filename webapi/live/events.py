"""The live tail as server-sent events (WHATWG HTML, section 9.2), for one listener.

What lives here: what is sent and when, from the first byte to the last. What does not: who is fed and by whom
(`audience`), the parameters (`stream`).
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry.store.errors import StoreError
from telemetry.store.questions.marks import Mark, Place
from telemetry.store.questions.pages import Readings
from telemetry.store.questions.tail import TOGETHER, Batch, Forgotten, Found, Known, OtherOrder, Tail
from webapi.bodies import formats
from webapi.live.audience import RETRY, Joined, Listener, News, Over
from webapi.live.sieve import Sieve

RECORDS = 500
"""Readings of an event, at most: some 250 KB."""
RECONNECT = 2_000
"""Milliseconds that a browser waits before it connects again."""
GLANCE = 1.0
"""Seconds after which it is looked whether the client is still there."""

Answer = TypeVar("Answer")


class _Enough(Exception):
    """Raised when as much was sent as was asked for."""


class Telling:
    """All that is sent to one listener, who has seen what `place` says; iterate once.

    `heartbeat` and `seconds` (how long at most) are in seconds, `events` is how many at most. `gone` tells whether the
    client is.
    """

    def __init__(
        self,
        *,
        listener: Listener,
        tail: Tail,
        place: Place,
        resumed: bool,
        sieve: Sieve,
        texts: formats.Remembered,
        heartbeat: float,
        events: int | None,
        seconds: float,
        gone: Callable[[], bool],
    ) -> None:
        self._listener, self._tail, self._sieve, self._texts, self._gone = listener, tail, sieve, texts, gone
        self._place, self._resumed, self._heartbeat = place, resumed, heartbeat
        self._seen, self._left = place.seen, events
        self._until = time.monotonic() + seconds
        self._next_beat = 0.0
        self._known: Known = {}

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield f"retry: {RECONNECT}\nid: {self._place.text}\n\n".encode()
            self._next_beat = time.monotonic() + self._heartbeat
            if self._resumed:
                yield from self._catch_up()
            self._listener.attach()
            yield from self._follow()
        except _Enough:
            return
        except (Over, Forgotten, OtherOrder) as end:
            yield event("end", {"reason": str(end)})

    def _catch_up(self) -> Iterator[bytes]:
        """What came while he was away, until so little is left that the audience can be joined."""
        place, many = self._place, True
        found = yield from self._patiently(partial(self._tail.rest, place))
        yield from self._all_of(found, (place.block, place.row) if place.upto else (0, 0))
        while many:
            found = yield from self._patiently(partial(self._tail.follow, self._seen))
            many = found.blocks.readings > TOGETHER
            yield from self._all_of(found)

    def _follow(self) -> Iterator[bytes]:
        while True:
            item = self._listener.next(GLANCE)
            if isinstance(item, Joined):
                found = yield from self._patiently(partial(self._tail.between, self._seen, item.mark))
                yield from self._all_of(found)
            elif isinstance(item, News):
                yield event("database", {"reachable": item is News.BACK})
            elif item is not None:
                yield from self._readings(item)
            yield from self._pulse()

    def _all_of(self, found: Found, after: tuple[int, int] = (0, 0)) -> Iterator[bytes]:
        """Everything found, read part by part; of the first block only the readings from a row on."""
        for part in found.blocks.parts():
            batch = yield from self._patiently(partial(self._tail.read, found, part, self._known))
            yield from self._readings(batch, after)
            yield from self._pulse()
        self._reach(found.upto)

    def _readings(self, batch: Batch, after: tuple[int, int] = (0, 0)) -> Iterator[bytes]:
        """The events of a batch, as far as they are wanted and new."""
        for indices in pieces(batch.block, self._wanted(batch, after)):
            block, row = int(batch.block[indices[-1]]), int(batch.row[indices[-1]]) + 1
            place = Place(self._seen, batch.upto, block, row)
            yield (
                f"event: readings\nid: {place.text}\ndata: ".encode() + self._written(batch.readings, indices) + b"\n\n"
            )
            self._place, self._next_beat = place, time.monotonic() + self._heartbeat
            if self._left is not None:
                self._left -= 1
                if not self._left:
                    raise _Enough
        if batch.last:
            self._reach(batch.upto)

    def _written(self, readings: Readings, indices: NDArray[np.intp]) -> bytes:
        """Some of the readings as JSON, in one line; of their series only those are written out."""
        used, code = np.unique(readings.code[indices], return_inverse=True)
        series = [readings.series[number] for number in used.tolist()]
        some = replace(readings, time=readings.time[indices], code=code, value=readings.value[indices], series=series)
        return formats.to_json(some, self._texts)

    def _wanted(self, batch: Batch, after: tuple[int, int]) -> NDArray[np.intp]:
        wanted = self._sieve.passing(batch.readings.series)[batch.readings.code]
        old = [
            number
            for number, one in zip(batch.blocks.number.tolist(), batch.blocks.transaction.tolist(), strict=True)
            if self._seen.shows(one)
        ]
        if old:
            wanted &= ~np.isin(batch.block, old)
        wanted &= (batch.block > after[0]) | ((batch.block == after[0]) & (batch.row >= after[1]))
        return np.flatnonzero(wanted)

    def _reach(self, mark: Mark) -> None:
        """All that the mark shows was told."""
        self._seen = self._seen.with_all_of(mark)
        self._place = Place(self._seen)

    def _pulse(self) -> Iterator[bytes]:
        """A sign of life, when it is time, with the place to go on from, though no reading was wanted for long."""
        now = time.monotonic()
        if now >= self._until or self._gone():
            raise _Enough
        if now < self._next_beat:
            return
        if (mark := self._listener.caught_up()) is not None and self._place.upto is None:
            self._reach(mark)
        self._next_beat = now + self._heartbeat
        yield f": heartbeat\nid: {self._place.text}\n\n".encode()

    def _patiently(self, ask: Callable[[], Answer]) -> Generator[bytes, None, Answer]:
        """The answer, once the database gives it."""
        away = False
        while True:
            try:
                answer = ask()
            except StoreError:
                if not away:
                    yield event("database", {"reachable": False})
                away = True
                self._listener.rest(RETRY)
                yield from self._pulse()
                continue
            if away:
                yield event("database", {"reachable": True})
            return answer


def event(name: str, data: object) -> bytes:
    """An event that is no reading: it has no id."""
    return f"event: {name}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


def pieces(block: NDArray[np.int64], indices: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Indices cut where another block begins, and after so many as an event takes."""
    for part in np.split(indices, np.flatnonzero(np.diff(block[indices])) + 1):
        for begin in range(0, len(part), RECORDS):
            yield part[begin : begin + RECORDS]
