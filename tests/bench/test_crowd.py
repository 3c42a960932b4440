"""The clients of the API's measurement read whole answers, and its figures are those of what was asked.

What does not live here: any judgement of a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest

from tests.bench.crowd import STAYS, Crowd, Line, _asked, markdown
from tests.bench.machine import cores
from tests.bench.stage import BenchFailed
from tests.fixtures.api import Serve, fetch, port_of
from tests.fixtures.filled import fill, fleet
from tests.fixtures.store import Database

ALL = "/gpus/GPU-node-0-0/telemetry"


def place(served: Serve) -> tuple[str, int]:
    return "127.0.0.1", port_of(served.url)


def asked() -> Crowd:
    return Crowd(
        tier="plain", workers=2, busy=1, clients=8, question="latest", bytes=2_000, seconds=2.0,
        latencies=np.array([0.001] * 98 + [0.1] * 2), cpu={"api": 0.2, "clients": 0.1}, worker_mb=60.0, share_mb=30.0,
        stolen=0.0,
    )  # fmt: skip


def test_a_client_reads_each_answer_to_its_end(serve: Callable[..., Serve], database: Database) -> None:
    """One that is larger than what a client reads at once, too; and on the next connection as on the first."""
    fill(database, fleet(hosts=1, gpus=1, steps=1_000))
    served = serve()
    for path in ("/gpus", ALL):
        length = len(fetch(f"{served.url}/api/v1{path}").body)
        with closing(Line(place(served), path)) as line:
            assert {line.ask() for _ in range(STAYS + 2)} == {length}
    assert length > 1 << 18


def test_an_answer_that_is_none_is_no_measurement(serve: Callable[..., Serve]) -> None:
    with closing(Line(place(serve()), "/gpus/nobody/latest")) as line, pytest.raises(BenchFailed, match="404"):
        line.ask()


def test_a_client_asks_no_more_when_its_time_is_over(serve: Callable[..., Serve]) -> None:
    with closing(Line(place(serve()), "/gpus")) as line:
        assert _asked(line, time.perf_counter()) == []


def test_the_figures_of_a_crowd_are_those_of_its_requests() -> None:
    found = asked().as_dict()
    assert (found["rate"], found["p50_ms"], found["p99_ms"]) == (50, 1, 100)
    assert found["cpu_ms"] == {"api": 2.0, "clients": 1.0}
    assert found["clients_share"] == pytest.approx(0.05 / cores())


def test_the_table_of_crowds_has_a_cell_under_each_heading() -> None:
    header, rule, line = markdown([asked()]).splitlines()
    assert header.count(" | ") == rule.count(" | ") == line.count(" | ")
    assert "| 50 | 1.0 | 100.0 | 2.00 | - | 60 | 30 |" in line
