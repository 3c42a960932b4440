"""The containers that the chart renders, run as processes with just their arguments, variables and Secrets.

What does not live here: the image (`tests/image`), and what a cluster does to pods.
"""

from __future__ import annotations

import json
import signal
from http.client import HTTPConnection

import pytest

from tests.fixtures.pipeline import TRUTH, get
from tests.fixtures.pods import Pods, database_here, pods, queue
from tests.fixtures.process import Spawned, eventually

__all__ = ["database_here", "pods", "queue"]

pytestmark = [pytest.mark.chart, pytest.mark.costly]


def asked(port: int, path: str, token: str) -> tuple[int, object]:
    """(status, answer) of the API."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


def is_ready(port: int) -> bool:
    return get(f"http://127.0.0.1:{port}/readyz")[0] == 200


def start(pods: Pods, workload: str, name: str) -> tuple[Spawned, int]:
    process = pods.start(f"telemetry-{workload}", name)
    return process, pods.port


def test_the_pods_come_up_in_any_order_and_end_within_their_grace(pods: Pods) -> None:
    api, api_port = start(pods, "api", "api")
    eventually(
        lambda: "password authentication failed" in get(f"http://127.0.0.1:{api_port}/readyz")[1], "no login yet"
    )
    for workload in ("streamer", "collector"):  # the second finds it done
        migration, _ = start(pods, workload, "migrate")
        assert migration.wait(120) == 0, migration.stderr
    running = [("api", api, api_port)]
    running += [(role, *start(pods, role, role)) for role in ("streamer", "collector", "collector")]
    for role, process, port in running:
        eventually(lambda port=port: is_ready(port), f"readiness of {role}: {process.stderr[-300:]}")  # type: ignore[misc]
    token = pods.render.secret("telemetry-api-tokens", "reader")
    eventually(lambda: asked(api_port, "/api/v1/gpus", token)[1] and True, "GPUs")
    eventually(lambda: len(asked(api_port, "/api/v1/gpus", token)[1]) == TRUTH["gpus"], "all GPUs")  # type: ignore[arg-type]
    assert asked(api_port, "/api/v1/queue", token)[0] == 200
    assert asked(api_port, "/api/v1/gpus", "tlm_wrong")[0] == 401
    for role, process, _ in running:
        process.signal(signal.SIGTERM)
        assert process.wait(pods.grace(f"telemetry-{role}")) == 0, process.stderr


def test_a_wrong_password_is_said_in_one_line(pods: Pods) -> None:
    migration, _ = start(pods, "streamer", "migrate")
    assert migration.wait(120) == 0, migration.stderr
    url = pods.here(pods.render.secret("telemetry-postgres-writer", "url"))
    wrong = url.replace(url.split(":")[2].split("@")[0], "hunter2")
    collector = pods.start("telemetry-collector", "collector", database=wrong)
    assert collector.wait(60) == 2
    said = [line for line in collector.stderr.splitlines() if "password authentication failed" in line]
    assert len(said) == 1
    assert said[0].startswith("telemetry: database: ")
    assert "hunter2" not in collector.stderr
