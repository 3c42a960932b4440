"""What every pod of every variant keeps to: no root, nothing written, no secret in sight, limits, probes. Each rule is
shown a chart that breaks it, too.

What does not live here: whether Kubernetes takes the objects (`test_valid`).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.chart.variants import VARIANTS
from tests.fixtures.chart import Chart, Manifest, Render, containers_of

pytestmark = pytest.mark.chart

Rule = Callable[[Render], Iterator[str]]
OURS = ("streamer", "collector", "api", "migrate", "fetch", "ingest", "ask")


def each_container(render: Render) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Its place as a text, the pod's spec, and it."""
    for manifest, spec in render.pods():
        for container in containers_of(spec):
            yield f"{manifest['metadata']['name']}/{container['name']}", spec, container


def nobody_is_root(render: Render) -> Iterator[str]:
    for place, spec, container in each_container(render):
        context = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
        if not (context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0):
            yield f"{place} may be root"
        if container["name"] in OURS and context["runAsUser"] != 10001:
            yield f"{place} runs as {context['runAsUser']}, the image's user is 10001"


def nothing_more_is_allowed_than_needed(render: Render) -> Iterator[str]:
    """The Pod Security Standard `restricted`, and a root file system that cannot be written."""
    for place, spec, container in each_container(render):
        context = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
        wanted = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        yield from (f"{place}: {name}" for name, value in wanted.items() if context.get(name) != value)
        if spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}:
            yield f"{place} shares the host's"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{place} reaches into the host"


def nobody_talks_to_the_api_server(render: Render) -> Iterator[str]:
    for manifest, spec in render.pods():
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{manifest['metadata']['name']} gets a token of the cluster"
    for manifest in render:
        if manifest["kind"] == "ServiceAccount" and manifest.get("automountServiceAccountToken") is not False:
            yield "the service account hands out tokens"
        if manifest["kind"] in {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}:
            yield f"{manifest['kind']}: nothing here has to ask the API server"


def services_bring_no_variables(render: Render) -> Iterator[str]:
    """A Service telemetry-redis would set TELEMETRY_REDIS_PORT, which is no setting: no role would begin."""
    for manifest, spec in render.pods():
        if spec.get("enableServiceLinks") is not False:
            yield manifest["metadata"]["name"]


def nobody_takes_more_memory_than_said(render: Render) -> Iterator[str]:
    for place, _, container in each_container(render):
        resources = container.get("resources", {})
        if not ("memory" in resources.get("limits", {}) and {"cpu", "memory"} <= resources.get("requests", {}).keys()):
            yield f"{place}: {resources}"


def what_runs_on_is_watched(render: Render) -> Iterator[str]:
    for manifest, spec in render.pods():
        if manifest["kind"] != "Pod":
            for container in spec["containers"]:
                missing = {"startupProbe", "livenessProbe", "readinessProbe"} - container.keys()
                yield from (f"{manifest['metadata']['name']}: no {probe}" for probe in sorted(missing))


def a_server_that_is_away_restarts_nobody(render: Render) -> Iterator[str]:
    """/readyz and /healthz fail while Redis or the database is away."""
    for place, _, container in each_container(render):
        for probe in ("startupProbe", "livenessProbe"):
            path = container.get(probe, {}).get("httpGet", {}).get("path", "/livez")
            if path != "/livez":
                yield f"{place}: {probe} asks {path}"


def images_have_a_version(render: Render) -> Iterator[str]:
    for place, _, container in each_container(render):
        image = container["image"]
        if not re.search(r"(@sha256:[0-9a-f]{64}|:(?!latest$)[A-Za-z0-9][A-Za-z0-9._-]*)$", image):
            yield f"{place}: {image}"


def secrets_stand_in_secrets_alone(render: Render) -> Iterator[str]:
    """What a Secret of this render holds, and passwords in the values, are in no other object."""
    kept = {"hunter2"}
    for manifest in render:
        if manifest["kind"] == "Secret":
            name = manifest["metadata"]["name"]
            for key in {**manifest.get("data", {}), **manifest.get("stringData", {})}:
                text = render.secret(name, key)
                kept |= {text, *re.findall(r":([^:/@]{8,})@", text)} if key != "username" else set()
    for manifest in render:
        if manifest["kind"] != "Secret":
            text = json.dumps(manifest)
            found = [secret for secret in kept if len(secret) > 6 and secret in text]
            yield from (f"{manifest['kind']} {manifest['metadata']['name']} tells a secret" for _ in found)


