"""Answers packed with gzip, for who takes it: as they come, where they come in parts.

What does not live here: what an answer is written in (`answers`). Nothing in an answer is a secret that its length
could betray to somebody who makes requests in another's name.
"""

import gzip
import time
import zlib
from collections.abc import Iterable, Iterator

from flask import Flask, Response, request

LEAST = 1_024
"""Bytes: a smaller answer goes in one packet, packed or not."""

LEVEL = 1
"""Readings become some 30 times smaller, for as much processor time as writing them takes; with level 6 some 35 times,
for twice as much."""

TYPES = frozenset(
    {
        *("application/json", "application/problem+json", "application/x-ndjson", "application/openmetrics-text"),
        *("text/csv", "text/plain", "text/html", "text/javascript"),
    }
)
"""What is packed. Not an event stream, whose readers wait for each line, nor files, which browsers keep anyway."""

_GZIP = 16 + zlib.MAX_WBITS
_FLUSH_BYTES, _FLUSH_SECONDS = 1 << 16, 1.0
"""After so much all that was taken in goes out: a slow answer is seen to come, and small parts go together."""


def register(app: Flask) -> None:
    """Pack the answers of this app."""
    app.after_request(_pack)


def _pack(response: Response) -> Response:
    if response.mimetype not in TYPES or response.direct_passthrough or "Content-Encoding" in response.headers:
        return response
    response.vary.add("Accept-Encoding")
    if response.status_code == 304 or not takes_gzip():
        return response
    if response.is_sequence:
        body = response.get_data()
        if len(body) < LEAST:
            return response
        response.set_data(gzip.compress(body, LEVEL, mtime=0))
    else:
        response.response = _packed(response.iter_encoded())
    response.headers["Content-Encoding"] = "gzip"
    tag, _ = response.get_etag()
    if tag is not None:  # the same in meaning, not byte for byte
        response.set_etag(tag, weak=True)
    return response


def takes_gzip() -> bool:
    """Whether gzip is taken, and not liked less than no packing at all (RFC 9110, section 12.5.3)."""
    weights = {name.lower(): quality for name, quality in request.accept_encodings}
    quality = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0)))
    return quality > 0 and quality >= weights.get("identity", 0)


def _packed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts, packed. One that raises leaves gzip without its end, so that a broken answer looks broken."""
    packer, waiting, flushed = zlib.compressobj(LEVEL, wbits=_GZIP), 0, time.monotonic()
    for part in parts:
        packed, waiting = packer.compress(part), waiting + len(part)
        if waiting >= _FLUSH_BYTES or time.monotonic() > flushed + _FLUSH_SECONDS:
            packed, waiting, flushed = packed + packer.flush(zlib.Z_SYNC_FLUSH), 0, time.monotonic()
        if packed:
            yield packed
    yield packer.flush()
