"""/api/v1/queue/dead: what died in the queue, and its way back.

What lives here: dead blocks over HTTP. What does not: how they are replayed (`telemetry.collector.replay`), the queue
itself (`queue`). Forgetting them for good is left to the command line.
"""

import re
from typing import Any

import orjson
from flask import Response

from telemetry.broker import Topic
from telemetry.collector.replay import NotReplayable, give_back, is_raw, message_id_of, publish_again
from telemetry.store.deadblocks import LAST, DeadBlock, DeadBlocks
from telemetry.store.session import Session
from webapi import paging
from webapi.bodies.answers import FormatQuery, listing
from webapi.contract import PAGE_HEADERS, Blueprint
from webapi.links import links
from webapi.problems import Problem, cut
from webapi.queue.observer import NAME
from webapi.queue.payloads import shown
from webapi.queue.problems import AWAY, FULL
from webapi.queue.schemas import (
    DEAD_EXAMPLE,
    GIVEN_BACK,
    PAYLOAD_EXAMPLE,
    QUEUED,
    REPLAY_EXAMPLE,
    DeadBlockSchema,
    DeadPayloadSchema,
    ReplaySchema,
)
from webapi.schemas import Cursor, Whole
from webapi.security.auth import needs
from webapi.services import services
from webapi.times import rfc3339

blueprint = Blueprint("dead", __name__, url_prefix="/api/v1/queue/dead", description="What died in the queue")

PAGE, PAGE_MAX = 100, 1_000
SHOWN = 1 << 20
"""Bytes of a payload that are shown: as many as a message has at most, unless that was set."""

DEAD_PARAMETER = {
    "in": "path",
    "name": "dead",
    "required": True,
    "description": "The number of a dead block, as `/api/v1/queue/dead` lists it.",
    "schema": {"type": "integer", "format": "int64", "minimum": 1},
    "examples": {"one": {"value": 7}},
}
UNKNOWN = (
    "unknown-dead-block",
    "No dead block has this number",
    "There is no dead block '8': it was replayed or dropped, or never was. GET /api/v1/queue/dead lists them.",
)
REFUSED = (
    "not-replayable",
    "The dead block cannot go back now",
    "Dead block 7 stays as it is: no ledger row of these rows to give back.",
)


class DeadQuery(FormatQuery):
    """Parameters of the list."""

    limit = Whole(f"So many at most. Without it: {PAGE}.", most=PAGE_MAX, example=20, load_default=PAGE)
    cursor = Cursor()


@blueprint.route("")
@blueprint.arguments(DeadQuery, location="query")
@blueprint.lists(DeadBlockSchema, "Dead blocks, the newest first", DEAD_EXAMPLE, headers=PAGE_HEADERS)
@blueprint.refuses(404, 422, 503)
@blueprint.doc(
    operationId="listDeadBlocks",
    **links("dead", "/0/id", {"getDeadBlock": "What is in the newest one.", "replayDeadBlock": "The way back for it."}),
)
def list_dead_blocks(query: dict[str, Any]) -> Response:
    """List what died in the queue

    Messages that could not be stored, with the reason, the newest first. Who pages on sees each once, whatever dies or
    is replayed meanwhile.
    """
    limit: int = query["limit"]
    place = paging.decode(query.get("cursor"), ["dead"], [(int, 1, LAST)])
    found = _dead_blocks().newest(limit + 1, place[0] if place else LAST)
    cursor = paging.encode(["dead"], [found[limit - 1].id]) if len(found) > limit else None
    return listing([_described(block) for block in found[:limit]], query, cursor=cursor)


@blueprint.route("/<dead>", parameters=[DEAD_PARAMETER])
@blueprint.response(200, DeadPayloadSchema, description="The dead block", example=PAYLOAD_EXAMPLE)
@blueprint.refuses(503, told={404: UNKNOWN})
@blueprint.doc(operationId="getDeadBlock")
def get_dead_block(dead: str) -> Response:
    """Show one dead block with what is in it

    The payload as JSON where it is some, else as a text, else in base64; of more than 1 MiB the beginning.
    """
    block, part = _find(dead, SHOWN)
    payload = shown(part, block.size)
    body = {"payload": payload.value, "payload_encoding": payload.encoding, "payload_cut": payload.cut}
    return Response(orjson.dumps({**_described(block), **body}), content_type="application/json")


