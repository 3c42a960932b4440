"""Publishing: into the queue while it has room, otherwise waiting.

What lives here: checks before sending, the publish script, the wait. It never retries after an error: an error says
that nobody knows whether the message was queued, and publishing the same id again finds out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger

from telemetry.broker.client import Backoff, Broker, Client, Stop
from telemetry.broker.errors import BrokerClosed, PublishError, TopicFull
from telemetry.broker.keys import OWN_FIELDS, Keys, entry_fields

log = getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT, LONGEST_OOM_WAIT = 0.005, 0.040, 0.25  # seconds between looks for room
TELL_EVERY = 1.0  # seconds between calls of on_wait
MOST_ROWS = 2**31 - 1  # in one message: totals of 64 bits then hold four thousand million of the largest


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a message. `new` is False when its id was still queued from before; in messages."""

    new: bool
    depth: int
    capacity: int

    @property
    def pressure(self) -> float:
        """How full the queue was, 0 to 1. From 0.8 on a producer does well to send less at a time."""
        return self.depth / self.capacity


class Producer:
    """Publishes to one topic. Thread-safe; make it with `Topic.producer`."""

    def __init__(self, broker: Broker, keys: Keys, *, group: str, capacity: int, max_bytes: int) -> None:
        self._broker, self._keys, self._group = broker, keys, group
        self._capacity, self._max_bytes = capacity, max_bytes
        self._client: Client = broker.client(f"producer:{keys.topic}")
        self._hooks, self._clock = broker.hooks, broker.clock
        self._told = False

    def publish(
        self,
        id: str,
        body: bytes,
        *,
        rows: int = 1,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        stop: Stop | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> Published:
        """Queue one message; wait for room for `timeout` seconds (None: without end, 0: not at all).

        While an id is queued, publishing it again changes nothing and answers `new=False`: so after an error,
        publish again. `on_wait` is called about once a second while waiting.

        Raises:
            TopicFull: no room in that time.
            BrokerClosed: `stop` was set while waiting.
            PublishError: too large or malformed; nothing was sent.
            BrokerUnavailable: the server is away; whether the message was queued is unknown.
        """
        fields = self._checked(id, body, rows, headers or {})
        wait = _Wait(started=self._clock(), timeout=timeout)
        while True:
            status, depth, capacity = self._try(id, rows, fields, wait)
            if status >= 0:
                self._hooks.on_publish(rows, self._clock() - wait.started, status == 1)
                return Published(new=status == 1, depth=depth, capacity=capacity)
            self._wait_for_room(wait, depth, capacity, memory=status == -2, stop=stop, on_wait=on_wait)

    def absent(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that are neither waiting nor in flight now."""
        if not ids:
            return []
        gone = self._client.script("absent", [self._keys.stream, self._keys.ids, self._keys.rows], list(ids))
        return [id.decode() for id in gone]

    def pressure(self) -> float:
        """How full the queue is now: depth / capacity."""
        depth, agreed, _ = self._room(0, probe=False)
        return depth / (agreed if agreed > 0 else self._capacity)

    def close(self) -> None:
        """Close the connection; waiting calls fail with BrokerClosed."""
        self._broker.forget(self._client)

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _checked(self, id: str, body: bytes, rows: int, headers: Mapping[str, str]) -> list[str | bytes]:
        if not id:
            raise PublishError("a message needs an id", unsent=[id])
        size = len(id.encode()) + len(body) + sum(len(f"{name}{value}".encode()) for name, value in headers.items())
        if size > self._max_bytes:
            raise PublishError(
                f"message {id[:100]}: {size} bytes of id, headers and body exceed max_bytes={self._max_bytes}; "
                "send fewer rows per message",
                unsent=[id],
            )
        if not 0 <= rows <= MOST_ROWS:
            raise PublishError(f"message {id}: rows is {rows}, it must be 0 to {MOST_ROWS}", unsent=[id])
        clash = OWN_FIELDS.intersection(headers)
        if clash:
            raise PublishError(f"message {id}: header {sorted(clash)[0]!r} is a field of the broker", unsent=[id])
        return entry_fields(id, rows, headers, body)

    def _try(self, id: str, rows: int, fields: list[str | bytes], wait: "_Wait") -> tuple[int, int, int]:
        keys, waited_ms = self._keys, wait.untold_ms(self._clock())
        if waited_ms:
            self._hooks.on_wait(waited_ms / 1000)
        status, depth, capacity = self._client.script(
            "publish",
            [keys.stream, keys.ids, keys.rows, keys.capacity, keys.stats],
            [self._group, self._capacity, waited_ms, id, rows, *fields],
        )
        if capacity != self._capacity and not self._told:
            self._told = True
            log.warning(
                "another capacity holds than this producer's: what producers agreed on until the queue is empty, "
                "one set by hand until it is deleted topic=%s agreed=%d own=%d",
                keys.topic,
                capacity,
                self._capacity,
            )
        return status, depth, capacity

    def _room(self, waited_ms: int, *, probe: bool) -> tuple[int, int, bool]:
        keys = self._keys
        depth, agreed, full = self._client.script(
            "room", [keys.stream, keys.capacity, keys.stats], [waited_ms, int(probe)]
        )
        return depth, agreed, bool(full)

    def _wait_for_room(
        self,
        wait: "_Wait",
        depth: int,
        capacity: int,
        *,
        memory: bool,
        stop: Stop | None,
        on_wait: Callable[[], None] | None,
    ) -> None:
        backoff = Backoff(first=FIRST_WAIT, longest=LONGEST_OOM_WAIT if memory else LONGEST_WAIT, growth=1.5)
        full = True
        while full:
            self._give_up_if_due(wait, depth, capacity, memory, stop)
            backoff.pause(stop, at_most=wait.left(self._clock()))
            tell = wait.due(self._clock())
            waited_ms = wait.untold_ms(self._clock()) if tell else 0
            if tell:
                self._hooks.on_wait(waited_ms / 1000)
                if on_wait is not None:
                    on_wait()
            depth, agreed, oom = self._room(waited_ms, probe=memory)
            full = oom or depth >= (agreed if agreed > 0 else capacity)

    def _give_up_if_due(self, wait: "_Wait", depth: int, capacity: int, memory: bool, stop: Stop | None) -> None:
        stopped = stop is not None and stop.is_set()
        if not stopped and wait.left(self._clock()) > 0:
            return
        waited_ms = wait.untold_ms(self._clock())
        if waited_ms:
            self._hooks.on_wait(waited_ms / 1000)
            self._room(waited_ms, probe=False)
        if stopped:
            raise BrokerClosed(f"stopped while waiting for room in {self._keys.stream}; the message is not queued")
        self._hooks.on_full(depth, capacity)
        why = "the server is at maxmemory" if memory else f"{depth} of {capacity} messages"
        raise TopicFull(
            f"{self._keys.stream} is full ({why}); add consumers, or wait longer",
            depth=depth,
            capacity=capacity,
        )


class _Wait:
    """How long one publish has waited, and how much of that has been told."""

    def __init__(self, *, started: float, timeout: float | None) -> None:
        self.started = started
        self._deadline = float("inf") if timeout is None else started + timeout
        self._told: float | None = None

    def left(self, now: float) -> float:
        return self._deadline - now

    def due(self, now: float) -> bool:
        return now - (self.started if self._told is None else self._told) >= TELL_EVERY

    def untold_ms(self, now: float) -> int:
        """Milliseconds of waiting since last asked; the first call starts the count."""
        since, self._told = self._told, now
        return 0 if since is None else round((now - since) * 1000)
