"""Who may do what: the bearer token of a request (RFC 6750), and the scope that an operation needs.

An operation that says nothing needs `read`; `@needs("admin")` and `@open_to_all` say otherwise, to the contract too.
What does not live here: what tokens are (`tokens`), where they are kept (`tokenfile`), how many wrong ones an address
may show (`attempts`).
"""

import logging
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from flask import Flask, current_app, g, request

from telemetry.runtime import log_event
from webapi.options import ApiOptions
from webapi.problems import Problem
from webapi.security.attempts import MOST, WINDOW, Attempts
from webapi.security.tokens import Token
from webapi.services import services
from webapi.times import rfc3339

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Scope = Literal["read", "write", "admin"]
View = TypeVar("View", bound=Callable[..., Any])

GUARDED = "/api/", "/metrics/"
"""Where nothing is open, not even what is not there."""

SCHEME = "bearer"
"""What the contract calls this way of saying who one is."""

SCHEMES = {
    SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "description": "A token, as `telemetry token create NAME --scope read` prints it once. Scopes: read asks; "
        "write is for operations that send readings, of which there is none yet; admin also decides about dead "
        "letters. Each includes those before it. A server that was started without tokens takes every request.",
    }
}
CHALLENGE = {
    "WWW-Authenticate": {
        "description": "What kind of token is needed, and what is wrong with the one that came (RFC 6750).",
        "schema": {"type": "string", "examples": ['Bearer realm="telemetry", error="invalid_token"']},
    }
}

REFUSALS: Mapping[int, tuple[str, str, str]] = {
    401: (
        "no-token",
        "A token is needed",
        "There is none. Send one as in: Authorization: Bearer tlm_...; `telemetry token create NAME` makes one.",
    ),
    403: (
        "insufficient-scope",
        "The token's scope is too small",
        "This needs a token of scope admin; 'grafana' has read. `telemetry token create NAME --scope admin` makes one.",
    ),
    429: (
        "too-many-wrong-tokens",
        "Too many wrong tokens",
        f"More than {MOST} wrong tokens came from this address within {WINDOW:.0f} s, and this is one more. One that "
        "holds is taken at any time.",
    ),
}
"""What whoever needs a token may be refused with: the last part of a problem's type, its title, an example."""

NEEDS = "needs"
_OPEN, _METRICS = "nothing", "metrics"
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.ASCII | re.IGNORECASE)
_FOUND, _ATTEMPTS = "telemetry.token", "telemetry_attempts"
_REALM = 'Bearer realm="telemetry"'
_REMEDY = "Send one as in: Authorization: Bearer tlm_...; `telemetry token create NAME` makes one."

URL_PARAMETER = "access_token"
"""Where RFC 6750 knows tokens too, and advises against it."""

log = logging.getLogger(__name__)


def needs(scope: Scope) -> Callable[[View], View]:
    """Say which scope an operation needs; stands anywhere below its `route`."""
    return lambda function: _marked(function, scope)


def open_to_all(function: View) -> View:
    """Say that an operation, or a page, needs no token."""
    return _marked(function, _OPEN)


def open_unless_told(function: View) -> View:
    """Say that an operation needs `read` only where the options say so for metrics."""
    return _marked(function, _METRICS)


def needed(info: Mapping[str, Any], options: ApiOptions) -> str | None:
    """The scope that an operation needs, by what its decorators left with it; None: no token."""
    marked = info.get(NEEDS, "read")
    if marked == _METRICS:
        return "read" if options.metrics_auth else None
    return None if marked == _OPEN else str(marked)


def documented(info: Mapping[str, Any]) -> list[dict[str, list[str]]]:
    """The same as the contract says it; where the options decide, both ways."""
    scope = needed(info, ApiOptions(metrics_auth=True))
    without: list[dict[str, list[str]]] = [{}] if info.get(NEEDS) == _METRICS else []
    return [*without, {SCHEME: [scope]}] if scope else []


def register(app: Flask) -> None:
    """Have every request of this app looked at before anything else is done for it."""
    app.extensions[_ATTEMPTS] = Attempts()
    app.before_request(_check)


def is_known(environ: "WSGIEnvironment", options: ApiOptions) -> bool:
    """Whether a request shows a token that holds, or need not: asked before it takes anybody's place."""
    return options.tokens is None or _shown(environ, options) is not None


def holding() -> Callable[[], bool]:
    """Asks, whenever it is called, whether the token of this request still holds: for answers that go on for long."""
    options, environ = services().options, request.environ
    return lambda: options.tokens is None or _holds(_given(environ, options))


