"""Installing, upgrading and removing a release, by Helm's own engine: what is made once, and what is kept.

What does not live here: a cluster that runs anything (`tests/fixtures/cluster.py` keeps objects only).
"""

from __future__ import annotations

import base64
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.chart import HELM_CHART
from tests.fixtures.cluster import Cluster, Object, cluster
from webapi.security.tokens import find, of_text

__all__ = ["cluster"]

pytestmark = pytest.mark.chart

RELEASE = "telemetry"
KEPT = {"telemetry-redis", "telemetry-api-tokens", "telemetry-api-digests"}
KEPT |= {f"telemetry-postgres-{role}" for role in ("owner", "writer", "reader")}


def workloads(cluster: Cluster) -> dict[str, Object]:
    """The specs of what runs pods, by path."""
    return {path: copy.deepcopy(one["spec"]) for path, one in cluster.objects.items() if path.startswith("/apis/apps/")}


def tokens_of(cluster: Cluster) -> dict[str, tuple[str, Any]]:
    """Each token's text, and what the API knows of it."""
    secrets = cluster.secrets()
    kept = of_text(base64.b64decode(secrets["telemetry-api-digests"]["tokens.json"]).decode())
    texts = {name: base64.b64decode(text).decode() for name, text in secrets["telemetry-api-tokens"].items()}
    return {name: (text, find(kept, text)) for name, text in texts.items()}


def test_an_upgrade_makes_no_secret_anew_and_starts_no_pod_anew(cluster: Cluster) -> None:
    cluster.helm.install(HELM_CHART, RELEASE, {})
    secrets, before = cluster.secrets(), workloads(cluster)
    assert secrets.keys() == KEPT
    assert len(before) == 5
    cluster.helm.upgrade(HELM_CHART, RELEASE, {})
    assert (cluster.secrets(), workloads(cluster)) == (secrets, before)


@pytest.mark.costly
def test_scaling_changes_nothing_but_the_number(cluster: Cluster) -> None:
    cluster.helm.install(HELM_CHART, RELEASE, {"log": {"level": "debug"}})
    before = workloads(cluster)
    cluster.helm.upgrade(
        HELM_CHART, RELEASE, {"streamer": {"replicas": 4}, "collector": {"replicas": 5}}, reuse_values=True
    )
    after = workloads(cluster)
    place = "/apis/apps/v1/namespaces/gpu/deployments/telemetry-"
    assert (after[f"{place}streamer"].pop("replicas"), after[f"{place}collector"].pop("replicas")) == (4, 5)
    before[f"{place}streamer"].pop("replicas"), before[f"{place}collector"].pop("replicas")
    assert after == before


@pytest.mark.slow
def test_a_token_that_is_taken_away_is_replaced_and_the_others_stay(cluster: Cluster) -> None:
    cluster.helm.install(HELM_CHART, RELEASE, {})
    before = tokens_of(cluster)
    del cluster.objects["/api/v1/namespaces/gpu/secrets/telemetry-api-tokens"]["data"]["reader"]
    names = ("admin", "reader", "grafana")
    auth = {"tokens": [{"name": name, "scope": "read"} for name in names]}
    cluster.helm.upgrade(HELM_CHART, RELEASE, {"api": {"auth": auth}})
    after = tokens_of(cluster)
    assert after["admin"][0] == before["admin"][0]
    assert after["admin"][1].created == before["admin"][1].created
    assert after["reader"][0] != before["reader"][0]
    assert {name: token.scope for name, (_, token) in after.items()} == dict.fromkeys(
        ("admin", "reader", "grafana"), "read"
    )


@pytest.mark.costly
def test_a_password_that_is_written_to_its_secret_is_taken_up_by_an_upgrade(cluster: Cluster) -> None:
    cluster.helm.install(HELM_CHART, RELEASE, {})
    before = workloads(cluster)
    secret = cluster.objects["/api/v1/namespaces/gpu/secrets/telemetry-postgres-writer"]
    secret["data"]["password"] = base64.b64encode(b"hunter2").decode()
    cluster.helm.upgrade(HELM_CHART, RELEASE, {})
    kept = cluster.secrets()["telemetry-postgres-writer"]
    assert base64.b64decode(kept["password"]) == b"hunter2"
    assert base64.b64decode(kept["url"]) == b"postgresql://telemetry_writer:hunter2@telemetry-postgres:5432/gpu"
    after = workloads(cluster)
    changed = {path.rpartition("/")[2] for path in after if after[path] != before[path]}
    assert changed == {"telemetry-streamer", "telemetry-collector"}, "whose pods log in as the writer"


@pytest.mark.costly
def test_passwords_stay_as_long_as_the_volumes_that_know_them(cluster: Cluster) -> None:
    cluster.helm.install(HELM_CHART, RELEASE, {})
    secrets, before = cluster.secrets(), workloads(cluster)
    cluster.helm.uninstall(RELEASE)
    assert cluster.secrets() == secrets
    assert workloads(cluster) == {}
    cluster.helm.install(HELM_CHART, RELEASE, {})
    assert (cluster.secrets(), workloads(cluster)) == (secrets, before)


@pytest.mark.costly
def test_an_upgrade_that_reuses_the_values_of_an_older_chart_renders_as_a_new_one(
    cluster: Cluster, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(HELM_CHART, older)
    values = yaml.safe_load((older / "values.yaml").read_text())
    for name in ("networkPolicy", "serviceAccount", "tests", "queue", "log", "extraObjects"):
        del values[name]
    for role in ("streamer", "collector", "api"):
        for name in (
            "pdb",
            "securityContext",
            "podSecurityContext",
            "resources",
            "extraEnv",
            "topologySpreadConstraints",
        ):
            del values[role][name]
    del values["streamer"]["source"], values["collector"]["keda"], values["api"]["httpRoute"], values["api"]["auth"]
    del values["postgres"]["migration"], values["postgres"]["reader"], values["redis"]["persistence"]
    (older / "values.yaml").write_text(json.dumps(values))
    cluster.helm.install(older, RELEASE, {"streamer": {"rate": 123}})
    cluster.helm.upgrade(HELM_CHART, RELEASE, {}, reuse_values=True)
    reused = workloads(cluster)
    cluster.helm.upgrade(HELM_CHART, RELEASE, {"streamer": {"rate": 123}}, reset_values=True)
    assert reused == workloads(cluster)
