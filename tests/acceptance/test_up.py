"""`telemetry up` until Ctrl-C: its banner works as pasted, what dies comes back, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fixtures.pipeline import (
    SAMPLE,
    Run,
    database_of,
    descendants,
    family_of,
    get,
    has_no_gap,
    wait_until_gone,
)
from tests.fixtures.process import Processes, eventually
from tests.fixtures.servers_redis import free_port

BLOCKS = "SELECT first_row, rows FROM blocks"


def pasted(command: str) -> str:
    """What a command of the banner prints in a shell of its own."""
    return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout


def tells_of_itself(name: str, url: str) -> bool:
    """Whether a process of that name answers a scrape there."""
    return f"\ntelemetry_{name.partition('-')[0]}_" in get(url)[1]


class Home:
    """One state folder and the `up` on it; the tests of this file share it, for a start takes seconds."""

    def __init__(self, run: Run, state: Path) -> None:
        self.run, self.state = run, state
        self.health_port = free_port(following=2)
        self.begin()

    def begin(self) -> None:
        """Start `up`, and wait until it is."""
        words = ("--api-port", 0, "--csv", SAMPLE, "--lease", 1.5, "--streamers", 2, "--rate", 1_000)
        ports = ("--health-port", self.health_port)
        self.up = self.run.begin("up", "--json", *words, *ports, "--state", self.state)
        self.up.wait_for_output("\n")
        self.banner: dict[str, Any] = json.loads(self.up.stdout.splitlines()[0])
        self.ask = database_of(self.state)


@pytest.fixture(scope="module")
def one_home(tmp_path_factory: pytest.TempPathFactory, state: Path) -> Iterator[Home]:
    """The home of the tests of this file."""
    processes = Processes(tmp_path_factory.mktemp("processes"))
    yield Home(Run(processes), state)
    processes.end()


@pytest.fixture
def home(one_home: Home) -> Home:
    """It is up at the beginning of each test."""
    if not one_home.up.running:
        one_home.begin()
    return one_home


def test_the_commands_of_the_banner_work_as_pasted(home: Home) -> None:
    banner = home.banner
    count = eventually(lambda: int(pasted(banner["psql"]).split()[2]), "readings in the view")
    assert count > 0
    if "queue stats" in banner["redis_cli"]:
        assert "depth" in pasted(banner["redis_cli"])
    else:
        assert int(pasted(banner["redis_cli"])) >= 0
    assert "everything reconciles" in pasted(banner["verify"])
    assert "depth" in pasted(banner["verify"].replace("verify)", "queue stats)"))
    eventually(lambda: get(f"{banner['api']}/readyz")[0] == 200, "the API")  # the banner waits for it, not for ever
    assert eventually(lambda: json.loads(get(f"{banner['api']}/api/v1/gpus")[1]), "GPUs in the API")
    queue = json.loads(get(f"{banner['api']}/api/v1/queue")[1])
    assert (queue["stream"], queue["capacity"]) == ("gpu:{samples}", 500)
    assert any(consumer["name"] for consumer in queue["consumers"])


def test_every_process_tells_prometheus_where_the_banner_says(home: Home) -> None:
    pages = home.banner["metrics"]
    assert list(pages) == ["api", "streamer-1", "streamer-2", "collector-1"]
    eventually(lambda: all(tells_of_itself(name, url) for name, url in pages.items()), "the metrics of all")
    ports = [urlsplit(pages[name]).port for name in list(pages)[1:]]
    assert ports == [home.health_port + number for number in range(3)]


@pytest.mark.parametrize(("role", "name"), [("stream", "streamer-"), ("collect", "collector-1")])
def test_a_child_that_dies_is_restarted_and_said(home: Home, role: str, name: str) -> None:
    before = set(eventually(lambda: family_of(home.up, role), "the child"))
    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: set(family_of(home.up, role)) - before, "another child")

    def is_said() -> bool:
        lines = [line for line in home.up.stderr.splitlines() if line.startswith(name)]
        return any("exited: signal SIGKILL" in line for line in lines)

    eventually(is_said, "word of its death")


def test_a_second_up_on_the_same_state_is_told_in_one_line(home: Home, run: Run) -> None:
    done = run("up", "--api-port", 0, "--csv", SAMPLE, "--state", home.state)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert str(home.up.pid) in line
    assert "--state" in line


def test_ctrl_c_drains_and_the_next_up_goes_on_where_it_was(home: Home) -> None:
    eventually(lambda: len(home.ask("SELECT FROM blocks WHERE settled_at IS NOT NULL")) > 5, "settled blocks")
    below = descendants(home.up.pid)
    home.up.signal(signal.SIGINT)
    assert home.run.end(home.up).code == 0
    wait_until_gone(below)
    home.begin()
    reached = home.ask("SELECT next_row FROM stream_progress")[0][0]
    eventually(lambda: home.ask("SELECT next_row FROM stream_progress")[0][0] > reached + 1_000, "more readings")
    assert home.ask("SELECT stream_id FROM stream_progress") == [(home.banner["stream"],)]
    assert has_no_gap([(first, rows) for first, rows in home.ask(BLOCKS)])
    ((samples, times),) = home.ask("SELECT count(*), count(DISTINCT time) FROM samples")
    assert samples == times, "two looped readings share a time"


def test_an_up_that_is_killed_leaves_no_process(home: Home) -> None:
    below = descendants(home.up.pid)
    assert len(below) > 5
    home.up.kill()
    wait_until_gone(below)
