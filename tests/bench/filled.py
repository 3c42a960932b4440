"""Databases with readings in them, put there as the collector does it, only without a queue between.

What lives here: filling, and choosing whom to ask about. What does not: the questions (`reads`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import LiteralString

from telemetry.block import Block
from telemetry.store.gate import Standing
from telemetry.store.ledger import Ledger
from telemetry.store.schema import migrate
from telemetry.store.session import Session
from telemetry.store.writer import Writer
from telemetry.streamer.sources.csvfile import CsvSource
from tests.bench.stage import BenchFailed, Stage, say
from tests.fixtures.store import Database, create_database, drop_database

BLOCK_ROWS, TOGETHER = 5_000, 8
"""Of a block and of a transaction, as streamers and collectors make them by default at full speed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A GPU: its id, its number in samples, and how many readings it has."""

    id: str
    number: int
    readings: int


def filled(stage: Stage) -> Database:
    """The stage's database with an export of `stage.rows`; the same one until somebody makes a fresh one."""
    if stage.kept.get("filled") != stage.database.name:
        stage.fresh()
        fill(stage.database, stage.csv(stage.rows))
        stage.kept["filled"] = stage.database.name
    return stage.database


@contextmanager
def smaller(stage: Stage, rows: int) -> Iterator[Database]:
    """Another database beside it, with an export of so many rows; gone in the end."""
    server = stage.database.server
    name = create_database(server)
    try:
        database = Database(server, name)
        with Session(url=database.owner, name="telemetry-migrate@bench") as session:
            migrate(session)
        fill(database, stage.csv(rows))
        yield database
    finally:
        drop_database(server, name)


def fill(database: Database, path: Path) -> None:
    """Store the file, then do what autovacuum would come to do: statistics are those of a table that has settled."""
    say(f"  filling a database with {path.name}")
    source = CsvSource(path=path, times=True).open()
    try:
        with Session(url=database.writer, name="telemetry-bench") as session:
            ledger = Ledger(session=session, source="bench", length=source.length, stamped=False)
            _store(Writer(session=session, lease=15.0), _blocks(source, ledger))
    finally:
        source.close()
    database.ask("VACUUM (ANALYZE)")
    database.ask("CHECKPOINT")


def _blocks(source: CsvSource, ledger: Ledger) -> Iterator[Block]:
    while (reserved := ledger.reserve(BLOCK_ROWS)) is not None:
        yield source.block("bench", reserved.first_row, reserved.rows, None)


def _store(writer: Writer, blocks: Iterator[Block]) -> None:
    while together := list(islice(blocks, TOGETHER)):
        became = writer.store(together)
        if set(became) != {Standing.STORED}:
            raise BenchFailed(f"blocks became {became}")


def gpus(database: Database, count: int) -> list[Asked]:
    """So many GPUs, from all over the fleet; those that have one row of their own, and a uuid."""
    rows = database.ask(_GPUS, count)
    numbers = [number for _, number in rows]
    counted = dict(database.ask("SELECT gpu, count(*) FROM samples WHERE gpu = ANY(%s) GROUP BY gpu", numbers))
    return [Asked(id, number, counted[number]) for id, number in rows]


_GPUS: LiteralString = """
SELECT id, min(gpu) FROM gpus WHERE uuid <> '' GROUP BY id HAVING count(*) = 1 ORDER BY md5(id) LIMIT %s
"""
