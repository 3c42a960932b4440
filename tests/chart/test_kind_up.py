"""scripts/kind-up, as far as it goes without Docker: what it refuses, what it would do, and that the chart takes that.

What does not live here: a cluster (none is to be had where these tests run).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.chart import Chart, deep

pytestmark = pytest.mark.chart

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "kind-up"


def kind_up(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *words], env={**os.environ, **env}, capture_output=True, text=True, check=False)


def folder_of(folder: Path) -> str:
    """A PATH on which there are just a shell and its tools."""
    folder.mkdir()
    for tool in ("sh", "dirname", "sed", "cat"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    return str(folder)


def test_it_says_what_it_does_and_refuses_what_it_does_not_know() -> None:
    told = kind_up("--help")
    assert told.returncode == 0
    for option in ("--monitoring", "--external-db", "--dry-run"):
        assert option in told.stdout
    wrong = kind_up("--monitor")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "kind-up: --monitor is no option; scripts/kind-up --help lists them\n"


def test_it_begins_nothing_where_a_tool_is_missing_or_docker_does_not_answer(tmp_path: Path) -> None:
    bare = kind_up(PATH=folder_of(tmp_path / "bare"))
    assert (bare.returncode, bare.stdout) == (2, "")
    assert bare.stderr.startswith("kind-up: docker is missing; install it")
    # `false` is as good as a docker whose server is not there
    path = folder_of(tmp_path / "all")
    for tool in ("docker", "kind", "kubectl", "helm", "curl"):
        (Path(path) / tool).symlink_to(str(shutil.which("false")))
    silent = kind_up(PATH=path)
    assert (silent.returncode, silent.stdout) == (2, "")
    assert silent.stderr == "kind-up: docker does not answer; start it, or join the group docker\n"


@pytest.mark.parametrize("options", [(), ("--external-db",), ("--monitoring",), ("--monitoring", "--external-db")])
def test_what_it_would_set_the_chart_takes(chart: Chart, tmp_path: Path, options: tuple[str, ...]) -> None:
    dry = kind_up("--dry-run", *options, PATH=folder_of(tmp_path / "bare"))
    assert (dry.returncode, dry.stderr) == (0, "")
    lines = [shlex.split(line) for line in dry.stdout.splitlines()]
    (install,) = [words for words in lines if words[0] == "helm" and str(ROOT / "helm-chart") in words]
    values: dict[str, Any] = {}
    for option, text in pairwise(install):
        if option == "--set":
            path, _, value = text.partition("=")
            part: Any = {"true": True, "false": False}.get(value, value)
            for name in reversed(path.split(".")):
                part = {name: part}
            values = deep(values, part)
    render = chart(values)
    pod = render["Deployment", "telemetry-streamer"]["spec"]["template"]["spec"]
    loaded = next(words[3] for words in lines if words[:3] == ["kind", "load", "docker-image"])
    assert pod["containers"][0]["image"] == loaded
    assert (("StatefulSet", "telemetry-postgres") not in render.objects) is ("--external-db" in options)
    assert (("PrometheusRule", "telemetry-alerts") in render.objects) is ("--monitoring" in options)
    forward = next(words for words in lines if "port-forward" in words)
    assert ("Service", forward[-2].removeprefix("service/")) in render.objects


def test_grafana_looks_for_data_sources_where_the_chart_puts_them(tmp_path: Path) -> None:
    lines = kind_up("--dry-run", "--monitoring", PATH=folder_of(tmp_path / "bare")).stdout.splitlines()
    (stack,) = [line for line in lines if "kube-prometheus-stack" in line]
    assert "--set grafana.sidecar.datasources.searchNamespace=ALL" in stack


def test_no_password_is_in_a_command(tmp_path: Path) -> None:
    dry = kind_up("--dry-run", "--external-db", PATH=folder_of(tmp_path / "bare"))
    assert "--env POSTGRES_PASSWORD --env" in dry.stdout
    assert "postgresql://" not in dry.stdout


STAND_IN = """#!/bin/sh
case "${0##*/} $*" in
"kind get clusters") echo telemetry ;;
"docker start telemetry-external-db") [ ! -e "$HERE/broken" ] && : >"$HERE/started" ;;
"docker container inspect --format"*) [ ! -e "$HERE/started" ] || echo 172.18.0.9 ;;
"docker exec"*) [ -e "$HERE/started" ] && [ ! -e "$HERE/mute" ] && echo postgresql://gpu:hunter2@172.18.0.9/gpu ;;
*"create secret"*) cat ;;
*"apply"*) cat >>"$HERE/applied" ;;
helm*) exit 7 ;;
esac
"""
"""Stands for docker, kind, kubectl and helm: a stopped database, and a Helm with which a run ends."""


@pytest.mark.parametrize(("fault", "code", "applied"), [("", 7, "hunter2"), ("broken", 1, ""), ("mute", 1, "")])
def test_a_database_that_was_stopped_is_started_and_its_secret_is_never_emptied(
    tmp_path: Path, fault: str, code: int, applied: str
) -> None:
    path = folder_of(tmp_path / "bin")
    for tool in ("grep", "cut", "base64"):
        (Path(path) / tool).symlink_to(str(shutil.which(tool)))
    for tool in ("docker", "kind", "kubectl", "helm", "curl"):
        (Path(path) / tool).write_text(STAND_IN)
        (Path(path) / tool).chmod(0o755)
    if fault:
        (tmp_path / fault).touch()
    done = kind_up("--external-db", PATH=path, HERE=str(tmp_path))
    assert done.returncode == code, done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    written = (tmp_path / "applied").read_text().splitlines()
    assert [line.partition("gpu:")[2].partition("@")[0] for line in written if line] == [applied] * bool(applied)


def test_the_shell_has_nothing_to_say() -> None:
    if (checker := shutil.which("shellcheck")) is None:
        pytest.skip("shellcheck is missing: apt-get install shellcheck")
    done = subprocess.run([checker, SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
