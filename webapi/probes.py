"""/livez, /readyz, /healthz and /metrics: what Kubernetes and Prometheus ask.

Ready: the database is reached and migrated, and so is whatever else the options name. Live: a thread answers.
"""

from collections.abc import Callable, Iterator
from typing import cast

from flask import Flask, Response, current_app, request

from telemetry.runtime import Report, mask_secrets
from telemetry.runtime.exposition import exposition
from webapi.contract import Blueprint
from webapi.process.crowd import BUSY, is_beyond, refusal
from webapi.readiness import Readiness
from webapi.scraped.counting import counted
from webapi.scraped.kept import OPEN_METRICS
from webapi.scraped.scrapes import scrapes
from webapi.security.auth import open_to_all, open_unless_told
from webapi.services import services

blueprint = Blueprint("probes", __name__, description="Whether it works, and how it does")

TEXT = "text/plain"
NOT_READY = "[-] database: the database cannot be reached: connection refused\nfailed\n"
COUNTED = 'telemetry_api_requests_total{method="GET",route="/api/v1/gpus",status="2xx"} 42.0\n'
_READINESS = "telemetry_readiness"
_LIVE = ("server", True, "")
_REMARK = "their file cannot be used as it is now; those that it held before stay in force. The log says why"
"""No reason to be unready: a mistake in a file that all replicas share would end them all."""
_SHUT = "their file cannot be used, and this process never could read it: none is taken. The log says why"
"""Others that held some before still answer, so this one is to be asked by nobody."""
PATIENCE = 1.0
"""Seconds that a probe waits beyond those for a connection: so that it can tell why there is none."""


def watch(app: Flask, *, patience: float) -> None:
    """Have this app's dependencies checked when it is asked for; a probe waits `patience` seconds for a check."""

    def check() -> Report:
        with app.app_context():  # it runs in a thread of its own
            return Report(tuple(_checks()))

    app.extensions[_READINESS] = Readiness(check, patience=patience)


@blueprint.route("/livez")
@blueprint.response(200, {"type": "string"}, content_type=TEXT, description="It answers", example="[+] server ok\nok\n")
@blueprint.doc(operationId="getLiveness")
@open_to_all
def livez() -> Response:
    """Tell whether the process answers

    Asks nobody else, so that a server is not restarted because its database is away.
    """
    return _answer(Report((_LIVE,)))


@blueprint.route("/readyz")
@blueprint.response(200, {"type": "string"}, content_type=TEXT, description="Ready", example="[+] database ok\nok\n")
@blueprint.alt_response(
    503,
    schema={"type": "string"},
    content_type=TEXT,
    description="Not ready; each line that begins with [-] says why",
    example=NOT_READY,
)
@blueprint.doc(operationId="getReadiness")
@open_to_all
def readyz() -> Response:
    """Tell whether requests can be answered

    Asks the database, and whatever else is needed; one line for each.
    """
    return _answer(_readiness())


@blueprint.route("/healthz")
@blueprint.response(
    200, {"type": "string"}, content_type=TEXT, description="All is well", example="[+] server ok\nok\n"
)
@blueprint.alt_response(
    503, schema={"type": "string"}, content_type=TEXT, description="Something is not well", example=NOT_READY
)
@blueprint.doc(operationId="getHealth")
@open_to_all
def healthz() -> Response:
    """Tell liveness and readiness in one

    For people, and for monitors that take one address.
    """
    return _answer(Report((_LIVE, *_readiness().checks)))


@blueprint.route("/metrics")
@blueprint.response(
    200,
    {"type": "string"},
    content_type=TEXT,
    description="Prometheus' text format, or OpenMetrics where `Accept` asks for it",
    example=COUNTED,
)
@blueprint.refuses(told={503: BUSY})
@blueprint.doc(
    operationId="getServerMetrics",
    responses={200: {"content": {OPEN_METRICS: {"schema": {"type": "string"}, "example": f"{COUNTED}# EOF\n"}}}},
)
@open_unless_told
def metrics() -> Response:
    """Give the server's own metrics, the queue's and the database's

    Requests and their duration, by route and status, summed over all worker processes. What the queue and the database
    hold, as they are at this moment; where one does not answer in time, only `telemetry_redis_up` or
    `telemetry_database_up`, with 0.
    """
    accept, kept = request.headers.get("Accept"), scrapes().kept
    found = kept.lately(accept, _counts) if is_beyond(request.environ) else kept.keep(_counts())
    if found is None:
        raise refusal(services().options.retry_after)
    text, content_type = found
    return Response(text, content_type=content_type)


def _counts() -> tuple[bytes, str]:
    return exposition(counted().registry, scrapes().observed.values(), request.headers.get("Accept"))


def _readiness() -> Report:
    return cast(Readiness, current_app.extensions[_READINESS]).report()


def _checks() -> Iterator[tuple[str, bool, str]]:
    yield _check("database", services().reader.check)
    for name, check in services().options.checks.items():
        yield _check(name, check)
    tokens = services().options.tokens
    if tokens is not None:
        remark = _REMARK if tokens.remark() else ""
        yield "tokens", not tokens.shut, _SHUT if tokens.shut else remark


def _check(name: str, check: Callable[[], object]) -> tuple[str, bool, str]:
    try:
        check()
    except Exception as error:  # whatever a dependency raises is the answer
        return name, False, mask_secrets(" ".join(str(error).split()) or type(error).__name__)
    return name, True, ""


def _answer(report: Report) -> Response:
    return Response(report.text(), 200 if report.ok else 503, content_type=f"{TEXT}; charset=utf-8")
