"""Streamers prune the ledger by themselves, and what they read before is neither read nor told differently after it."""

from __future__ import annotations

import signal

import pytest

from tests.fixtures.pipeline import SAMPLE, TRUTH, Done, Pipeline
from tests.fixtures.process import eventually

WEEK_AGO = "UPDATE blocks SET settled_at = settled_at - INTERVAL '7 days'"


def read(pipeline: Pipeline, *words: object) -> Done:
    """Read the sample once, by a streamer and a collector."""
    collector = pipeline.begin("collect")
    eventually(lambda: "collecting" in collector.stderr, "a collector that drains when it is asked to end")
    done = pipeline("stream", "--once", "--json", "--csv", SAMPLE, "--block-rows", 200, *words)
    assert done.code == 0, done.err
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0
    return done


def blocks_and_samples(pipeline: Pipeline) -> tuple[int, int]:
    return tuple(pipeline.database.ask("SELECT (SELECT count(*) FROM blocks), (SELECT count(*) FROM samples)")[0])


@pytest.mark.slow
def test_a_second_reading_of_a_pruned_file_says_the_same_and_stores_nothing(pipeline: Pipeline) -> None:
    first = read(pipeline)
    assert first.result["stored"] == TRUTH["stored"]
    pipeline.database.ask(WEEK_AGO)
    second = read(pipeline)
    assert second.out == first.out
    assert blocks_and_samples(pipeline) == (0, TRUTH["stored"])
    assert read(pipeline).out == first.out
    assert blocks_and_samples(pipeline) == (0, TRUTH["stored"])


@pytest.mark.slow
def test_a_ledger_that_is_to_be_kept_is_kept(pipeline: Pipeline) -> None:
    read(pipeline)
    pipeline.database.ask(WEEK_AGO)
    rows, _ = blocks_and_samples(pipeline)
    read(pipeline, "--ledger-days", 0)
    read(pipeline, "--ledger-days", 8)
    assert blocks_and_samples(pipeline)[0] == rows > 0


@pytest.mark.slow
def test_a_streamer_that_cannot_prune_streams_all_the_same(pipeline: Pipeline) -> None:
    pipeline.database.ask("REVOKE UPDATE ON pruned_blocks FROM telemetry_writer")
    done = read(pipeline, "--stream", "first", "--ledger-days", 0.0000001)
    assert done.result["stored"] == TRUTH["stored"]
    assert "could not prune the ledger" in done.err
    assert blocks_and_samples(pipeline)[0] > 0
