"""The one pass over a file: hashed by a thread beside the search for records, which leaves nothing behind."""

import hashlib
import sys
import threading
from pathlib import Path

import pytest

from telemetry.streamer.sources.index import AHEAD, build
from telemetry.streamer.sources.records import CHUNK, MAX_RECORD
from tests.fixtures.exports import export, row
from tests.fixtures.process import Processes

BODY = len(export())
LONG = export(*[row()] * (3 * CHUNK // 100))

INTERRUPTED = """
import os, pathlib, signal, sys, threading
from telemetry.streamer.sources.csvfile import CsvSource

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    CsvSource(path=pathlib.Path(sys.argv[1]), times=False).open(lambda done, total: os.kill(os.getpid(), signal.SIGINT))
except KeyboardInterrupt:
    print("interrupted,", threading.active_count(), "thread left")
"""
UNDER_FIRE = """
import os, pathlib, signal, sys
from telemetry.streamer.sources.csvfile import CsvSource

caught = []
signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
source = CsvSource(path=pathlib.Path(sys.argv[1]), times=False)
source.open(lambda done, total: os.kill(os.getpid(), signal.SIGTERM))
print(len(caught) > 2, source.digest)
"""


def read(content: bytes, offset: int, size: int) -> bytes:
    return content[offset : offset + size]


@pytest.mark.parametrize(
    "content",
    [
        LONG,
        LONG + b"x" * (5 * CHUNK) + b"\n" + LONG,
        LONG + b'"' + b"x" * MAX_RECORD + LONG,
        LONG + b"\n" * (2 * CHUNK),
        export(row()),
    ],
    ids=["rows", "a line of several pieces", "an open quote", "blank lines", "one row"],
)
def test_every_byte_is_hashed_once_and_in_order(content: bytes) -> None:
    index = build(lambda offset, size: read(content, offset, size), BODY, 12)
    assert index.digest == hashlib.sha256(content).hexdigest()
    assert index.size == len(content)


def test_what_hashing_raises_ends_the_pass() -> None:
    def odd(offset: int, size: int) -> bytes:
        found = memoryview(read(LONG, offset, size))
        return found[::-1] if offset == 0 else found  # type: ignore[return-value]  # no bytes: what cannot be hashed

    with pytest.raises(BufferError):
        build(odd, BODY, 12)


@pytest.mark.parametrize("last", [0, CHUNK])
def test_what_reading_raises_ends_the_pass_and_leaves_no_thread(last: int) -> None:
    def failing(offset: int, size: int) -> bytes:
        if offset > last:
            raise OSError("the disk is gone")
        return read(LONG, offset, size)

    before = threading.enumerate()  # of which any may end meanwhile
    with pytest.raises(OSError, match="the disk is gone"):
        build(failing, BODY, 12)
    assert not set(threading.enumerate()) - set(before)


def test_what_progress_raises_ends_the_pass_and_leaves_no_thread() -> None:
    def stop(done: int) -> None:
        raise InterruptedError(done)

    before = threading.enumerate()
    with pytest.raises(InterruptedError):
        build(lambda offset, size: read(LONG, offset, size), BODY, 12, stop)
    assert not set(threading.enumerate()) - set(before)


def test_reading_waits_for_hashing_so_that_memory_is_bounded() -> None:
    """The rest of a giant line is skipped much faster than it is hashed."""
    alive: list[int] = []
    pieces: set[int] = set()

    class Piece(bytearray):
        def __del__(self) -> None:
            pieces.discard(id(self))

    def skipped(offset: int, size: int) -> bytes:
        piece = Piece(b"x" * min(size, 50 * CHUNK - offset))
        pieces.add(id(piece))
        alive.append(len(pieces))
        return piece  # type: ignore[return-value]  # bytes that tell when they are let go

    index = build(skipped, 0, 12)
    assert (index.records, index.size) == (1, 50 * CHUNK)
    assert len(alive) >= 50
    assert max(alive) <= AHEAD + 3


def test_an_interrupt_in_the_midst_of_the_pass_ends_it_cleanly(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(LONG)
    reader = processes.spawn([sys.executable, "-c", INTERRUPTED, str(tmp_path / "a.csv")])
    assert reader.wait() == 0, reader.stderr
    assert reader.stdout == "interrupted, 1 thread left\n"
    assert not reader.stderr


def test_a_signal_that_the_role_handles_costs_the_pass_nothing(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(LONG)
    reader = processes.spawn([sys.executable, "-c", UNDER_FIRE, str(tmp_path / "a.csv")])
    assert reader.wait() == 0, reader.stderr
    assert reader.stdout.split() == ["True", hashlib.sha256(LONG).hexdigest()]
