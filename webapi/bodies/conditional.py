"""ETag and If-None-Match: who has an answer already is told so, and the question is not asked again.

What lives here: tags of ranges that lie in the past, and 304. What does not: how the past can change
(`telemetry.store.questions.state`).
"""

import hashlib

import orjson
from flask import Response, request

from telemetry import __version__
from telemetry.store.questions.state import state_upto
from webapi import times
from webapi.ranges import Range
from webapi.services import services

SETTLED = 60 * 10**6
"""µs. Of a range that ended later readings still come, so that a tag is not worth asking for; it would be right."""


TAG_HEADERS = {
    "ETag": {
        "description": "Of a range that ended more than a minute ago; packed with gzip, a weak one.",
        "schema": {"type": "string", "examples": ['"9f86d081884c7d659a2feaa0c55ad015"']},
    }
}

IF_NONE_MATCH = {
    "in": "header",
    "name": "If-None-Match",
    "description": "The `ETag` of an answer that the client has: if it is still right, the answer is 304.",
    "schema": {"type": "string"},
    "example": '"9f86d081884c7d659a2feaa0c55ad015"',
}


def tag_of(wanted: Range, question: object) -> str | None:
    """The tag of the answer to a question (JSON values) about a range; None when the range moves, or is of today.

    Two answers of one tag are the same byte for byte. Ask for it before anything of the answer is read.
    """
    if wanted.moves or wanted.end.micros > times.now_micros() - SETTLED:
        return None
    state = state_upto(services().reader.pool, wanted.end.micros)
    if state is None:
        return None
    return hashlib.blake2b(orjson.dumps([__version__, state, question]), digest_size=16).hexdigest()


def unchanged(tag: str | None) -> Response | None:
    """The answer to who has it already: 304 without a body; None when the question has to be answered."""
    known = request.if_none_match
    if tag is None or not known.contains_weak(tag):
        return None
    response = Response(status=304)
    del response.headers["Content-Type"]
    response.vary.update(("Accept", "Accept-Encoding"))
    # As the client has it: packed, it is weak.
    return tagged(response, tag, weak=not known.contains(tag))


def tagged(response: Response, tag: str | None, *, weak: bool = False) -> Response:
    """The answer with its tag, to be kept by the client alone, and asked for again each time."""
    if tag is not None:
        response.set_etag(tag, weak=weak)
        response.headers["Cache-Control"] = "private, no-cache"
    return response
