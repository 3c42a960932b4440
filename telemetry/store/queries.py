"""The named statements of sql/*.sql, and the files of the schema."""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import LiteralString

_MARK = "-- name: "


@cache
def query(name: str, *, file: str = "queries.sql") -> LiteralString:
    """The text of one named statement. It is the project's own, so the driver may take it for a literal.

    Raises KeyError when the file has no such statement.
    """
    found = _queries(file)
    if name not in found:
        raise KeyError(f"{file} has no statement {name!r}")
    return found[name]


@cache
def _queries(file: str) -> dict[str, LiteralString]:
    text = (sql_folder() / file).read_text(encoding="utf-8")
    blocks = (block.partition("\n") for block in text.split(_MARK)[1:])
    return {name.strip(): body.strip() for name, _, body in blocks}


def sql_folder() -> Traversable:
    """The folder that holds the schema's files."""
    return files("telemetry.store") / "sql"
