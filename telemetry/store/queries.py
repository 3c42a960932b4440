"""The named statements of sql/queries.sql, and the files of the schema."""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import LiteralString

_MARK = "-- name: "


@cache
def query(name: str) -> LiteralString:
    """The text of one named statement. It is the project's own, so the driver may take it for a literal."""
    return _queries()[name]


@cache
def _queries() -> dict[str, LiteralString]:
    text = (sql_folder() / "queries.sql").read_text(encoding="utf-8")
    blocks = (block.partition("\n") for block in text.split(_MARK)[1:])
    return {name.strip(): body.strip() for name, _, body in blocks}


def sql_folder() -> Traversable:
    """The folder that holds the schema's files."""
    return files("telemetry.store") / "sql"
