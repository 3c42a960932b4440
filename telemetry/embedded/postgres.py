"""PostgreSQL as a child process: one cluster in a state folder, with its roles and passwords.

What does not live here: tables and extensions, and any SQL client but the installation's own psql.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from telemetry.embedded import cluster
from telemetry.embedded.account import Account
from telemetry.embedded.children import Child
from telemetry.embedded.errors import DataUnusable
from telemetry.embedded.logfiles import LogFile
from telemetry.embedded.pginstall import PgInstall
from telemetry.embedded.place import ELSEWHERE, data_folder, runnable
from telemetry.embedded.server import EmbeddedServer
from telemetry.embedded.state import end, make_folder, secret, write_private

__all__ = ["EmbeddedPostgres"]

_READY_SECONDS = 300.0  # crash recovery of 2 GB of WAL may take long on a slow disk


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server of our own under `state`/postgres; data and passwords outlive it.

    `bin_dir` names another installation than the wheel's. Port 0: the last one while it is free.
    `settings` are added to the server's. As root the server runs as the owner of the folder or as
    nobody; what that user cannot reach goes to `elsewhere`.
    """

    name = "postgresql"
    # Fast shutdown (checkpoint, no recovery at the next start), then immediate.
    _ending = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0))
    _left_behind = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 10.0))
    # a port taken since it was chosen; backends of a killed server that are still ending
    _passing = ("could not bind", "pre-existing shared memory block")

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
        super().__init__(state.absolute() / "postgres", port=port, host=host)
        self.owner = owner
        self.writer = f"{owner}_writer"
        self.reader = f"{owner}_reader"
        self.database = database
        self.pgpass = self.folder / "pgpass"
        self._bin_dir = bin_dir
        self._settings = dict(settings or {})
        self._elsewhere = elsewhere
        self._install: PgInstall | None = None

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

    def _serve(self) -> None:
        make_folder(self.folder / "passwords")
        data, account = data_folder(self.folder, self._elsewhere)
        run_dir = runnable(self.install.bin_dir, account, self._elsewhere)
        left = cluster.server_on(data)
        if left:
            end(left, self._left_behind)
        self._check_timescaledb(data)
        sync = self._settings.get("fsync") != "off"
        first = self.password(cluster.SUPERUSER)
        cluster.initialise(self.install, run_dir, data, account, first, sync, LogFile(self.folder / "initdb.log"))
        self._launch(
            lambda: self._process(run_dir, data, account),
            lambda child: cluster.is_ready(data, child.pid),
            _READY_SECONDS,
        )
        self._write_pgpass()
        names = {"owner": self.owner, "writer": self.writer, "reader": self.reader, "database": self.database}
        passwords = {role: self.password(role) for role in self.roles}
        cluster.set_up_roles(self.psql, self.host, self.port, self.pgpass, names, passwords)

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

    def _process(self, run_dir: Path, data: Path, account: Account | None) -> Child:
        words = cluster.arguments(data, self.host, self.port, self.has_timescaledb, self._settings)
        return Child(
            [str(run_dir / "postgres"), *words],
            env=cluster.SERVER_ENV,
            log=self.log,
            cwd=Path("/"),
            account=account,
            death_signal=signal.SIGINT,
        )

    def _write_pgpass(self) -> None:
        who = (*self.roles, cluster.SUPERUSER)
        lines = [f"{self.host}:{self.port}:*:{role}:{self.password(role)}\n" for role in who]
        write_private(self.pgpass, "".join(lines))
