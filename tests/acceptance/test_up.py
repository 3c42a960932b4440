"""`telemetry up` until Ctrl-C: its banner works as pasted, what dies comes back, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from tests.fixtures.process import Processes, Spawned, eventually

BLOCKS = "SELECT first_row, rows FROM blocks"


def begin_up(run: Run, state: Path, *words: object) -> tuple[Spawned, dict[str, Any]]:
    """(process, banner), once it is up."""
    up = run.begin("up", "--json", "--api-port", 0, "--csv", SAMPLE, "--lease", 1.5, "--state", state, *words)
    up.wait_for_output("\n")
    return up, json.loads(up.stdout.splitlines()[0])


def pasted(command: str) -> str:
    """What a command of the banner prints in a shell of its own."""
    return subprocess.run(["sh", "-c", command], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def module_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    processes = Processes(tmp_path_factory.mktemp("processes"))
    yield Run(processes)
    processes.end()


@pytest.fixture(scope="module")
def running(module_run: Run, state: Path) -> Iterator[tuple[Spawned, dict[str, Any]]]:
    """One `up` for the tests that only look, or kill what comes back; ended by Ctrl-C."""
    up, banner = begin_up(module_run, state, "--streamers", 2)
    yield up, banner
    below = descendants(up.pid)
    up.signal(signal.SIGINT)
    assert up.wait() == 0, up.stderr
    wait_until_gone(below)
    assert "Traceback" not in up.stderr


def test_the_commands_of_the_banner_work_as_pasted(running: tuple[Spawned, dict[str, Any]]) -> None:
    _, banner = running
    count = eventually(lambda: int(pasted(banner["psql"]).split()[2]), "readings in the view")
    assert count > 0
    if "queue stats" in banner["redis_cli"]:
        assert "depth" in pasted(banner["redis_cli"])
    else:
        assert int(pasted(banner["redis_cli"])) >= 0
    gpus = eventually(lambda: json.loads(get(f"{banner['api']}/api/v1/gpus")[1]), "GPUs in the API")
    assert gpus


def test_a_child_that_dies_is_restarted_and_said(running: tuple[Spawned, dict[str, Any]]) -> None:
    up, _ = running
    eventually(lambda: len(family_of(up, "stream")) == 2 and len(family_of(up, "collect")) == 1, "the family")
    for role, name in (("stream", "streamer-"), ("collect", "collector-1")):
        before = family_of(up, role)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda role=role, before=before: set(family_of(up, role)) - set(before), f"another {role}")  # type: ignore[misc]  # bound by default
        assert f"{name}" in up.stderr
        assert "exited: signal SIGKILL" in up.stderr


def test_a_second_up_on_the_same_state_is_told_in_one_line(
    running: tuple[Spawned, dict[str, Any]], run: Run, state: Path
) -> None:
    up, _ = running
    done = run("up", "--api-port", 0, "--csv", SAMPLE, "--state", state)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert str(up.pid) in line
    assert "--state" in line


def test_ctrl_c_drains_and_the_next_up_goes_on_where_it_was(run: Run, own_state: Path) -> None:
    state = own_state
    up, _ = begin_up(run, state, "--rate", 2_000)
    ask = database_of(state)
    eventually(lambda: len(ask("SELECT FROM blocks WHERE settled_at IS NOT NULL")) > 5, "settled blocks")
    below = descendants(up.pid)
    up.signal(signal.SIGINT)
    assert run.end(up).code == 0
    wait_until_gone(below)
    again, banner = begin_up(run, state, "--rate", 2_000)
    ask = database_of(state)
    reached = ask("SELECT next_row FROM stream_progress")[0][0]
    eventually(lambda: ask("SELECT next_row FROM stream_progress")[0][0] > reached + 2_000, "more readings")
    assert [source for (source,) in ask("SELECT stream_id FROM stream_progress")] == [banner["stream"]]
    assert has_no_gap([(first, rows) for first, rows in ask(BLOCKS)])
    times = ask("SELECT count(*), count(DISTINCT time) FROM samples")[0]
    assert times[0] == times[1], "two looped readings share a time"
    below = descendants(again.pid)
    again.kill()
    wait_until_gone(below)
