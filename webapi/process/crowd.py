"""How many requests may be under way at once. Those beyond wait a moment, a few of them, or are refused.

What lives here: counting, around the whole app, because an answer is under way until its last byte was taken. What
does not: how many threads there are (`server`), what the refusal looks like (`problems`).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.wsgi import ClosingIterator

from webapi.problems import Problem
from webapi.process.answers import AnswerSocket

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

COUNTED = "/api/"
"""What may wait for the database."""

PROBES = frozenset(("/livez", "/readyz", "/healthz"))
"""Must answer whatever happens, so nobody else may have the last thread."""

GUARDED = COUNTED, "/metrics/"
"""Where strangers are refused before anything is done for them."""

SCRAPED = "/metrics"

SCRAPED_GPUS = "/metrics/gpus"

SCRAPES = 4
"""Answers to Prometheus at a time, at each of its two addresses: the first may be open to everybody, and crowded."""

PAGES = 8
"""Answers at a time to all the rest, open to everybody; a browser asks for six files at once."""

UNCOUNTED = "/api/v1/stream"
"""Lasts for an hour and has places of its own (`audience`)."""

BUSY = (
    "too-many-requests",
    "The server is busy with other requests",
    "As many requests as this server works on at a time are under way; send it again, not all at once.",
)
"""The problem of those beyond: the last part of its type, its title, its detail."""

_REFUSED = "telemetry.crowded"
_SOCKET = "gunicorn.socket"


class Room:
    """Room for `most` at a time, and a line of as many who wait for it. A place goes to who waits longest."""

    def __init__(self, most: int) -> None:
        self._free, self._longest = most, most
        self.line: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def enter(self, wait: float) -> bool:
        """Whether there was a place, within so many seconds; whoever got one leaves it later."""
        with self._lock:
            if self._free:  # then nobody waits
                self._free -= 1
                return True
            if len(self.line) >= self._longest or wait <= 0:
                return False
            turn = threading.Event()
            self.line.append(turn)
        if turn.wait(wait):
            return True
        with self._lock:
            if not turn.is_set():
                self.line.remove(turn)
            return turn.is_set()

    def leave(self) -> None:
        """Give a place back: to who waits longest, if anybody does."""
        with self._lock:
            if self.line:
                self.line.popleft().set()
            else:
                self._free += 1


class Crowd:
    """A WSGI app that lets `most` requests into another one at a time, and marks those beyond as refused.

    As many wait up to `wait` seconds: a client that has its last byte asks again before the thread that sent it is
    through. Requests that are not `known` are not counted: the app refuses them before it works on them. Pages and
    both scrapes have rooms of their own, where nobody waits. An answer without a place is not waited for either: it is
    small, and its client has not taken those before it when there is no room for it.
    """

    def __init__(
        self, app: "WSGIApplication", most: int, known: "Callable[[WSGIEnvironment], bool]", wait: float
    ) -> None:
        self._app, self._room, self._known, self._wait = app, Room(most), known, wait
        self._pages, self._scrapes = Room(PAGES), {path: Room(SCRAPES) for path in (SCRAPED, SCRAPED_GPUS)}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer; the room is given back when the server closes the answer, or when there is none."""
        path = environ["PATH_INFO"]
        if path == UNCOUNTED:
            return self._app(environ, _lasting(environ, start_response))
        if path in PROBES or (path.startswith(GUARDED) and not self._known(environ)):
            return self._app(_at_once(environ), start_response)
        room, wait = self._room_of(path)
        if not room.enter(wait):
            environ[_REFUSED] = True
            return self._app(_at_once(environ), start_response)
        return self._inside(environ, start_response, room.leave)

    def _room_of(self, path: str) -> tuple[Room, float]:
        if path.startswith(COUNTED):
            return self._room, self._wait
        return self._scrapes.get(path, self._pages), 0.0

    def _inside(
        self, environ: "WSGIEnvironment", start_response: "StartResponse", leave: Callable[[], None]
    ) -> Iterable[bytes]:
        try:
            return ClosingIterator(self._app(environ, start_response), leave)
        except BaseException:
            leave()
            raise


def _at_once(environ: "WSGIEnvironment") -> "WSGIEnvironment":
    """The same, whose answer the server does not wait with."""
    if isinstance(sock := environ.get(_SOCKET), AnswerSocket):
        sock.at_once()
    return environ


def _lasting(environ: "WSGIEnvironment", start_response: "StartResponse") -> "StartResponse":
    """Let a stream be as slow as what it tells, and not wait with the refusal of one."""

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        if not status.startswith("200"):
            _at_once(environ)
        elif isinstance(sock := environ.get(_SOCKET), AnswerSocket):
            sock.at_any_rate()
        return start_response(status, headers, *more)

    return start


def is_beyond(environ: "WSGIEnvironment") -> bool:
    """Whether a request was marked."""
    return bool(environ.get(_REFUSED))


def refuse_beyond(environ: "WSGIEnvironment", retry_after: int) -> None:
    """Raise the problem of a request that was marked."""
    if is_beyond(environ):
        raise refusal(retry_after)


def refusal(retry_after: int) -> Problem:
    """The problem; seconds until it may be tried again."""
    return Problem(503, *BUSY, headers={"Retry-After": str(retry_after)})
