"""A fault in the schema under running processes: the collector pauses and says why; after the fix all is stored."""

from __future__ import annotations

import signal
from typing import LiteralString

import psycopg
import pytest

from tests.fixtures.pipeline import SAMPLE, TRUTH, Pipeline, get
from tests.fixtures.process import eventually, health_of

RIGHT: LiteralString = """
CREATE OR REPLACE FUNCTION fine(value double precision) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
"""
WRONG: LiteralString = RIGHT.replace("RETURN true", "RAISE check_violation USING MESSAGE = ''a wrong schema''")
BLOCK = 20
"""Readings of a message: 91 of them."""


@pytest.mark.slow
def test_a_wrong_schema_pauses_a_collector_and_its_mending_stores_everything(pipeline: Pipeline) -> None:
    with psycopg.connect(pipeline.database.owner, autocommit=True) as owner:
        owner.execute(RIGHT)
        owner.execute("ALTER TABLE samples ADD CONSTRAINT wrong CHECK (fine(value))")
        owner.execute(WRONG)
        collector = pipeline.begin("collect", "--workers", 2, "--breaker-share", 0.6, "--health-port", 0)
        health = health_of(collector)
        streamer = pipeline.begin("stream", "--once", "--json", "--csv", SAMPLE, "--block-rows", BLOCK)
        eventually(lambda: "messages were refused" in get(f"{health}/readyz")[1], "an open breaker")
        status, why = get(f"{health}/readyz")
        assert status == 503
        assert "a wrong schema" in why
        assert "[+] database ok" in why
        assert get(f"{health}/livez")[0] == 200
        eventually(lambda: "telemetry_collector_breaker_open 1.0" in get(f"{health}/metrics")[1], "the gauge")
        diverted = pipeline.database.one("SELECT count(*) FROM dead_blocks")
        assert 0 <= diverted <= 20
        assert pipeline.topic.stats().in_flight > 0
        owner.execute(RIGHT)
    done = pipeline.run.end(streamer)
    assert done.code == 0, done.err
    assert done.result["dead"] == diverted * BLOCK
    eventually(lambda: get(f"{health}/readyz")[0] == 200, "readiness")
    assert "telemetry_collector_breaker_open 0.0" in get(f"{health}/metrics")[1]
    assert collector.stderr.count("too many messages are refused") == 1
    assert collector.stderr.count("TELEMETRY_COLLECTOR_BREAKER_SHARE=1") == 1
    assert pipeline("queue", "dead", "replay", "--all").code == 0
    eventually(lambda: pipeline.database.one("SELECT count(*) FROM dead_blocks") == 0, "the replays' end")
    assert len(list(pipeline.stored().elements())) == TRUTH["stored"]
    assert pipeline("verify").code == 0
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0
