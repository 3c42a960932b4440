"""What every request and answer gets: an id, security headers, a line in the log when that is wanted."""

import logging
import re
import time
import uuid

from flask import Flask, Response, g, request

from telemetry.runtime import log_event
from webapi.crowd import refuse_beyond
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

log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Give every request of this app an id, and every answer its headers."""
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    given = request.headers.get(HEADER, "")
    g.request_id = given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
    g.began = time.perf_counter()
    refuse_beyond(request.environ, services().options.retry_after)


def _finish(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
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
