"""One connection to PostgreSQL that opens when it is needed and is thrown away when it breaks.

What lives here: how we connect (time-outs, names, keepalives) and the seam where the driver's errors become
ours. What does not: any question (the other modules), the API's pool (`reader`).
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from telemetry.store.errors import StoreError, translate

Connection = psycopg.Connection[tuple[Any, ...]]


class Connections(Protocol):
    """Where a connection comes from: a session, or the API's pool."""

    def use(self) -> AbstractContextManager[Connection]:
        """A connection that works; its errors come out as StoreError."""


_LOGIN = re.compile(r"(?<=://)([^:@/?#]*):.*@", re.DOTALL)
_SPILLED = re.compile(r"postgres(?:ql)?://[^@/]*[@/][^?]*@", re.DOTALL)
"""libpq ends the password at the first @ or /; a later @ before the options says that it was meant to go on."""
_PASSWORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^&\s]*)", re.IGNORECASE)


def safe_url(url: str) -> str:
    """The URL, or libpq's key=value form, without its passwords, to be shown; even if it can be used for nothing else.

    What stands between the first colon and the last @ is taken for the password, as an unencoded one may hold
    any character.
    """
    return _PASSWORD.sub(r"\1***", _LOGIN.sub(r"\1:***@", url))


def check_url(url: str) -> None:
    """Raise StoreError when `url` is no PostgreSQL URL; the message shows nothing of it.

    Also when its password holds a bare @ or /: libpq would ask the network for a host that is a piece of it.
    """
    if _SPILLED.match(url):
        raise StoreError("has a bare @ or / in its password; write @ as %40, / as %2F and : as %3A there")
    try:
        ports = str(conninfo_to_dict(url).get("port") or "").split(",")
    except psycopg.ProgrammingError:
        ports = ["?"]
    if not all(port.isdigit() for port in ports if port):
        raise StoreError("is no database URL; write postgresql://user@host:5432/database")


def parameters(name: str, *, connect_timeout: float, lock_timeout: float, statement_timeout: float) -> dict[str, Any]:
    """libpq's parameters of every connection we make; seconds, 0 = no limit.

    Dead peers are noticed by keepalives and tcp_user_timeout within half a minute, so that a cut network does
    not hold a batch for the kernel's two hours.
    """
    options = {
        "lock_timeout": f"{int(lock_timeout * 1000)}ms",
        "statement_timeout": f"{int(statement_timeout * 1000)}ms",
        "timezone": "UTC",
        "client_min_messages": "warning",
    }
    return {
        "application_name": name[:63],
        "connect_timeout": max(2, int(connect_timeout)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "options": " ".join(f"-c {key}={value}" for key, value in options.items()),
    }


def with_options_of(url: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a connection to `url`. The options that the URL asks for are kept; ours come last and win."""
    own = conninfo_to_dict(url).get("options")
    return {**parameters, "options": f"{own} {parameters['options']}"} if own else dict(parameters)


LATE = 20.0
"""Seconds without an answer that an owner's silence is explained by: above a wait for a lock, by default, and above
what connecting may take, twice."""

_ANSWERED = (TransactionStatus.IDLE, TransactionStatus.INTRANS, TransactionStatus.INERROR)


class Session:
    """A connection in autocommit that its owner (one thread) uses; `generation` counts how often it was made anew.

    A statement waits for its answer without end: to give it up would give up what is held, and a server that hangs
    does not hear of it. So others must be able to see it: `waiting`, from any thread; `late` is in seconds.
    """

    def __init__(
        self,
        *,
        url: str,
        name: str,
        lock_timeout: float = 15.0,
        statement_timeout: float = 0.0,
        connect_timeout: float = 5.0,
        late: float = LATE,
    ) -> None:
        self.url, self.name, self.late = url, name, late
        self.generation = 0
        self._parameters = parameters(
            name, connect_timeout=connect_timeout, lock_timeout=lock_timeout, statement_timeout=statement_timeout
        )
        self._connection: Connection | None = None
        self._since: float | None = None  # somebody is inside `use`

    @property
    def waiting(self) -> str:
        """That the owner waits for the server, and has for long; "" when not. Its own work inside `use` is no wait."""
        since, connection = self._since, self._connection
        if since is None or (waited := time.monotonic() - since) <= self.late:
            return ""
        if connection is not None and connection.info.transaction_status in _ANSWERED:
            return ""
        return f"the database has not answered for {waited:.0f} s"

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """The open connection. Errors come out as StoreError; a broken connection is replaced at the next use."""
        before, self._since = self._since, time.monotonic()
        try:
            yield self._open()
        except psycopg.Error as error:
            raise translate(error) from error
        finally:
            self._since = before
            if self._connection is not None and self._connection.broken:
                self.close()

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
            self.generation += 1
        return self._connection

    def _connect(self) -> Connection:
        """A connection that is set up entirely, or none."""
        settings = with_options_of(self.url, self._parameters)
        connection: Connection = psycopg.connect(self.url, autocommit=True, **settings)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT FROM pg_settings WHERE name = 'timescaledb.enable_direct_compress_copy'")
                if cursor.rowcount:  # per session, and off by default
                    cursor.execute("SET timescaledb.enable_direct_compress_copy = on")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the connection; harmless when there is none."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
