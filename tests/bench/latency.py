"""From read to queryable: each reading's own stamp against the moment at which a reader sees it.

What lives here: looking on while a looped file is streamed at a rate, and the floor. What does not: the processes
(`crew`) and the COPY (`floors`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import LiteralString, Self

import numpy as np
import psycopg
from numpy.typing import NDArray

from telemetry.store.session import Session
from tests.bench.crew import Crew
from tests.bench.floors import copy_one, packed_samples
from tests.bench.measure import Goal, Result, rounded
from tests.bench.stage import BenchFailed, Stage, say

RATES = (2_470, 24_700)
"""Rows per second: the series of a fleet of 247 GPUs every second, and ten times that."""
GOAL_RATE = 24_700
LOOPED_ROWS = 24_700
"""Of the file that is read again and again."""
WARM_UP = 2.0
"""Seconds after the first reading was seen that do not count."""
LOOK_EVERY = 0.005
"""Seconds between two looks; what a latency is exact to."""
CHECK_EVERY = 0.5
"""Seconds between two looks at the processes."""
PATIENCE = 120.0
"""Seconds until the first reading must be seen, or the last."""
HELD = 0.95
"""Part of a rate that must have been read for it to count as held."""
STEPS = (0.9, 0.75, 0.6, 0.45, 0.3)
"""Parts of the rate without a limit that are tried until one is held."""
COPIES = 15
"""Transactions of which the floor is the median."""
NEW: LiteralString = """
SELECT first_row, rows, (extract(epoch FROM time0) * 1000000)::bigint,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
FROM blocks WHERE settled_at IS NOT NULL AND first_row >= %s ORDER BY first_row
"""
HELD_BY_A_TRANSACTION: LiteralString = """
SELECT sum(rows)::float8 / count(DISTINCT xmin::text) FROM blocks WHERE settled_at IS NOT NULL
"""
BEHIND: LiteralString = "SELECT coalesce(sum(stored), 0)::bigint - (SELECT count(*) FROM samples) FROM blocks"


@dataclass(frozen=True, kw_only=True)
class Lags:
    """Seconds from a reading's stamp to a reader's sight of it, one for each reading in a window; shape (n,)."""

    asked: float
    """Rows per second that the streamers were told."""
    rate: float
    """Rows per second that were read in the window; all of them were stored."""
    seconds: NDArray[np.float64]
    transaction_rows: float
    growing: bool
    """The later ones waited longer: the rate is not held."""

    @property
    def held(self) -> bool:
        """Whether what was asked was read, and stored as soon in the end as in the beginning."""
        return self.rate >= HELD * self.asked and not self.growing

    def at(self, share: float) -> float:
        """The lag that this share of the readings does not surpass."""
        return float(np.quantile(self.seconds, share))

    def as_dict(self) -> dict[str, object]:
        """For people: milliseconds."""
        shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
        return {
            "rate": rounded(self.rate),
            "readings": len(self.seconds),
            **{name: rounded(self.at(share) * 1_000) for name, share in shares.items()},
            "rows_per_transaction": rounded(self.transaction_rows),
        }


class Onlooker:
    """Sees, as the API's role, which blocks have become visible, and when. Both clocks are the database's."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.blocks: dict[int, tuple[int, int, int]] = {}
        """First row -> (rows, stamp of the first in µs, seen in µs)."""
        self.through = 0
        """Stamp of the last block before which all are seen."""
        self.newest = 0
        """When a look last saw a block, in µs."""
        self._low = 0

    def look(self) -> None:
        """One look. Rows of blocks become visible with the ledger's row: it is one transaction."""
        for first_row, rows, stamp, seen in self.connection.execute(NEW, (self._low,)).fetchall():
            self.blocks.setdefault(first_row, (rows, stamp, seen))
            self.newest = max(self.newest, seen)
        while self._low in self.blocks:
            rows, self.through, _ = self.blocks[self._low]
            self._low += rows

    def lags(self, begin: int, end: int) -> NDArray[np.float64]:
        """Seconds that each reading stamped in a window (µs) took, in the order of reading."""
        parts = [
            (seen - stamp - np.arange(rows)) / 1e6
            for _, (rows, stamp, seen) in sorted(self.blocks.items())
            if begin <= stamp < end
        ]
        return np.concatenate(parts) if parts else np.empty(0)

    def rate(self, begin: int, end: int) -> float:
        """Readings per second that came into sight in a window (µs); 0 when all of them came at once.

        From the first moment to the last at which some came: a transaction of a second would otherwise count or not.
        """
        seen = sorted((at, rows) for rows, _, at in self.blocks.values() if begin <= at < end)
        if not seen or seen[0][0] == seen[-1][0]:
            return 0.0
        return sum(rows for at, rows in seen if at > seen[0][0]) * 1e6 / (seen[-1][0] - seen[0][0])


