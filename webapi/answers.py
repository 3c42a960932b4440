"""Answers that are lists of objects, in the format that was asked for.

What lives here: choosing the format, and small lists whose objects are already there. What does not: readings, which
come as columns and never become objects (`formats`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from flask import Response

from webapi import formats
from webapi.schemas import Choice, Query


class FormatQuery(Query):
    """What the answer is written in."""

    format = Choice("What the answer is written in; it wins over `Accept`. Without both: json.", formats.MEDIA_TYPES)


def listing(rows: Sequence[Mapping[str, Any]], query: Mapping[str, Any]) -> Response:
    """Objects of one kind: flat, with the same keys in the same order; texts, numbers, booleans and None in them."""
    response = Response(orjson.dumps(list(rows)), content_type="application/json")
    response.vary.add("Accept")
    return response
