"""What a role tells on its health port while its servers come, go and come back, and while it drains."""

from __future__ import annotations

import json
import signal

import psycopg
import pytest

from tests.fixtures.ledger import Store
from tests.fixtures.pipeline import SAMPLE, Pipeline, get
from tests.fixtures.process import eventually, health_of

WAITING = """SELECT EXISTS (SELECT FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND application_name LIKE '%collector%' AND datname = current_database())"""
ROLES = {"stream": ("--csv", SAMPLE, "--rate", 1_000), "collect": ("--workers", 2, "--lease", 60)}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_is_ready_while_its_servers_are_there_and_says_why_not(
    name: str, pipeline: Pipeline, store: Store
) -> None:
    url, proxy = store.proxied()
    proxy.cut()
    role = pipeline.begin(name, *ROLES[name], "--health-port", 0, TELEMETRY_DATABASE_URL=url)
    health = health_of(role)
    eventually(lambda: "[-] database: " in get(f"{health}/readyz")[1], "the database's absence")
    status, why = get(f"{health}/readyz")
    assert status == 503
    assert "not reported yet" in why or "queue" in why
    assert get(f"{health}/livez")[0] == 200
    proxy.heal()
    eventually(lambda: get(f"{health}/readyz")[0] == 200, "readiness")
    if name == "collect":
        publisher = pipeline.begin("stream", *ROLES["stream"])
    proxy.cut()
    eventually(lambda: "[-] database: " in get(f"{health}/readyz")[1], "the database's absence in mid-work")
    assert get(f"{health}/readyz")[0] == 503
    assert get(f"{health}/livez")[0] == 200
    proxy.heal()
    eventually(lambda: get(f"{health}/readyz")[0] == 200, "readiness again")
    if name == "collect":
        publisher.kill()
    metrics = get(f"{health}/metrics")[1]
    assert f"telemetry_{'streamer' if name == 'stream' else 'collector'}_" in metrics
    role.signal(signal.SIGTERM)
    assert pipeline.run.end(role).code == 0


def test_a_collector_says_that_it_drains_and_finishes_what_it_has(pipeline: Pipeline) -> None:
    streamer = pipeline.begin("stream", "--csv", SAMPLE, "--rate", 1_000)
    eventually(lambda: pipeline.topic.stats().depth > 2, "messages")
    streamer.kill()
    with psycopg.connect(pipeline.database.admin) as other:
        other.execute("SELECT FROM blocks FOR UPDATE")  # the gate waits
        collector = pipeline.begin("collect", "--lease", 60, "--health-port", 0)
        health = health_of(collector)
        eventually(lambda: pipeline.database.one(WAITING), "a gate that waits")
        eventually(lambda: get(f"{health}/readyz")[0] == 200, "readiness")
        collector.signal(signal.SIGTERM)
        eventually(lambda: "[-] draining: received SIGTERM" in get(f"{health}/readyz")[1], "draining")
        assert get(f"{health}/readyz")[0] == 503
        held = pipeline.topic.stats().in_flight
        assert held > 0
    assert pipeline.run.end(collector).code == 0
    assert pipeline.database.one("SELECT count(*) FROM blocks WHERE settled_at IS NOT NULL") >= held
    assert pipeline.topic.stats().in_flight == 0


def test_the_api_logs_json_lines_when_asked_and_its_workers_see_the_queue(pipeline: Pipeline) -> None:
    with pipeline.topic.producer() as producer:
        producer.publish("a", b"x")
    server = pipeline.begin("serve", "--json", "--api-port", 0)
    eventually(lambda: "serving the API" in server.stderr, "the API")
    api = next(event["url"] for line in server.stderr.splitlines() if "url" in (event := json.loads(line)))
    for _ in range(8):  # two workers take turns, each with connections of its own
        status, body = get(f"{api}/api/v1/queue")
        assert (status, json.loads(body)["stream"], json.loads(body)["depth"]) == (200, "gpu:{samples}", 1)
    server.signal(signal.SIGTERM)
    assert pipeline.run.end(server).code == 0
    events = [json.loads(line)["event"] for line in server.stderr.splitlines()]
    assert "serving the API" in events
