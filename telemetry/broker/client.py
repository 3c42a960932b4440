"""Talking to the server: one `Broker` per process, one `Client` per worker and connection.

What lives here: commands and scripts by name, the driver's errors turned into ours, the age of a connection, and
the pause between tries. What a script means to a queue is the business of the modules above.
"""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from typing import Any, Protocol

import redis
from redis.exceptions import NoScriptError

from telemetry.broker import url as urls
from telemetry.broker.connect import Connector, Link, connect
from telemetry.broker.errors import BrokerClosed, BrokerUnavailable, GroupMissing, OutOfMemory
from telemetry.broker.faults import translated
from telemetry.broker.hooks import Hooks
from telemetry.broker.memory import budget_warnings

Clock = Callable[[], float]
Argument = str | bytes | int | float


class Stop(Protocol):
    """A stop signal; `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether to stop."""

    def wait(self, timeout: float) -> Any:
        """Sleep for so many seconds, or until it is set."""


class Backoff:
    """The pause between tries: grows from `first` to `longest` seconds, with jitter, and ends early on a stop."""

    def __init__(self, *, first: float = 0.05, longest: float = 5.0, growth: float = 2.0) -> None:
        self._first, self._longest, self._growth = first, longest, growth
        self._next = first

    def reset(self) -> None:
        """Start over: the last try went well."""
        self._next = self._first

    def pause(self, stop: Stop | None = None, at_most: float | None = None) -> None:
        """Sleep between half and all of the current pause, then let it grow."""
        seconds = self._next * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
        self._next = min(self._next * self._growth, self._longest)
        if at_most is not None:
            seconds = min(seconds, max(at_most, 0.0))
        if stop is None:
            time.sleep(seconds)
        else:
            stop.wait(seconds)


class Script:
    """One Lua file: its source, and the digest under which servers keep it."""

    def __init__(self, name: str) -> None:
        self.source = resources.files("telemetry.broker").joinpath("lua", f"{name}.lua").read_text("utf-8")
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class Client:
    """Commands and scripts over connections of its own. Thread-safe; a thread that wants its own asks for another."""

    def __init__(self, *, make: Callable[[Callable[[], None]], Any], clock: Clock = time.monotonic) -> None:
        self._make, self._clock = make, clock
        self._lock = threading.Lock()
        self._driver: Any = None
        self._closed = False
        self._scripts: dict[str, Script] = {}
        self._since: float | None = None

    def command(self, *args: Argument) -> Any:
        """One command; its reply as the driver gives it.

        Raises:
            BrokerUnavailable: the server cannot be reached or cannot serve now; nothing was tried a second time.
            BrokerError: the server refused for good.
        """
        with self._watched():
            return self._open().execute_command(*args)

    def script(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run `lua/<name>.lua`; a server that forgot it is sent the source."""
        script = self._scripts.get(name) or self._scripts.setdefault(name, Script(name))
        with self._watched():
            driver = self._open()
            try:
                return driver.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
            except NoScriptError:
                return driver.execute_command("EVAL", script.source, len(keys), *keys, *args)

    def unbroken(self) -> float:
        """Seconds since when this client's connection has been up without a failure; 0 when it is not."""
        since = self._since
        return 0.0 if since is None else self._clock() - since

    def close(self) -> None:
        """Close the connections; later calls raise BrokerClosed."""
        with self._lock:
            self._closed, driver, self._driver = True, self._driver, None
        if driver is not None:
            with suppress(redis.RedisError, OSError):
                driver.close()

    def _open(self) -> Any:
        driver = self._driver
        if driver is None:
            with self._lock:
                if self._closed:
                    raise BrokerClosed("this client is closed")
                if self._driver is None:
                    self._driver = self._make(self._connected)
                driver = self._driver
        return driver

    def _hang_up(self) -> None:
        pool = getattr(self._driver, "connection_pool", None)
        if pool is not None:  # so that the name is resolved anew: after a failover it means another server
            with suppress(redis.RedisError, OSError):
                pool.disconnect(inuse_connections=False)

    def _connected(self) -> None:
        self._since = self._clock()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            with translated():
                yield
        except (GroupMissing, OutOfMemory):
            raise
        except BrokerUnavailable:
            self._since = self._clock()  # a server that answers "not now" breaks the run as a cut connection does
            self._hang_up()
            raise
        if self._since is None:
            self._since = self._clock()


class Broker:
    """Where the queue is. Makes no connection until something is asked of it.

    Args:
        url: see `telemetry.broker.url`.
        namespace: the first part of every key.
        hooks: told what happens; see `Hooks`.
        connect_timeout, reply_timeout: seconds.
        client_name: how connections are named in CLIENT LIST.
        connector: makes the driver's client; for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "gpu",
        hooks: Hooks | None = None,
        connect_timeout: float = 3.0,
        reply_timeout: float = 5.0,
        client_name: str = "telemetry",
        connector: Connector = connect,
        clock: Clock = time.monotonic,
    ) -> None:
        self.address = urls.parse(url)
        self.namespace = namespace
        self.hooks = hooks or Hooks()
        self.clock = clock
        self._timeouts = connect_timeout, reply_timeout
        self._client_name, self._connector = client_name, connector
        self._clients: list[Client] = []
        self._lock = threading.Lock()
        self._admin: Client | None = None

    @property
    def safe_url(self) -> str:
        """The URL without its password."""
        return self.address.safe

    @property
    def admin(self) -> Client:
        """The connection for questions: stats, peek, dead letters."""
        if self._admin is None:
            self._admin = self.client("admin")
        return self._admin

    def client(self, role: str, *, block: float = 0.0) -> Client:
        """A client of its own, named `<client_name>:<role>`; `block`: seconds a reply may be held back on purpose."""
        connect_timeout, reply_timeout = self._timeouts

        def make(connected: Callable[[], None]) -> Any:
            return self._connector(
                Link(
                    address=self.address,
                    client_name=f"{self._client_name}:{role}".replace(" ", "_"),
                    connect_timeout=connect_timeout,
                    reply_timeout=max(reply_timeout, block + 2.5 if block else 0.0),
                    connected=connected,
                )
            )

        client = Client(make=make, clock=self.clock)
        with self._lock:
            self._clients.append(client)
        return client

    def forget(self, client: Client) -> None:
        """Close a client of this broker."""
        client.close()
        with self._lock, suppress(ValueError):
            self._clients.remove(client)

    def ping(self) -> float:
        """Ask the server for a sign of life; returns the seconds it took.

        Raises:
            BrokerUnavailable: it gave none.
        """
        started = time.perf_counter()
        self.admin.command("PING")
        return time.perf_counter() - started

    def memory_budget(self, *, capacity: int, max_bytes: int, dead_capacity: int = 0) -> list[str]:
        """What is wrong with the server's memory settings for a queue of this size; each with its remedy.

        `capacity` in messages, `dead_capacity` in letters, `max_bytes` of each. Empty when all is well or the server
        does not tell.
        """
        return budget_warnings(self.admin.command, capacity=capacity, max_bytes=max_bytes, dead_capacity=dead_capacity)

    def close(self) -> None:
        """Close all connections that were made through this broker."""
        with self._lock:
            clients, self._clients, self._admin = self._clients, [], None
        for client in clients:
            client.close()

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
