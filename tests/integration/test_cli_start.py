"""What a command reads before it begins: nothing that it has no use for. Each runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry.cli import COMMANDS
from tests.fixtures.pipeline import ROOT, SAMPLE, Pipeline
from tests.fixtures.process import clean_env, eventually

ENDING = """
import json, os, sys
from telemetry.cli import main
sys.argv = ["telemetry", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules), len(os.listdir("/proc/self/task"))]))
"""
"""Runs a command, and then prints its exit code, what was read for it, and how many threads are left."""


def ended(*words: str, **env: str) -> tuple[int, set[str], int]:
    wanted = [sys.executable, "-c", ENDING, *words]
    done = subprocess.run(wanted, env=clean_env(env), cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    code, modules, threads = json.loads(done.stdout.splitlines()[-1])
    return code, {name for name in modules if name.count(".") < 2}, threads


def test_the_list_of_commands_reads_none_of_them() -> None:
    code, read, _ = ended("--help")
    assert code == 0
    assert "telemetry.cli" in read
    assert not read & {"telemetry.broker", "telemetry.store", "telemetry.embedded", "redis", "psycopg", "numpy", "rich"}


@pytest.mark.parametrize(
    ("role", "needed", "spared"),
    [
        ("stream", {"redis", "psycopg", "pyarrow"}, {"rich", "telemetry.embedded", "flask"}),
        ("collect", {"redis", "psycopg", "numpy"}, {"rich", "telemetry.embedded", "flask", "pyarrow"}),
    ],
)
def test_a_role_reads_what_it_needs_and_no_more(role: str, needed: set[str], spared: set[str]) -> None:
    code, read, _ = ended(role, "--help")
    assert code == 0
    assert needed <= read
    assert not spared & read


def test_every_command_is_listed_with_what_it_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "telemetry", "--help"],
        env=clean_env(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for name, (_, text) in COMMANDS.items():
        assert f"  {name:<7}  {text}" in done.stdout.splitlines()


def test_numpy_starts_no_threads_for_algebra() -> None:
    _, read, threads = ended("collect", "--help")
    assert "numpy" in read
    assert threads == 1


def test_a_streamer_publishes_without_pandas(pipeline: Pipeline) -> None:
    streamer = pipeline.begin("stream", "--csv", SAMPLE, "--loop")
    eventually(lambda: pipeline.topic.stats().depth > 0, "a block in the queue")
    loaded = Path(f"/proc/{streamer.pid}/maps").read_text()
    assert "/pyarrow/" in loaded
    assert "/pandas/" not in loaded


def test_what_went_wrong_is_told_though_nothing_was_read_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "telemetry", "no-such-command"],
        env=clean_env(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["telemetry: No such command 'no-such-command'. (`telemetry --help` tells more)"]