def _check() -> None:
    options = services().options
    scope = _scope_of_request(options)
    if options.tokens is None or scope is None:
        return
    if URL_PARAMETER in request.args:
        raise _in_url()
    token = _shown(request.environ, options)
    if token is None:
        raise _unauthorized(options)
    g.caller = token.name
    if not token.allows(scope):
        raise _forbidden(token, scope)


def _scope_of_request(options: ApiOptions) -> str | None:
    """By the operation; what is not there is guarded like what is."""
    if request.endpoint is None:
        return "read" if request.path.startswith(GUARDED) else None
    view = current_app.view_functions[request.endpoint]
    return needed(getattr(view, "_apidoc", {}), options)


def _shown(environ: "WSGIEnvironment", options: ApiOptions) -> Token | None:
    """The token that a request shows, if it holds; looked for once."""
    if _FOUND not in environ:
        found = _given(environ, options)
        environ[_FOUND] = found if _holds(found) else None
    return cast("Token | None", environ[_FOUND])


def _holds(token: Token | None) -> bool:
    return token is not None and not token.expired(datetime.now(UTC))


def _given(environ: "WSGIEnvironment", options: ApiOptions) -> Token | None:
    """The same, if it ever held."""
    given = _BEARER.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
    return options.tokens.find(given[1]) if given and options.tokens else None


def _unauthorized(options: ApiOptions) -> Problem:
    """401. Without an attempt at a token no error is named (RFC 6750, 3.1)."""
    scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
    if scheme != SCHEME:
        # What came is not repeated: it may be the token itself, without the word before it.
        why = "The header Authorization does not begin with the word Bearer." if scheme else "There is none."
        return _refused(401, "no-token", "A token is needed", f"{why} {_REMEDY}", _REALM)
    return _too_often() or _wrong(options)


def _too_often() -> Problem | None:
    """429, for one wrong token too many of its address."""
    attempts = cast(Attempts, current_app.extensions[_ATTEMPTS])
    address = request.remote_addr or ""
    verdict = attempts.wrong(address)
    if not verdict.wait:
        return None
    if verdict.first:  # those before had a line each
        what = "wrong tokens of an address are not told one by one any more"
        log_event(log, logging.WARNING, what, address=address, seconds=math.ceil(verdict.wait))
    slug, title, detail = REFUSALS[429]
    wait = {"Retry-After": str(math.ceil(verdict.wait))}
    return Problem(429, slug, title, f"{detail} {_REMEDY}", headers=wait)


def _wrong(options: ApiOptions) -> Problem:
    """401, for a token that does not hold."""
    old = _given(request.environ, options)
    why = f"ended at {rfc3339(old.expires)}" if old else "is none that this server knows: mistyped, revoked or replaced"
    log_event(log, logging.WARNING, "a token was refused", token=old.name if old else None, request_id=g.request_id)
    challenge = f'{_REALM}, error="invalid_token", error_description="unknown, revoked or expired"'
    return _refused(401, "invalid-token", "The token does not hold", f"The token {why}. {_REMEDY}", challenge)


def _forbidden(token: Token, scope: str) -> Problem:
    """403, naming the scope that is needed."""
    log_event(
        log, logging.WARNING, "a token's scope was too small", token=token.name, needs=scope, request_id=g.request_id
    )
    detail = (
        f"This needs a token of scope {scope}; {token.name!r} has {token.scope}. `telemetry token create NAME --scope "
        f"{scope}` makes one."
    )
    challenge = f'{_REALM}, error="insufficient_scope", scope="{scope}"'
    return _refused(403, "insufficient-scope", "The token's scope is too small", detail, challenge)


def _in_url() -> Problem:
    """400: URLs are kept by browsers, proxies and logs."""
    detail = f"Tokens are not taken in a URL, where logs and histories keep them: revoke this one. {_REMEDY}"
    return _refused(
        400, "token-in-url", "A token does not belong into a URL", detail, f'{_REALM}, error="invalid_request"'
    )


def _refused(status: int, slug: str, title: str, detail: str, challenge: str) -> Problem:
    return Problem(status, slug, title, detail, headers={"WWW-Authenticate": challenge})


def _marked(function: View, scope: str) -> View:
    """Beside what flask-smorest's decorators leave with a function, which each of them hands on to the next."""
    function._apidoc = {**getattr(function, "_apidoc", {}), NEEDS: scope}  # type: ignore[attr-defined]
    return function