@blueprint.route("/<dead>/replay", methods=["POST"], parameters=[DEAD_PARAMETER])
@needs("admin")
@blueprint.response(202, ReplaySchema, description="It is on its way", example=REPLAY_EXAMPLE)
@blueprint.refuses(told={404: UNKNOWN, 409: REFUSED, 429: FULL, 503: AWAY})
@blueprint.doc(operationId="replayDeadBlock")
def replay_dead_block(dead: str) -> Response:
    """Send one dead block back

    It goes through the queue once more, as any message: what can be stored now is, once, and the dead block is gone
    then; what dies again stays dead. Rows in format csv, which no streamer could publish, go back to the streamers of
    their file instead. Sent twice, it is refused as long as the first one is under way.
    """
    block, payload = _find(dead)
    if is_raw(block):
        _give_back(block)
    else:
        with services().observer.topic() as topic:
            _publish(block, payload, topic)
    way, id = (GIVEN_BACK, None) if is_raw(block) else (QUEUED, message_id_of(block))
    body = {"id": block.id, "way": way, "message_id": id, "rows": block.rows}
    return Response(orjson.dumps(body), 202, content_type="application/json")


def _dead_blocks() -> DeadBlocks:
    return DeadBlocks(session=services().reader.pool)


def _find(text: str, most: int | None = None) -> tuple[DeadBlock, bytes]:
    """The dead block that a path names, and its payload or the beginning of it; else a 404."""
    number = int(text) if re.fullmatch(r"[1-9]\d{0,18}", text, re.ASCII) else 0
    blocks = _dead_blocks()
    if not 0 < number <= LAST or (found := blocks.show(number, *(() if most is None else (most,)))) is None:
        slug, title, detail = UNKNOWN
        raise Problem(404, slug, title, detail.replace("'8'", repr(cut(text))))
    return found


def _give_back(block: DeadBlock) -> None:
    options = services().options
    if options.writer_url is None:
        command = f"`telemetry queue dead replay {block.id} --database-url ...`"
        detail = (
            f"Dead block {block.id} goes back to the streamers of its file, for which this API may not write enough: "
            f"run {command} as a writer, or start the API with --api-writer-url (TELEMETRY_API_WRITER_URL)."
        )
        raise Problem(409, "needs-a-writer", "The API may only read", detail)
    with Session(
        url=options.writer_url,
        name=NAME,
        lock_timeout=options.lock_wait,
        statement_timeout=options.statement_timeout,
        connect_timeout=options.connect_timeout,
    ) as session:
        try:
            give_back(block, DeadBlocks(session=session))
        except NotReplayable as error:
            raise _refused(block, str(error)) from None


def _publish(block: DeadBlock, payload: bytes, topic: Topic) -> None:
    try:
        published = publish_again(block, payload, topic, timeout=0)
    except NotReplayable as error:
        raise _refused(block, cut(str(error))) from None
    if not published.new:
        detail = (
            f"A message {cut(message_id_of(block))!r} is in the queue already, as after a replay; when it is settled, "
            f"dead block {block.id} is gone, or can be replayed."
        )
        raise Problem(409, "already-queued", "Such a message is in the queue", detail)


def _refused(block: DeadBlock, why: str) -> Problem:
    slug, title, _ = REFUSED
    return Problem(409, slug, title, f"Dead block {block.id} stays as it is: {why}.")


def _described(block: DeadBlock) -> dict[str, object]:
    return {
        "id": block.id,
        "message_id": block.message_id,
        "reason": block.reason,
        "attempts": block.attempts,
        "rows": block.rows,
        "format": block.format,
        "source": block.source,
        "first_row": block.first_row,
        "died_at": rfc3339(block.died_at),
        "origin": block.origin,
        "bytes": block.size,
    }
