"""Everything of one run: servers, roles, source, and what the faults leave to be remembered.

What does not live here: the faults (`faults_*`), the order of a run (`run`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from telemetry.broker import Broker, Topic
from telemetry.store.schema import check_migrated, migrate
from telemetry.store.session import Session
from telemetry.store.tiers import Tier
from tests.chaos.roles import Role, Roles
from tests.chaos.servers import DatabaseServer, Queue
from tests.chaos.source import Source
from tests.fixtures.proxy import Proxy
from tests.fixtures.servers_redis import free_port
from tests.fixtures.wait import until

LEASE = 2.0
"""Seconds of a collector's lease on its messages."""
STREAMER_LEASE = 3.0
"""Seconds that a streamer has from the reservation to the message."""
ROOMY = 500


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a run is set up."""

    seed: int
    streamers: int = 2
    collectors: int = 2
    rate: int = 2_500
    block_rows: int = 400
    pass_rows: int = 60_000
    capacity: int = 24
    soak: bool = False
    """At full speed, straight to the servers, on the disk that there is."""
    lease: float = LEASE
    bug: str = ""
    binary: Path | None = None


@dataclass
class Remembered:
    """What faults and audits leave behind."""

    poison: dict[str, bytes] = field(default_factory=dict)
    """Body of every message that was made to be dead, by id."""
    violations: list[str] = field(default_factory=list)
    """What must not have been seen."""


class World:
    """A `with` starts servers and roles, and leaves nothing."""

    def __init__(self, terms: Terms) -> None:
        self.terms, self.memory = terms, Remembered()
        self.folder = Path(tempfile.mkdtemp(prefix="telemetry-chaos-"))
        self.folder.chmod(0o711)
        self.source = Source(folder=self.folder, seed=terms.seed, rows=terms.pass_rows)
        self.queue = Queue(self.folder, terms.binary)
        self.database = DatabaseServer(self.folder)
        self.no_disk = ""
        """Why there is no small disk."""
        self.limit = terms.capacity
        """The capacity that holds now."""
        self.api_port = free_port()
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

    def _start(self) -> None:
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._stack.callback(self.database.stop)
        self.database.start()
        self._stack.callback(self.queue.stop)
        self.queue.start()
        if not self.terms.soak:
            self.no_disk = self.database.mount_small_disk(self.folder / "disk")
        self.tier = self.migrate()
        broker = Broker(self.queue.url, namespace="gpu")
        self._stack.callback(broker.close)
        terms = self.terms
        self.topic = Topic(broker, "samples", capacity=terms.capacity, lease=terms.lease)
        self.roles = Roles([*self._streamers(), *self._collectors(), self._api()])
        self._stack.callback(self.roles.close)
        self.roles.start()

    def migrate(self) -> Tier:
        """Apply the schema, as the owner."""
        with Session(url=self.database.url("telemetry"), name="telemetry-migrate@chaos") as session:
            migrate(session)
            with session.use() as connection:
                return check_migrated(connection)

    @contextmanager
    def roomy(self) -> Iterator[None]:
        """Give the queue more room for a while, until what is in it would fit again."""
        self.limit = ROOMY
        self.topic.set_capacity(ROOMY)
        try:
            yield
        finally:
            until(lambda: self.topic.stats().depth < self.terms.capacity // 2, "the queue is shorter again")
            self.topic.set_capacity(self.terms.capacity)
            self.limit = self.terms.capacity

    def heal(self) -> None:
        """Take every fault of the network back."""
        for role in self.roles.all:
            for proxy in role.proxies:
                proxy.heal()

    def _streamers(self) -> list[Role]:
        def words(role: Role) -> Sequence[str]:
            at_once = self.terms.soak or self.roles.last is not None
            pace = ["--rate", "0" if at_once else str(self.terms.rate), "--block-rows", str(self.terms.block_rows)]
            way = ["--loop"] if self.terms.soak else ["--once", "--time", "source", "--log-level", "debug"]
            return [*self._program(), "stream", "--csv", str(self.source.path(role.number)), *way, *pace]

        return [self._role(f"streamer-{n}", words) for n in range(1, self.terms.streamers + 1)]

    def _collectors(self) -> list[Role]:
        def words(_role: Role) -> Sequence[str]:
            return [*self._program(), "collect", "--log-level", "info"]

        return [self._role(f"collector-{n}", words) for n in range(1, self.terms.collectors + 1)]

    def _api(self) -> Role:
        database = self._proxy(self.database.port)
        words = ["-m", "telemetry", "serve", "--api-port", str(self.api_port), "--api-workers", "1"]
        url = self.database.url("telemetry_reader", database.port)
        return Role(
            name="api-1",
            folder=self.folder,
            words=lambda _role: words,
            env=lambda _role: {"TELEMETRY_DATABASE_URL": url},
            queue=None,
            database=database,
        )

    def _role(self, name: str, words: Callable[[Role], Sequence[str]]) -> Role:
        queue, database = self._proxy(self.queue.port), self._proxy(self.database.port)
        terms = self.terms
        to_queue, to_database = (None, None) if terms.soak else (queue.port, database.port)
        env = {
            "TELEMETRY_DATABASE_URL": self.database.url("telemetry_writer", to_database),
            "TELEMETRY_REDIS_URL": self.queue.url.replace(f":{self.queue.port}/", f":{to_queue or self.queue.port}/"),
            "TELEMETRY_QUEUE_CAPACITY": str(terms.capacity),
            "TELEMETRY_QUEUE_LEASE": str(terms.lease),
        }
        return Role(
            name=name,
            folder=self.folder,
            words=words,
            env=lambda _role: env,
            queue=queue,
            database=database,
        )

    def _program(self) -> Sequence[str]:
        return ["-m", "tests.chaos.planted", self.terms.bug] if self.terms.bug else ["-m", "telemetry"]

    def _proxy(self, port: int) -> Proxy:
        proxy = Proxy(port)
        self._stack.callback(proxy.close)
        return proxy
