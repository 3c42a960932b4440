"""What the chart sets is what the code takes: commands, variables and their values, files, ports, the time to drain.

What does not live here: whether Kubernetes takes the objects (`test_valid`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from telemetry.cli import cli
from telemetry.config import SETTINGS, check_environment
from tests.chart.variants import VARIANTS
from tests.fixtures.chart import Chart, Render, containers_of
from webapi.process.server import serve

pytestmark = pytest.mark.chart

ROOT = Path(__file__).parents[2]
BY_ENV = {setting.env: setting for setting in SETTINGS}
ON_PURPOSE = {
    "TELEMETRY_LOG_FORMAT": "json",  # what collects logs in a cluster reads lines of JSON
    "TELEMETRY_HEALTH_PORT": "8081",
    "TELEMETRY_HEALTH_HOST": "0.0.0.0",  # the kubelet comes from outside
    "TELEMETRY_API_HOST": "0.0.0.0",
    "TELEMETRY_API_TOKENS": "/etc/telemetry/tokens/tokens.json",
    "TELEMETRY_STREAMER_CSV": "/data/dcgm.csv",
    "TELEMETRY_STREAMER_STREAM": "csv",
    "TELEMETRY_STREAMER_RATE": "5000",
    "TELEMETRY_STREAMER_INDEX_CACHE": "off",
}
"""What the chart sets otherwise than the code would have it."""


def roles(render: Render) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], click.Command]]:
    """Each container of ours that runs a command: its place, the pod's spec, it, and the command."""
    for manifest, spec in render.pods():
        for container in containers_of(spec):
            if container.get("args") and "command" not in container and container["name"] != "postgres":
                command = cli.get_command(click.Context(cli), container["args"][0])
                assert command is not None, f"{container['args'][0]} is no command"
                yield f"{manifest['metadata']['name']}/{container['name']}", spec, container, command


def ours(container: dict[str, Any]) -> dict[str, str]:
    """The variables TELEMETRY_* of a container."""
    return {one["name"]: one["value"] for one in container["env"] if one["name"].startswith("TELEMETRY_")}


def mounted(spec: dict[str, Any], container: dict[str, Any]) -> set[str]:
    """The files that Secrets and ConfigMaps give a container."""
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    found = set()
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            held = source.get("secret") or source.get("configMap") or {}
            found |= {f"{mount['mountPath']}/{item['path']}" for item in held.get("items", [])}
    return found


def command_line(container: dict[str, Any], command: click.Command) -> None:
    """Read the arguments and each variable as the command would. Raises click.ClickException."""
    context = click.Context(command)
    options = {
        option.opts[0].removeprefix("--"): option for option in command.params if isinstance(option, click.Option)
    }
    words = list(container["args"][1:])
    assert all(word.removeprefix("--") in options for word in words if word.startswith("--")), words
    for name, value in ours(container).items():
        setting = BY_ENV[name.removesuffix("_FILE") if name not in BY_ENV else name]
        assert setting.flag in options or "/" in setting.flag, f"{command.name} takes no {name}"
        if name in BY_ENV:
            options[setting.flag].type.convert(value, options[setting.flag], context)


@pytest.mark.slow
def test_every_variable_is_a_setting_of_the_command_that_gets_it_and_has_a_value_that_it_takes(chart: Chart) -> None:
    for variant, values in VARIANTS.items():
        for place, _, container, command in roles(chart(values)):
            check_environment(ours(container))
            try:
                command_line(container, command)
            except click.ClickException as error:
                pytest.fail(f"{variant}: {place}: {error.format_message()}")


@pytest.mark.slow
def test_a_file_that_a_variable_names_is_mounted(chart: Chart) -> None:
    for variant, values in VARIANTS.items():
        for place, spec, container, _ in roles(chart(values)):
            files = mounted(spec, container)
            for name, value in ours(container).items():
                if name.endswith("_FILE") or value.startswith("/etc/"):
                    assert value in files, f"{variant}: {place}: {name}={value}, mounted are {sorted(files)}"


def test_defaults_are_the_codes_unless_on_purpose(rendered: Render) -> None:
    set_up: dict[str, str] = {}
    for _, _, container, _ in roles(rendered):
        set_up |= {name: value for name, value in ours(container).items() if name in BY_ENV}
    assert set_up.items() >= ON_PURPOSE.items()
    for name in set_up.keys() - ON_PURPOSE.keys():
        default = BY_ENV[name].default
        assert default is not None, f"{name} has no default: write down why the chart has one"
        assert BY_ENV[name].kind(set_up[name]) == default, f"{name}={set_up[name]}, the code has {default}"


def test_ports_are_those_that_the_process_listens_at(rendered: Render) -> None:
    for _, spec, container, command in roles(rendered):
        if command.name in {"stream", "collect", "serve"} and container in spec["containers"] and "ports" in container:
            (port,) = container["ports"]
            name = "API_PORT" if command.name == "serve" else "HEALTH_PORT"
            assert ours(container)[f"TELEMETRY_{name}"] == str(port["containerPort"])
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container[probe]["httpGet"]["port"] == port["name"]


@pytest.mark.parametrize("lease", [15, 120])
def test_a_pod_is_not_killed_while_it_drains(chart: Chart, lease: float) -> None:
    """A collector may wait as long as a lease for a lock, a streamer for its statement; the API gives requests 25 s."""
    values = {
        "queue": {"lease": lease},
        **({} if lease == 15 else {"collector": {"terminationGracePeriodSeconds": 180}}),
    }
    render = chart({**values, **({} if lease == 15 else {"streamer": {"terminationGracePeriodSeconds": 180}})})
    drains = {
        "streamer": lease + 5,
        "collector": lease + 5,
        "api": inspect.signature(serve).parameters["grace"].default,
    }
    for role, drain in drains.items():
        spec = render["Deployment", f"telemetry-{role}"]["spec"]["template"]["spec"]
        stop = spec["containers"][0].get("lifecycle", {}).get("preStop", {})
        assert not stop.keys() - {"sleep"}, "what runs before the stop must not need a shell"
        assert spec["terminationGracePeriodSeconds"] > drain + stop.get("sleep", {}).get("seconds", 0), role


@pytest.mark.parametrize("role", ["streamer", "collector", "api"])
def test_a_grace_that_is_shorter_than_the_drain_is_refused(chart: Chart, role: str) -> None:
    said = chart.refusal({"queue": {"lease": 30}, role: {"terminationGracePeriodSeconds": 30}})
    assert f"{role}.terminationGracePeriodSeconds" in said
    assert ("requests under way" if role == "api" else "queue.lease") in said


def test_the_images_facts_are_the_charts(rendered: Render) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    user, group = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)[0]
    exposed = set(re.findall(r"^EXPOSE (.+)$", dockerfile, re.MULTILINE)[0].split())
    ports = set()
    for _, spec, container, _ in roles(rendered):
        context = spec["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"], "HOME is there"
        ports |= {str(port["containerPort"]) for port in container.get("ports", [])}
    assert ports == exposed
    assert f"install -D -m 0444 sample.csv {ON_PURPOSE['TELEMETRY_STREAMER_CSV']}" in dockerfile


def test_the_chart_installs_the_version_that_it_stands_beside(chart: Chart, rendered: Render) -> None:
    version = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[0]
    assert chart.metadata["appVersion"] == version
    image = rendered["Deployment", "telemetry-api"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"telemetry-pipeline:{version}"
