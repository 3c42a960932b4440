"""Everything that goes wrong, as RFC 9457 problem details: what it was, and what would be right.

What does not live here: deciding that something is wrong (the nouns, `schemas`). Nothing of SQL, paths or settings
leaves in an answer: it goes to the log, under the request id that the answer shows.
"""

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson
from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound

from telemetry.runtime import log_event, mask_tokens
from telemetry.store.errors import NotMigrated, StoreBusy, StoreDenied, StoreError, StoreLocked, StoreUnavailable
from webapi.services import services

MEDIA_TYPE = "application/problem+json"
CUT = 100
"""Characters of a wrong value that an answer repeats."""

FAULTS_MAX = 20
"""Wrong parameters that an answer names: a request has room for 7,000, which would take two seconds to explain."""

UNSUITED = "unsuitable-parameter"
"""What the contract cannot say of a parameter, because it depends on others: so it is told apart from invalid ones."""

log = logging.getLogger(__name__)

_UNAVAILABLE: Sequence[tuple[type[StoreError], str, str]] = (
    (
        NotMigrated,
        "not-migrated",
        "The database's schema is not that of this version yet; `telemetry migrate` brings it up to date.",
    ),
    (
        StoreDenied,
        "database-refuses",
        "The database refuses the API's user, password or database name; the log says which.",
    ),
    (
        StoreLocked,
        "database-busy",
        "A table of the database is kept by somebody else, as in a migration; nothing is wrong with the request: send "
        "it again.",
    ),
    (
        StoreBusy,
        "too-slow",
        "The database did not answer in time; ask for less (a shorter range, a smaller limit), or again later.",
    ),
    (
        StoreUnavailable,
        "database-away",
        "The database cannot be reached now; nothing is wrong with the request: send it again.",
    ),
)


class Problem(HTTPException):
    """Raised to answer with a problem; `slug` is the last part of its type, `more` are extension members."""

    def __init__(
        self, status: int, slug: str, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.code, self.slug, self.title, self.more = status, slug, title, more
        self.headers = dict(headers or {})

    def get_response(self, *_: Any, **__: Any) -> Response:
        """The answer."""
        return problem(self.code or 500, self.slug, self.title, self.description or "", self.headers, self.more)


Fault = tuple[str, str | None, str]
"""A parameter's name, its value if that is worth showing, and what is wrong with what would be right."""


def invalid(faults: Iterable[Fault]) -> Problem:
    """Parameters that are wrong whatever the database holds."""
    return _of_parameters(422, "invalid-parameter", "A parameter is not valid", faults)


def unsuited(faults: Iterable[Fault]) -> Problem:
    """Parameters that are right by themselves, but not beside the others or for what the database holds."""
    return _of_parameters(422, UNSUITED, "A parameter does not suit the question", faults)


def unknown(slug: str, title: str, faults: Iterable[Fault]) -> Problem:
    """Parameters that name something that is not there."""
    return _of_parameters(404, slug, title, faults)


def _of_parameters(status: int, slug: str, title: str, faults: Iterable[Fault]) -> Problem:
    listed, told, left = [], [], iter(faults)
    for given, value, detail in islice(left, FAULTS_MAX):
        name = cut(given)
        shown = {} if value is None else {"value": cut(value)}
        listed.append({"parameter": name, **shown, "detail": detail})
        told.append(" ".join([name + "".join(f"={text!r}" for text in shown.values()), detail]))
    if next(left, None) is not None:
        told.append(f"more is wrong than these {FAULTS_MAX}: mend them first")
    return Problem(status, slug, title, f"{'; '.join(told)}.", errors=listed)


def cut(value: str) -> str:
    """A value as an answer may repeat it: short, and without a token that stands in the wrong place."""
    value = mask_tokens(value)
    return value if len(value) <= CUT else value[:CUT] + "…"


def near(name: str, known: Iterable[str]) -> str:
    """What a person may have meant: the nearest names, or all of them."""
    names = sorted(known)
    return ", ".join(_close(name, names) or names)


def stranger(name: str, known: Iterable[str]) -> str:
    """What is wrong with a parameter that is none of those that are known."""
    names = sorted(known)
    if close := _close(name, names):
        return f"is no parameter here (perhaps {', '.join(close)}?)"
    return f"is no parameter here; there are {', '.join(names)}"


def _close(name: str, names: Sequence[str], *, most: int = 3, cutoff: float = 0.5) -> list[str]:
    return difflib.get_close_matches(name.lower(), names, n=most, cutoff=cutoff)


def problem(
    status: int,
    slug: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """The answer to the current request; `more` are extension members."""
    content = body(status, slug, title, detail, g.get("request_id", ""), more)
    response = Response(content, status, content_type=MEDIA_TYPE)
    response.headers.update(dict(headers or {}))
    return response


def body(
    status: int, slug: str, title: str, detail: str, request_id: str, more: Mapping[str, Any] | None = None
) -> bytes:
    """The JSON; `instance` and `request_id` let a line in the log be found."""
    return orjson.dumps(
        {
            "type": urn(slug),
            "title": title,
            "status": status,
            "detail": detail,
            "instance": f"urn:telemetry:request:{request_id}",
            "request_id": request_id,
            **(more or {}),
        }
    )


def urn(slug: str) -> str:
    """The type of a problem."""
    return f"urn:telemetry:problem:{slug}"


def slug_of(phrase: str) -> str:
    """The kind of a problem that HTTP itself has a name for."""
    return phrase.lower().replace(" ", "-")


def register(app: Flask) -> None:
    """Answer every error of this app with a problem."""
    app.register_error_handler(StoreError, _on_store_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_fault)


def _on_store_error(error: StoreError) -> Response:
    kinds = ((slug, detail) for kind, slug, detail in _UNAVAILABLE if isinstance(error, kind))
    slug, detail = next(kinds, ("", ""))
    if not slug:
        return _on_fault(error)
    log_event(log, logging.WARNING, "a request found no database", reason=error, request_id=g.get("request_id"))
    wait = {"Retry-After": str(services().options.retry_after)}
    return problem(503, slug, "The database cannot answer now", detail, wait)


def _on_fault(error: Exception) -> Response:
    log.error("a request failed", exc_info=error, extra={"fields": {"request_id": g.get("request_id")}})
    detail = "This is a fault of the server, not of the request; its log has the reason under this request id."
    return problem(500, "fault", InternalServerError().name, detail)


def _on_http_error(error: HTTPException) -> Response:
    if isinstance(error, Problem):
        return error.get_response()
    status = error.code or 500
    if error.response is not None or status < 400:
        return error.get_response()  # type: ignore[return-value]  # redirects of the router
    kept = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    return problem(status, slug_of(error.name), error.name, _detail(error), kept)


def _detail(error: HTTPException) -> str:
    if isinstance(error, NotFound):
        told = f"There is nothing at {cut(request.path)}{_meant(request.path)}."
        return f"{told} GET /openapi.json lists every path, /swagger shows them."
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return f"{request.method} is not for {cut(request.path)}; it takes {allowed}."
    return error.description or error.name


def _meant(path: str) -> str:
    """The path that a person may have meant, of those that are the same for everybody."""
    plain = [rule.rule for rule in current_app.url_map.iter_rules() if not rule.arguments]
    close = _close(path.rstrip("/"), plain, most=1, cutoff=0.85) if len(path) <= CUT else []
    return f" (perhaps {close[0]}?)" if close else ""
