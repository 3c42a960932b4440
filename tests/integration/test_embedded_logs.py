"""The files that take the output of children: bounded, private, and never the reason why a child ends."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from telemetry.embedded import ChildSpec, Event, Supervisor
from telemetry.embedded.children import Child
from telemetry.embedded.logfiles import LogFile
from telemetry.runtime import Stop
from tests.fixtures.process import clean_env
from tests.fixtures.wait import until

# writes more than the limit of its log, then until the log was cut, and ends well
LOUD = """
import os, sys
path = sys.argv[1]
while True:
    os.write(2, b"x" * 99 + b"\\n")
    if os.path.exists(path):
        sys.exit(0)
"""


def test_output_goes_to_bounded_files(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "child.log", limit=1000)
    fd = log.open()
    for _ in range(50):
        os.write(fd, b"x" * 99 + b"\n")
        log.trim()
    os.write(fd, b"last words\n")
    os.close(fd)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"child.log", "child.log.1"}
    assert max(sizes.values()) <= 1100
    assert log.tail(1) == ["last words"]


def test_what_an_earlier_run_wrote_is_not_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("old\n")
    log = LogFile(tmp_path / "child.log")
    os.close(log.open())
    assert log.tail() == []
    assert (tmp_path / "child.log").read_text() == "old\n"


def blocked(log: LogFile) -> LogFile:
    """A log that cannot be put aside, as on a full disk."""
    log.path.with_name(log.path.name + ".1").mkdir(parents=True)
    return log


def filled(log: LogFile) -> LogFile:
    fd = log.open()
    os.write(fd, b"x" * 2_000)
    os.close(fd)
    return log


def test_a_log_that_cannot_be_put_aside_is_cut_and_said_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = blocked(LogFile(tmp_path / "child.log", limit=1_000))
    for _ in range(3):
        filled(log).trim()
        assert log.path.stat().st_size == 0
    assert caplog.messages == ["a log is cut without a copy"]


def test_a_log_that_cannot_even_be_cut_is_left_and_said_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = filled(LogFile(tmp_path / "child.log", limit=1_000))
    log.path.rename(tmp_path / "moved")
    log.path.symlink_to("x" * 1_001)  # as long as a file that is too large, and never followed
    for _ in range(2):
        log.trim()
    assert caplog.messages == ["a log cannot be cut"]
    assert (tmp_path / "moved").stat().st_size == 2_000


def test_a_log_that_is_not_there_yet_is_nothing_to_warn_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LogFile(tmp_path / "child.log", limit=1_000).trim()
    assert caplog.messages == []
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_was_put_aside_is_private_and_follows_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    log = LogFile(tmp_path / "child.log", limit=1_000)
    aside = tmp_path / "child.log.1"
    aside.symlink_to(precious)
    filled(log).trim()
    assert precious.read_text() == "kept"
    assert not aside.is_symlink()
    assert (aside.stat().st_size, stat.S_IMODE(aside.stat().st_mode)) == (2_000, 0o600)
    assert aside.stat().st_uid == tmp_path.stat().st_uid


def test_a_child_outlives_a_log_that_cannot_be_put_aside(tmp_path: Path) -> None:
    log = blocked(LogFile(tmp_path / "child.log", limit=1_000))
    enough = tmp_path / "enough"
    child = Child([sys.executable, "-c", LOUD, str(enough)], env=clean_env(), log=log)
    child.start()
    until(lambda: log.path.exists() and log.path.stat().st_size > 1_000, "a log over its limit")
    inode = log.path.stat().st_ino
    largest = 0

    def was_cut() -> bool:
        nonlocal largest
        size = log.path.stat().st_size
        largest = max(largest, size)
        return size < largest

    until(was_cut, "the cut")
    assert child.alive
    enough.touch()
    assert child.wait(60) == 0
    assert log.path.stat().st_ino == inode


def test_a_log_that_cannot_be_opened_is_an_error_of_the_start(tmp_path: Path) -> None:
    events: list[Event] = []
    stop = Stop()
    (tmp_path / "streamer.log").mkdir()
    with Supervisor(stop=stop, log_dir=tmp_path, on_event=events.append) as supervisor:
        supervisor.start(ChildSpec("streamer", (sys.executable, "-c", ""), clean_env()))
        assert stop.wait(60)
    assert [event.kind for event in events] == ["gave up"]
    assert "cannot start" in events[0].detail
