"""What the contract says of the queue, its messages and dead blocks: the fields of each, and an example of it.

What does not live here: where they come from (`queue`, `dead`), how a payload is shown (`payloads`).
"""

from marshmallow import Schema, fields

from webapi.queue.payloads import TEXT, encoding_field

QUEUED, GIVEN_BACK = "queue", "streamers"
"""The ways back of a dead block."""


class ConsumerSchema(Schema):
    """One member of the group that works on the queue."""

    class Meta:
        """Of marshmallow."""

        title = "QueueConsumer"

    name = fields.String(required=True, metadata={"description": "Its pod or host, and a suffix of its own."})
    pending = fields.Integer(required=True, metadata={"description": "Messages that it has in hand."})
    idle_seconds = fields.Float(required=True, metadata={"description": "Since it last asked for something."})


def _count(description: str, *, unknown: bool = False) -> fields.Integer:
    return fields.Integer(required=True, allow_none=unknown, metadata={"description": description})


class QueueSchema(Schema):
    """The queue at one moment. Totals count from when the queue was made."""

    class Meta:
        """Of marshmallow."""

        title = "Queue"

    stream = fields.String(required=True, metadata={"description": "The Redis key, as for `redis-cli XLEN`."})
    time = fields.String(
        required=True, metadata={"format": "date-time", "description": "When, by the clock of the queue's server."}
    )
    capacity = _count("Messages that it takes, waiting and in flight together.")
    depth = _count("Messages in it: `waiting` + `in_flight`.")
    full = fields.Float(
        required=True,
        metadata={"description": "`depth` / `capacity`: at 1 streamers wait. Above 1 after the capacity was lowered."},
    )
    waiting = _count("Messages that no consumer has taken yet.")
    in_flight = _count("Messages that a consumer has in hand.")
    depth_rows = _count("Readings in it; null when too many entries were put in by hand.", unknown=True)
    waiting_rows = _count("Readings that no consumer has taken yet; null likewise.", unknown=True)
    in_flight_rows = _count("Readings that a consumer has in hand; null likewise.", unknown=True)
    oldest_age_seconds = fields.Float(
        required=True, allow_none=True, metadata={"description": "How long the oldest message is in it; null: none is."}
    )
    published = _count("Messages that came in, in all.")
    published_rows = _count("Readings that came in, in all: the difference of two looks is the rate.")
    acked = _count("Messages that were worked off, in all.")
    acked_rows = _count("Readings that were worked off, in all.")
    dead = _count("Messages that died, in all: also what was replayed or dropped since.")
    dead_rows = _count("Readings that died, in all, likewise.")
    redelivered = _count("Deliveries beyond the first, in all.")
    backpressure_seconds = fields.Float(
        required=True, metadata={"description": "How long all streamers together have waited for room, in all."}
    )
    memory_bytes = _count("What it takes of the server's memory; null when that does not tell.", unknown=True)
    dead_blocks = _count(
        "Dead blocks that lie in the database now; null while that is away, and for 5 s after.", unknown=True
    )
    dead_blocks_rows = _count("Readings in them; null likewise.", unknown=True)
    consumers = fields.List(
        fields.Nested(ConsumerSchema), required=True, metadata={"description": "Who works on it, by name."}
    )


class MessageSchema(Schema):
    """One message, waiting or in flight."""

    class Meta:
        """Of marshmallow."""

        title = "QueueMessage"

    entry = fields.String(required=True, metadata={"description": "Its place in the Redis stream."})
    id = fields.String(
        required=True,
        metadata={"description": "Source and first row; empty for one without. The first 2,000 characters."},
    )
    queued_at = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "format": "date-time",
            "description": "Since when, by the server's clock; null for a place that is no time.",
        },
    )
    rows = _count("Readings in it; 0 when it does not say.")
    bytes = _count("Bytes of its body.")
    attempts = _count("Deliveries so far; 0 while it waits.")
    consumer = fields.String(
        required=True, allow_none=True, metadata={"description": "Who has it in hand; null while it waits."}
    )
    idle_seconds = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "Since its consumer last said that it lives; null while it waits."},
    )
    body = fields.Raw(
        required=True, allow_none=True, metadata={"description": "What is in it, with `body=true`; else null."}
    )
    body_encoding = encoding_field("body")
    body_cut = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "Whether `body` is only its beginning."}
    )


