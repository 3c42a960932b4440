"""How many requests may be under way at once. Those beyond are refused at once, so that threads stay free for probes.

What lives here: counting, around the whole app, because an answer is under way until its last byte was taken. What
does not: how many threads there are (`server`), what the refusal looks like (`problems`).
"""

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from werkzeug.wsgi import ClosingIterator

from webapi.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

COUNTED = "/api/"
"""What may wait for the database. Probes must answer whatever happens; pages and their files wait for nothing."""

_REFUSED = "telemetry.crowded"


class Crowd:
    """A WSGI app that lets `most` requests into another one at a time, and marks those beyond as refused.

    Requests that are not `known` are not counted: the app refuses them before it works on them.
    """

    def __init__(self, app: "WSGIApplication", most: int, known: "Callable[[WSGIEnvironment], bool]") -> None:
        self._app, self._room, self._known = app, threading.BoundedSemaphore(most), known

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer; the room is given back when the server closes the answer, or when there is none."""
        if not environ["PATH_INFO"].startswith(COUNTED) or not self._known(environ):
            return self._app(environ, start_response)
        if not self._room.acquire(blocking=False):
            environ[_REFUSED] = True
            return self._app(environ, start_response)
        return self._inside(environ, start_response, self._room.release)

    def _inside(
        self, environ: "WSGIEnvironment", start_response: "StartResponse", leave: Callable[[], None]
    ) -> Iterable[bytes]:
        try:
            return ClosingIterator(self._app(environ, start_response), leave)
        except BaseException:
            leave()
            raise


def refuse_beyond(environ: "WSGIEnvironment", retry_after: int) -> None:
    """Raise the problem of a request that was marked."""
    if environ.get(_REFUSED):
        detail = "As many requests as this server works on at a time are under way; send it again, not all at once."
        wait = {"Retry-After": str(retry_after)}
        raise Problem(503, "too-many-requests", "The server is busy with other requests", detail, headers=wait)
