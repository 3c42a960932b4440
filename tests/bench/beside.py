"""The API asked by many at once, alone and beside ingestion at full speed.

What lives here: who asks what, and what counts as refused. What does not: one connection (`crowd`), the server
(`serving`), the pipeline's processes (`crew`). Clients are threads of this process; they do as they are told when they
are refused, and the answers that they get are whole or the measurement fails.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, LiteralString

import numpy as np

from tests.bench.crew import Crew
from tests.bench.crowd import Line
from tests.bench.filled import Asked, filled, gpus
from tests.bench.latency import LOOPED_ROWS
from tests.bench.measure import Goal, Result, rounded
from tests.bench.serving import Client, serving
from tests.bench.stage import BenchFailed, Stage, say

CONNECTIONS = 64
GPUS = 50
"""That are asked about."""
PATIENCE = 60.0
"""Seconds until the first reading of the ingestion must be stored."""
HOUR = "hour"
LATEST = "latest"
QUESTIONS: Mapping[str, Callable[[Asked, str], str]] = MappingProxyType(
    {
        LATEST: lambda one, _: f"/gpus/{one.id}/latest",
        HOUR: lambda one, hour: f"/gpus/{one.id}/telemetry?{hour}",
        "steps": lambda one, hour: f"/gpus/{one.id}/telemetry?{hour}&step=5m",
        "GPU": lambda one, _: f"/gpus/{one.id}",
        "list": lambda _, __: "/gpus",
        "inventory": lambda _, __: "/inventory?limit=100",
    }
)
"""Asked in turns, each client beginning with another one."""
STORED: LiteralString = "SELECT coalesce(sum(stored), 0)::bigint FROM blocks WHERE source <> 'bench'"
LAST: LiteralString = "SELECT extract(epoch FROM max(last_time))::bigint FROM blocks WHERE source = 'bench'"


@dataclass
class Heard:
    """What clients got: seconds of each answer, by question; how many were refused for the moment."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in QUESTIONS})
    refused: Counter[int] = field(default_factory=Counter)

    def add(self, other: Heard) -> None:
        """Another client's."""
        for name, of in other.seconds.items():
            self.seconds[name] += of
        self.refused += other.refused

    def p99(self, name: str) -> float:
        """Of the answers to a question, in seconds. Raises BenchFailed when there were none."""
        if not self.seconds[name]:
            raise BenchFailed(f"nobody got an answer to {name!r}")
        return float(np.percentile(self.seconds[name], 99))

    def as_dict(self, seconds: float) -> dict[str, Any]:
        """For people."""
        answered = sum(map(len, self.seconds.values()))
        return {
            "answers_per_second": rounded(answered / seconds),
            "refused": {str(status): count for status, count in sorted(self.refused.items())},
            "p50_ms": {name: rounded(float(np.median(of)) * 1e3) for name, of in self.seconds.items() if of},
            "p99_ms": {name: rounded(self.p99(name) * 1e3) for name, of in self.seconds.items() if of},
        }


def api(stage: Stage) -> Sequence[Result]:
    """p99 of two questions among mixed ones of 64 connections, while readings pour in, against the same without."""
    database = filled(stage)
    asked, end = gpus(database, GPUS), database.ask(LAST)[0][0]
    hour = f"start_time={end - 3_600}&end_time={end}"
    beside, alone, rates = [], [], []
    with serving(stage, database) as client:
        for number in range(stage.rounds):
            for pouring in (True, False) if number % 2 else (False, True):
                if pouring:
                    with _pouring(stage) as stored:
                        beside.append(_crowd(stage, client, asked, hour))
                        rates.append(stored() / stage.terms.seconds)
                else:
                    alone.append(_crowd(stage, client, asked, hour))
                heard = (beside if pouring else alone)[-1].as_dict(stage.terms.seconds)
                say(f"  {'beside ingestion' if pouring else 'alone'}: {heard}")
    more = {
        "connections": CONNECTIONS,
        "seconds": stage.terms.seconds,
        "beside": beside[-1].as_dict(stage.terms.seconds),
        "alone": alone[-1].as_dict(stage.terms.seconds),
        "stored_per_second_meanwhile": [rounded(rate) for rate in rates],
    }
    named = {"api_latest_beside_ingest": LATEST, "api_range_beside_ingest": HOUR}
    return [
        Result(
            name,
            stage.tier.value,
            "s",
            Goal(most=3),
            [one.p99(of) for one in beside],
            [one.p99(of) for one in alone],
            more,
        )
        for name, of in named.items()
    ]


@contextmanager
def _pouring(stage: Stage) -> Iterator[Callable[[], int]]:
    """Streamers that loop without a limit, and collectors; gives what tells how many readings were stored since."""
    stream = ["--loop", "--rate", "0", "--csv", str(stage.csv(LOOPED_ROWS))]
    counts = {"streamers": stage.terms.streamers, "collectors": stage.terms.collectors}
    with Crew(stage, stream=stream, collect=[], **counts) as crew:
        before, deadline = stage.ask(STORED)[0][0], time.monotonic() + PATIENCE
        while (began := stage.ask(STORED)[0][0]) == before:
            crew.look()
            if time.monotonic() > deadline:
                raise BenchFailed(f"nothing was stored in {PATIENCE:g} s")
            time.sleep(0.1)
        yield lambda: int(stage.ask(STORED)[0][0] - began)
        crew.look()


def _crowd(stage: Stage, client: Client, asked: Sequence[Asked], hour: str) -> Heard:
    """Every client for the stage's seconds, begun together."""
    start, end = threading.Barrier(CONNECTIONS), stage.terms.seconds

    def one(number: int) -> Heard:
        dice = random.Random(number)
        with closing(Line(client.place, "/gpus")) as line:
            start.wait()
            return _asked(line, [*QUESTIONS][number % len(QUESTIONS) :], asked, hour, dice, time.perf_counter() + end)

    heard = Heard()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        for each in threads.map(one, range(CONNECTIONS)):
            heard.add(each)
    return heard


def _asked(
    line: Line, first: Sequence[str], asked: Sequence[Asked], hour: str, dice: random.Random, end: float
) -> Heard:
    heard, turn = Heard(), [*first]
    while (began := time.perf_counter()) < end:
        name = turn.pop(0)
        turn = turn or [*QUESTIONS]
        head, _ = line.answer(QUESTIONS[name](dice.choice(asked), hour))
        if head.startswith(b"HTTP/1.1 200 "):
            heard.seconds[name].append(time.perf_counter() - began)
        else:
            status, wait = refusal(head)
            heard.refused[status] += 1
            time.sleep(max(0.0, min(wait, end - time.perf_counter())))
    return heard


def refusal(head: bytes) -> tuple[int, float]:
    """(status, seconds to wait) of an answer that asks to come again later. Raises BenchFailed for any other."""
    found = re.match(rb"HTTP/1\.1 (429|503) ", head)
    wait = re.search(rb"\r\nretry-after: *(\d+)", head, re.IGNORECASE)
    if not found or not wait:
        raise BenchFailed(f"the API answered {head!r}")
    return int(found[1]), float(wait[1])
