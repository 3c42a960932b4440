"""The floors of ingestion: psql's `\\copy` into the flat table, and the least CPU that parsing and storing take.

What does not live here: our own way (`once`), and what the numbers are compared with (`ingest`).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from telemetry.block import Block
from telemetry.store.copy import copy_samples, days_of, pack
from telemetry.store.dimensions import Dimensions
from telemetry.store.queries import query
from telemetry.store.session import Connection, Session
from telemetry.streamer.sources.csvfile import CsvSource
from tests.bench.exports import Export
from tests.bench.proc import Thief, cpu_of_thread
from tests.bench.stage import BenchFailed, Stage

BLOCK_ROWS = 5_000
MOST_ROWS = 1_000_000
"""Rows that the least CPU is measured with, from the file's beginning: more would only take more memory."""
FLAT: LiteralString = """
CREATE TABLE flat (
    timestamp timestamptz, metric_name text, gpu_id text, device text, uuid text, model_name text, hostname text,
    container text, pod text, namespace text, value text, labels_raw text
);
CREATE INDEX flat_uuid_timestamp ON flat (uuid, timestamp);
"""


@dataclass(frozen=True, kw_only=True)
class Flat:
    """The file in the flat table."""

    rows: int
    seconds: float
    bytes: int
    stolen: float
    """Share of the cores' time that another machine got."""


def copy_flat(stage: Stage, export: Export) -> Flat:
    """One `\\copy` of the whole file by psql, in one transaction; its start counts as that of our processes does."""
    stage.fresh()
    stage.ask(FLAT)
    script = f"\\copy flat FROM '{export.path}' WITH (FORMAT csv, HEADER)"
    thief, began = Thief(), time.perf_counter()
    subprocess.run([stage.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", script, stage.admin_url], check=True)
    seconds, stolen = time.perf_counter() - began, thief.stolen()
    rows, size = stage.ask("SELECT count(*), pg_total_relation_size('flat') FROM flat")[0]
    if rows != export.rows:
        raise BenchFailed(f"the flat table has {rows} rows, and the file {export.rows}")
    return Flat(rows=rows, seconds=seconds, bytes=size, stolen=stolen)


@dataclass(frozen=True, kw_only=True)
class Least:
    """CPU seconds per row of what no way from this file to these tables can do without."""

    parse: float
    client: float
    server: float

    def limit(self, cores: int) -> float:
        """Rows per second, if all cores did nothing else all the time."""
        return cores / (self.parse + self.client + self.server)


def least_cpu(stage: Stage, export: Export, transaction_rows: float) -> Least:
    """Parse the file by pandas, and COPY its samples from memory in transactions as large as the collector's."""
    rows = min(export.rows, MOST_ROWS)
    stage.fresh()
    with Session(url=stage.writer_url, name="telemetry-bench") as session:
        packed = list(packed_samples(session, export.path, rows, transaction_rows))
        client, server = copy_cpu(session, packed)
    stored = sum(map(len, packed))
    return Least(parse=parse_cpu(export.path, rows), client=client / stored, server=server / stored)


def parse_cpu(path: Path, rows: int) -> float:
    """CPU seconds per row of reading every column as text."""
    began = time.process_time()
    table = pd.read_csv(path, engine="c", dtype=str, nrows=rows)
    seconds = time.process_time() - began
    if len(table) != rows:
        raise BenchFailed(f"pandas read {len(table)} rows of {rows}")
    return seconds / rows


def packed_samples(session: Session, path: Path, rows: int, transaction_rows: float) -> Iterator[NDArray[np.void]]:
    """The file's samples as the collector packs them, a transaction each; dimensions and days are made."""
    dimensions = Dimensions(session=session)
    source = CsvSource(path=path, times=True).open()
    starts = range(0, rows, BLOCK_ROWS)
    blocks = [source.block("bench", first, min(BLOCK_ROWS, rows - first), None) for first in starts]
    source.close()
    days: set[str] = set().union(*map(days_of, blocks))
    with session.use() as connection:
        connection.execute(query("ensure_days"), {"days": sorted(days)})
    together = max(1, round(transaction_rows / BLOCK_ROWS))
    for at in range(0, len(blocks), together):
        part: list[Block] = blocks[at : at + together]
        dimensions.learn(part)
        yield pack(part, range(at, at + len(part)), dimensions)


def copy_cpu(session: Session, packed: list[NDArray[np.void]]) -> tuple[float, float]:
    """CPU seconds of client and backend for storing these samples, a transaction each."""
    with session.use() as connection:
        backend = connection.info.backend_pid
        before, began = cpu_of_thread(backend), time.process_time()
        for rows in packed:
            copy_one(connection, rows)
        return time.process_time() - began, cpu_of_thread(backend) - before


def copy_one(connection: Connection, rows: NDArray[np.void]) -> None:
    """One transaction."""
    with connection.transaction():
        copy_samples(connection, rows)
