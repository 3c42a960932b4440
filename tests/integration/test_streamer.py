"""Streamers and collectors on real servers: side by side, before a full queue, asked to end in mid-work."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fixtures.dam import dammed
from tests.fixtures.pipeline import (
    SAMPLE,
    TRUTH,
    Fleet,
    Pipeline,
    counts_of,
    cpu_seconds,
    has_no_gap,
    usable,
    without_labels,
)
from tests.fixtures.process import eventually
from tests.fixtures.proxy import Proxy

WATCHED = 3.0  # seconds over which the processor time of a waiting streamer is taken
BLOCKS = "SELECT first_row, rows FROM blocks"
RECONCILE = b"counted AS ("  # of the statement that tells a source's account


def through_proxy(pipeline: Pipeline, proxies: list[Proxy]) -> str:
    """The database's URL by way of a proxy, which is put in."""
    url = urlsplit(pipeline.database.writer)
    proxies.append(Proxy(url.port or 0))
    return url._replace(netloc=url.netloc.replace(f":{url.port}", f":{proxies[0].port}")).geturl()


def test_streamers_side_by_side_read_each_row_once(pipeline: Pipeline, fleet_csv: Fleet) -> None:
    path, truth = fleet_csv
    words = ("stream", "--once", "--json", "--time", "source", "--csv", path, "--rate", 10_000, "--capacity", 5)
    sizes = {333, 1_000, 1_024}
    streamers = [pipeline.begin(*words, "--block-rows", rows) for rows in sorted(sizes)]
    # the first ones wait at the full queue until each of them has something to do
    eventually(lambda: sizes <= {rows for _, rows in pipeline.database.ask(BLOCKS)}, "a block of each streamer")
    collector = pipeline.begin("collect", "--workers", 2, "--capacity", 5)
    for done in map(pipeline.run.end, streamers):
        assert done.code == 0, done.err
        expected = counts_of(truth)
        del expected["gpus"]
        assert {name: done.result[name] for name in expected} == expected
    assert pipeline.stored(labels=False) == without_labels(usable(path))
    blocks = [(first, rows) for first, rows in pipeline.database.ask(BLOCKS)]
    assert has_no_gap(blocks)
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0


def test_a_streamer_waits_at_a_full_queue_without_working_and_goes_on_when_there_is_room(pipeline: Pipeline) -> None:
    streamer = pipeline.begin("stream", "--once", "--json", "--csv", SAMPLE, "--block-rows", 100, "--capacity", 2)
    eventually(lambda: pipeline.topic.stats().depth == 2, "a full queue")
    eventually(lambda: pipeline.database.one("SELECT count(*) FROM blocks") == 3, "a third block that waits")
    begin, used = time.monotonic(), cpu_seconds(streamer.pid)
    eventually(lambda: time.monotonic() > begin + WATCHED)
    share = (cpu_seconds(streamer.pid) - used) / (time.monotonic() - begin)
    print(f"a streamer that waits for room uses {share:.1%} of a core")
    assert share < 0.1
    assert pipeline.topic.stats().depth == 2
    collector = pipeline.begin("collect", "--linger", 0)
    done = pipeline.run.end(streamer)
    assert done.code == 0, done.err
    assert done.result["stored"] == TRUTH["stored"]
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0


def test_a_streamer_that_is_asked_to_end_leaves_its_block_to_another(pipeline: Pipeline) -> None:
    words = ("stream", "--csv", SAMPLE, "--log-level", "info")
    streamer = pipeline.begin(*words, "--block-rows", 100, "--rate", 0, "--capacity", 3)
    eventually(lambda: pipeline.database.one("SELECT count(*) FROM blocks") == 4, "a block that waits for room")
    streamer.signal(signal.SIGTERM)
    done = pipeline.run.end(streamer)
    assert done.code == 0
    assert "SIGTERM" in done.err
    left = pipeline.database.ask(BLOCKS)
    heir, collector = pipeline.begin(*words, "--block-rows", 77, "--rate", 1_000), pipeline.begin("collect")
    unsettled = "SELECT count(*) FROM blocks WHERE settled_at IS NULL AND first_row <= 300"
    eventually(lambda: pipeline.database.one(unsettled) == 0, "the end of what the first one left")
    eventually(lambda: len(pipeline.database.ask(BLOCKS)) > len(left), "blocks of the heir's own")
    heir.signal(signal.SIGTERM)
    assert pipeline.run.end(heir).code == 0
    blocks = [(first, rows) for first, rows in pipeline.database.ask(BLOCKS)]
    assert set(left) < set(blocks), "a block changed its size"
    assert has_no_gap(blocks)
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0


def test_a_once_streamer_that_is_cut_short_says_so(pipeline: Pipeline) -> None:
    streamer = pipeline.begin("stream", "--once", "--json", "--csv", SAMPLE, "--rate", 100)
    eventually(lambda: pipeline.topic.stats().depth > 0, "a message")
    streamer.signal(signal.SIGTERM)
    done = pipeline.run.end(streamer)
    assert done.code == 1
    assert done.result["unsettled"] > 0


