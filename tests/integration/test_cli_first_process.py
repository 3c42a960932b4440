"""A command as the first process of a container, from which the kernel keeps every signal that it does not handle."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.pipeline import ROOT
from tests.fixtures.process import Processes, eventually

ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
NOWHERE = "postgresql://owner@127.0.0.1:1/telemetry"


def first_process(of: int) -> int:
    """The process that `unshare` made."""
    children = Path(f"/proc/{of}/task/{of}/children")
    return int(eventually(lambda: children.read_text().split(), "a first process")[0])


def test_sigterm_ends_a_command_that_waits(processes: Processes) -> None:
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody have a process namespace of their own")
    command = [sys.executable, "-m", "telemetry", "migrate", "--wait", "600", "--database-url", NOWHERE]
    waiting = processes.spawn([*ALONE, *command], {"PYTHONPATH": str(ROOT)})
    inside = first_process(waiting.pid)
    eventually(lambda: "waiting for the database" in waiting.stderr, "its word that it waits")
    subprocess.run(["kill", "-TERM", str(inside)], check=True, capture_output=True)
    assert waiting.wait() == 128 + signal.SIGTERM
