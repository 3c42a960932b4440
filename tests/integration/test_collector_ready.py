"""When a collector is ready, and when it waits: from its start on, and while the queue refuses it."""

from __future__ import annotations

import signal

from telemetry.broker.faults import PERMISSIONS
from tests.fixtures.collectors import Collecting
from tests.fixtures.ledger import a_block
from tests.fixtures.pipeline import SAMPLE, TRUTH, Pipeline, get
from tests.fixtures.process import eventually, health_of
from tests.fixtures.wait import until

ALLOWED, PINGING = PERMISSIONS.replace("<namespace>", "gpu"), "~gpu:* +@connection +info"


def test_a_collector_becomes_ready_once_and_not_before_its_workers_are_there(collecting: Collecting) -> None:
    topic, proxy = collecting.proxied()
    proxy.cut()
    running = collecting.collect(topic=topic)
    until(lambda: any("cannot serve now" in why for _, _, why in running.health.readiness().checks))
    proxy.heal()
    until(lambda: running.ready)
    collecting.reserved(4)
    collecting.publish(a_block())
    collecting.drained()
    assert running.health.seen == [False, True]


def test_a_collector_that_the_queue_refuses_waits_unready_and_goes_on(pipeline: Pipeline) -> None:
    def allow(rules: str) -> None:
        with pipeline.redis.client() as client:
            client.execute_command("ACL", "SETUSER", "bob", "reset", "on", ">secret", *rules.split())

    allow(PINGING)
    url = pipeline.redis.url.replace("redis://", "redis://bob:secret@")
    collector = pipeline.begin("collect", "--health-port", 0, "--lease", 1, TELEMETRY_REDIS_URL=url)
    health = health_of(collector)
    eventually(lambda: "NOPERM" in get(f"{health}/readyz")[1], "the refusal")
    allow(ALLOWED)
    eventually(lambda: get(f"{health}/readyz")[0] == 200, "readiness")
    streamer = pipeline.begin("stream", "--once", "--json", "--csv", SAMPLE, "--block-rows", 100, "--rate", 500)
    eventually(lambda: pipeline.settled() > 0, "the first rows")
    allow(PINGING)
    eventually(lambda: "NOPERM" in get(f"{health}/readyz")[1], "the refusal in mid-work")
    assert get(f"{health}/livez")[0] == 200
    allow(ALLOWED)
    done = pipeline.run.end(streamer)
    assert done.code == 0, done.err
    assert (done.result["stored"], done.result["dead"]) == (TRUTH["stored"], 0)
    eventually(lambda: get(f"{health}/readyz")[0] == 200, "readiness again")
    allow(PINGING)
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0
