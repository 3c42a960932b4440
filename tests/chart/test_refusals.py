"""What Helm says to values that make no sense: their path, what is wrong, and what to do; nothing is installed then."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fixtures.chart import HELM_CHART, Chart

pytestmark = pytest.mark.chart

SCHEMA: dict[str, Any] = json.loads((HELM_CHART / "values.schema.json").read_text(encoding="utf-8"))
EXTERNAL = {"postgres": {"enabled": False, "owner": {"url": "postgresql://a:b@c/d"}}}

# values, the path as Helm writes it, and a word of the reason
TYPOS: list[tuple[dict[str, Any], str, str]] = [
    ({"streamers": {"replicas": 2}}, "", "streamers"),
    ({"streamer": {"replica": 2}}, "/streamer", "replica"),
    ({"streamer": {"source": {"url": {"adress": "https://a"}}}}, "/streamer/source/url", "adress"),
    ({"streamer": {"replicas": "two"}}, "/streamer/replicas", "integer"),
    ({"streamer": {"replicas": -1}}, "/streamer/replicas", "minimum"),
    ({"streamer": {"rate": -5}}, "/streamer/rate", "minimum"),
    ({"queue": {"capacity": 0}}, "/queue/capacity", "minimum"),
    ({"queue": {"capacity": "500"}}, "/queue/capacity", "integer"),
    ({"queue": {"topic": "a b"}}, "/queue/topic", "pattern"),
    ({"log": {"level": "loud"}}, "/log/level", "debug"),
    ({"api": {"service": {"type": "Public"}}}, "/api/service/type", "ClusterIP"),
    ({"api": {"auth": {"tokens": [{"name": "a", "scope": "root"}]}}}, "/api/auth/tokens/0/scope", "admin"),
    ({"redis": {"appendfsync": "never"}}, "/redis/appendfsync", "everysec"),
    ({"redis": {"maxmemory": "lots"}}, "/redis/maxmemory", "pattern"),
    ({"redis": {"url": "http://queue"}}, "/redis/url", "pattern"),
    ({"postgres": {"parameters": {"shared_buffers": ["1GB"]}}}, "/postgres/parameters/shared_buffers", "array"),
    ({"postgres": {"persistence": {"size": "much"}}}, "/postgres/persistence/size", "pattern"),
    ({"collector": {"keda": {"enabled": True, "minReplicas": -1}}}, "/collector/keda/minReplicas", "minimum"),
]

# values that contradict each other, the path that is named, and what is advised
CONTRADICTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"retention": {"rollups": 3}}, "retention.rollups", "set it to more, or to none"),
    ({"retention": {"readings": "none", "rollups": "400"}}, "retention.rollups", "set it to more, or to none"),
    ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "commonLabels", "give yours another name"),
    ({"commonLabels": {"team": "x"}, "redis": {"podLabels": {"team": "y"}}}, "redis.podLabels", "another name"),
    ({"redis": {"enabled": False}}, "redis.url", "redis.existingSecret"),
    ({"redis": {"url": "redis://queue"}}, "redis.url", "redis.enabled=false"),
    ({"redis": {"enabled": False, "url": "redis://a", "existingSecret": "b"}}, "redis.url", "leave one of them empty"),
    ({"redis": {"maxmemory": "100mb"}}, "redis.maxmemory", "queue.capacity"),
    (
        {"redis": {"resources": {"limits": {"memory": "256Mi"}}}},
        "redis.resources.limits.memory",
        "redis.maxmemory or queue.capacity",
    ),
    (
        {"postgres": {"resources": {"limits": {"memory": "512Mi"}}}},
        "postgres.resources.limits.memory",
        "lower postgres.resources.requests.memory",
    ),
    (
        {"api": {"resources": {"limits": {"cpu": "100m"}}}},
        "api.resources.limits.cpu",
        "lower api.resources.requests.cpu",
    ),
    ({"redis": {"extraConfig": "timeout 0\n  maxmemory-policy allkeys-lru"}}, "redis.extraConfig", "noeviction"),
    ({"postgres": {"image": "timescale/timescaledb:2.29.2-pg16"}}, "postgres.initdbArgs", "--locale=C.UTF-8"),
    ({"redis": {"extraConfig": "APPENDONLY no"}}, "redis.extraConfig", "leave the line out"),
    ({"queue": {"capacity": 20000}}, "redis.persistence.size", "lower redis.maxmemory or queue.capacity"),
    (
        {"redis": {"persistence": {"enabled": False, "existingClaim": "a"}}},
        "redis.persistence.existingClaim",
        "leave existingClaim empty",
    ),
    (
        {"postgres": {"persistence": {"enabled": False, "existingClaim": "a"}}},
        "postgres.persistence.existingClaim",
        "leave existingClaim empty",
    ),
    (
        {"api": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}},
        "api.resources.requests.cpu",
        "api.autoscaling.enabled=false",
    ),
    (
        {"streamer": {"source": {"file": "/more/a.csv", "pvc": {"claimName": "a"}}}},
        "streamer.source.file",
        "leave one of them empty",
    ),
    ({"postgres": {"enabled": False}}, "postgres.owner", "postgres.owner.existingSecret"),
    ({"postgres": {"owner": {"url": "postgresql://a@b/c"}}}, "postgres.owner.url", "postgres.enabled=false"),
    ({"postgres": {**EXTERNAL["postgres"], "migration": {"logins": True}}}, "postgres.migration.logins", "false"),
    (
        {"streamer": {"source": {"pvc": {"claimName": "a"}, "url": {"address": "https://a/b"}}}},
        "streamer.source",
        "leave one of them empty",
    ),
    ({"streamer": {"source": {"url": {"sha256": "0" * 64}}}}, "streamer.source.url.sha256", "address"),
    (
        {"streamer": {"source": {"url": {"address": "https://user:hunter2@files/a"}}}},
        "streamer.source.url.address",
        "existingSecret",
    ),
    ({"api": {"auth": {"tokens": []}}}, "api.auth.tokens", "api.auth.enabled=false"),
    (
        {"api": {"auth": {"tokens": [{"name": "a", "scope": "read"}, {"name": "a", "scope": "admin"}]}}},
        "api.auth.tokens",
        "another",
    ),
    ({"api": {"auth": {"enabled": False, "existingSecret": "a"}}}, "api.auth.existingSecret", "api.auth.enabled=true"),
    ({"api": {"auth": {"enabled": False}, "corsOrigins": ["*"]}}, "api.corsOrigins", "name the origins"),
    ({"api": {"service": {"nodePort": 30080}}}, "api.service.nodePort", "api.service.type=NodePort"),
    (
        {"api": {"service": {"type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"]}}},
        "api.service.loadBalancerSourceRanges",
        "api.service.type=LoadBalancer",
    ),
    ({"api": {"ingress": {"enabled": True}}}, "api.ingress.hosts", "api.ingress.hosts=["),
    (
        {"api": {"ingress": {"enabled": True, "hosts": ["t.example.org"], "path": "/telemetry"}}},
        "api.ingress.path",
        "api.ingress.annotations",
    ),
    ({"api": {"httpRoute": {"enabled": True}}}, "api.httpRoute.parentRefs", "api.httpRoute.gateway.className"),
    (
        {"api": {"httpRoute": {"enabled": True, "gateway": {"className": "a"}}}},
        "api.httpRoute.gateway.className",
        "api.httpRoute.hostnames",
    ),
    (
        {"collector": {"keda": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}},
        "collector.keda.minReplicas",
        "collector.keda.maxReplicas",
    ),
    (
        {"redis": {"enabled": False, "url": "redis://a"}, "collector": {"keda": {"enabled": True}}},
        "collector.keda.triggers",
        "redis-streams",
    ),
    (
        {"api": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}},
        "api.autoscaling.minReplicas",
        "api.autoscaling.maxReplicas",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("values", "path", "why"), TYPOS)
def test_a_value_that_there_is_not_is_named_with_its_path(
    chart: Chart, values: dict[str, Any], path: str, why: str
) -> None:
    said = chart.refusal(values)
    assert f"at '{path}'" in said, said
    assert why in said, said


@pytest.mark.slow
@pytest.mark.parametrize(("values", "path", "remedy"), CONTRADICTIONS)
def test_a_contradiction_is_named_with_its_path_and_a_remedy(
    chart: Chart, values: dict[str, Any], path: str, remedy: str
) -> None:
    said = chart.refusal(values)
    (line,) = [line for line in said.splitlines() if line.startswith(f"{path}: ")]
    assert remedy in line
    assert "hunter2" not in said


def objects(schema: dict[str, Any], path: str = "") -> list[str]:
    """Paths of all objects whose names are open, but for maps whose names are the user's."""
    found = []
    if "properties" in schema and schema.get("additionalProperties") is not False:
        found.append(path)
    for name, part in schema.get("properties", {}).items():
        found += objects(part, f"{path}.{name}" if path else name)
    return found


def test_no_object_of_ours_takes_names_that_are_none() -> None:
    assert objects(SCHEMA) == []
    assert objects({"properties": {"a": {"properties": {}}}}) == ["", "a"]
