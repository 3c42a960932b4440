"""/api/v1/queue: how full the queue is, who works on it, and what waits in it. Looking takes nothing away.

What lives here: the queue itself. What does not: what died in it (`dead`), reaching it (`observer`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from flask import Response
from marshmallow import ValidationError, fields

from telemetry.broker import Message, Topic, TopicStats
from telemetry.store.deadblocks import DeadBlocks
from telemetry.store.errors import StoreError
from webapi.bodies.answers import FormatQuery, listing
from webapi.contract import Blueprint
from webapi.queue.payloads import shown
from webapi.queue.problems import AWAY
from webapi.queue.schemas import MESSAGE_EXAMPLE, QUEUE_EXAMPLE, MessageSchema, QueueSchema
from webapi.schemas import Whole
from webapi.services import services
from webapi.times import rfc3339

blueprint = Blueprint("queue", __name__, url_prefix="/api/v1/queue", description="The queue and its dead letters")

MESSAGES, MESSAGES_MAX = 10, 100
STEP = 4
"""Messages that are in memory at a time: each may be as large as the queue lets it be."""
BODIES = 1 << 20
"""Bytes of bodies that one answer shows, in all."""
LONGEST = 2_000
"""Characters of an id that are shown: whoever may write to the queue may write any."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
"""The last millisecond of the year 9999: the number of an entry that somebody put in by hand may be any."""


class Flag(fields.Boolean):
    """true or false."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> bool:
        if value not in ("true", "false"):
            raise ValidationError(f"is neither true nor false, as in {attr}=true")
        return bool(value == "true")


class MessagesQuery(FormatQuery):
    """How many messages, and what of them."""

    count = Whole(
        f"So many messages at most. Without it: {MESSAGES}.", most=MESSAGES_MAX, example=3, load_default=MESSAGES
    )
    body = Flag(
        load_default=False,
        metadata={
            "description": "Show what is in them too: of each its equal share of 1 MiB at most, so ask for few.",
            "examples": [True],
        },
    )


@blueprint.route("")
@blueprint.response(200, QueueSchema, description="The queue", example=QUEUE_EXAMPLE)
@blueprint.refuses(told={503: AWAY})
@blueprint.doc(operationId="getQueue")
def get_queue() -> Response:
    """Show the queue

    How full it is, in messages and in rows (readings), how old its oldest message, who works on it, what went through,
    and what died. A queue that does not exist yet is empty; looking does not make it.
    """
    with services().observer.topic() as topic:
        stats, stream = topic.stats(), topic.keys.stream
    return Response(
        orjson.dumps({**_described(stats, stream), **_buried(), "consumers": _consumers(stats)}),
        content_type="application/json",
    )


@blueprint.route("/messages")
@blueprint.arguments(MessagesQuery, location="query")
@blueprint.lists(MessageSchema, "Messages, the oldest first", MESSAGE_EXAMPLE)
@blueprint.refuses(422, told={503: AWAY})
@blueprint.doc(operationId="listQueueMessages")
def list_queue_messages(query: dict[str, Any]) -> Response:
    """List the oldest messages of the queue

    Waiting or in flight, without touching them: no delivery is counted. What they hold is shown with `body=true`.
    """
    count: int = query["count"]
    most = BODIES // count if query["body"] else 0
    with services().observer.topic() as topic:
        rows = [_message(message, most) for message in _oldest(topic, count)]
    return listing(rows, query)


def _described(stats: TopicStats, stream: str) -> dict[str, object]:
    """All but the consumers and what lies in the database."""
    totals = ("published", "published_rows", "acked", "acked_rows", "dead", "dead_rows", "redelivered")
    sizes = ("waiting", "in_flight", "depth_rows", "waiting_rows", "in_flight_rows")
    return {
        "stream": stream,
        "time": rfc3339(datetime.fromtimestamp(stats.time, UTC)),
        "capacity": stats.capacity,
        "depth": stats.depth,
        "full": stats.depth / stats.capacity,
        **{name: getattr(stats, name) for name in sizes},
        "oldest_age_seconds": stats.oldest_age,
        **{name: getattr(stats, name) for name in totals},
        "backpressure_seconds": stats.backpressure_seconds,
        "memory_bytes": stats.memory_bytes,
    }


def _consumers(stats: TopicStats) -> list[dict[str, object]]:
    named = sorted(stats.consumers, key=lambda consumer: consumer.name)
    return [{"name": one.name, "pending": one.pending, "idle_seconds": one.idle} for one in named]


def _buried() -> dict[str, object]:
    """What dead_blocks holds; null when the database does not say: the queue is shown anyhow."""
    try:
        with services().observer.graveyard.open():
            blocks, rows = DeadBlocks(session=services().reader.pool).count()
    except StoreError:
        return {"dead_blocks": None, "dead_blocks_rows": None}
    return {"dead_blocks": blocks, "dead_blocks_rows": rows}


def _oldest(topic: Topic, count: int) -> Iterator[Message]:
    start = "-"
    while count > 0:
        asked = min(count, STEP)
        found = topic.peek(asked, start)
        yield from found
        if len(found) < asked:
            return
        count, start = count - asked, f"({found[-1].entry}"


def _message(message: Message, most: int) -> dict[str, object]:
    """As answered; with the first `most` bytes of its body, 0: without."""
    held = bool(message.owner)
    body = shown(message.body[:most], len(message.body)) if most else None
    return {
        "entry": message.entry,
        "id": message.id[:LONGEST],
        "queued_at": _queued_at(message.entry),
        "rows": message.rows,
        "bytes": len(message.body),
        "attempts": message.attempts,
        "consumer": message.owner if held else None,
        "idle_seconds": message.idle if held else None,
        "body": body and body.value,
        "body_encoding": body and body.encoding,
        "body_cut": body and body.cut,
    }


def _queued_at(entry: str) -> str | None:
    """An entry's number begins with the milliseconds since 1970 at which it was added."""
    milliseconds = int(entry.partition("-")[0])
    return rfc3339(_EPOCH + timedelta(milliseconds=milliseconds)) if milliseconds <= _LAST else None