QUEUE_EXAMPLE = {
    "stream": "gpu:{samples}",
    "time": "2025-07-18T20:42:34.125000Z",
    "capacity": 500,
    "depth": 12,
    "full": 0.024,
    "waiting": 8,
    "in_flight": 4,
    "depth_rows": 60_000,
    "waiting_rows": 40_000,
    "in_flight_rows": 20_000,
    "oldest_age_seconds": 0.41,
    "published": 1_200,
    "published_rows": 6_000_000,
    "acked": 1_187,
    "acked_rows": 5_935_000,
    "dead": 1,
    "dead_rows": 5_000,
    "redelivered": 2,
    "backpressure_seconds": 3.5,
    "memory_bytes": 1_482_112,
    "dead_blocks": 1,
    "dead_blocks_rows": 5_000,
    "consumers": [{"name": "collector-0-1a2b3c", "pending": 4, "idle_seconds": 0.02}],
}
MESSAGE_EXAMPLE = {
    "entry": "1752871354125-0",
    "id": "dcgm@0f3a9c41d2b7:loop:now:5000",
    "queued_at": "2025-07-18T20:42:34.125000Z",
    "rows": 5_000,
    "bytes": 104_211,
    "attempts": 1,
    "consumer": "collector-0-1a2b3c",
    "idle_seconds": 0.31,
    "body": None,
    "body_encoding": None,
    "body_cut": None,
}


class DeadBlockSchema(Schema):
    """A message that could not be stored."""

    class Meta:
        """Of marshmallow."""

        title = "DeadBlock"

    id = _count("Its number: what a replay names.")
    message_id = fields.String(required=True, metadata={"description": "The id of the message; empty for one without."})
    reason = fields.String(required=True, metadata={"description": "Why it died."})
    attempts = _count("Deliveries until it died, those of replays too.")
    rows = _count("Readings in it; 0 when it did not say.")
    format = fields.String(
        required=True,
        metadata={"description": "What the payload is: block/1, or csv for rows that no streamer could publish."},
    )
    source = fields.String(
        required=True, allow_none=True, metadata={"description": "Whose rows; null when no ledger row is meant by it."}
    )
    first_row = _count("From which row on; null likewise.", unknown=True)
    died_at = fields.String(required=True, metadata={"format": "date-time", "description": "When it died (last)."})
    origin = fields.String(
        required=True, metadata={"description": "Where it came from: stream and entry, or the streamer."}
    )
    bytes = _count("Bytes of its payload.")


class DeadPayloadSchema(DeadBlockSchema):
    """A dead block with what is in it."""

    class Meta:
        """Of marshmallow."""

        title = "DeadBlockWithPayload"

    payload = fields.Raw(required=True, metadata={"description": "What is in it; of more than 1 MiB the beginning."})
    payload_encoding = encoding_field("payload")
    payload_cut = fields.Boolean(required=True, metadata={"description": "Whether `payload` is only its beginning."})


class ReplaySchema(Schema):
    """A dead block that is on its way back."""

    class Meta:
        """Of marshmallow."""

        title = "Replay"

    id = _count("The number of the dead block.")
    way = fields.String(
        required=True,
        metadata={
            "enum": [QUEUED, GIVEN_BACK],
            "description": "`queue`: published again. `streamers`: rows that are read again from their file, by its "
            "streamers.",
        },
    )
    message_id = fields.String(
        required=True, allow_none=True, metadata={"description": "Its id in the queue; null when it is read again."}
    )
    rows = _count("Readings in it.")


DEAD_EXAMPLE = {
    "id": 7,
    "message_id": "dcgm@0f3a9c41d2b7:loop:now:5000",
    "reason": "body is not JSON: unexpected end of data: line 1 column 1 (char 0)",
    "attempts": 1,
    "rows": 5_000,
    "format": "block/1",
    "source": "dcgm@0f3a9c41d2b7:loop:now",
    "first_row": 5_000,
    "died_at": "2025-07-18T20:42:34.125000Z",
    "origin": "gpu:{samples}@1752871354125-0",
    "bytes": 14,
}
PAYLOAD_EXAMPLE = {**DEAD_EXAMPLE, "payload": '{"gpus":[{"uui', "payload_encoding": TEXT, "payload_cut": False}
REPLAY_EXAMPLE = {"id": 7, "way": QUEUED, "message_id": DEAD_EXAMPLE["message_id"], "rows": 5_000}
