"""The queue's server and the database of a run, and what can be done to them from outside.

What does not live here: when it is done (`faults_*`), and the processes of the pipeline (`roles`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg
import redis

from telemetry.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.fixtures.servers_postgres import pg_bin_dir
from tests.fixtures.servers_redis import free_port
from tests.fixtures.wait import until

SMALL_DISK = 400 << 20
"""Bytes of the file system that holds the tables; the write-ahead log lies elsewhere, so that it alone is full."""


class Queue:
    """Redis or Valkey with an append-only file. `lock` is held while it is stopped, so that faults take turns."""

    def __init__(self, folder: Path, binary: Path | None) -> None:
        self.server = EmbeddedRedis(folder, binary=binary, maxmemory="256mb", port=free_port())
        self.lock = threading.RLock()

    def start(self) -> None:
        """Start; on the same port as before."""
        self.server.start()

    @property
    def port(self) -> int:
        """Where it listens, without a proxy between."""
        return self.server.port

    @property
    def url(self) -> str:
        """Its URL, password included."""
        return self.server.url(password=True)

    def client(self) -> redis.Redis:
        """A client of one's own, without a proxy between."""
        return redis.Redis.from_url(self.url, socket_connect_timeout=2, socket_timeout=5)

    def kill(self) -> int:
        """SIGKILL; the process id that is no more."""
        pid = self.server.pid or 0
        os.kill(pid, signal.SIGKILL)
        self.server.stop()
        return pid

    @property
    def saved(self) -> Path:
        """The folder of the append-only file."""
        return next(self.server.folder.rglob("appendonlydir"))

    def replace_saved(self, by: Path | None) -> None:
        """While it is stopped: put another append-only file in place, or none."""
        saved = self.saved
        shutil.rmtree(saved)
        if by is not None:
            subprocess.run(["cp", "-a", str(by), str(saved)], check=True)

    def copy_saved(self, to: Path) -> int:
        """Copy the append-only file of this moment; its bytes."""
        subprocess.run(["cp", "-a", str(self.saved), str(to)], check=True)
        return sum(file.stat().st_size for file in to.iterdir())

    def stop(self) -> None:
        """Stop for good."""
        self.server.stop()


class DatabaseServer:
    """PostgreSQL with the pipeline's database, its tables on a small disk of their own where that can be mounted."""

    def __init__(self, folder: Path) -> None:
        settings = {"max_connections": "50"}
        self.server = EmbeddedPostgres(folder, bin_dir=pg_bin_dir(), settings=settings, port=free_port())
        self.lock = threading.RLock()
        self.disk: Path | None = None

    @property
    def port(self) -> int:
        """Where it listens, without a proxy between."""
        return self.server.port

    def start(self) -> None:
        """Start; on the same port as before."""
        self.server.start()

    def url(self, role: str, port: int | None = None) -> str:
        """The URL of a role, password included, through a proxy when its port is given."""
        password = quote(self.server.password(role), safe="")
        place = f"127.0.0.1:{port or self.port}/{self.server.database}"
        return f"postgresql://{quote(role)}:{password}@{place}"

    @property
    def admin(self) -> str:
        """The superuser's URL."""
        return self.url("postgres")

    def ask(self, statement: LiteralString, *values: object, role: str = "postgres") -> list[tuple[Any, ...]]:
        """Rows of one statement, without a proxy between."""
        with psycopg.connect(self.url(role), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> int:
        """SIGQUIT, the immediate shutdown: nothing is written out; the process id that is no more."""
        pid = self.server.pid or 0
        os.kill(pid, signal.SIGQUIT)
        self.server.stop()
        return pid

    def mount_small_disk(self, folder: Path) -> str:
        """Put the database on a small disk; why not, when that is not possible here. Before anybody connects."""
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "telemetry-chaos", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"no small disk can be mounted: {error}"
        self.disk = folder
        owner = Path(f"/proc/{self.server.pid}").stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        folder.chmod(0o700)
        self._execute_at_home(f"CREATE TABLESPACE small LOCATION '{folder}'")
        until(self._is_moved, "nobody else is connected, TimescaleDB's workers neither")
        return ""

    def _is_moved(self) -> bool:
        try:
            self._execute_at_home(f'ALTER DATABASE "{self.server.database}" SET TABLESPACE small')
        except psycopg.errors.ObjectInUse:
            return False
        return True

    def _execute_at_home(self, statement: str) -> None:
        home = self.admin.rpartition("/")[0] + "/postgres"
        with psycopg.connect(home, autocommit=True) as connection:
            connection.execute(statement.encode())

    def fill_disk(self) -> int:
        """Leave not a byte on the small disk; the bytes that it took."""
        assert self.disk is not None
        room = os.statvfs(self.disk)
        size = room.f_bavail * room.f_frsize
        with (self.disk / "ballast").open("wb", buffering=0) as ballast:
            with contextlib.suppress(OSError):
                os.posix_fallocate(ballast.fileno(), 0, size)
            ballast.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while ballast.write(b"\0" * 4096) > 0:
                    pass
        return size

    def empty_disk(self) -> None:
        """Give the room back."""
        assert self.disk is not None
        (self.disk / "ballast").unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop for good, and take the small disk away."""
        self.server.stop()
        if self.disk is not None:
            subprocess.run(["umount", "-l", str(self.disk)], check=False, capture_output=True)
            self.disk = None
