"""/api/v1/stream: readings as they are stored, as server-sent events.

What lives here: the parameters, from where on a client is told, and who may listen. What does not: what is sent
(`events`), who looks for what is new (`audience`).
"""

import contextlib
import select
import socket
from collections.abc import Callable
from typing import Any, cast

import orjson
from flask import Flask, Response, current_app, request

from telemetry.runtime.metrics import ApiMetrics
from telemetry.store.pool import Pool
from telemetry.store.questions.marks import NoPlace, Place
from telemetry.store.questions.reader import Reader
from telemetry.store.questions.tail import KEPT, Forgotten, OtherOrder, Tail
from webapi.contract import Blueprint
from webapi.live.audience import Audience, Full, Listener
from webapi.live.events import Telling
from webapi.live.sieve import Sieve
from webapi.options import ApiOptions
from webapi.problems import Problem, cut, unknown
from webapi.ranges import FleetQuery, metrics_field, selection
from webapi.schemas import RECORD_EXAMPLE, Text, Whole
from webapi.security.auth import holding
from webapi.services import services

blueprint = Blueprint("stream", __name__, url_prefix="/api/v1", description="Readings as they come")

MEDIA_TYPE = "text/event-stream"
CONNECTIONS = 3
"""To the database, for all streams of a process: one looks for what is new, others for what was missed."""
SECONDS_MAX = 3_600
"""How long a stream lasts: new servers get their share of listeners."""

_EXTENSION = "telemetry_audience"
_HEADER = "Last-Event-ID"
_ID = "W1sxNzk1MzMxNDE2ODU3MzYwLDIwMDAwMDAsMTEyMiwxXV0"
_DETACHED = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_EXAMPLE = (
    f"retry: 2000\nid: {_ID}\n\nevent: readings\nid: {_ID}\ndata: {orjson.dumps([RECORD_EXAMPLE]).decode()}\n\n"
    f": heartbeat\nid: {_ID}\n\n"
)
_HEADER_PARAMETER = {
    "in": "header",
    "name": _HEADER,
    "description": "What a browser's EventSource sends by itself when it connects again: the last `id` that came; "
    "empty is none. It wins over `last_event_id`.",
    "schema": {"type": "string", "maxLength": 6_000, "examples": [_ID]},
}
_TOLD = {
    404: (
        "unknown-event",
        "No event has this id",
        "last_event_id='x' is no id of an event; take it from the last event that came, or leave it out to begin now.",
    ),
    410: (
        "stream-interrupted",
        "The stream cannot go on from there",
        "Last-Event-ID is of 7200 s ago, and what came since is told for 3600 s only; read it from /api/v1/telemetry "
        "with start_time, and begin anew without an id.",
    ),
    503: (
        "too-many-streams",
        "As many streams as may be are open",
        "As many streams as this server keeps open are open; connect again later, or raise --api-streams.",
    ),
}


class StreamQuery(FleetQuery):
    """Parameters of a live stream."""

    metric = metrics_field()
    last_event_id = Text(
        "Go on after the event with this id, without a gap and without doubles, with any filters and at any server of "
        "the same database. Without it: from now on.",
        _ID,
        longest=6_000,
    )
    heartbeat = Whole(
        "Seconds without an event after which a comment shows that the stream is alive; it carries an `id` too.",
        most=60,
        example=5,
        load_default=15,
    )
    max_events = Whole("End after so many events with readings. Without it: no end.", most=100_000_000, example=10)
    max_seconds = Whole(
        "End after so many seconds; a browser's EventSource connects again by itself, and misses nothing.",
        most=SECONDS_MAX,
        example=60,
        load_default=SECONDS_MAX,
    )


def attach(app: Flask, *, url: str, options: ApiOptions, counts: ApiMetrics) -> None:
    """Let clients of this app listen. Connects to nothing, and starts nothing, before the first one does."""
    pool = Pool(
        url=url,
        name="telemetry-api-stream",
        size=CONNECTIONS,
        wait=options.connection_wait,
        lock_timeout=options.lock_wait,
        statement_timeout=options.statement_timeout,
        connect_timeout=options.connect_timeout,
    )
    tail = Tail(reader=Reader(pool=pool))
    app.extensions[_EXTENSION] = Audience(
        tail=tail, most=options.streams, held=options.stream_held, told=counts.streams_open.set
    )


