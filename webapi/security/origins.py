"""Which pages in a browser may ask: those of other origins only where that is said (CORS), and by its own name.

No cookies are known here, so no credentials are ever allowed: a page shows a token that somebody gave it. Where nobody
needs one, a browser's place on this machine is all that an attacker's page lacks: what it sends from there is refused.
What does not live here: tokens (`auth`).
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, Response, request

from webapi.options import ApiOptions
from webapi.problems import Problem, cut
from webapi.services import services

ALL = "*"
PREFLIGHT_SECONDS = 600

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.ASCII)
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_ASKED = "Authorization, Content-Type, Accept, Idempotency-Key, If-None-Match, Last-Event-ID, X-Request-ID"
_TOLD = "Content-Disposition, ETag, Link, Retry-After, WWW-Authenticate, X-Request-ID"
_SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN_WAYS = "Start it with --api-tokens FILE, or say --api-tokens off, to be asked from elsewhere."


def origins_of(text: str) -> tuple[str, ...]:
    """The origins of a list with commas. Raises ValueError, naming the one that is none."""
    found = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for origin in found:
        if origin != ALL and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{cut(origin)!r} is no origin; write scheme, host and port, as in https://grafana.example.org"
            )
    return found


def register(app: Flask) -> None:
    """Answer preflights of this app, refuse foreign pages, and tell browsers who may read the answers."""
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> Response | None:
    options = services().options
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers and _allowed(options):
        return _preflight()
    if options.tokens is None:
        _refuse_foreign(options)
    return None


def _finish(response: Response) -> Response:
    options = services().options
    if options.cors_origins:
        response.vary.add("Origin")
    if allowed := _allowed(options):
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = _TOLD
    return response


def _allowed(options: ApiOptions) -> str | None:
    """The origin that a browser is told may read the answer; None: no other than ours."""
    origin = request.headers.get("Origin", "").lower()
    if ALL in options.cors_origins and origin:
        return ALL
    return request.headers["Origin"] if origin and origin in options.cors_origins else None


def _preflight() -> Response:
    """What a browser asks before it sends a token, or anything that a form could not."""
    headers = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": _ASKED,
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
    }
    response = Response(status=204, headers=headers)
    del response.headers["Content-Type"]
    return response


def _refuse_foreign(options: ApiOptions) -> None:
    """Raise the problem of a request that a page of somebody else's made this machine's browser send.

    Such a page can lead its own name to this machine (DNS rebinding): then it reads the answers too, but the name
    tells. And it can send what changes something without reading an answer: then the browser names it.
    """
    host = _name(f"//{request.host}")
    if options.local_names is not None and not _is_local(host, options.local_names):
        raise Problem(
            403,
            "foreign-host",
            "The server is asked by a name that is not its own",
            f"Nobody needs a token here, so only this machine may ask, by localhost or 127.0.0.1 and not by "
            f"{cut(host)!r}. {_OPEN_WAYS}",
        )
    origin = request.headers.get("Origin")
    if request.method in _SAFE or origin is None or _allowed(options) or origin.lower() == request.host_url.rstrip("/"):
        return
    raise Problem(
        403,
        "foreign-origin",
        "A page of another origin may change nothing here",
        f"Nobody needs a token here, so what pages of {cut(origin)!r} send is refused; --api-cors-origin names those "
        "that may.",
    )


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_local(host: str, names: Iterable[str]) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or host in names