def test_the_end_of_the_database_is_not_that_of_a_streamer_which_has_only_the_account_to_ask_for(
    pipeline: Pipeline, proxies: list[Proxy]
) -> None:
    before = through_proxy(pipeline, proxies)
    proxies[0].lose_reply(RECONCILE)
    collector = pipeline.begin("collect")
    done = pipeline("stream", "--once", "--json", "--csv", SAMPLE, TELEMETRY_DATABASE_URL=before)
    assert (done.code, proxies[0].lost) == (0, 1), done.err
    assert done.result["reconciles"]
    assert "waiting for the database to say what became of the source" in done.err
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0


@pytest.mark.slow
def test_a_streamer_that_is_cut_short_while_the_database_is_away_says_who_knows(
    pipeline: Pipeline, proxies: list[Proxy]
) -> None:
    before = through_proxy(pipeline, proxies)
    streamer = pipeline.begin("stream", "--once", "--json", "--csv", SAMPLE, TELEMETRY_DATABASE_URL=before)
    eventually(lambda: pipeline.topic.stats().depth > 0, "a message")
    proxies[0].cut()
    eventually(lambda: "database unavailable" in streamer.stderr, "it noticed")
    streamer.signal(signal.SIGTERM)
    done = pipeline.run.end(streamer)
    assert (done.code, done.out) == (1, "")
    assert "telemetry verify does" in done.err


def test_a_collector_that_is_asked_to_end_in_mid_work_hands_back_what_it_holds(
    pipeline: Pipeline, fleet_csv: Fleet
) -> None:
    path, truth = fleet_csv
    with dammed(pipeline.database, truth["rows"] // 2):
        streamer = pipeline.begin("stream", "--once", "--json", "--csv", path, "--block-rows", 200, "--rate", 10_000)
        first = pipeline.begin("collect", "--batch-messages", 1)
        pipeline.wait_until_settled(2_000)
        first.signal(signal.SIGTERM)
        assert pipeline.run.end(first).code == 0
        held = [message for message in pipeline.topic.peek(500) if message.owner]
        free = all(message.idle >= pipeline.topic.lease for message in held)
        assert free, "what it had is not free for others at once"
        assert pipeline.settled() < truth["rows"]
    second = pipeline.begin("collect")
    done = pipeline.run.end(streamer)
    assert done.code == 0, done.err
    assert done.result["stored"] == truth["stored"]
    second.signal(signal.SIGTERM)
    assert pipeline.run.end(second).code == 0


def test_a_file_that_changes_while_it_is_read_stops_the_streamer(pipeline: Pipeline, tmp_path: Path) -> None:
    path = Path(shutil.copy(SAMPLE, tmp_path / "growing.csv"))
    streamer = pipeline.begin("stream", "--csv", path, "--rate", 1_000, "--log-level", "error")
    eventually(lambda: pipeline.topic.stats().depth > 0, "a message")
    with path.open("ab") as file:
        file.write(b"\n")
    done = pipeline.run.end(streamer)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert str(path) in line
    assert "changed" in line


def test_a_block_too_large_for_a_message_is_split_and_a_row_too_large_is_dead(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    lines = [line for line in SAMPLE.read_bytes().splitlines(keepends=True) if b"heron-02" in line]
    header = SAMPLE.read_bytes().splitlines(keepends=True)[0]
    wide = lines[0].replace(b'"heron-02"', b'"' + b"h" * 1_000 + b'"', 1)
    path = tmp_path / "wide row.csv"
    path.write_bytes(b"".join([header, *lines[:20], wide]))
    collector = pipeline.begin("collect", "--max-bytes", 2_048)
    done = pipeline("stream", "--once", "--json", "--csv", path, "--max-bytes", 2_048)
    assert done.code == 0, done.err
    counts = {name: done.result[name] for name in ("read", "unsettled", "dead")}
    assert counts == {"read": 21, "unsettled": 0, "dead": 1}
    blocks = [(first, rows) for first, rows in pipeline.database.ask(BLOCKS)]
    assert len(blocks) > 2
    assert has_no_gap(blocks)
    ((reason, payload),) = pipeline.database.ask("SELECT reason, payload FROM dead_blocks")
    assert "over the limit of 1024" in reason
    assert bytes(payload) == header + wide.rstrip(b"\n")
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0


@pytest.mark.slow
def test_a_permission_that_redis_withdraws_costs_no_row(pipeline: Pipeline) -> None:
    with closing(pipeline.redis.client()) as client:
        with dammed(pipeline.database, TRUTH["rows"] // 2):  # something is left to be published after the refusal
            streamer = pipeline.begin("stream", "--once", "--json", "--csv", SAMPLE, "--block-rows", 50, "--rate", 500)
            collector = pipeline.begin("collect")
            pipeline.wait_until_settled(100)
            client.acl_setuser("default", commands=["-evalsha", "-eval"])
        eventually(lambda: "NOPERM" in streamer.stderr, "a refusal in the streamer's log")
        client.acl_setuser("default", enabled=True, categories=["+@all"])
    done = pipeline.run.end(streamer)
    assert done.code == 0, done.err
    assert "queue can be used again" in done.err
    assert (done.result["stored"], done.result["dead"]) == (TRUTH["stored"], 0)
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0
