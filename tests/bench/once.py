"""One export through the whole pipeline: how long, what it used, what stands in the tables, and whether that is true.

What lives here: a single run. What does not: what it is compared with (`ingest`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import LiteralString

import orjson
import psycopg

from tests.bench.crew import Crew
from tests.bench.exports import Export
from tests.bench.proc import Thief, cpu_of, cpu_of_family, peak_mb, postgres_pid, redis_pid
from tests.bench.stage import BenchFailed, Stage

LOOK_EVERY = 0.05
"""Seconds between two looks at the ledger: what the time of a run is exact to."""
STANDSTILL = 120.0
"""Seconds without a settled block after which a run has failed."""
SETTLED: LiteralString = """
SELECT count(*) FILTER (WHERE settled_at IS NOT NULL), count(*) FILTER (WHERE settled_at IS NULL),
       coalesce((SELECT bool_and(next_row >= length) FROM stream_progress), false)
FROM blocks
"""
LEDGER: LiteralString = """
SELECT coalesce(sum(rows), 0)::bigint, coalesce(sum(stored), 0)::bigint, coalesce(sum(blank), 0)::bigint,
       coalesce(sum(rejected), 0)::bigint, coalesce(sum(dead), 0)::bigint, (SELECT count(*) FROM samples)
FROM blocks
"""
PACE: LiteralString = """
SELECT extract(epoch FROM max(settled_at) - min(settled_at))::float8,
       (sum(rows) FILTER (WHERE settled_at > (SELECT min(settled_at) FROM blocks)))::float8,
       sum(rows)::float8 / count(DISTINCT xmin::text)
FROM blocks
"""
SIZE: LiteralString = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname IN ('public', '_timescaledb_internal')
"""


@dataclass(frozen=True, kw_only=True)
class Once:
    """What a run was like. `cpu` in seconds and `peak` in MB by who used it; `stolen`: share of the cores' time."""

    rows: int
    stored: int
    seconds: float
    start: float
    """Seconds of these until a first block was seen to be settled: what starting the processes takes."""
    settled_rate: float
    """Rows per second from the first settled block to the last; 0 when all were settled at once."""
    transaction_rows: float
    bytes: int
    cpu: dict[str, float]
    peak: dict[str, float]
    stolen: float

    @property
    def rate(self) -> float:
        """Rows per second, the start of the processes included."""
        return self.rows / self.seconds


class Meter:
    """CPU seconds of the servers from now on, where they run on this machine."""

    def __init__(self, stage: Stage) -> None:
        self.pids = {"redis": redis_pid(stage.redis_url), "postgres": postgres_pid(stage.admin_url)}
        self._before = self._now()

    def cpu(self) -> dict[str, float]:
        """By server."""
        return {name: seconds - self._before[name] for name, seconds in self._now().items()}

    def _now(self) -> dict[str, float]:
        families = {"redis": cpu_of, "postgres": cpu_of_family}
        return {name: families[name](pid) for name, pid in self.pids.items() if pid}


def once(stage: Stage, export: Export, streamers: int = 0, collectors: int = 0) -> Once:
    """Read the export into a fresh database by so many processes, else as many as the stage's terms say.

    Raises BenchFailed when a row is missing or doubled.
    """
    stage.fresh()
    stream = ["--once", "--time", "source", "--csv", str(export.path), "--json"]
    terms = stage.terms
    counts = {"streamers": streamers or terms.streamers, "collectors": collectors or terms.collectors}
    crew = Crew(stage, stream=stream, collect=[], **counts)
    meter, thief = Meter(stage), Thief()
    with psycopg.connect(stage.admin_url, autocommit=True) as ledger:
        began = time.perf_counter()
        with crew:
            start = _wait_until_settled(crew, ledger) - began
            seconds = time.perf_counter() - began
            crew.look()
            cpu, stolen = {**crew.cpu(), **meter.cpu()}, thief.stolen()
            _wait_until_reconciled(crew)
    queue = meter.pids["redis"]
    span, later, transaction = stage.ask(PACE)[0]
    return Once(
        rows=export.rows,
        stored=check(stage, export),
        seconds=seconds,
        start=start,
        settled_rate=later / span if later and span else 0.0,
        transaction_rows=transaction,
        bytes=stage.ask(SIZE)[0][0],
        cpu=cpu,
        peak={**crew.peak(), **({"redis": peak_mb(queue)} if queue else {})},
        stolen=stolen,
    )


def _wait_until_settled(crew: Crew, ledger: psycopg.Connection) -> float:
    """When the first block was seen to be settled."""
    first, seen, moved = 0.0, 0, time.perf_counter()
    while True:
        crew.look()
        settled, unsettled, read = ledger.execute(SETTLED).fetchone() or (0, 0, False)
        if settled != seen:
            seen, moved = settled, time.perf_counter()
            first = first or moved
        if read and not unsettled:
            return first
        if time.perf_counter() > moved + STANDSTILL:
            raise BenchFailed(f"{settled} blocks are settled and {unsettled} are not, for {STANDSTILL:g} s now")
        time.sleep(LOOK_EVERY)


def _wait_until_reconciled(crew: Crew) -> None:
    """Streamers end by themselves, and print what the ledger and the tables say."""
    for member in crew.streamers:
        code = member.child.wait(STANDSTILL)
        said = member.out.text()
        if code != 0 or not orjson.loads(said)["reconciles"]:
            raise BenchFailed(f"{member.name} ended with {code} and printed: {said}")


def check(stage: Stage, export: Export) -> int:
    """Samples, if ledger and samples are what the file's truth says."""
    truth = export.truth
    found = stage.ask(LEDGER)[0]
    wanted = (*(truth[name] for name in ("rows", "stored", "blank", "rejected")), 0, truth["stored"])
    if found != wanted:
        raise BenchFailed(f"rows, stored, blank, rejected, dead, samples should be {wanted} and are {found}")
    return int(found[-1])
