"""Answers that are lists of objects, in the format that was asked for.

What lives here: choosing the format, and small lists whose objects are already there. What does not: readings, which
come as columns and never become objects (`readings`), how a line is written (`tables`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from flask import Response, g

from webapi.bodies import accept, formats, tables
from webapi.paging import next_link
from webapi.schemas import Choice, Query


class FormatQuery(Query):
    """What the answer is written in."""

    format = Choice(
        "What the answer is written in; it wins over `Accept`. Without both: json. NDJSON is an object per line, and a "
        '`{"trailer": {"count": .., "next": ..}}` after the last one: without it something is missing.',
        formats.MEDIA_TYPES,
    )


def asked_format(query: Mapping[str, Any]) -> str:
    """The format of an answer: the one that is named, else the one that Accept prefers, else JSON.

    Raises a 406 problem when Accept takes none of them.
    """
    named: str | None = query.get("format")
    return named or accept.preferred(formats.MEDIA_TYPES)


def listing(rows: Sequence[Mapping[str, Any]], query: Mapping[str, Any], *, cursor: str | None = None) -> Response:
    """Objects of one kind, all with the same keys in the same order; `cursor`: where the next page begins.

    Texts, numbers, booleans and None stand in CSV as they are; what is itself an object or a list, as its JSON.
    """
    kind = asked_format(query)
    if kind == formats.JSON:
        return response(kind, orjson.dumps(list(rows)), cursor)
    return _lines(kind, rows, list(rows[0]) if rows else _columns(), cursor)


def names(column: str, values: Sequence[str], query: Mapping[str, Any], *, cursor: str | None = None) -> Response:
    """Texts: as JSON an array of them, as lines objects with the one key `column`."""
    kind = asked_format(query)
    if kind == formats.JSON:
        return response(kind, orjson.dumps(list(values)), cursor)
    return _lines(kind, [{column: value} for value in values], [column], cursor)


def response(kind: str, body: bytes | Iterable[bytes], cursor: str | None = None) -> Response:
    """A body in this format, whole or as it comes, with a Link to the next page where there is one."""
    made = Response(body, content_type=formats.MEDIA_TYPES[kind])
    made.vary.add("Accept")
    if cursor is not None:
        made.headers["Link"] = next_link(cursor)
    return made


def _lines(kind: str, rows: Sequence[Mapping[str, object]], columns: Sequence[str], cursor: str | None) -> Response:
    if kind == formats.NDJSON:
        return response(kind, tables.ndjson(rows, cursor), cursor)
    return response(kind, tables.csv(rows, columns), cursor)


def _columns() -> Sequence[str]:
    """Of a list without rows: as the operation's example has them (`Blueprint.lists`)."""
    columns: Sequence[str] = g.get("columns", ())
    return columns
