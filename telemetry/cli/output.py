"""What commands print: JSON or a table on stdout, progress on stderr and only for a person at a terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from telemetry.store.accounts import Account

Advance = Callable[[int, int], None]


def json(value: object) -> None:
    """One line of JSON on stdout."""
    click.echo(orjson.dumps(value, default=_plain).decode())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; without colour or box where nobody looks at it."""
    drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*(_cell(value) for value in row))
    seen = sys.stdout.isatty()
    # Plain: `:loop:` in a stream's id is no emoji, and a reason in brackets no style.
    Console(soft_wrap=not seen, width=None if seen else 250, markup=False, emoji=False).print(drawn)


def pairs(values: Mapping[str, object]) -> None:
    """Names and values, one per line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {_cell(value)}")


def account_of(found: Account | None) -> dict[str, Any]:
    """A source's account as JSON and tables show it."""
    if found is None:
        counts = ("read", "stored", "blank", "rejected", "dead", "unsettled", "lost", "differing")
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
    columns = (
        TextColumn("indexing {task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(path.name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


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
