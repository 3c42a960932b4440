"""What the chart's README says is the chart's: its table of values, and the commands and objects that it names."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from telemetry.cli import COMMANDS
from tests.chart.table import README, current_table, values_table
from tests.fixtures.chart import HELM_CHART, Chart, Render, containers_of, deep

pytestmark = pytest.mark.chart

TEXT = README.read_text(encoding="utf-8")
PROSE = TEXT.partition("<!-- values -->")[0] + TEXT.partition("<!-- /values -->")[2]
VALUES: dict[str, Any] = yaml.safe_load((HELM_CHART / "values.yaml").read_text(encoding="utf-8"))


def test_the_table_of_values_is_that_of_the_chart() -> None:
    assert current_table() == values_table(), "python -m tests.chart.table writes it"


def test_every_value_is_described() -> None:
    rows = [line.strip("| ").split(" | ") for line in values_table().splitlines()[2:]]
    assert [row[0] for row in rows if not row[-1].endswith((".", "]"))] == []


def known(path: str) -> bool:
    """Whether there is such a value; some maps take any names."""
    place: Any = VALUES
    above = ""
    for part in path.split("."):
        if part not in place:
            return above in {"limits", "requests", "parameters"}
        place, above = place[part], part
    return True


@pytest.mark.parametrize(
    "path",
    sorted(
        {*re.findall(r"--set ([A-Za-z.]+)=", PROSE)}
        | {one for one in re.findall(r"`([a-z]+(?:\.[A-Za-z]+)+)(?:=[^`]*)?`", PROSE) if one.split(".")[0] in VALUES}
    ),
)
def test_a_value_that_is_named_is_there(path: str) -> None:
    assert known(path)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", PROSE))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert link.startswith("https://") or (HELM_CHART / link).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|scripts|helm-chart|telemetry)/[\w./-]+)", PROSE))))
def test_every_file_that_is_named_is_there(path: str) -> None:
    assert (HELM_CHART.parent / path).exists()


def test_servers_of_ones_own_are_installed_as_typed(chart: Chart) -> None:
    part = PROSE.partition("## Servers of your own")[2].partition("```sh\n")[2].partition("```")[0]
    lines = part.replace("\\\n", " ").splitlines()
    first = [line.split(" --from")[0] for line in lines]
    assert first[:2] == [
        "kubectl create namespace telemetry",
        "kubectl -n telemetry create secret generic queue",
    ]
    made = {words[6]: set(re.findall(r"--from-file=([a-z]+)=", line)) for line in lines[1:3] if (words := line.split())}
    values: dict[str, Any] = {}
    for path, text in re.findall(r"--set ([A-Za-z.]+)=(\S+)", lines[3]):
        value: Any = {"true": True, "false": False}.get(text, text)
        for name in reversed(path.split(".")):
            value = {name: value}
        values = deep(values, value)
    spec = chart(values)["Deployment", "telemetry-collector"]["spec"]["template"]["spec"]
    migrate = {one["name"] for one in spec["initContainers"][0]["env"]}
    assert {f"TELEMETRY_MIGRATE_{role}_URL_FILE" for role in ("WRITER", "READER")} <= migrate, "else neither can log in"
    asked = [
        source["secret"] for volume in spec["volumes"] for source in volume.get("projected", {}).get("sources", [])
    ]
    assert asked
    for secret in asked:
        assert secret["items"][0]["key"] in made[secret["name"]]


def test_nothing_is_made_by_chance_with_the_secrets_that_gitops_needs() -> None:
    block = PROSE.partition("## GitOps")[2].partition("```yaml\n")[2].partition("```")[0]
    values = deep(yaml.safe_load(block), {"monitoring": {"enabled": True}})
    first, second = (Chart(HELM_CHART)(values) for _ in range(2))
    assert first.objects == second.objects
    assert {name for kind, name in first.objects if kind == "Secret"} == set()


def test_probes_are_asked_so_that_a_refusal_is_seen(chart: Chart) -> None:
    """kubectl's proxy makes of a 503 "the server is currently unable to handle the request", without its text."""
    assert "/readyz" in PROSE
    assert "/proxy/" not in PROSE + chart().notes


def test_a_value_that_is_none_would_be_seen() -> None:
    assert known("redis.resources.limits.memory")
    assert not known("streamer.replica")
    assert not known("streamers.replicas")


def test_objects_that_commands_name_are_there(rendered: Render) -> None:
    objects = {f"{kind.lower()}/{name}" for kind, name in rendered.objects}
    short = {"deploy": "deployment"}
    for kind, name in re.findall(r"\b(service|deploy|deployment|secret)/(telemetry-[a-z-]+)", PROSE):
        assert f"{short.get(kind, kind)}/{name}" in objects
    for kind, name in re.findall(r"(?:get|scale) (secret|deployment|service) (telemetry-[a-z-]+)", PROSE):
        assert f"{kind}/{name}" in objects
    for pod in re.findall(r"exec (?:-it? )?(telemetry-[a-z]+)-0 ", PROSE):
        assert f"statefulset/{pod}" in objects


def test_a_restore_ends_with_as_many_pods_as_there_were(rendered: Render) -> None:
    part = PROSE.partition("## Back up and restore")[2].partition("\n## ")[0]
    scaled: dict[str, list[int]] = {}
    for names, number in re.findall(r"scale deployment ([a-z -]+) --replicas=(\d+)", part):
        for name in names.split():
            scaled.setdefault(name, []).append(int(number))
    deployments = {
        name: one["spec"]["replicas"] for (kind, name), one in rendered.objects.items() if kind == "Deployment"
    }
    assert scaled == {name: [0, replicas] for name, replicas in deployments.items()}


def test_commands_in_pods_are_the_codes_and_containers_the_charts(rendered: Render) -> None:
    named = re.findall(r"-- telemetry ([a-z]+)", PROSE)
    assert named
    assert set(named) <= COMMANDS.keys()
    containers = {one["name"] for _, spec in rendered.pods() for one in containers_of(spec)}
    assert set(re.findall(r" -c ([a-z]+)`", PROSE)) <= containers


def test_the_token_is_where_it_is_said_to_be(rendered: Render) -> None:
    found = re.findall(r"get secret (telemetry-[a-z-]+) -o jsonpath='\{\.data\.([a-z]+)\}'", PROSE)
    assert found
    for name, key in found:
        assert rendered.secret(name, key)


def test_what_helm_tells_afterwards_can_be_pasted(chart: Chart) -> None:
    for values in ({}, {"api": {"auth": {"enabled": False}}}):
        notes = chart(values).notes
        assert "<no value>" not in notes
        assert "/api/v1/gpus" in notes
        assert ("Bearer" in notes) is not bool(values)
