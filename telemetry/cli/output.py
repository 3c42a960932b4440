"""What commands print: JSON or a table on stdout, progress on stderr and only for a person at a terminal.

What does not live here: how tables and bars are drawn (`drawing`), read by those who draw one.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import orjson

from telemetry.cli import later
from telemetry.store.accounts import Account

Advance = Callable[[int, int], None]


def json(value: object) -> None:
    """One line of JSON on stdout."""
    click.echo(orjson.dumps(value, default=_plain).decode())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout."""
    later.read("drawing").table(columns, ([_cell(value) for value in row] for row in rows))


def pairs(values: Mapping[str, object]) -> None:
    """Names and values, one per line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {_cell(value)}")


def account_of(found: Account | None) -> dict[str, Any]:
    """A source's account as JSON and tables show it."""
    if found is None:
        counts = ("read", "stored", "blank", "rejected", "dead", "unsettled", "lost", "differing", "dropped")
        return {"stream": None, **dict.fromkeys(counts, 0), "reconciles": False}
    return {
        "stream": found.source,
        "read": found.read,
        "stored": found.stored,
        "blank": found.blank,
        "rejected": found.rejected,
        "dead": found.dead,
        "unsettled": found.unsettled,
        "lost": found.lost,
        "differing": found.differing,
        "dropped": found.dropped,
        "reconciles": found.reconciles,
    }


def account(found: Account | None, *, as_json: bool) -> None:
    """Print what became of one source."""
    if as_json:
        json(account_of(found))
    else:
        pairs(account_of(found))


@contextmanager
def file_progress(path: Path) -> Iterator[Advance]:
    """A bar for the pass over a file: advance(bytes done, bytes in all)."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    with later.read("drawing").bar(path.name) as advance:
        yield advance


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return value.isoformat(sep=" ", timespec="seconds") if isinstance(value, datetime) else str(value)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
