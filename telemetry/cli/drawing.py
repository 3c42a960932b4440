"""Tables on stdout, and the bar of a pass over a file: what `rich` draws for a person.

What does not live here: JSON and plain pairs (`output`), which need no `rich`; what `up` shows (`display`).
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout; without colour or box where nobody looks at it."""
    drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*row)
    seen = sys.stdout.isatty()
    # Plain: `:loop:` in a stream's id is no emoji, and a reason in brackets no style.
    Console(soft_wrap=not seen, width=None if seen else 250, markup=False, emoji=False).print(drawn)


@contextmanager
def bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr: advance(bytes done, bytes in all)."""
    columns = (
        TextColumn("indexing {task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
