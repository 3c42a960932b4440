"""Where `telemetry stream` keeps the index of a large file, and who finds it there. No server is needed for that."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.pipeline import Fleet, Run
from tests.fixtures.process import eventually

NOWHERE = {"TELEMETRY_DATABASE_URL": "postgresql://me@127.0.0.1:1/x", "TELEMETRY_REDIS_URL": "redis://127.0.0.1:1/0"}
TOOK, WITHOUT = "took the index of the file from the cache", "indexing the file without a cache"
Opens = Callable[..., str]


@pytest.fixture
def opens(run: Run, fleet_csv: Fleet) -> Opens:
    """Opens a large file that has not just changed; gives what is logged of it."""
    path, _ = fleet_csv
    eventually(lambda: time.time() > path.stat().st_ctime + 2.1, "a file of some age")

    def opens(*words: object, cwd: Path | None = None, **env: str) -> str:
        role = run.begin("stream", "--csv", path, "--log-level", "debug", *words, cwd=cwd, **NOWHERE, **env)
        eventually(lambda: "opened the source" in role.stderr or not role.running, "an open file")
        role.signal(signal.SIGTERM)
        assert run.end(role).code == 0, role.stderr
        return role.stderr

    return opens


def kept(folder: Path) -> int:
    return len(list(folder.glob("*.index")))


def test_the_next_streamer_of_this_user_finds_it_in_the_users_cache(opens: Opens, tmp_path: Path) -> None:
    home = {"XDG_CACHE_HOME": "", "HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    assert TOOK not in opens(**home)
    assert TOOK in opens(**home)
    assert kept(tmp_path / "home" / ".cache" / "telemetry") == 1


def test_another_folder_can_be_named_and_is_made(opens: Opens, tmp_path: Path) -> None:
    assert TOOK not in opens("--index-cache", tmp_path / "a" / "b")
    assert TOOK in opens(TELEMETRY_STREAMER_INDEX_CACHE="~/b", HOME=str(tmp_path / "a"))
    assert kept(tmp_path / "a" / "b") == 1


def test_nothing_is_kept_when_it_is_off(opens: Opens, tmp_path: Path) -> None:
    said = [opens("--index-cache", "off", cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")) for _ in range(2)]
    assert not any(TOOK in each or WITHOUT in each for each in said)
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "off").exists()


@pytest.mark.parametrize("place", ["/proc/none", os.devnull])
def test_a_folder_that_cannot_be_made_costs_nothing_and_is_said_to_who_debugs(opens: Opens, place: str) -> None:
    assert WITHOUT in opens("--index-cache", place)
