"""What gunicorn's worker does otherwise than it would by itself: it drains, answers with problems, waits for nobody.

Requests that never reach the app, because they are no HTTP or too large, are answered here.
"""

import contextlib
import http
import socket
import struct
import uuid
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from werkzeug.exceptions import RequestTimeout

from webapi import problems
from webapi.process.answers import NotTaken
from webapi.process.arrivals import LINE_MAX, ArrivingWorker
from webapi.requests import HEADER, SECURITY

STALLED_AFTER = 30
"""Seconds in which a client may take not a byte of its answer before it is left."""

_DETAILS = (
    (LimitRequestLine, 414, f"The path and its parameters take more than {LINE_MAX} bytes; ask in parts."),
    (LimitRequestHeaders, 431, "The headers are too many or too long; leave out what is not needed."),
    (ParseException, 400, "This is no HTTP request that the server can read."),
)


_HEADERS = "".join(f"{name}: {value}\r\n" for name, value in SECURITY.items())
_INCOMPLETE = {
    408: "The request did not come in time; send it as a whole, at once.",
    414: _DETAILS[0][2],
    431: _DETAILS[1][2],
}


class ApiWorker(ArrivingWorker):
    """The worker, but for its end and for what it says to a request that it cannot read."""

    stalled_after = STALLED_AFTER

    def begin_to_end(self) -> None:
        """Called once no connection is taken any more; must not wait."""

    def refused(self, status: int, request_id: str) -> None:
        """Called for each request that is answered here, which the app never sees; must not wait."""

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take connections, or not. At the end, take those that already wait, and refuse all others at once.

        gunicorn keeps the socket open until the last request is answered, so new connections would hang that long.
        """
        super().set_accept_enabled(enabled)
        if not self.alive:
            self.begin_to_end()
            for listener in self.sockets:
                while self._took(listener):
                    pass
                listener.close()

    def refuse(self, conn: Any, status: int) -> None:
        """Answer a head that did not come whole."""
        request_id = uuid.uuid4().hex
        self.refused(status, request_id)
        with contextlib.suppress(OSError):
            conn.sock.send(answer(status, _INCOMPLETE[status], request_id))

    def handle_request(self, req: Any, conn: Any) -> bool:
        """Answer. A client that is too slow is left: it would keep a thread for ever, and an export's statement.

        An answer that is broken off ends by a reset where it would otherwise look whole: HTTP/1.0 has no last chunk.
        """
        conn.sock.begin(patience=self.patience, stalled_after=self.stalled_after)
        try:
            return bool(super().handle_request(req, conn))
        except ConnectionResetError as error:
            if isinstance(error, NotTaken):
                self.log.warning("a client does not take its answer; it is left")
            if req.version < (1, 1):
                conn.close = partial(_reset, conn.sock)
            raise

    def _took(self, listener: Any) -> bool:
        before = self.nr_conns
        self.accept(listener)
        return bool(self.nr_conns > before)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer with a problem, if the client is at fault."""
        if isinstance(exc, RequestTimeout):  # while the rest of a body was thrown away: it has its answer
            return
        for kind, status, detail in _DETAILS:
            if isinstance(exc, kind):
                request_id = uuid.uuid4().hex
                self.refused(status, request_id)
                util.write_nonblock(client, answer(status, detail, request_id))
                return
        super().handle_error(req, client, addr, exc)


def _reset(sock: socket.socket, graceful: bool = False) -> None:
    """Close a connection so that the other side takes what it got for nothing. gunicorn says when: at the end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def answer(status: int, detail: str, request_id: str) -> bytes:
    """The whole response."""
    phrase = http.HTTPStatus(status).phrase
    body = problems.body(status, problems.slug_of(phrase), phrase, detail, request_id)
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: {problems.MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n{_HEADERS}{HEADER}: {request_id}\r\n\r\n"
    )
    return head.encode("ascii") + body
