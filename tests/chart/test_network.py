"""Network policies let pods through to the servers and the source that values name, at the ports that they have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.chart import Chart, Render

pytestmark = pytest.mark.chart

TO = [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
OWNER = {"enabled": False, "owner": {"url": "postgresql://o:p@db/gpu"}}
ANY: list[int] = []
"""What a rule without ports says: all of them."""


def egress(render: Render, role: str = "streamer") -> list[list[int]]:
    """The ports of each rule but that for names; of a rule for all ports none."""
    rules = render["NetworkPolicy", f"telemetry-{role}"]["spec"]["egress"]
    return [[port["port"] for port in rule.get("ports", [])] for rule in rules[1:]]


def external(redis: str, postgres: str, source: str, **policy: Any) -> dict[str, Any]:
    """Values with servers of one's own at these URLs; an empty one is in a Secret."""
    return {
        "redis": {"enabled": False, **({"url": redis} if redis else {"existingSecret": "queue"})},
        "postgres": {"enabled": False, "owner": {"url": postgres} if postgres else {"existingSecret": "database"}},
        "streamer": {"source": {"url": {"address": source} if source else {"existingSecret": "address"}}},
        "networkPolicy": policy,
    }


PORTS = {"redisPorts": [7000, 7001], "postgresPorts": [5433], "sourcePorts": [8080]}
CASES: list[tuple[dict[str, Any], list[list[int]]]] = [
    (
        external("rediss://u:p@ss@queue:6380/0", "postgresql://o:p@pgbouncer:6432/gpu", "http://minio:9000/dcgm.csv"),
        [[6380], [6432], [443, 80, 9000]],
    ),
    (
        external("redis://queue", "postgresql://o:p@[fd00::1]/gpu", "https://files.example.org/dcgm.csv"),
        [[6379], [5432], [443, 80]],
    ),
    (external("redis+sentinel://s1:26379,s2:26379/0?service=queue", "postgresql://a:5433,b:5434/gpu", ""), [ANY] * 3),
    (external("redis+cluster://c1:7000", "postgresql://o:p@a/gpu?port=6432", ""), [ANY] * 3),
    (external("", "", "http://files/dcgm.csv", **PORTS), [[7000, 7001], [5433], [8080]]),
    ({"postgres": {**OWNER, "writer": {"url": "postgresql://w:p@pool:6432/gpu"}}}, [[6379], [5432, 6432]]),
    ({"postgres": {**OWNER, "reader": {"existingSecret": "reader"}}}, [[6379], ANY]),
]


@pytest.mark.parametrize(("values", "ports"), CASES)
def test_pods_get_through_to_the_ports_that_the_servers_have(
    chart: Chart, values: dict[str, Any], ports: list[list[int]]
) -> None:
    assert egress(chart(values)) == ports


def test_ports_and_peers_narrow_each_other(chart: Chart) -> None:
    render = chart(external("rediss://queue:6380", "", "http://files", redisTo=TO, postgresTo=TO))
    rules = render["NetworkPolicy", "telemetry-collector"]["spec"]["egress"]
    assert rules[1:] == [{"ports": [{"protocol": "TCP", "port": 6380}], "to": TO}, {"to": TO}]
