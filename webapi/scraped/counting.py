"""Counting answers: which route, how it went, how long it took until its first byte.

What does not live here: the names (`telemetry.runtime.measures`), who is told (`webapi.probes`).
"""

import time
from typing import cast

from flask import Flask, Response, current_app, g, request

from telemetry.runtime.metrics import ApiMetrics
from telemetry.runtime.shared import shares_values
from webapi.options import ApiOptions

API = "/api/v1/"
NONE = "none"
"""The route of a request that matches none: its path and method may be anything, and would be a series each."""
OPTIONS = "any"
"""The route of what asks for a route's methods."""

_GROUPS = {
    **{name: "gpus" for name in ("gpus", "inventory", "metrics")},
    **{name: "telemetry" for name in ("telemetry", "top")},
    **{name: name for name in ("fleet", "queue", "stream")},
}
_PROBES = ("/livez", "/readyz", "/healthz")
_EXTENSION = "telemetry_metrics"


def measure(app: Flask, options: ApiOptions) -> ApiMetrics:
    """Count this app's answers. To be registered before what else is done to them, so that the time holds all of it."""
    metrics = app.extensions[_EXTENSION] = ApiMetrics()
    app.after_request(_count)
    if not shares_values():
        begin(app, options)
    return metrics


def begin(app: Flask, options: ApiOptions) -> None:
    """Tell that this process answers. Each worker tells it: what its parent would say, nobody would take back."""
    metrics = cast(ApiMetrics, app.extensions[_EXTENSION])
    metrics.workers.set(1)
    metrics.connections_limit.set(options.connections)


def counted() -> ApiMetrics:
    """What the app that answers the current request has counted."""
    return cast(ApiMetrics, current_app.extensions[_EXTENSION])


def refuse(app: Flask, status: int) -> None:
    """Count an answer to what never came to the app, because it was no request, too large, or too slow."""
    cast(ApiMetrics, app.extensions[_EXTENSION]).answered(NONE, NONE, NONE, status, 0.0)


def group_of(route: str) -> str:
    """The part of the API that a route belongs to: a histogram for each route would be too many series."""
    if route.startswith(API):
        return _GROUPS.get(route.removeprefix(API).partition("/")[0], "other")
    if route == NONE:
        return NONE
    if route in _PROBES:
        return "probes"
    return "scrapes" if route.startswith("/metrics") else "pages"


def told_as(method: str, rule: str) -> tuple[str, str]:
    """Method and route under which an answer is counted: those that all routes take are no series of each."""
    if rule == NONE:
        return NONE, NONE
    if method == "OPTIONS":
        return method, OPTIONS
    return ("GET" if method == "HEAD" else method), rule


def _count(response: Response) -> Response:
    rule = str(request.url_rule) if request.url_rule else NONE
    method, route = told_as(request.method, rule)
    seconds = time.perf_counter() - g.began if "began" in g else 0.0
    counted().answered(method, route, group_of(rule), response.status_code, seconds)
    return response
