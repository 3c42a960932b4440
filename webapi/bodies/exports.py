"""Readings as answers: a page of them, or a whole range that is sent while it is read.

What lives here: which of the two is asked for, the ends of each format, what becomes of an answer that cannot be
finished. What does not: how a reading is written (`formats`), which readings (the nouns).
"""

import errno
import logging
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

from flask import Flask, Response, current_app, g

from telemetry.runtime import log_event
from telemetry.store.errors import StoreBusy, StoreError
from telemetry.store.questions.pages import Readings
from webapi.bodies import answers, formats
from webapi.bodies.tables import trailer
from webapi.problems import Problem
from webapi.process.crowd import Room
from webapi.services import services

log = logging.getLogger(__name__)

_ROOM = "telemetry_exports"
_BUSY = (
    "Half of what this server works on at a time may be whole ranges; send it again, or ask page by page (limit=10000)."
)
_HEADS: Mapping[str, Sequence[bytes]] = {formats.CSV: [formats.CSV_HEADER], formats.NDJSON: []}


def is_whole(kind: str, query: Mapping[str, Any]) -> bool:
    """Whether the whole range is asked for at once: as lines, and neither by `limit` nor by `cursor` a page of it."""
    return kind in _HEADS and "limit" not in query and "cursor" not in query


def page(kind: str, readings: Readings, cursor: str | None) -> Response:
    """A page; `cursor`: where the next one begins. One that is large is written while it is sent."""
    end = [trailer(len(readings.time), cursor)] if kind == formats.NDJSON else []
    parts = chain(_HEADS.get(kind, ()), formats.written(kind, readings), end)
    whole = len(readings.time) <= formats.AT_ONCE
    return answers.response(kind, b"".join(parts) if whole else parts, cursor)


def attach(app: Flask, requests: int | None) -> None:
    """Let half of an app's `requests` (None: all) be whole ranges: these may take minutes, and others have to wait."""
    app.extensions[_ROOM] = Room(sys.maxsize if requests is None else max(1, requests // 2))


def whole(kind: str, pieces: Generator[Readings, None, None]) -> Response:
    """A whole range, in flat memory. What goes wrong before the first reading is still a problem.

    Raises a 503 problem when as many are under way as may be.
    """
    options, room = services().options, current_app.extensions[_ROOM]
    with ExitStack() as ending:
        if not room.enter(0):
            raise Problem(
                503,
                "too-many-exports",
                "As many exports as may be are under way",
                _BUSY,
                headers={"Retry-After": str(options.retry_after)},
            )
        ending.callback(room.leave)
        ending.callback(pieces.close)  # a client that goes away ends the statement
        within = _within(options.export_timeout)
        first = [piece for piece in [next(pieces, None)] if piece]
        made = answers.response(kind, _sent(kind, chain(first, pieces), within, g.request_id))
        made.call_on_close(ending.pop_all().close)
        return made


def _within(seconds: float) -> Callable[[], None]:
    """Raises StoreBusy once so many seconds are over: statements end by themselves, a client that is slow does not."""
    until = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > until:
            raise StoreBusy(f"an export took longer than {seconds:g} s")

    return check


def _sent(kind: str, pieces: Iterator[Readings], within: Callable[[], None], request_id: str) -> Iterator[bytes]:
    count = 0
    yield from _HEADS[kind]
    try:
        for piece in pieces:
            for part in formats.written(kind, piece):
                within()
                yield part
            count += len(piece.time)
    except StoreError as error:
        log_event(log, logging.WARNING, "an answer was broken off", reason=error, request_id=request_id)
        # What the server closes the connection at without another word: the client misses the end of the body.
        raise ConnectionResetError(errno.ECONNRESET, "the database did not finish its answer") from error
    if kind == formats.NDJSON:
        yield trailer(count)
