"""A rolling upgrade under load: code from before the newest migration and this code, side by side on the new schema.

What does not live here: migrating while others write (`tests/chaos`, kind postgres.migrate).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.pipeline import ROOT, Fleet, Pipeline, usable
from tests.fixtures.process import Spawned, eventually

MIGRATIONS = "telemetry/store/sql/[0-9]*.sql"
RATE = 300
"""Rows per second of a streamer: slow enough that the upgrade happens in the middle of the file."""


def git(*words: str) -> bytes:
    """What git says of this clone. Skips where there is no git, or the clone does not reach back so far."""
    try:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the code of before is not to be had: {error}")


@pytest.fixture
def code_before(tmp_path: Path) -> Path:
    """A folder with the package as it was before its newest migration."""
    folder = tmp_path / "before"
    folder.mkdir()
    newest = git("log", "-1", "--diff-filter=A", "--format=%H", "--", MIGRATIONS).decode().strip()
    packed = git("archive", f"{newest}^", "telemetry", "webapi")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    now = {path.name for path in ROOT.glob(MIGRATIONS)}
    assert {path.name for path in folder.glob(MIGRATIONS)} < now
    where = [sys.executable, "-c", "import telemetry; print(telemetry.__file__)"]
    told = subprocess.run(where, env={"PYTHONPATH": str(folder)}, cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout == f"{folder / 'telemetry' / '__init__.py'}\n"
    return folder


class Deployment:
    """Processes of one role, replaced as Kubernetes does: the next one works before the last one is told to end."""

    def __init__(self, pipeline: Pipeline, before: Path, *words: object, says: str) -> None:
        self.pipeline, self.words, self.says = pipeline, words, says
        self.old = [self._begin(PYTHONPATH=str(before)) for _ in range(2)]
        self.new: list[Spawned] = []

    def _begin(self, **env: str) -> Spawned:
        process = self.pipeline.begin(*self.words, **env)
        eventually(lambda: self.says in process.stderr, f"{self.says!r} of {self.words[0]}")
        return process

    def replace_one(self) -> None:
        """Start one of the new, end one of the old."""
        self.new.append(self._begin())
        leaving = self.old.pop(0)
        assert leaving.running
        leaving.signal(signal.SIGTERM)
        leaving.wait()
        assert "Traceback" not in leaving.stderr


@pytest.mark.costly
def test_a_rolling_upgrade_under_load_loses_nothing_and_doubles_nothing(
    pipeline: Pipeline, code_before: Path, fleet_csv: Fleet
) -> None:
    path, truth = fleet_csv
    words = ("stream", "--csv", path, "--once", "--time", "source", "--rate")
    collectors = Deployment(pipeline, code_before, "collect", says="collecting")
    streamers = Deployment(pipeline, code_before, *words, RATE, says="opened the source")
    pipeline.wait_until_settled(truth["rows"] // 20)  # by the old ones alone
    collectors.replace_one()
    streamers.replace_one()
    pipeline.wait_until_settled(pipeline.settled() + truth["rows"] // 20)  # by both, of both
    streamers.replace_one()
    collectors.replace_one()
    assert pipeline.settled() < truth["rows"]  # else there was no load any more
    rest = pipeline.begin(*words, 0)
    for process in (*streamers.new, rest):
        assert process.wait() == 0, process.stderr
    assert pipeline.stored() == usable(path)
    assert pipeline("verify", "--json").result["reconciles"]
    assert pipeline.database.one("SELECT count(*) FROM dead_blocks") == 0
    assert all(process.running for process in collectors.new)
