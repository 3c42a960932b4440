"""What a measurement stands on: servers with production's durability, a fresh database each time, a file to read.

What lives here: making and taking away. What does not: what is measured.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, LiteralString, Self, TypeVar

import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict

from telemetry.embedded import EmbeddedPostgres, EmbeddedRedis
from telemetry.embedded.pginstall import PgInstall
from telemetry.store.schema import check_migrated, migrate
from telemetry.store.session import Session
from telemetry.store.tiers import Tier
from tests.bench.exports import Export, Exports
from tests.fixtures.servers_postgres import PostgresServer, open_folder, pg_bin_dir
from tests.fixtures.store import Database, create_database, drop_database

T = TypeVar("T")


class BenchFailed(Exception):
    """Raised when what ran was wrong, so that its speed says nothing."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a run is set up: rows of the export, rounds of each measurement, processes of the pipeline."""

    rows: int = 1_000_000
    rounds: int = 3
    streamers: int = 2
    collectors: int = 1
    linger: float = 0.2
    seconds: float = 10.0
    """How long each rate of the latency is held."""
    database_url: str | None = None
    """A superuser's, of a server to use instead of an embedded one; databases of our own are made on it."""
    redis_url: str | None = None
    wanted: frozenset[str] = frozenset()
    """Names of all results that this run is to give: what none of them needs is not done."""


class Stage:
    """A `with` starts the servers of one tier and leaves nothing. `tier` None: what the server can give."""

    def __init__(self, terms: Terms, exports: Exports, tier: Tier | None = None) -> None:
        self.terms, self.exports = terms, exports
        self._tier = tier
        self.kept: dict[str, Any] = {}
        self.folder = Path()
        self.redis_url = ""
        self.namespace = ""
        """First part of every key of the queue: another one for each database."""
        self._server: PostgresServer
        self._name: str | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def tier(self) -> Tier:
        """What kind of server it is."""
        assert self._tier is not None
        return self._tier

    @property
    def rows(self) -> int:
        """Rows of the export that measurements are made with."""
        return self.terms.rows

    @property
    def rounds(self) -> int:
        """How often each of them is made."""
        return self.terms.rounds

    @property
    def database(self) -> Database:
        """The present database, seen by each role."""
        if self._name is None:
            raise BenchFailed("no database was made: call fresh() first")
        return Database(self._server, self._name)

    @property
    def owner_url(self) -> str:
        """Who migrates."""
        return self.database.owner

    @property
    def writer_url(self) -> str:
        """Streamers and collectors."""
        return self.database.writer

    @property
    def reader_url(self) -> str:
        """The API."""
        return self.database.reader

    @property
    def admin_url(self) -> str:
        """The superuser."""
        return self.database.admin

    @property
    def psql(self) -> Path:
        """A psql; of the server's installation where it is ours."""
        return PgInstall.find(self._bin_dir).psql

    def csv(self, rows: int) -> Path:
        """A file of so many rows of data, made once."""
        return self.export(rows).path

    def export(self, rows: int) -> Export:
        """The same with what must come out of it."""
        return self.exports.of(rows)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What several measurements share, made by the first of them."""
        if key not in self.kept:
            self.kept[key] = make()
        found: T = self.kept[key]
        return found

    def wants(self, *names: str) -> bool:
        """Whether the run is to give one of these results; nothing said: all."""
        return not self.terms.wanted or not self.terms.wanted.isdisjoint(names)

    def fresh(self) -> None:
        """A new, migrated database instead of the present one, and a queue without a past.

        What was written before is written out first, so that its checkpoint is not paid by what comes.
        """
        self._drop()
        self._name = create_database(self._server)
        self.namespace = f"bench-{uuid.uuid4().hex[:8]}"
        with Session(url=self.owner_url, name="telemetry-migrate@bench") as session:
            migrate(session)
            with session.use() as connection:
                found = check_migrated(connection)
        if self._tier not in (None, found):
            raise BenchFailed(f"the server gives {found.title}, and {self.tier.title} was asked for")
        self._tier = found
        self.ask("CHECKPOINT")

    def ask(self, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """Rows of one statement on the present database, asked by the superuser."""
        return self.database.ask(statement, *values)

    def _start(self) -> None:
        self.folder = open_folder()
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._server = _named(self.terms.database_url) if self.terms.database_url else self._own_postgres()
        self.redis_url = self.terms.redis_url or self._own_redis()
        self._stack.callback(self._drop)
        self.fresh()

    @property
    def _bin_dir(self) -> Path | None:
        """Plain PostgreSQL is the wheel's when the named one has TimescaleDB, which could not be left out."""
        named = pg_bin_dir()
        return None if self._tier is Tier.PLAIN and PgInstall.find(named).has_timescaledb else named

    def _own_postgres(self) -> PostgresServer:
        settings = {"timescaledb.license": "apache"} if self._tier is Tier.APACHE else {}
        server = EmbeddedPostgres(self.folder, bin_dir=self._bin_dir, settings=settings)
        self._stack.callback(server.stop)
        server.start()
        passwords = {role: server.password(role) for role in server.roles}
        admin = f"postgresql://postgres:{server.password('postgres')}@{server.host}:{server.port}/postgres"
        return PostgresServer(admin, passwords, server.has_timescaledb, *server.roles)

    def _own_redis(self) -> str:
        server = EmbeddedRedis(self.folder)
        self._stack.callback(server.stop)
        server.start()
        return server.url(password=True)

    def _drop(self) -> None:
        if self._name is not None:
            drop_database(self._server, self._name)
            self._name = None
        if self.namespace:
            with redis.Redis.from_url(self.redis_url) as client:
                for key in client.scan_iter(f"{self.namespace}:*", count=1_000):
                    client.delete(key)
            self.namespace = ""


def tiers_there_are(terms: Terms) -> list[Tier | None]:
    """What is measured when nothing is said: all that the server can be."""
    if terms.database_url:
        return [None]
    return [Tier.COMMUNITY, Tier.APACHE] if PgInstall.find(pg_bin_dir()).has_timescaledb else [Tier.PLAIN]


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def _named(url: str) -> PostgresServer:
    """Somebody's server: its user plays all roles, so that no password is changed there."""
    words = conninfo_to_dict(url)
    user, password = str(words.get("user") or ""), str(words.get("password") or os.environ.get("PGPASSWORD", ""))
    if not user:
        raise BenchFailed("--database-url names no user: postgresql://user@host:5432/postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone()
    return PostgresServer(url, {user: password}, found is not None, user, user, user)


__all__ = ["BenchFailed", "Stage", "Terms", "say", "tiers_there_are"]
