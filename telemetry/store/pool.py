"""Connections for many short questions at once: the API's.

What lives here: how many, for how long, and what to say when none is to be had. Nothing connects before the first
question, so that a process may be forked after it was built and may start while the database is away. What does
not: the questions (`reader`), the one connection of a streamer or collector (`session`).
"""

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, NoReturn

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from telemetry.store.errors import StoreBusy, StoreUnavailable, translate
from telemetry.store.queries import query
from telemetry.store.session import Connection, parameters, with_options_of

GIVE_UP = 5.0
"""Seconds after which the pool stops trying to connect by itself; the next question makes it try again at once.
Left alone it would back off for minutes, and not see for minutes that the database is back."""

STATEMENTS = 3
"""A question that is asked in parts may take as long as so many statements: by default half a minute, which clients and
proxies wait for."""


class _Pooled(psycopg.Connection[tuple[Any, ...]]):
    """A connection of the pool; `used` says when it was given back (monotonic seconds)."""

    used = -inf


class Pool:
    """Up to `size` connections in autocommit, read only; seconds everywhere.

    `wait` is how long a question waits for a connection: a restart of the database shorter than that is not noticed.
    `lock_timeout` ends a question that waits so long for a table; `statement_timeout` any that takes longer,
    `export_timeout` an export: whole ranges are sent while they are read, as fast as the client takes them. `patience`
    is how long a question may take that is asked in parts. A connection that was in use within the last `trust` is
    taken to work unless the server said that it ends; any other is asked first. `lent` is told how many connections are
    in use whenever that changes, `missed` that a question got none in time; both must be quick and not raise.
    """

    def __init__(
        self,
        *,
        url: str,
        name: str = "telemetry-api",
        size: int = 8,
        wait: float = 3.0,
        lock_timeout: float = 2.0,
        statement_timeout: float = 10.0,
        export_timeout: float = 600.0,
        connect_timeout: float = 3.0,
        trust: float = 1.0,
        lent: Callable[[int], object] = lambda _count: None,
        missed: Callable[[], object] = lambda: None,
    ) -> None:
        self._tell_lent, self._tell_missed = lent, missed
        self.url, self.size, self.wait, self.export_timeout = url, size, wait, export_timeout
        self._trust = trust
        self.patience = STATEMENTS * statement_timeout or inf
        self._parameters = parameters(
            name, connect_timeout=connect_timeout, lock_timeout=lock_timeout, statement_timeout=statement_timeout
        )
        self._parameters["options"] += " -c default_transaction_read_only=on"
        self._lock = threading.Lock()
        self._pool: ConnectionPool[_Pooled] | None = None
        self._lent = 0

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """A connection that works. Errors come out as StoreError; StoreBusy: all are in use, or a time-out."""
        full = self._full()
        try:
            with self._open().connection(timeout=self.wait) as connection, self._counted():
                yield connection
                connection.used = time.monotonic()
        except PoolTimeout:
            self._tell_missed()
            self._explain(full or self._full())
        except psycopg.Error as error:
            raise translate(error) from error

    @contextmanager
    def use_for_export(self) -> Iterator[Connection]:
        """Such a connection in a transaction, whose statements may take as long as an export."""
        with self.use() as connection, connection.transaction():
            connection.execute(query("export", file="reader.sql"), {"timeout": f"{self.export_timeout * 1000:.0f}ms"})
            yield connection

    def _open(self) -> ConnectionPool[_Pooled]:
        with self._lock:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self.url,
                    connection_class=_Pooled,
                    # A question's best plan depends on its values: never prepare, never plan in general.
                    kwargs={"autocommit": True, "prepare_threshold": None, **self._settings()},
                    min_size=0,
                    max_size=self.size,
                    reconnect_timeout=GIVE_UP,
                    check=self._check,
                    open=True,
                )
            return self._pool

    def _check(self, connection: _Pooled) -> None:
        """Raise psycopg.Error when it no longer works. To ask the server costs as much as a short question does.

        A server that ends a connection says so, and then there is something to read; that it was lost without a word
        shows only when it is asked.
        """
        if time.monotonic() - connection.used > self._trust or _has_news(connection):
            ConnectionPool.check_connection(connection)

    def _settings(self) -> dict[str, Any]:
        return with_options_of(self.url, self._parameters)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._lent += change
            self._tell_lent(self._lent)

    def _full(self) -> bool:
        with self._lock:
            return self._lent >= self.size

    def _explain(self, full: bool) -> NoReturn:
        """Raise the reason why none was to be had; the pool itself only knows that it waited.

        `full`: whether others had them all when the question came, or when it gave up.
        """
        try:
            psycopg.connect(self.url, **self._settings()).close()
        except psycopg.Error as error:
            raise translate(error) from error
        if full:
            raise StoreBusy(f"all {self.size} connections have been in use for {self.wait:g} s") from None
        raise StoreUnavailable(
            f"no connection could be made within {self.wait:g} s; the database takes connections again now"
        ) from None

    def close(self) -> None:
        """Close the connections; harmless when there are none. The next question opens new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


def _has_news(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server sent what nobody asked for, its last word or the end of the stream."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