class Streaming:
    """Streamers that loop at a rate (0: no limit), collectors, and an onlooker, for the time of a `with`."""

    def __init__(self, stage: Stage, rate: float, streamers: int) -> None:
        stage.fresh()
        self.seconds = stage.terms.seconds
        csv = str(stage.csv(LOOPED_ROWS))
        stream = ["--loop", "--time", "now", "--csv", csv, "--rate", str(rate / streamers)]
        collect = ["--linger", str(stage.terms.linger)]
        counts = {"streamers": streamers, "collectors": stage.terms.collectors}
        self.crew = Crew(stage, stream=stream, collect=collect, **counts)
        self.onlooker = Onlooker(psycopg.connect(stage.reader_url, autocommit=True, prepare_threshold=1))

    def __enter__(self) -> Self:
        self.crew.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crew.__exit__(kind, error, trace)
        self.onlooker.connection.close()

    def window(self) -> tuple[int, int]:
        """Wait for the first readings; begin and end (µs) of the time that counts, some seconds later."""
        self.look_until(lambda onlooker: onlooker.newest > 0)
        begin = self.onlooker.newest + int(WARM_UP * 1e6)
        return begin, begin + int(self.seconds * 1e6)

    def look_until(self, enough: Callable[[Onlooker], bool]) -> None:
        """Look every moment. Raises BenchFailed when a process ended, or nothing happens for long."""
        deadline = time.monotonic() + PATIENCE + WARM_UP + self.seconds
        check = 0.0
        while not enough(self.onlooker):
            self.onlooker.look()
            now = time.monotonic()
            if now > deadline:
                raise BenchFailed(f"{len(self.onlooker.blocks)} blocks were seen, and the others not in {PATIENCE:g} s")
            if now > check:
                self.crew.look()
                check = now + CHECK_EVERY
            time.sleep(LOOK_EVERY)


def lags_at(stage: Stage, rate: float, streamers: int = 1) -> Lags:
    """Stream a looped file at a rate in rows per second for the stage's seconds, and look on."""
    with Streaming(stage, rate, streamers) as streaming:
        begin, end = streaming.window()
        streaming.look_until(lambda onlooker: onlooker.through >= end)
    if behind := stage.ask(BEHIND)[0][0]:
        raise BenchFailed(f"{behind} readings are settled that are not among the samples")
    seconds = streaming.onlooker.lags(begin, end)
    return Lags(
        asked=rate,
        rate=len(seconds) * 1e6 / (end - begin),
        seconds=seconds,
        transaction_rows=stage.ask(HELD_BY_A_TRANSACTION)[0][0],
        growing=_grows(seconds),
    )


def unlimited(stage: Stage, streamers: int) -> float:
    """Rows per second that are stored when streamers publish as fast as the queue takes them."""
    with Streaming(stage, 0, streamers) as streaming:
        begin, end = streaming.window()
        streaming.look_until(lambda onlooker: onlooker.newest >= end)
    rate = streaming.onlooker.rate(begin, end)
    if not rate:
        raise BenchFailed(
            f"{streamers} streamers without a limit filled no two transactions in {stage.terms.seconds:g} s"
        )
    say(f"{stage.tier.value}: without a limit {streamers} streamers stored {rate:,.0f} rows/s")
    return rate


def copy_seconds(stage: Stage, rows: float) -> float:
    """One COPY transaction of so many rows from memory, nothing else running: the median of several."""
    export = stage.export(LOOPED_ROWS)
    count = max(1, min(export.rows, round(rows)))
    stage.fresh()
    took = []
    with Session(url=stage.writer_url, name="telemetry-bench") as session:
        (packed,) = packed_samples(session, export.path, count, LOOPED_ROWS)
        with session.use() as connection:
            for _ in range(COPIES):
                began = time.perf_counter()
                copy_one(connection, packed)
                took.append(time.perf_counter() - began)
    return median(took)


def latency_vs_floor(stage: Stage) -> Sequence[Result]:
    """p99 at GOAL_RATE against linger + one COPY as large as the transactions were; other rates beside it."""
    ours, floor, found = [], [], []
    for _ in range(stage.rounds):
        lags = _said(stage, lags_at(stage, GOAL_RATE))
        ours.append(lags.at(0.99))
        floor.append(stage.terms.linger + copy_seconds(stage, lags.transaction_rows))
        found.append(lags)
    typical = sorted(found, key=lambda one: one.at(0.99))[len(found) // 2]
    others = {str(rate): _said(stage, lags_at(stage, rate)).as_dict() for rate in RATES if rate != GOAL_RATE}
    more = {
        "linger": stage.terms.linger,
        "held": all(lags.held for lags in found),
        "rates": {**others, str(GOAL_RATE): typical.as_dict(), "highest": highest_held(stage)},
    }
    return [Result("latency_vs_floor", stage.tier.value, "s", Goal(most=3), ours, floor, more)]


def highest_held(stage: Stage) -> dict[str, object] | None:
    """The highest rate of those tried that was held, and its latencies; None when none was."""
    streamers = stage.terms.streamers
    free = unlimited(stage, streamers)
    for step in STEPS:
        lags = _said(stage, lags_at(stage, free * step, streamers))
        if lags.held:
            return {"unlimited_rate": rounded(free), **lags.as_dict()}
    return None


def _grows(seconds: NDArray[np.float64]) -> bool:
    """Whether the last third took clearly longer than the first."""
    third = len(seconds) // 3
    if not third:
        return True
    first, last = np.median(seconds[:third]), np.median(seconds[-third:])
    return bool(last > 1.5 * first + 0.1)


def _said(stage: Stage, lags: Lags) -> Lags:
    told = ", ".join(f"{name} {value}" for name, value in lags.as_dict().items())
    say(f"{stage.tier.value}: asked {lags.asked:,.0f} rows/s: {told}{'' if lags.held else ' NOT HELD'}")
    return lags
