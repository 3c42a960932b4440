"""The broker library beside the same redis-py calls by hand: publish, consume, acknowledge.

What lives here: both sides, on one server with one append-only file, each message of the same bytes. What does not:
the arithmetic (`measure`), servers and files (`stage`). The bound, the ids, the totals and the leases that the library
keeps beside the calls are what the difference buys.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

import redis

from telemetry.block import FORMAT
from telemetry.broker import Batch, Broker, Topic
from telemetry.streamer.sources.csvfile import CsvSource
from tests.bench.measure import Goal, Result, in_turns, rounded

if TYPE_CHECKING:
    from tests.bench.stage import Stage

LAP = 256
"""Messages that are published, then consumed: what the queue holds at most meanwhile, 16 MiB of them."""
LAPS, SHORT = 4, 1
"""Laps of a round; of a round for the table of rows per message, which has four more payloads to measure."""
BATCH = 8
"""Messages of a batch, as the collector takes them by default. They are published one at a time, as streamers do."""
PAYLOAD = 64 << 10
ROWS_PER_MESSAGE = (1, 100, 2_470, 10_000)


@dataclass(frozen=True, slots=True)
class Payload:
    """What every message carries."""

    rows: int
    body: bytes


class Side(Protocol):
    """One way to move messages."""

    def publish(self, count: int) -> None:
        """Queue so many messages, one call each."""

    def consume(self, count: int) -> None:
        """Take so many in batches, and acknowledge each batch."""

    def close(self) -> None:
        """Leave nothing on the server."""


class Library:
    """Through telemetry.broker, as the streamer and the collector use it."""

    def __init__(self, url: str, payload: Payload) -> None:
        self._payload, self._number = payload, 0
        self._broker = Broker(url, namespace="bench")
        self._topic = Topic(self._broker, secrets.token_hex(4), capacity=LAP, max_bytes=16 << 20)
        self._producer, self._consumer = self._topic.producer(), self._topic.consumer()
        self._batches: Iterator[Batch] = self._consumer.batches(max_messages=BATCH)

    def publish(self, count: int) -> None:
        payload = self._payload
        for _ in range(count):
            self._number += 1
            self._producer.publish(
                f"bench:{self._number}", payload.body, rows=payload.rows, headers={"format": FORMAT}, timeout=0
            )

    def consume(self, count: int) -> None:
        while count:
            batch = next(self._batches)
            with batch:
                count -= len(batch.messages)

    def close(self) -> None:
        self._consumer.close()
        self._producer.close()
        keys = self._topic.keys
        for key in (keys.stream, keys.ids, keys.rows, keys.capacity, keys.stats):
            self._broker.admin.command("DEL", key)
        self._broker.close()


class ByHand:
    """XADD, XREADGROUP, XACK + XDEL in one round trip, by redis-py as it is when nobody sets anything."""

    def __init__(self, url: str, payload: Payload) -> None:
        self._payload, self._number = payload, 0
        self._client: Any = redis.Redis.from_url(url)
        self._stream = f"bench:by-hand:{secrets.token_hex(4)}"
        self._client.xgroup_create(self._stream, "group", "0", mkstream=True)

    def publish(self, count: int) -> None:
        payload = self._payload
        for _ in range(count):
            self._number += 1
            fields = {"id": f"bench:{self._number}", "rows": payload.rows, "format": FORMAT, "body": payload.body}
            self._client.xadd(self._stream, fields)

    def consume(self, count: int) -> None:
        while count:
            reply = self._client.xreadgroup("group", "consumer", {self._stream: ">"}, count=BATCH, block=500)
            entries = [entry for entry, _ in _messages(reply)]
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.xack(self._stream, "group", *entries)
                pipeline.xdel(self._stream, *entries)
                pipeline.execute()
            count -= len(entries)

    def close(self) -> None:
        self._client.delete(self._stream)
        self._client.close()


def _messages(reply: Any) -> list[Any]:
    """The entries of the one stream that was asked for: a list of pairs (RESP2), or a mapping of pages (RESP3)."""
    if isinstance(reply, dict):
        return [message for pages in reply.values() for page in pages for message in page]
    return [message for _, messages in reply for message in messages]


@dataclass
class Pace:
    """Of one side, round by round: messages per second of each half alone; CPU seconds per message, client and server.

    `server` tells the server's CPU seconds until now.
    """

    server: Callable[[], float]
    publish: list[float] = field(default_factory=list)
    consume: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)

    def measure(self, side: Side, laps: int) -> float:
        """So many laps; messages published, consumed and acknowledged per second."""
        publish = consume = 0.0
        client, server = time.process_time(), self.server()
        for _ in range(laps):
            began = time.perf_counter()
            side.publish(LAP)
            between = time.perf_counter()
            side.consume(LAP)
            publish += between - began
            consume += time.perf_counter() - between
        messages = laps * LAP
        self.client_cpu.append((time.process_time() - client) / messages)
        self.server_cpu.append((self.server() - server) / messages)
        self.publish.append(messages / publish)
        self.consume.append(messages / consume)
        return messages / (publish + consume)


@dataclass(frozen=True)
class Compared:
    """Both sides with one payload."""

    payload: Payload
    ours: Sequence[float]
    floor: Sequence[float]
    our_pace: Pace
    floor_pace: Pace

    def halves(self) -> dict[str, Any]:
        """Messages per second of publishing and consuming alone, CPU seconds per message; medians."""
        return {
            "payload_bytes": len(self.payload.body),
            "publish": {"ours": _middle(self.our_pace.publish), "floor": _middle(self.floor_pace.publish)},
            "consume": {"ours": _middle(self.our_pace.consume), "floor": _middle(self.floor_pace.consume)},
            "client_cpu": {"ours": _middle(self.our_pace.client_cpu), "floor": _middle(self.floor_pace.client_cpu)},
            "server_cpu": {"ours": _middle(self.our_pace.server_cpu), "floor": _middle(self.floor_pace.server_cpu)},
        }

    def line(self) -> dict[str, Any]:
        """One line of the table of rows per message; medians, per second."""
        ours, floor, rows = median(self.ours), median(self.floor), self.payload.rows
        return {
            "rows": rows,
            "bytes": len(self.payload.body),
            "ours_messages": rounded(ours),
            "floor_messages": rounded(floor),
            "ours_rows": rounded(ours * rows),
            "floor_rows": rounded(floor * rows),
            "ratio": rounded(ours / floor),
        }


def broker_vs_redis(stage: Stage) -> Sequence[Result]:
    """Messages of 64 KiB per second, published one at a time, consumed and acknowledged by eight."""
    whole = _compare(stage, Payload(1, secrets.token_bytes(PAYLOAD)), LAPS)
    lines = [_compare(stage, payload, SHORT).line() for payload in _blocks(stage)]
    more = {**whole.halves(), "messages_per_round": LAPS * LAP, "rows_per_message": lines}
    return [
        Result("broker_vs_redis", stage.tier.value, "messages/s", Goal(least=0.8), whole.ours, whole.floor, more),
    ]


def _compare(stage: Stage, payload: Payload, laps: int) -> Compared:
    with _sides(stage.redis_url, payload) as (library, by_hand), _cpu_of(stage.redis_url) as server:
        our_pace, floor_pace = Pace(server), Pace(server)
        for side in (library, by_hand):
            Pace(server).measure(side, 1)  # scripts loaded, connections open
        ours, floor = in_turns(
            stage.rounds, lambda: our_pace.measure(library, laps), lambda: floor_pace.measure(by_hand, laps)
        )
    return Compared(payload, ours, floor, our_pace, floor_pace)


@contextmanager
def _sides(url: str, payload: Payload) -> Iterator[tuple[Side, Side]]:
    with ExitStack() as stack:
        sides = Library(url, payload), ByHand(url, payload)
        for side in sides:
            stack.callback(side.close)
        yield sides


@contextmanager
def _cpu_of(url: str) -> Iterator[Callable[[], float]]:
    """Tells the CPU seconds that a server has used, as it says itself."""

    def seconds() -> float:
        told: Any = client.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    with redis.Redis.from_url(url) as client:
        yield seconds


def _blocks(stage: Stage) -> list[Payload]:
    """Bodies as the streamer makes them, of the first rows of an export."""
    source = CsvSource(path=stage.csv(max(ROWS_PER_MESSAGE)), times=True).open()
    try:
        return [Payload(rows, source.block("bench", 0, rows, None).encode()) for rows in ROWS_PER_MESSAGE]
    finally:
        source.close()


def _middle(values: Sequence[float]) -> float:
    return rounded(median(values))
