"""Requests that never reach the app, because they are no HTTP or too large: they too are answered with a problem."""

import http
import uuid
from typing import Any

from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import ThreadWorker

from webapi import problems

LINE_MAX = 8_190
"""Bytes of a request's first line, the path and all parameters in it."""

_DETAILS = (
    (LimitRequestLine, 414, f"The path and its parameters take more than {LINE_MAX} bytes; ask for less at once."),
    (LimitRequestHeaders, 431, "The headers are too many or too long; leave out what is not needed."),
    (ParseException, 400, "This is no HTTP request that the server can read."),
)


class ProblemWorker(ThreadWorker):
    """gunicorn's worker with threads, but for the page it answers with when it cannot read a request."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer with a problem, if the client is at fault."""
        for kind, status, detail in _DETAILS:
            if isinstance(exc, kind):
                util.write_nonblock(client, answer(status, detail))
                return
        super().handle_error(req, client, addr, exc)


def answer(status: int, detail: str) -> bytes:
    """The whole response."""
    phrase = http.HTTPStatus(status).phrase
    body = problems.body(status, problems.slug_of(phrase), phrase, detail, uuid.uuid4().hex)
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: {problems.MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode("ascii") + body
