"""What goes wrong with the queue, as problems. What its server said goes to the log: that names hosts and keys."""

import logging
from collections.abc import Sequence

from flask import Flask, Response, g

from telemetry.broker import BrokerDenied, BrokerError, BrokerUnavailable, TopicFull
from telemetry.runtime import log_event
from webapi.problems import problem
from webapi.queue.observer import NoQueue
from webapi.services import services

log = logging.getLogger(__name__)

AWAY = (
    "queue-away",
    "The queue cannot answer now",
    "The queue's server cannot be reached now; nothing is wrong with the request: send it again.",
)
FULL = ("queue-full", "The queue is full", "The queue has no room for another message now; send it again.")

_KINDS: Sequence[tuple[type[BrokerError], int, tuple[str, str, str]]] = (
    (
        NoQueue,
        503,
        (
            "no-queue",
            "This API knows no queue",
            "It was started without one: give `telemetry serve` the URL of the queue's Redis, by --redis-url or "
            "TELEMETRY_REDIS_URL.",
        ),
    ),
    (TopicFull, 429, FULL),
    (
        BrokerDenied,
        503,
        (
            "queue-refuses",
            "The queue cannot answer now",
            "The queue's server refuses the API's user or password; the log says which.",
        ),
    ),
    (BrokerUnavailable, 503, AWAY),
    (
        BrokerError,
        503,
        (
            "queue-refuses",
            "The queue cannot answer now",
            "The queue's server does not do what the API asks of it, for want of a permission or because of what lies "
            "there; the log says why.",
        ),
    ),
)


def register(app: Flask) -> None:
    """Answer every error of the queue in this app with a problem."""
    app.register_error_handler(BrokerError, _on_broker_error)


def _on_broker_error(error: BrokerError) -> Response:
    status, told = next((status, told) for kind, status, told in _KINDS if isinstance(error, kind))
    if not isinstance(error, NoQueue | TopicFull):
        log_event(log, logging.WARNING, "a request found no queue", reason=error, request_id=g.get("request_id"))
    return problem(status, *told, {"Retry-After": str(services().options.retry_after)})
