"""Several processes that want the same index at once, and what becomes of it when one of them is killed or stopped.

Each process says what it does, and goes on with the index only when it is let.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetry.streamer.sources.index import Index, build
from telemetry.streamer.sources.indexcache import PATIENCE, IndexCache
from tests.fixtures.clock import ManualClock
from tests.fixtures.exports import export, row
from tests.fixtures.process import Processes, Spawned
from tests.fixtures.wait import until

ROOT = Path(__file__).parents[2]
BODY = len(export())
LINE = export(row())[BODY:]
CONTENT = export() + LINE * 20_000

USER = """
import os, resource, sys, time
from pathlib import Path
from telemetry.streamer.sources.index import build
from telemetry.streamer.sources.indexcache import IndexCache
from tests.fixtures.clock import ManualClock

file, body = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[3])
go, most, said = Path(sys.argv[4]), int(sys.argv[5]), []

def say(*words):
    if words not in said and not most:  # a limit would be that of the output too
        print(*words, flush=True)
    said.append(words)

def make(progress):
    progress(12_345)
    say("making")
    while not go.exists():
        time.sleep(0.003)
    return build(lambda offset, size: os.pread(file, size, offset), body, 12, progress)

limit = resource.getrlimit(resource.RLIMIT_FSIZE)
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limit[1]))
cache = IndexCache(folder=Path(sys.argv[2]), least_bytes=1, clock=ManualClock(time.time() + 10))
index = cache.index(file, (body, 12), make, lambda done: say("at", done))
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
print(index.digest, flush=True)
"""
"""Its clock is ten seconds ahead, so that no file has just changed; and stands still, so that nobody's patience ends
while the others of the crowd begin.
"""


class Crowd:
    """Processes that want the index of one file."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.processes, self.go, self.cache = processes, folder / "go", folder / "cache"
        self.path = folder / "export.csv"
        self.path.write_bytes(CONTENT)

    def join(self, most: int = 0) -> Spawned:
        """One more; `most`: the size in bytes that no file of it may surpass."""
        words = [self.path, self.cache, BODY, self.go, most]
        env = {"PYTHONPATH": str(ROOT)}
        return self.processes.spawn([sys.executable, "-c", USER, *map(str, words)], env)

    def maker(self) -> Spawned:
        """One more, that is in the midst of the file."""
        one = self.join()
        one.wait_for_output("making")
        return one

    def use(self, clock: ManualClock, progress: Callable[[int], None]) -> tuple[Index, bool]:
        """The index as this process gets it, and whether it made it."""
        made: list[bool] = []
        with self.path.open("rb") as file:

            def make(told: Callable[[int], None] | None) -> Index:
                made.append(True)
                return build(lambda offset, size: os.pread(file.fileno(), size, offset), BODY, 12, told)

            cache = IndexCache(folder=self.cache, least_bytes=1, clock=clock)
            return cache.index(file.fileno(), (BODY, 12), make, progress), bool(made)

    def right(self) -> str:
        return build(lambda offset, size: CONTENT[offset : offset + size], BODY, 12).digest


@pytest.fixture
def crowd(processes: Processes, tmp_path: Path) -> Crowd:
    return Crowd(processes, tmp_path)


def test_of_those_that_come_at_once_one_makes_it_and_the_others_wait_and_see_how_far_it_is(crowd: Crowd) -> None:
    all_of_them = [crowd.join() for _ in range(4)]
    for one in all_of_them:
        one.wait_for_output("at 12345")
    assert sum("making" in one.stdout for one in all_of_them) == 1
    crowd.go.touch()
    for one in all_of_them:
        assert one.wait() == 0, one.stderr
        assert one.stdout.splitlines()[-1] == crowd.right()
    assert sum("making" in one.stdout for one in all_of_them) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_one_that_makes_it_dies_another_does(crowd: Crowd, number: int) -> None:
    first = crowd.maker()
    others = [crowd.join() for _ in range(2)]
    for one in others:
        one.wait_for_output("at 12345")
    first.signal(number)
    assert first.wait() == -number
    until(lambda: any("making" in one.stdout for one in others), "another that makes the index")
    crowd.go.touch()
    for one in others:
        assert one.wait() == 0, one.stderr
        assert one.stdout.splitlines()[-1] == crowd.right()
    assert sum("making" in one.stdout for one in others) == 1


def test_when_the_one_that_makes_it_is_stopped_the_others_make_it_for_themselves(crowd: Crowd) -> None:
    first = crowd.maker()
    first.signal(signal.SIGSTOP)
    [entry] = crowd.cache.iterdir()
    before = entry.read_bytes()
    clock = ManualClock(time.time() + 10)
    index, made = crowd.use(clock, lambda done: clock.pass_(1))
    assert made
    assert index.digest == crowd.right()
    assert entry.read_bytes() == before  # only who holds the lock writes
    first.signal(signal.SIGCONT)
    crowd.go.touch()
    assert first.wait() == 0, first.stderr
    assert first.stdout.splitlines()[-1] == crowd.right()
    assert not crowd.use(clock, lambda done: None)[1]


def test_while_the_one_that_makes_it_gets_on_the_others_wait(crowd: Crowd) -> None:
    crowd.cache.mkdir(mode=0o700)
    first = crowd.maker()
    [entry] = crowd.cache.iterdir()
    clock, told = ManualClock(time.time() + 10), []

    def progress(done: int) -> None:
        told.append(done)
        clock.pass_(PATIENCE / 2)
        if len(told) < 30:
            entry.write_bytes(b"%020d" % len(told))  # as the other one says
        else:
            crowd.go.touch()
            until(lambda: not first.running, "the end of the other one")

    index, made = crowd.use(clock, progress)
    assert not made
    assert index.digest == crowd.right()
    assert told[1:30] == list(range(1, 30))


def test_who_waits_can_be_stopped_and_is_alive_all_the_while(crowd: Crowd) -> None:
    first = crowd.maker()
    told: list[int] = []

    def progress(done: int) -> None:
        told.append(done)
        if len(told) == 20:
            raise InterruptedError("asked to stop")

    with pytest.raises(InterruptedError):
        crowd.use(ManualClock(time.time() + 10), progress)
    assert told == [12_345] * 20
    crowd.go.touch()
    assert first.wait() == 0, first.stderr


@pytest.mark.parametrize("most", [1, 10, 30, 1_000])
def test_a_disk_that_is_full_keeps_nothing_and_harms_nobody(crowd: Crowd, most: int) -> None:
    crowd.go.touch()
    first = crowd.join(most)
    assert first.wait() == 0, first.stderr
    assert first.stdout.split() == [crowd.right()]
    [entry] = crowd.cache.iterdir()
    assert entry.stat().st_size == 0
    index, made = crowd.use(ManualClock(time.time() + 10), lambda done: None)
    assert made
    assert index.digest == crowd.right()
    assert not crowd.use(ManualClock(time.time() + 10), lambda done: None)[1]


def test_the_lock_is_let_go_with_the_index(crowd: Crowd) -> None:
    crowd.use(ManualClock(time.time() + 10), lambda done: None)
    [entry] = crowd.cache.iterdir()
    with entry.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not crowd.use(ManualClock(time.time() + 10), lambda done: None)[1]