def end(app: Flask) -> None:
    """End all streams of this app, and let none begin. Does not wait for them."""
    _audience(app).end()


def close(app: Flask) -> None:
    """End them and close the connections."""
    end(app)
    _audience(app).tail.reader.pool.close()


@blueprint.route("/stream", parameters=[_HEADER_PARAMETER])
@blueprint.arguments(StreamQuery, location="query")
@blueprint.response(
    200,
    {"type": "string"},
    content_type=MEDIA_TYPE,
    description="Events, as they come, until the client goes away or enough came",
    example=_EXAMPLE,
)
@blueprint.refuses(422, told=_TOLD)
@blueprint.doc(operationId="streamTelemetry")
def stream_telemetry(query: dict[str, Any]) -> Response:
    """Follow readings as they are stored

    Server-sent events. `event: readings` has for `data` a JSON array of telemetry records, all of one block and at
    most 500, and for `id` the place to go on from. Readings come in the order in which their transactions were
    committed: a late one is late, never missing. `event: database` says that the database cannot be reached
    (`{"reachable": false}`), or can be again: nothing is lost in between. `event: end` says why the server ends the
    stream. Other lines keep it alive.

    Who was away goes on by `Last-Event-ID` for up to an hour. A client that takes its events more slowly than they
    come is disconnected; it goes on in the same way.
    """
    given = request.headers.get(_HEADER) or None
    place = _place(_HEADER, given) if given else _place("last_event_id", query.get("last_event_id"))
    if request.method == "HEAD":
        return Response(content_type=MEDIA_TYPE)
    audience = _audience(current_app)
    client, holds = request.environ.get("gunicorn.socket"), holding()
    listener = _enter(audience, lambda: _cut(client))
    try:
        telling = Telling(
            listener=listener,
            tail=audience.tail,
            place=_checked(audience.tail, place) if place else Place(audience.tail.begin()),
            resumed=place is not None,
            sieve=Sieve(selection(query)),
            texts=audience.texts,
            heartbeat=query["heartbeat"],
            events=query.get("max_events"),
            seconds=query["max_seconds"],
            gone=lambda: _is_gone(client) or not holds(),
        )
    except BaseException:
        listener.leave()
        raise
    response = Response(iter(telling), content_type=MEDIA_TYPE)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would keep events until it has many
    response.call_on_close(listener.leave)
    return response


def _audience(app: Flask) -> Audience:
    return cast(Audience, app.extensions[_EXTENSION])


def _enter(audience: Audience, cut_off: Callable[[], None]) -> Listener:
    try:
        return audience.enter(cut_off)
    except Full:
        slug, title, detail = _TOLD[503]
        wait = {"Retry-After": str(services().options.retry_after)}
        raise Problem(503, slug, title, detail, headers=wait) from None


def _place(name: str, text: str | None) -> Place | None:
    """The place that a client names. Raises a 404 problem: what an id looks like is no part of the contract."""
    if text is None:
        return None
    try:
        return Place.parse(text)
    except NoPlace:
        slug, title, detail = _TOLD[404]
        raise unknown(slug, title, [(name, text, detail.partition("'x' ")[2].rstrip("."))]) from None


def _checked(tail: Tail, place: Place) -> Place:
    try:
        tail.check(place.seen)
    except (Forgotten, OtherOrder) as error:
        detail = (
            f"{_HEADER}: {cut(str(error))}; what came since is told for {KEPT // 1_000_000} s only, and in one "
            "order of commits. Read it from /api/v1/telemetry with start_time, and begin anew without an id."
        )
        raise Problem(410, *_TOLD[410][:2], detail) from None
    return place


def _is_gone(client: socket.socket | None) -> bool:
    """Whether a client closed its side. Without a socket (another server than ours) a write will tell."""
    if client is None:
        return False
    try:
        poll = select.poll()
        poll.register(client, select.POLLRDHUP)
        return any(found & (_DETACHED | select.POLLNVAL) for _, found in poll.poll(0))
    except (OSError, ValueError):
        return True


def _cut(client: socket.socket | None) -> None:
    """End a connection whose thread may be waiting for it to take something."""
    if client is not None:
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
