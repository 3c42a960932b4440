"""The chart as Helm's engine and Kubernetes' schemas see it: no warning, and no object that a cluster would refuse.

What does not live here: whether objects are wise (`test_policy`), and what they say (`test_default`, `test_switches`).
"""

from __future__ import annotations

import re

import helm_python
import kubernetes_validate
import pytest
from jsonschema import Draft7Validator

from tests.chart.crds import CRDS
from tests.chart.variants import VARIANTS
from tests.fixtures.chart import HELM_CHART, Chart, Manifest, Render, pod_of

pytestmark = pytest.mark.chart

FIRST, MIDDLE, LAST = "1.30", "1.34", "1.37"
"""The oldest Kubernetes that Chart.yaml admits, one between, and the newest whose schemas are to be had."""


def faults_of(manifest: Manifest, version: str) -> list[str]:
    """What a cluster of that version would say; unknown fields are faults."""
    place = manifest["apiVersion"], manifest["kind"]
    name = f"{place[1]} {manifest['metadata']['name']}"
    if place in CRDS:
        return [f"{name}: {one.json_path}: {one.message}" for one in Draft7Validator(CRDS[place]).iter_errors(manifest)]
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{name}: {'.'.join(map(str, error.path))}: {error.message}"]
    return []


def labels_of_pods(manifest: Manifest) -> dict[str, str]:
    """The labels of the pods that an object is or makes."""
    made: Manifest = manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]
    found: dict[str, str] = made["metadata"]["labels"]
    return found


def test_lint_has_nothing_to_say() -> None:
    report = helm_python.lint(HELM_CHART, strict=True, namespace="telemetry", kube_version=f"v{FIRST}.0")
    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_the_oldest_kubernetes_that_is_tried_is_the_oldest_that_is_admitted(chart: Chart) -> None:
    assert chart.metadata["kubeVersion"] == f">={FIRST}.0-0"


def test_a_cluster_takes_what_is_rendered(rendered: Render) -> None:
    assert [fault for manifest in rendered for fault in faults_of(manifest, LAST)] == []


@pytest.mark.costly
@pytest.mark.parametrize("version", [FIRST, MIDDLE, LAST])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cluster_takes_every_variant(chart: Chart, variant: str, version: str) -> None:
    assert [fault for manifest in chart(VARIANTS[variant]) for fault in faults_of(manifest, version)] == []


def test_a_fault_would_be_seen(rendered: Render, chart: Chart) -> None:
    wrong = {**rendered["Deployment", "telemetry-api"], "spec": {"replicas": "two"}}
    assert faults_of(wrong, LAST)
    scaled = chart(VARIANTS["by themselves"])["ScaledObject", "telemetry-collector"]
    assert faults_of({**scaled, "spec": {**scaled["spec"], "maxReplicas": 1}}, LAST) == [
        "ScaledObject telemetry-collector: $.spec: Additional properties are not allowed ('maxReplicas' was unexpected)"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_names_fit_where_kubernetes_puts_them(chart: Chart, variant: str) -> None:
    """The schemas know no lengths: a label takes 63 characters, a Service's name is one, and so are a pod's parts."""
    for manifest in chart(VARIANTS[variant]):
        labels = {**manifest["metadata"].get("labels", {}), **(labels_of_pods(manifest) if pod_of(manifest) else {})}
        for name, value in labels.items():
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value), f"{name}={value}"
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"]), manifest["metadata"]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_pod_mounts_and_refers_to_is_there(chart: Chart, variant: str) -> None:
    render = chart(VARIANTS[variant])
    said = str(VARIANTS[variant])
    for manifest, spec in render.pods():
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        claimed = {claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])}
        containers = [*spec.get("initContainers", []), *spec["containers"]]
        mounted = {mount["name"] for one in containers for mount in one.get("volumeMounts", [])}
        assert mounted == volumes.keys() | claimed, f"{manifest['metadata']['name']}: mounted and declared differ"
        for volume in volumes.values():
            sources = [*volume.get("projected", {}).get("sources", []), volume]
            for source in sources:
                if name := source.get("secret", {}).get("secretName", source.get("secret", {}).get("name")):
                    keys = {item["key"] for item in source["secret"].get("items", [])}
                    own = render.objects.get(("Secret", name))
                    assert keys <= own["data"].keys() if own else f"'{name}'" in said, f"Secret {name} {keys}"
                if name := source.get("configMap", {}).get("name"):
                    assert ("ConfigMap", name) in render.objects


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_services_and_policies_select_pods_that_there_are(chart: Chart, variant: str) -> None:
    render = chart(VARIANTS[variant])
    pods = [
        manifest["metadata"]["labels"]
        if manifest["kind"] == "Pod"
        else manifest["spec"]["template"]["metadata"]["labels"]
        for manifest, _ in render.pods()
    ]
    for manifest in render:
        spec = manifest.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector", {}))
        wanted = selector.get("matchLabels", selector if manifest["kind"] == "Service" else {})
        if manifest["kind"] in {"Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment", "StatefulSet"}:
            assert any(wanted.items() <= labels.items() for labels in pods), f"{manifest['kind']} selects nothing"
