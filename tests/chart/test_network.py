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


def redis(url: str, **policy: Any) -> dict[str, Any]:
    return {"redis": {"enabled": False, "url": url}, "networkPolicy": policy}


def postgres(url: str, **policy: Any) -> dict[str, Any]:
    return {"postgres": {"enabled": False, "owner": {"url": url}}, "networkPolicy": policy}


def source(address: str, **policy: Any) -> dict[str, Any]:
    return {"streamer": {"source": {"url": {"address": address}}}, "networkPolicy": policy}


CASES: list[tuple[dict[str, Any], list[list[int]]]] = [
    (redis("rediss://user:p@ss@queue.example.org:6380/0"), [[6380], [5432]]),
    (redis("redis://queue"), [[6379], [5432]]),
    (redis("redis+sentinel://s1:26379,s2:26379/0?service=queue"), [ANY, [5432]]),
    (redis("redis+cluster://c1:7000"), [ANY, [5432]]),
    (redis("redis+cluster://c1:7000", redisPorts=[7000, 7001]), [[7000, 7001], [5432]]),
    ({"redis": {"enabled": False, "existingSecret": "queue", "port": 6379}}, [ANY, [5432]]),
    (postgres("postgresql://o:p@pgbouncer:6432/gpu"), [[6379], [6432]]),
    (postgres("postgresql://o:p@[fd00::1]/gpu"), [[6379], [5432]]),
    (postgres("postgresql://o:p@a:5433,b:5434/gpu"), [[6379], ANY]),
    (postgres("postgresql://o:p@a/gpu?port=6432"), [[6379], ANY]),
    ({"postgres": {**OWNER, "writer": {"url": "postgresql://w:p@pool:6432/gpu"}}}, [[6379], [5432, 6432]]),
    ({"postgres": {**OWNER, "reader": {"existingSecret": "reader"}}}, [[6379], ANY]),
    (source("http://minio:9000/dcgm.csv"), [[6379], [5432], [443, 80, 9000]]),
    (source("https://files.example.org/dcgm.csv"), [[6379], [5432], [443, 80]]),
    (source("http://files/dcgm.csv", sourcePorts=[8080]), [[6379], [5432], [8080]]),
    ({"streamer": {"source": {"url": {"existingSecret": "address"}}}}, [[6379], [5432], ANY]),
]


@pytest.mark.parametrize(("values", "ports"), CASES)
def test_pods_get_through_to_the_ports_that_the_servers_have(
    chart: Chart, values: dict[str, Any], ports: list[list[int]]
) -> None:
    assert egress(chart(values)) == ports


def test_ports_and_peers_narrow_each_other(chart: Chart) -> None:
    render = chart(redis("rediss://queue:6380", redisTo=TO))
    rule = render["NetworkPolicy", "telemetry-collector"]["spec"]["egress"][1]
    assert rule == {"ports": [{"protocol": "TCP", "port": 6380}], "to": TO}
    hidden = chart({"redis": {"enabled": False, "existingSecret": "queue"}, "networkPolicy": {"redisTo": TO}})
    assert hidden["NetworkPolicy", "telemetry-collector"]["spec"]["egress"][1] == {"to": TO}
