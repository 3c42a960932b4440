"""Each switch of the chart, as the difference it makes: these lines change, and no others.

What does not live here: switches that change whole objects (`test_valid` renders those, `test_policy` judges them), and
monitoring (`test_monitoring`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart.expected import told
from tests.fixtures.chart import Chart, Manifest, Render

pytestmark = [pytest.mark.chart, pytest.mark.slow]

STREAMER, COLLECTOR, API = (f"Deployment telemetry-{role}" for role in ("streamer", "collector", "api"))
REDIS, POSTGRES = (f"StatefulSet telemetry-{server}" for server in ("redis", "postgres"))
POD = "spec.template.spec"


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Paths and what stands there; things in lists go by their names where they have some."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, part in enumerate(value):
            name = part.get("name", number) if isinstance(part, dict) else number
            yield from leaves(part, f"{path}[{name}]")
    else:
        yield path, value


def changes(before: dict[str, Manifest], after: dict[str, Manifest]) -> set[str]:
    """What is other: objects that come and go, and `object path: old -> new`; ~ stands for what is not there."""
    found = {f"+ {place}" for place in after.keys() - before.keys()}
    found |= {f"- {place}" for place in before.keys() - after.keys()}
    for place in before.keys() & after.keys():
        old, new = dict(leaves(before[place])), dict(leaves(after[place]))
        for path in old.keys() | new.keys():
            if old.get(path, "~") != new.get(path, "~"):
                found.add(f"{place} {path}: {_word(old.get(path, '~'))} -> {_word(new.get(path, '~'))}")
    return found


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def variable(place: str, container: str, name: str, old: str, new: str) -> str:
    return f"{place} {POD}.containers[{container}].env[TELEMETRY_{name}].value: {old} -> {new}"


def everywhere(name: str, old: str, new: str, *places: str) -> set[str]:
    """A variable of the roles, and of the pod of `helm test`, which stores a file of its own."""
    named = {STREAMER: "streamer", COLLECTOR: "collector", API: "api"}
    lines = {variable(place, named[place], name, old, new) for place in places}
    return lines | {f"Pod telemetry-test spec.initContainers[ingest].env[TELEMETRY_{name}].value: {old} -> {new}"}


CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "more of each": (
        {"streamer": {"replicas": 4}, "collector": {"replicas": 4}, "api": {"replicas": 3}},
        {f"{STREAMER} spec.replicas: 1 -> 4", f"{COLLECTOR} spec.replicas: 2 -> 4", f"{API} spec.replicas: 2 -> 3"},
    ),
    "none of them": ({"streamer": {"replicas": 0}}, {f"{STREAMER} spec.replicas: 1 -> 0"}),
    "how fast": (
        {"streamer": {"rate": 250000}, "collector": {"workers": 4}},
        {
            variable(STREAMER, "streamer", "STREAMER_RATE", "5000", "250000"),
            variable(COLLECTOR, "collector", "COLLECTOR_WORKERS", "1", "4"),
        },
    ),
    "a lease of its own": (
        {"queue": {"lease": 20.5}},
        everywhere("QUEUE_LEASE", "15", "20.5", STREAMER, COLLECTOR),
    ),
    "another topic": (
        {"queue": {"topic": "fast"}},
        everywhere("QUEUE_TOPIC", "samples", "fast", STREAMER, COLLECTOR, API),
    ),
    "an HPA": (
        {"api": {"autoscaling": {"enabled": True}}},
        {f"{API} spec.replicas: 2 -> ~", "+ HorizontalPodAutoscaler telemetry-api"},
    ),
    "KEDA": (
        {"collector": {"keda": {"enabled": True}}},
        {
            f"{COLLECTOR} spec.replicas: 2 -> ~",
            "+ ScaledObject telemetry-collector",
            "+ TriggerAuthentication telemetry-redis",
            "NetworkPolicy telemetry-redis spec.ingress[0].from[4].namespaceSelector.matchLabels."
            "kubernetes.io/metadata.name: ~ -> keda",
        },
    ),
    "no tokens": (
        {"api": {"auth": {"enabled": False}}},
        {
            "- Secret telemetry-api-digests",
            "- Secret telemetry-api-tokens",
            "Pod telemetry-test spec.containers[ask].args[2]: /etc/telemetry/token/token -> ~",
            variable(API, "api", "API_TOKENS", "/etc/telemetry/tokens/tokens.json", "off"),
        },
    ),
    "an ingress": (
        {"api": {"ingress": {"enabled": True, "hosts": ["t.example.org"]}}},
        {"+ Ingress telemetry-api"},
    ),
    "an ingress with TLS": (
        {"api": {"ingress": {"enabled": True, "hosts": ["t.example.org"], "tlsSecret": "c"}}},
        {"+ Ingress telemetry-api", variable(API, "api", "API_BEHIND_TLS", "off", "on")},
    ),
    "a route": (
        {"api": {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}}},
        {"+ HTTPRoute telemetry-api"},
    ),
    "no policies": (
        {"networkPolicy": {"enabled": False}},
        {
            f"- NetworkPolicy telemetry-{name}"
            for name in ("default-deny", "streamer", "collector", "api", "redis", "postgres", "test")
        },
    ),
    "no budgets": (
        {role: {"pdb": {"enabled": False}} for role in ("streamer", "collector", "api")},
        {f"- PodDisruptionBudget telemetry-{role}" for role in ("streamer", "collector", "api")},
    ),
    "no test": (
        {"tests": {"enabled": False}},
        {"- ConfigMap telemetry-test", "- Pod telemetry-test", "- NetworkPolicy telemetry-test"},
    ),
    "a class of storage": (
        {"postgres": {"persistence": {"storageClass": "fast", "size": "1Ti"}}},
        {
            f"{POSTGRES} spec.volumeClaimTemplates[0].spec.storageClassName: ~ -> fast",
            f"{POSTGRES} spec.volumeClaimTemplates[0].spec.resources.requests.storage: 50Gi -> 1Ti",
        },
    ),
    "a load balancer for some": (
        {"api": {"service": {"type": "LoadBalancer", "nodePort": 30080, "loadBalancerSourceRanges": ["10.0.0.0/8"]}}},
        {
            "Service telemetry-api spec.type: ClusterIP -> LoadBalancer",
            "Service telemetry-api spec.ports[http].nodePort: ~ -> 30080",
            "Service telemetry-api spec.loadBalancerSourceRanges[0]: ~ -> 10.0.0.0/8",
        },
    ),
    "an address instead of names": (
        {"api": {"service": {"type": "LoadBalancer", "port": 8000}}},
        {
            "Service telemetry-api spec.type: ClusterIP -> LoadBalancer",
            "Service telemetry-api spec.ports[http].port: 80 -> 8000",
            "Pod telemetry-test spec.containers[ask].args[0]: http://telemetry-api:80 -> http://telemetry-api:8000",
        },
    ),
}


@pytest.mark.parametrize("switch", CASES)
def test_a_switch_makes_this_difference_and_no_other(chart: Chart, rendered: Render, switch: str) -> None:
    values, wanted = CASES[switch]
    found = changes(told(rendered), told(chart(values)))
    mounts = {line for line in found if ".volumeMounts[" in line or ".volumes[" in line}
    assert found - mounts == wanted
    assert not mounts or switch == "no tokens"


def test_a_server_of_ones_own_leaves_nothing_of_the_charts(chart: Chart, rendered: Render) -> None:
    postgres = {"enabled": False, "owner": {"url": "postgresql://a:b@c/d"}}
    render = chart({"redis": {"enabled": False, "url": "redis://q:1"}, "postgres": postgres})
    assert not [place for place in render.objects if place[0] in ("StatefulSet", "Service") and place[1][-3:] != "api"]
    gone = {place for place in rendered.objects.keys() - render.objects.keys() if place[0] == "Secret"}
    assert gone == {("Secret", "telemetry-postgres-writer"), ("Secret", "telemetry-postgres-reader")}
    assert render.secret("telemetry-redis", "url") == "redis://q:1"
    assert render.secret("telemetry-postgres-owner", "url") == "postgresql://a:b@c/d"


def test_a_pod_begins_anew_when_what_it_reads_has_changed(chart: Chart) -> None:
    def marks(values: dict[str, Any], kind: str, name: str) -> dict[str, str]:
        notes: dict[str, str] = chart(values)[kind, name]["spec"]["template"]["metadata"]["annotations"]
        return {key: value for key, value in notes.items() if key.startswith("checksum/")}

    first, second = ({"redis": {"enabled": False, "url": f"redis://{host}:1"}} for host in ("a", "b"))
    assert marks(first, "Deployment", "telemetry-collector") != marks(second, "Deployment", "telemetry-collector")
    config = {"redis": {"extraConfig": "timeout 7"}}
    assert marks({}, "StatefulSet", "telemetry-redis") != marks(config, "StatefulSet", "telemetry-redis")


def test_an_image_is_named_by_tag_or_digest_for_all_or_for_one(chart: Chart) -> None:
    def images(values: dict[str, Any]) -> list[str]:
        render = chart(values)
        pods = [render["Deployment", f"telemetry-{role}"]["spec"]["template"]["spec"] for role in ("streamer", "api")]
        return [pod["containers"][0]["image"] for pod in pods]

    digest = "sha256:" + "a" * 64
    assert images({"image": {"repository": "r/t", "tag": "1"}}) == ["r/t:1", "r/t:1"]
    assert images({"image": {"repository": "r/t", "tag": "1", "digest": digest}}) == [f"r/t@{digest}"] * 2
    assert images({"image": {"tag": "1"}, "streamer": {"image": "x/y:2"}}) == ["x/y:2", "telemetry-pipeline:1"]
    assert images({"image": {"digest": digest}, "streamer": {"image": {"tag": "3"}}})[0] == "telemetry-pipeline:3"


def test_the_pod_of_helm_test_may_run_where_streamers_may(chart: Chart) -> None:
    streamer = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "priorityClassName": "high",
        "podSecurityContext": {"runAsNonRoot": True, "runAsUser": 20001, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    render = chart({"streamer": streamer})
    pod = render["Pod", "telemetry-test"]["spec"]
    theirs = render["Deployment", "telemetry-streamer"]["spec"]["template"]["spec"]
    fields = ("nodeSelector", "tolerations", "priorityClassName", "securityContext")
    assert {name: pod[name] for name in fields} == {name: theirs[name] for name in fields}
    assert pod["securityContext"]["runAsUser"] == 20001
