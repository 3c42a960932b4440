"""What `telemetry up` tells a person between its banner and its end."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from telemetry.broker.stats import TopicStats
from telemetry.cli.display import OVERDUE, Display, Running
from telemetry.cli.local import Database, Queue
from telemetry.store.tiers import Tier

BEFORE = TopicStats(
    time=100.0,
    capacity=500,
    depth=1,
    waiting=1,
    in_flight=0,
    depth_rows=1000,
    waiting_rows=1000,
    in_flight_rows=0,
    oldest_age=0.1,
    published=3,
    published_rows=3000,
    acked=2,
    acked_rows=2000,
    dead=0,
    dead_rows=0,
    redelivered=0,
    backpressure_seconds=0.0,
    dead_letters=0,
    memory_bytes=None,
    consumers=(),
)
STUCK = replace(BEFORE, time=110.0, depth=51, published_rows=53_000, oldest_age=OVERDUE + 1)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (STUCK, True),
        (replace(STUCK, acked_rows=3000), False),
        (replace(STUCK, oldest_age=0.1), False),
        (replace(STUCK, oldest_age=None), False),
    ],
)
def test_whoever_watches_is_sent_to_the_logs_when_old_messages_wait_and_none_is_settled(
    now: TopicStats, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display(as_json=False, logs=Path("/state/logs"))
    display.rates(BEFORE, {})
    display.rates(now, {})
    shown = capsys.readouterr().err
    assert "published 5,000/s" in shown
    assert ("nothing is settled: /state/logs/collector-*.log" in shown) == told


@pytest.mark.parametrize("guarded", [False, True])
def test_what_is_to_be_pasted_shows_a_token_where_the_api_asks_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], guarded: bool
) -> None:
    database = Database("postgresql://o@h/d", "postgresql://r@h/d", {}, {}, "external", "psql")
    queue = Queue("redis://h", "redis://h", {}, "external", "redis-cli")
    display = Display(as_json=False, logs=tmp_path)
    display.banner(Running(Tier.PLAIN, database, queue, "verify", "http://h:1", "GPU-1", tmp_path, "s", guarded))
    lines = [line for line in capsys.readouterr().out.splitlines() if "curl" in line]
    assert len(lines) == 2
    for line in lines:
        words = shlex.split(line, comments=True)
        assert (words[2:4] == ["-H", "Authorization: Bearer $TOKEN"]) is guarded
        assert words[-1].startswith("http://h:1/api/v1/gpus")
