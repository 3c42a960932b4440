"""A topic: one bounded queue, and the door to everything that can be done with it.

What lives here: making producers and consumers that agree on names, and looking at the queue without touching it.
"""

import secrets
from collections.abc import Mapping, Sequence

from telemetry.broker.client import Broker
from telemetry.broker.consumer import Consumer
from telemetry.broker.deadletters import DeadLetters, DeadLetterSink
from telemetry.broker.errors import BrokerError, BrokerUnavailable, GroupMissing
from telemetry.broker.keys import DEFAULT_GROUP, Keys
from telemetry.broker.leases import Leases, Terms
from telemetry.broker.message import Message, pairs, read_message, text
from telemetry.broker.producer import Producer
from telemetry.broker.stats import TopicStats, read_stats

MOST_LOOKED_AT = 5_000  # entries that stats look at one by one


class Topic:
    """A queue of at most `capacity` messages of at most `max_bytes` each. Makes no connection by itself.

    Args:
        broker: where it is.
        name: the queue's name; with the broker's namespace it names all keys.
        capacity: messages, waiting and in flight together.
        max_bytes: of one message, its id and headers too; capacity x max_bytes is the memory the server must have.
        lease: seconds a consumer owns a message without a sign of life.
        max_attempts: deliveries after which a message is dead-lettered.
        dead_capacity: letters that the default dead-letter stream takes.
        group: the consumer group.
    """

    def __init__(
        self,
        broker: Broker,
        name: str,
        *,
        capacity: int = 500,
        max_bytes: int = 1 << 20,
        lease: float = 15.0,
        max_attempts: int = 5,
        dead_capacity: int = 1_000,
        group: str = DEFAULT_GROUP,
    ) -> None:
        if capacity < 1 or max_bytes < 1 or lease <= 0 or max_attempts < 1:
            raise BrokerError(
                f"topic {name}: capacity={capacity}, max_bytes={max_bytes}, lease={lease} and "
                f"max_attempts={max_attempts} must be positive"
            )
        for what, text_of in (("topic", name), ("namespace", broker.namespace), ("group", group)):
            if not text_of or set("{}") & set(text_of):
                raise BrokerError(
                    f"{what} {text_of!r}: a name must not be empty, nor have {{ or }}, which mark hash slots"
                )
        self.broker, self.name, self.group = broker, name, group
        self.keys = Keys(broker.namespace, name)
        self.capacity, self.max_bytes = capacity, max_bytes
        self.lease, self.max_attempts = lease, max_attempts
        self.dead_capacity, self._buries = dead_capacity, False
        self.dead_letters = DeadLetters(
            lambda: broker.admin, self.keys, capacity=dead_capacity, publish=self._publish_once
        )

    def producer(self, *, capacity: int | None = None) -> Producer:
        """A producer with a connection of its own; `capacity`: what it names, the topic's by default."""
        named = self.capacity if capacity is None else capacity
        return Producer(self.broker, self.keys, group=self.group, capacity=named, max_bytes=self.max_bytes)

    def agreed_capacity(self) -> int:
        """The capacity that holds: what producers agreed on, or a person set; this topic's own until then.

        For a guest, who publishes now and then and has no say in it: naming another would change it when the queue is
        empty.
        """
        found = self.broker.admin.command("GET", self.keys.capacity) or b""
        return int(found) if found.isdigit() and int(found) > 0 else self.capacity

    def consumer(
        self,
        *,
        name: str = "consumer",
        lease: float | None = None,
        dead_letters: DeadLetterSink | None = None,
        outages: Sequence[type[BaseException]] = (),
        stall_limit: float = 60.0,
    ) -> Consumer:
        """A consumer named `<name>-<random>`, with connections of its own.

        Args:
            name: of the pod or host; the suffix keeps a restarted one from being taken for its predecessor.
            lease: seconds; the topic's by default.
            dead_letters: where to bury; the topic's stream by default.
            outages: exceptions that cost no attempt when they leave a `with batch:` block.
            stall_limit: seconds without a turn of the loop after which leases are no longer renewed.
        """
        self._buries = self._buries or dead_letters is None
        return Consumer(
            self.broker,
            self.keys,
            terms=self._terms(f"{name}-{secrets.token_hex(3)}", lease),
            sink=dead_letters or self.dead_letters,
            outages=tuple(outages),
            stall_limit=stall_limit,
        )

    def leases(self, name: str, *, lease: float | None = None) -> Leases:
        """The bare steps of consumer `name`: join, take, keep, settle, release; for a client without a loop (HTTP)."""
        return Leases(self.broker.admin, self.keys, self._terms(name, lease))

    def stats(self) -> TopicStats:
        """The queue, counted at one moment; see `TopicStats`."""
        keys, admin = self.keys, self.broker.admin
        reply = admin.script(
            "stats",
            [keys.stream, keys.rows, keys.capacity, keys.stats, keys.dead],
            [self.group, MOST_LOOKED_AT],
        )
        return read_stats(reply, capacity=self.capacity, memory_bytes=self._memory())

    def peek(self, count: int = 10, start: str = "-") -> list[Message]:
        """Up to `count` messages, oldest first, from entry `start` on, waiting or in flight; changes nothing.

        `owner`, `idle` and `attempts` tell who has it; `attempts` is 0 while it waits.
        """
        admin, stream = self.broker.admin, self.keys.stream
        entries = admin.command("XRANGE", stream, start, "+", "COUNT", count)
        if not entries:
            return []
        first, last = entries[0][0], entries[-1][0]
        try:
            pending = admin.script("pending", [stream], [self.group, first, last, count])
        except GroupMissing:
            pending = []
        held = {entry: (text(owner), idle, attempts) for entry, owner, idle, attempts in pending}
        messages = []
        for entry, fields in entries:
            owner, idle, attempts = held.get(entry, ("", 0, 0))
            raw = fields if isinstance(fields, dict) else pairs(fields)
            messages.append(read_message(entry, raw, attempts=attempts, owner=owner, idle=idle / 1000))
        return messages

    def set_capacity(self, capacity: int | None) -> None:
        """Change the capacity at once, whatever producers were given; None: producers agree on one anew."""
        if capacity is None:
            self.broker.admin.command("GETDEL", self.keys.capacity)  # DEL is in another class of permissions
            return
        if capacity < 1:
            raise BrokerError(f"topic {self.name}: capacity={capacity} must be positive")
        self.broker.admin.command("HDEL", self.keys.stats, "agreed_capacity")  # no producer's value any more
        self.broker.admin.command("SET", self.keys.capacity, capacity)

    def check_memory(self, *, dead_letters: bool | None = None) -> list[str]:
        """What is wrong with the server's memory settings for this topic; each sentence with its remedy.

        `dead_letters`: whether its own dead letters need room too; None: if a consumer of this object buries there.
        """
        buried = self._buries if dead_letters is None else dead_letters
        return self.broker.memory_budget(
            capacity=self.capacity, max_bytes=self.max_bytes, dead_capacity=self.dead_capacity if buried else 0
        )

    def _terms(self, name: str, lease: float | None) -> Terms:
        return Terms(
            group=self.group,
            name=name,
            lease=self.lease if lease is None else lease,
            max_attempts=self.max_attempts,
        )

    def _memory(self) -> int | None:
        try:
            size = self.broker.admin.command("MEMORY", "USAGE", self.keys.stream)
        except BrokerUnavailable:
            raise
        except BrokerError:
            return None
        return int(size or 0)

    def _publish_once(self, id: str, body: bytes, *, rows: int, headers: Mapping[str, str], timeout: float) -> bool:
        with self.producer() as producer:
            return producer.publish(id, body, rows=rows, headers=headers, timeout=timeout).new
