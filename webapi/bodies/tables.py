"""Objects of one kind written down as lines: CSV and NDJSON.

What lives here: how a value looks there. What does not: readings, which come as columns and never become objects
(`formats`), which format is asked for (`answers`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import orjson

Row = Mapping[str, object]

_SPECIAL = re.compile('[",\r\n]')


def csv(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    """A header of `columns` and a line for each row (RFC 4180, but lines end as in Unix).

    None is an empty field and a text without a character is "", as PostgreSQL's COPY writes them; what is itself an
    object or a list is its JSON.
    """
    return "".join([_line(columns), *(_line(map(_field, map(row.get, columns))) for row in rows)]).encode()


def ndjson(rows: Sequence[Row], cursor: str | None = None) -> bytes:
    """A line for each row, then the trailer."""
    lines = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows]
    return b"".join([*lines, trailer(len(rows), cursor)])


def trailer(count: int, cursor: str | None = None) -> bytes:
    """The last line of NDJSON: how many came before it, and where the next page begins. Without it something is
    missing.
    """
    return orjson.dumps({"trailer": {"count": count, "next": cursor}}, option=orjson.OPT_APPEND_NEWLINE)


def quoted(text: str) -> str:
    """A text as a field of CSV."""
    return text if text and not _SPECIAL.search(text) else '"' + text.replace('"', '""') + '"'


def _line(fields: Iterable[str]) -> str:
    return ",".join(fields) + "\n"


def _field(value: object) -> str:
    if value is None:
        return ""
    return quoted(value if isinstance(value, str) else orjson.dumps(value).decode())
