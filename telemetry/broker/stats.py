"""What a topic holds and has done, as one record.

What lives here: the record, and reading it from the reply of `lua/stats.lua`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from telemetry.broker.message import text


@dataclass(frozen=True, slots=True)
class ConsumerStats:
    """One member of the group; `idle` seconds since it last asked for something."""

    name: str
    pending: int
    idle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicStats:
    """A topic at one moment; `time` is the server's, Unix seconds. None is what the server could not tell.

    In messages: capacity, depth = waiting + in_flight, dead_letters. In rows: the same with `_rows`. Since the topic
    was made: published, acked, dead (and their rows), redelivered, backpressure_seconds (of all producers together).
    """

    time: float
    capacity: int
    depth: int
    waiting: int
    in_flight: int
    depth_rows: int | None
    waiting_rows: int | None
    in_flight_rows: int | None
    oldest_age: float | None
    published: int
    published_rows: int
    acked: int
    acked_rows: int
    dead: int
    dead_rows: int
    redelivered: int
    backpressure_seconds: float
    dead_letters: int
    memory_bytes: int | None
    consumers: tuple[ConsumerStats, ...]

    def heard(self, within: float) -> int:
        """Consumers that gave a sign of life within so many seconds.

        One that was killed stays a member for as long as it owns messages: until somebody takes them over.
        """
        return sum(one.idle <= within for one in self.consumers)

    def rates(self, earlier: "TopicStats") -> tuple[float, float]:
        """(in, out) in rows per second since an earlier record; 0 when the totals began anew meanwhile."""
        seconds = self.time - earlier.time
        if seconds <= 0:
            return 0.0, 0.0
        gone, went = self.acked_rows + self.dead_rows, earlier.acked_rows + earlier.dead_rows
        return (
            max(0, self.published_rows - earlier.published_rows) / seconds,
            max(0, gone - went) / seconds,
        )


def read_stats(reply: Sequence[Any], *, capacity: int, memory_bytes: int | None) -> TopicStats:
    """The record in the script's reply; `capacity` when producers have not agreed on one yet."""
    now, depth, in_flight, oldest, depth_rows, in_flight_rows, agreed, letters, flat, consumers = reply
    totals = {text(name): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
    in_flight = min(in_flight, depth)  # entries deleted by hand stay pending until somebody asks for them
    known = depth_rows >= 0 and in_flight_rows >= 0
    return TopicStats(
        time=now / 1000,
        capacity=agreed if agreed > 0 else capacity,
        depth=depth,
        waiting=depth - in_flight,
        in_flight=in_flight,
        depth_rows=depth_rows if depth_rows >= 0 else None,
        waiting_rows=depth_rows - in_flight_rows if known else None,
        in_flight_rows=in_flight_rows if in_flight_rows >= 0 else None,
        oldest_age=max(0.0, (now - int(oldest.split(b"-")[0])) / 1000) if oldest else None,
        published=totals.get("published", 0),
        published_rows=totals.get("published_rows", 0),
        acked=totals.get("acked", 0),
        acked_rows=totals.get("acked_rows", 0),
        dead=totals.get("dead", 0),
        dead_rows=totals.get("dead_rows", 0),
        redelivered=totals.get("redelivered", 0),
        backpressure_seconds=totals.get("backpressure_ms", 0) / 1000,
        dead_letters=letters,
        memory_bytes=memory_bytes,
        consumers=tuple(ConsumerStats(text(name), pending, idle / 1000) for name, pending, idle in consumers),
    )
