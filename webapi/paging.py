"""Cursors and the Link header: where the next page begins, bound to the question that the first one answered.

A cursor names a place, not a number of rows: pages stay right while rows arrive. It is not a secret and gives no
right to anything: it is checked, not signed.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import request

from webapi.problems import Problem, unknown, unsuited

ADVICE = "take it from the Link header of the page before, or leave it out for the first page, as in limit=500"
MAX_TEXT = 4_096


def encode(filters: object, place: Sequence[object]) -> str:
    """A cursor for a place (JSON values) in the answer to a question with these filters (JSON too)."""
    return urlsafe_b64encode(orjson.dumps([_digest(filters), *place])).rstrip(b"=").decode()


def decode(text: str | None, filters: object, kinds: Sequence[tuple[type, int, int]]) -> list[Any] | None:
    """The place in a cursor, None without one. Each of `kinds` is (int, lowest, highest) or (str, shortest, longest).

    Raises a 404 problem for a cursor that names no page, a 422 problem for one of another question.
    """
    if text is None:
        return None
    try:
        digest, *place = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError):
        raise _no_page(text) from None
    if not isinstance(digest, str) or len(place) != len(kinds):
        raise _no_page(text)
    if not all(_fits(value, *kind) for value, kind in zip(place, kinds, strict=True)):
        raise _no_page(text)
    if digest != _digest(filters):
        told = f"belongs to a question with another path or other filters; repeat those of its page: {ADVICE}"
        raise unsuited([("cursor", text, told)])
    return list(place)


def next_link(cursor: str) -> str:
    """The value of the Link header that leads to the next page of the current request.

    Relative to that request's URL (RFC 8288, section 3.1), so it is right behind any proxy, whatever Host it sends.
    """
    kept = [(name, value) for name, value in request.args.items(multi=True) if name != "cursor"]
    return f'<?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'


def _fits(value: object, kind: type, low: int, high: int) -> bool:
    if type(value) is not kind:
        return False
    return low <= (len(value) if isinstance(value, str) else value) <= high  # type: ignore[operator]  # int or str


def _digest(filters: object) -> str:
    return hashlib.blake2b(orjson.dumps(filters), digest_size=6).hexdigest()


def _no_page(text: str) -> Problem:
    """404 and not 422: what a cursor looks like is no part of the contract, so no text is invalid as such."""
    return unknown("unknown-page", "No page has this cursor", [("cursor", text, f"is no cursor of this API; {ADVICE}")])
