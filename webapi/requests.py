"""What every request and answer gets: an id, security headers, a line in the log when that is wanted."""

import logging
import re
import time
import uuid
from typing import IO

from flask import Flask, Response, g, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wsgi import LimitedStream

from telemetry.runtime import log_event
from webapi.problems import Problem
from webapi.process.crowd import SCRAPED, refuse_beyond
from webapi.services import services

HEADER = "X-Request-ID"
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

TLS_SECONDS = 365 * 86_400
"""How long a browser that came by HTTPS comes by nothing else."""

log = logging.getLogger(__name__)


class App(Flask):
    """Flask, which by itself answers OPTIONS with an empty page of HTML."""

    def make_default_options_response(self) -> Response:
        """What a resource takes, in Allow, and nothing else."""
        allowed = super().make_default_options_response().allow
        response = Response(status=204, headers={"Allow": ", ".join(sorted(allowed))})
        del response.headers["Content-Type"]
        return response


def register(app: Flask) -> None:
    """Give every request of this app an id, and every answer its headers."""
    app.before_request(_begin)
    app.after_request(_finish)


def limit(app: Flask) -> None:
    """Refuse bodies that are too large: by their announced size, else while they are read."""
    app.before_request(_refuse_large)
    app.register_error_handler(RequestEntityTooLarge, lambda _error: _too_large().get_response())


def _refuse_large() -> None:
    most = services().options.body_max
    if request.content_length is None:
        request.environ["wsgi.input"] = _Capped(request.environ["wsgi.input"], most)
    elif request.content_length > most:
        raise _too_large()


class _Capped(LimitedStream):
    """A body that did not say its size. werkzeug's own limit would cut it there, and take it for the whole."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        super().__init__(stream, most + 1, is_max=True)

    def readinto(self, b: bytearray) -> int | None:  # type: ignore[override]  # as in its base
        """Read on. Raises RequestEntityTooLarge."""
        count = super().readinto(b)
        if self.is_exhausted:
            raise RequestEntityTooLarge
        return count


def _too_large() -> Problem:
    most = services().options.body_max
    detail = f"The body is larger than {most} bytes, which is the most that is taken; send it in parts."
    return Problem(413, "body-too-large", "The body is too large", detail)


def _begin() -> None:
    given = request.headers.get(HEADER, "")
    g.request_id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
    g.began = time.perf_counter()
    if request.path != SCRAPED:  # that has a text for those beyond
        refuse_beyond(request.environ, services().options.retry_after)


def _finish(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    if services().options.behind_tls:
        response.headers["Strict-Transport-Security"] = f"max-age={TLS_SECONDS}"
    if services().options.access_log:
        log_event(
            log,
            logging.INFO,
            "answered",
            method=request.method,
            path=request.path,
            status=response.status_code,
            seconds=time.perf_counter() - g.began,
            request_id=g.request_id,
            caller=g.get("caller"),
        )
    return response
