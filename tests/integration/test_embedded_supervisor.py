"""The supervisor: real child processes that die, ignore signals, end by themselves and are drained."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from telemetry.embedded import ChildGaveUp, ChildSpec, EmbeddedError, EmbeddedRedis, Event, FolderLock, Supervisor
from telemetry.embedded.errors import BinaryMissing, StateLocked
from telemetry.runtime import Backoff, Stop
from tests.fixtures.process import Processes, clean_env, is_gone
from tests.fixtures.servers_postgres import open_folder
from tests.fixtures.wait import until

# says when it is up, and on SIGTERM appends its name to a file
POLITE = """
import signal, sys
name, path = sys.argv[1:3]
def end(*_):
    with open(path, "a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    signal.pause()
"""
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""
# a supervisor of two children, which prints their pids
PARENT = """
import os, sys
from pathlib import Path
from telemetry.embedded import ChildSpec, Supervisor
from telemetry.runtime import Stop, stop_on_signals
folder, code = Path(sys.argv[1]), sys.argv[2]
stop = Stop()
stop_on_signals(stop)
with Supervisor(stop=stop, log_dir=folder / "logs") as supervisor:
    for order, name in enumerate(("streamer", "collector")):
        argv = (sys.executable, "-c", code, name, str(folder / "ends"))
        supervisor.start(ChildSpec(name, argv, dict(os.environ), order=order))
    while len(supervisor.pids()) < 2 or not all(supervisor.output(n) for n in supervisor.pids()):
        stop.wait(0.01)
    print("pids", *supervisor.pids().values(), flush=True)
    supervisor.wait()
    print("draining", flush=True)
print("drained", stop.reason, flush=True)
"""

MakeSpec = Callable[..., ChildSpec]


@pytest.fixture
def stop() -> Stop:
    return Stop()


class Watched(Supervisor):
    """A supervisor whose events are kept."""

    def __init__(self, stop: Stop, log_dir: Path) -> None:
        self.events: list[Event] = []
        super().__init__(
            stop=stop, log_dir=log_dir, on_event=self.events.append, backoff=lambda: Backoff(first=0.01, cap=0.01)
        )


@pytest.fixture
def supervisor(stop: Stop, tmp_path: Path) -> Iterator[Watched]:
    with Watched(stop, tmp_path / "logs") as supervisor:
        yield supervisor


def child(name: str, code: str, *words: str, order: int = 0, grace: float = 30.0, once: bool = False) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", code, *words), clean_env(), order=order, grace=grace, once=once)


def kinds(supervisor: Watched, name: str) -> list[str]:
    return [event.kind for event in supervisor.events if event.name == name]


def is_up(supervisor: Watched, name: str) -> None:
    until(lambda: supervisor.output(name), f"{name} is up")


def test_a_killed_child_is_started_again(supervisor: Watched, tmp_path: Path) -> None:
    supervisor.start(child("collector", POLITE, "collector", str(tmp_path / "ends")))
    first = until(lambda: supervisor.pids().get("collector", 0))
    os.kill(first, signal.SIGKILL)
    until(lambda: kinds(supervisor, "collector").count("started") == 2, "word of the second start")
    assert supervisor.pids()["collector"] != first
    assert kinds(supervisor, "collector") == ["started", "exited", "started"]
    assert "signal SIGKILL" in supervisor.events[1].detail


def test_a_death_is_told_with_the_last_words_and_without_secrets(supervisor: Watched) -> None:
    code = "import sys; sys.exit('cannot reach redis://:hush@host')"
    supervisor.start(child("collector", code))
    until(lambda: "exited" in kinds(supervisor, "collector"))
    told = next(event.detail for event in supervisor.events if event.kind == "exited")
    assert told == "exit code 1: cannot reach redis://:***@host"


def test_a_child_that_was_started_wrongly_ends_everything_with_its_reason(supervisor: Watched, stop: Stop) -> None:
    supervisor.start(child("collector", "import sys; print('no such flag', file=sys.stderr); sys.exit(2)"))
    with pytest.raises(ChildGaveUp, match=r"collector gave up: exit code 2: no such flag; its log is "):
        supervisor.wait()
    assert stop.reason.startswith("collector gave up")
    assert kinds(supervisor, "collector") == ["started", "gave up"]


def test_a_program_that_cannot_be_executed_ends_everything(supervisor: Watched, tmp_path: Path) -> None:
    supervisor.start(ChildSpec("api", (str(tmp_path / "missing"),), clean_env()))
    with pytest.raises(ChildGaveUp, match=r"cannot run .*missing"):
        supervisor.wait()


def test_a_child_that_ends_by_itself_is_waited_for_and_its_output_read(supervisor: Watched) -> None:
    supervisor.start(child("streamer", "print('read 5 rows')", once=True))
    assert supervisor.wait_for("streamer")
    assert supervisor.output("streamer") == "read 5 rows\n"
    assert kinds(supervisor, "streamer") == ["started", "done"]


def test_waiting_for_a_child_ends_with_the_stop(supervisor: Watched, stop: Stop) -> None:
    supervisor.start(child("streamer", DEAF, once=True, grace=0.01))
    is_up(supervisor, "streamer")
    stop.set("enough")
    assert not supervisor.wait_for("streamer")


def test_an_exit_without_a_reason_is_a_death_too(supervisor: Watched) -> None:
    supervisor.start(child("api", "pass"))
    until(lambda: kinds(supervisor, "api").count("started") > 2)


def test_children_are_drained_in_order_and_those_of_one_order_together(supervisor: Watched, tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    for order, name in ((2, "api"), (0, "streamer-1"), (1, "collector"), (0, "streamer-2")):
        supervisor.start(child(name, POLITE, name, str(ends), order=order))
        is_up(supervisor, name)
    supervisor.drain()
    names = ends.read_text().split()
    assert sorted(names[:2]) == ["streamer-1", "streamer-2"]
    assert names[2:] == ["collector", "api"]
    assert supervisor.pids() == {}


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(supervisor: Watched) -> None:
    supervisor.start(child("deaf", DEAF, grace=0.2))
    is_up(supervisor, "deaf")
    supervisor.drain()
    assert kinds(supervisor, "deaf") == ["started", "stopping", "killed", "stopped"]
    assert supervisor.events[-1].detail == "signal SIGKILL"


def test_ctrl_c_reaches_the_supervisor_alone_which_drains(processes: Processes, tmp_path: Path) -> None:
    parent = processes.spawn([sys.executable, "-c", PARENT, str(tmp_path), POLITE])
    parent.wait_for_output("pids ")
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    assert parent.wait() == 0
    assert parent.stdout.endswith("drained received SIGINT\n")
    assert (tmp_path / "ends").read_text().split() == ["streamer", "collector"]


def test_a_second_ctrl_c_leaves_nothing_behind(processes: Processes, tmp_path: Path) -> None:
    parent = processes.spawn([sys.executable, "-c", PARENT, str(tmp_path), DEAF])
    parent.wait_for_output("pids ")
    pids = [int(word) for word in parent.stdout.split()[1:]]
    parent.signal(signal.SIGINT)
    parent.wait_for_output("draining")
    parent.signal(signal.SIGINT)  # once: a third could meet a measurement of coverage that is being saved
    assert parent.wait() == 128 + signal.SIGINT
    until(lambda: all(is_gone(pid) for pid in pids), "the end of all children")


def test_a_killed_supervisor_leaves_no_child_behind(processes: Processes, tmp_path: Path) -> None:
    parent = processes.spawn([sys.executable, "-c", PARENT, str(tmp_path), DEAF])
    parent.wait_for_output("pids ")
    pids = [int(word) for word in parent.stdout.split()[1:]]
    assert len(pids) == 2
    parent.kill()
    until(lambda: all(is_gone(pid) for pid in pids), "the end of all children")


@pytest.fixture
def redis(supervisor: Watched) -> Iterator[EmbeddedRedis]:
    folder = open_folder()
    server = EmbeddedRedis(folder)
    try:
        supervisor.start_server(server)
    except BinaryMissing as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    yield server
    supervisor.drain()
    shutil.rmtree(folder)


def killed(server: EmbeddedRedis) -> int:
    """Kill a server; its pid was."""
    assert server.pid
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_server_that_dies_is_started_again_on_its_port_and_stopped_last(
    supervisor: Watched, redis: EmbeddedRedis, tmp_path: Path
) -> None:
    port, first = redis.port, killed(redis)
    until(lambda: supervisor.pids().get("redis", first) != first, "the second start")
    until(lambda: kinds(supervisor, "redis").count("started") == 2)
    assert supervisor.events[1].detail.startswith("signal SIGKILL: ")
    assert redis.port == port
    supervisor.start(child("api", POLITE, "api", str(tmp_path / "ends")))
    is_up(supervisor, "api")
    supervisor.drain()
    assert [event.name for event in supervisor.events if event.kind == "stopped"] == ["api", "redis"]
    assert not redis.alive


def test_a_server_is_started_again_whatever_made_a_start_fail(supervisor: Watched, redis: EmbeddedRedis) -> None:
    password = redis.password
    redis.password_file.write_bytes(b"\xff")  # no start of ours expects this
    killed(redis)
    until(lambda: any("UnicodeDecodeError" in event.detail for event in supervisor.events), "a start that fails")
    redis.password_file.write_text(password)
    until(lambda: kinds(supervisor, "redis").count("started") == 2, "the second start")
    assert redis.alive


def test_a_display_that_fails_ends_no_child(stop: Stop, tmp_path: Path) -> None:
    told: list[str] = []

    def show(event: Event) -> None:
        told.append(event.kind)
        raise BrokenPipeError("the terminal is closed")

    with Supervisor(stop=stop, log_dir=tmp_path, on_event=show) as supervisor:
        supervisor.start(child("streamer", "print('read 5 rows')", once=True))
        assert supervisor.wait_for("streamer")
    assert told == ["started", "done"]


def test_names_of_children_are_unique(supervisor: Watched) -> None:
    supervisor.start(child("api", DEAF, grace=0.01))
    with pytest.raises(EmbeddedError, match="two children are named api"):
        supervisor.start(child("api", DEAF))


def test_a_state_folder_has_one_holder_at_a_time(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "state"):
        with pytest.raises(StateLocked, match=rf"held by pid {os.getpid()}: .*another folder with --state"):
            FolderLock(tmp_path / "state").open()
    with FolderLock(tmp_path / "state"):
        pass