def passwords_come_as_files(render: Render) -> Iterator[str]:
    """Not as variables, which children inherit and crash reports show. redis-cli takes its only so."""
    for place, _, container in each_container(render):
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}) and variable["name"] != "REDISCLI_AUTH":
                yield f"{place}: {variable['name']}"


def passwords_are_made_by_chance(render: Render) -> Iterator[str]:
    made = [
        (manifest["metadata"]["name"], render.secret(manifest["metadata"]["name"], "password"))
        for manifest in render
        if manifest["kind"] == "Secret" and "password" in manifest.get("data", {})
    ]
    yield from (f"{name}: a password of {len(text)} characters" for name, text in made if len(text) < 32)
    if len({text for _, text in made}) < len(made):
        yield "two Secrets have one password"


def only_who_migrates_has_the_owners_login(render: Render) -> Iterator[str]:
    for manifest, spec in render.pods():
        if manifest["metadata"]["name"].endswith("-postgres"):
            continue
        owner = {v["name"] for v in spec.get("volumes", []) if "-postgres-owner" in json.dumps(v)}
        for container in containers_of(spec):
            if container["name"] != "migrate" and owner & {m["name"] for m in container.get("volumeMounts", [])}:
                yield f"{manifest['metadata']['name']}/{container['name']} could log in as the owner"


def the_api_only_reads(render: Render) -> Iterator[str]:
    for manifest, spec in render.pods():
        if manifest["metadata"]["labels"]["app.kubernetes.io/component"] == "api":
            yield from ("the API has a writer's login" for v in spec["volumes"] if "-postgres-writer" in json.dumps(v))


def spoiled(render: Render, change: Callable[[Manifest], object]) -> Render:
    """The same with something done to the streamer, or to what is named."""
    other = copy.copy(render)
    other.objects = copy.deepcopy(render.objects)
    change(other["Deployment", "telemetry-streamer"]["spec"]["template"]["spec"])
    return other


def _set(*path: str | int, to: object) -> Callable[[Manifest], object]:
    def change(place: Any) -> None:
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = to

    return change


_OWNER: dict[str, Any] = {"name": "database", "secret": {"secretName": "telemetry-postgres-owner"}}
_AUTH: dict[str, Any] = {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}
CASES: list[tuple[Rule, Callable[[Manifest], object]]] = [
    (nobody_is_root, _set("securityContext", "runAsUser", to=0)),
    (nobody_is_root, _set("securityContext", "runAsNonRoot", to=False)),
    (nothing_more_is_allowed_than_needed, _set("containers", 0, "securityContext", to={})),
    (nothing_more_is_allowed_than_needed, _set("hostNetwork", to=True)),
    (nobody_talks_to_the_api_server, _set("automountServiceAccountToken", to=True)),
    (services_bring_no_variables, _set("enableServiceLinks", to=True)),
    (nobody_takes_more_memory_than_said, _set("containers", 0, "resources", to={"limits": {"cpu": "1"}})),
    (what_runs_on_is_watched, lambda spec: spec["containers"][0].pop("livenessProbe")),
    (a_server_that_is_away_restarts_nobody, _set("containers", 0, "livenessProbe", "httpGet", "path", to="/readyz")),
    (images_have_a_version, _set("containers", 0, "image", to="telemetry-pipeline:latest")),
    (images_have_a_version, _set("containers", 0, "image", to="registry.example.org:5000/telemetry-pipeline")),
    (secrets_stand_in_secrets_alone, _set("containers", 0, "args", to=["--redis-url", "redis://:hunter2@queue"])),
    (passwords_come_as_files, _set("containers", 0, "env", to=[_AUTH])),
    (only_who_migrates_has_the_owners_login, lambda spec: spec["volumes"].append(_OWNER)),
]
ALL: list[Rule] = [*dict.fromkeys(rule for rule, _ in CASES), passwords_are_made_by_chance, the_api_only_reads]


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.__name__)
def test_with_nothing_set(rendered: Render, rule: Rule) -> None:
    assert not list(rule(rendered))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.__name__)
def test_in_every_variant(chart: Chart, rule: Rule) -> None:
    for variant, values in VARIANTS.items():
        if not (rule is the_api_only_reads and values.get("api", {}).get("writer")):
            assert not list(rule(chart(values))), variant


@pytest.mark.parametrize(("rule", "fault"), CASES)
def test_a_rule_sees_its_fault(rendered: Render, rule: Rule, fault: Callable[[Manifest], object]) -> None:
    assert list(rule(spoiled(rendered, fault)))
