"""What clients of the crowd beside ingestion take for an answer, and for a refusal.

What does not live here: any judgement of a time.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.bench.beside import HOUR, LATEST, QUESTIONS, Heard, _asked, refusal
from tests.bench.crowd import Line
from tests.bench.filled import Asked
from tests.bench.stage import BenchFailed
from tests.fixtures.api import Serve, port_of
from tests.fixtures.filled import fill, fleet
from tests.fixtures.pipeline import ROOT
from tests.fixtures.process import plain_env
from tests.fixtures.store import Database


def test_every_question_is_asked_in_turn_and_answered(serve: Callable[..., Serve], database: Database) -> None:
    fill(database, fleet())
    heard = Heard()
    with closing(Line(("127.0.0.1", port_of(serve().url)), "/gpus")) as line:
        while not all(heard.seconds.values()):
            soon = time.perf_counter() + 0.5
            heard.add(_asked(line, [*QUESTIONS], ASKED, "start_time=1752871354&end_time=now", DICE, soon))
    assert not heard.refused
    assert set(heard.as_dict(1.0)["p99_ms"]) == set(QUESTIONS)
    assert heard.p99(LATEST) > 0


ASKED, DICE = [Asked("GPU-node-0-0", 1, 15), Asked("GPU-node-1-1", 4, 15)], random.Random(1)


def test_a_refusal_says_how_long_to_wait_and_anything_else_is_a_failure() -> None:
    assert refusal(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nX: y") == (503, 5.0)
    assert refusal(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 2") == (429, 2.0)
    for head in (
        b"HTTP/1.1 503 Service Unavailable\r\nX: y",
        b"HTTP/1.1 500 Internal\r\nRetry-After: 5",
        b"HTTP/1.1 404",
    ):
        with pytest.raises(BenchFailed):
            refusal(head)


def test_a_question_that_nobody_answered_is_no_measurement() -> None:
    with pytest.raises(BenchFailed, match=HOUR):
        Heard().p99(HOUR)


@pytest.mark.costly
def test_a_small_run_measures_both_questions() -> None:
    words = ["--rows", "5000", "--rounds", "1", "--seconds", "2", "--tier", "plain", "--only", "api", "--json"]
    argv = [sys.executable, "-m", "tests.bench", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT, env=plain_env())
    results = json.loads(done.stdout)["results"]
    assert [one["name"] for one in results] == ["api_latest_beside_ingest", "api_range_beside_ingest"]
    assert all(one["stored_per_second_meanwhile"][0] > 0 for one in results)
