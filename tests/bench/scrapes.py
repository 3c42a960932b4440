"""What Prometheus waits for: the newest values of a large fleet, beside the second that they may take.

What lives here: a fleet that reports now, and scrapes of it. What does not: the server (`serving`), exports of the past
(`filled`).
"""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from statistics import median

import numpy as np

from telemetry.block import Block, Gpu, Workload
from telemetry.store.gate import Standing
from telemetry.store.ledger import Ledger
from telemetry.store.session import Session
from telemetry.store.writer import Writer
from tests.bench.measure import Goal, Result, rounded
from tests.bench.proc import cpu_of_family
from tests.bench.serving import serving
from tests.bench.stage import BenchFailed, Stage, say
from tests.fixtures.store import Database
from webapi.scraped.page import KEEP

GPUS = 2_000
METRICS = tuple(
    f"DCGM_FI_DEV_{name}"
    for name in (
        *("GPU_TEMP", "MEMORY_TEMP", "POWER_USAGE", "GPU_UTIL", "MEM_COPY_UTIL"),
        *("FB_USED", "FB_FREE", "SM_CLOCK", "MEM_CLOCK", "XID_ERRORS"),
    )
)
EVERY, TICKS = 10, 30
"""Seconds between two readings of a series, and how many of them there are: five minutes."""
MOST = 1.0
"""Seconds that a scrape may take."""
AGAIN = 10
"""Further scrapes of the same process, each when its values are no longer good."""


def metrics_gpus(stage: Stage) -> Sequence[Result]:
    """Seconds of a first scrape of 2,000 GPUs with 10 metrics each, and of the slowest next one, against a second."""
    stage.fresh()
    say(f"  filling a database with {GPUS} GPUs that report now")
    _fill(stage.database)
    first, again, memory, cpu, size = [], [], [], [], 0
    for _ in range(stage.rounds):
        with (
            serving(stage, stage.database, "--api-workers", "1") as client,
            closing(HTTPConnection(*client.place)) as line,
        ):
            seconds, size = _scrape(line)
            first.append(seconds)
            peak, used = client.peak, cpu_of_family(client.pid)
            again.append(max(_scrape_later(line) for _ in range(AGAIN)))
            cpu.append((cpu_of_family(client.pid) - used) / AGAIN)
            memory.append([rounded(peak), rounded(client.peak)])
    more = {"bytes": size, "cpu_s_per_scrape": rounded(median(cpu)), "peak_mb_after_1_and_after_all": memory}
    return [
        Result(name, stage.tier.value, "s", Goal(most=1), took, [MOST] * stage.rounds, more)
        for name, took in (("metrics_gpus_first", first), ("metrics_gpus", again))
    ]


def _scrape_later(line: HTTPConnection) -> float:
    time.sleep(KEEP + 0.1)
    return _scrape(line)[0]


def _scrape(line: HTTPConnection) -> tuple[float, int]:
    """Seconds until the last byte, as Prometheus takes it; and how large the text is. Raises BenchFailed."""
    began = time.perf_counter()
    line.request("GET", "/metrics/gpus", headers={"Accept-Encoding": "gzip"})
    answer = line.getresponse()
    body = answer.read()
    took = time.perf_counter() - began
    text = gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body
    series = len(re.findall(rb"^DCGM_", text, re.MULTILINE))
    if answer.status != 200 or series != GPUS * len(METRICS):
        raise BenchFailed(f"/metrics/gpus was answered with {answer.status} and {series} series")
    return took, len(text)


def _fill(database: Database) -> None:
    """The last reading of each series is of now, and so it stays new for as long as a round takes."""
    end = time.time_ns() // 1_000
    gpus = [Gpu(f"GPU-{n:08d}", str(n % 8), f"nvidia{n % 8}", "H100", f"host-{n // 8:04d}") for n in range(GPUS)]
    workloads = [Workload("train", f"job-{n}", "ml", '{"DCGM_FI_DRIVER_VERSION":"535.129.03"}') for n in range(GPUS)]
    with Session(url=database.writer, name="telemetry-bench") as session:
        ledger = Ledger(session=session, source="bench", length=None, stamped=False)
        writer = Writer(session=session, lease=15.0)
        for tick in range(TICKS):
            time0 = end - (TICKS - 1 - tick) * EVERY * 1_000_000
            reserved = ledger.reserve(GPUS * len(METRICS))
            assert reserved is not None
            if writer.store([_tick(reserved.first_row, time0, gpus, workloads)]) != [Standing.STORED]:
                raise BenchFailed("a tick of the fleet was not stored")
    database.ask("VACUUM (ANALYZE)")


def _tick(first_row: int, time0: int, gpus: Sequence[Gpu], workloads: Sequence[Workload]) -> Block:
    """A reading of each metric of each GPU, all of one time."""
    count = len(gpus) * len(METRICS)
    gpu = np.repeat(np.arange(len(gpus), dtype=np.int32), len(METRICS))
    metric = np.tile(np.arange(len(METRICS), dtype=np.int32), len(gpus))
    value = np.random.default_rng(first_row).uniform(0, 100, count).round(3)
    times = np.zeros(count, np.int64)
    return Block("bench", first_row, count, time0, gpus, METRICS, workloads, gpu, metric, gpu, times, value)
