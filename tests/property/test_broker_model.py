"""The accounts of a queue, against a model: published = acknowledged + dead + in flight + waiting, whatever the order.

What lives here: every step that a producer and a consumer can take at the server, taken in any order by three
consumers, with crashes in between. Time does not pass by itself: a lapse makes an entry's lease old. What does not:
persons, and a server that forgets (`test_broker_model_losses`).
"""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from telemetry.broker import Broker, Leases, Message, Topic, TopicFull
from telemetry.broker.leases import Claimed
from telemetry.broker.message import fold, text
from tests.fixtures.examples import tried
from tests.fixtures.servers_redis import Server

CAPACITY, MOST, LEASE = 6, 3, 3600.0
NAMES = ("one", "two", "three")
names = st.sampled_from(NAMES)
which = st.integers(0, 20)
every_id = [f"m:{n}" for n in range(10)]


@dataclass
class InFlight:
    """What the model knows of an entry that somebody has."""

    message: Message
    owner: str
    count: int
    lapsed: bool = False


class Queue(RuleBasedStateMachine):
    """One topic and its model."""

    def __init__(self, broker: Broker, client: redis.Redis) -> None:
        super().__init__()
        self.client = client
        self.topic = Topic(broker, uuid.uuid4().hex[:8], capacity=CAPACITY, lease=LEASE, max_attempts=MOST)
        self.producer = self.topic.producer()
        self.leases: dict[str, Leases] = {name: self.topic.leases(name) for name in NAMES}
        for one in self.leases.values():
            one.join()
        self.capacity = CAPACITY
        self.claims: list[tuple[str, Claimed]] = []
        self.ghosts: list[Message] = []
        """Messages of a server that has forgotten them, in the hands of somebody who does not know that."""
        self.unsettled: set[str] = set()
        """What its source would ask for: published, and neither acknowledged nor dead."""
        self.forget()

    def forget(self) -> None:
        """Nothing is there."""
        self.waiting: dict[str, str] = {}  # entry -> id, in order
        self.flight: dict[str, InFlight] = {}
        self.known: dict[str, str] = {}  # id -> entry, as the producers' memory has it
        self.letters: dict[str, str] = {}  # origin -> id
        self.published = self.acked = self.dead = self.by_hand = 0

    def teardown(self) -> None:
        self.producer.close()
        for key in self.client.scan_iter(f"{self.topic.keys.stream}*"):
            self.client.delete(key)

    def entry(self, nth: int) -> str:
        return sorted(self.flight)[nth % len(self.flight)]

    @property
    def depth(self) -> int:
        """What waits and what is in flight."""
        return len(self.waiting) + len(self.flight)

    @rule(n=st.integers(0, 9))
    def publish(self, n: int) -> None:
        self.queue(every_id[n])

    def queue(self, id: str) -> bool:
        """Publish, as the model expects it; whether it is queued now."""
        if id in self.known:
            assert not self.producer.publish(id, b"x", rows=1, timeout=0).new
        elif self.depth >= self.capacity:
            with pytest.raises(TopicFull):
                self.producer.publish(id, b"x", rows=1, timeout=0)
            return False
        else:
            assert self.producer.publish(id, b"x", rows=1, timeout=0).new
            self.queued(id)
        return True

    def queued(self, id: str) -> None:
        """A new message is in."""
        entry = text(self.client.hget(self.topic.keys.ids, id) or b"")
        self.waiting[entry], self.known[id] = id, entry
        self.published += 1
        self.unsettled.add(id)

    @rule()
    def publish_what_is_absent(self) -> None:
        """As a streamer does with what its ledger calls unsettled: afterwards each is queued, if there is room."""
        for id in self.producer.absent(sorted(self.unsettled)):
            assert self.queue(id) or self.depth >= self.capacity

    @rule(name=names, count=st.integers(1, 4))
    def deliver(self, name: str, count: int) -> None:
        messages = self.leases[name].take(count)
        assert [(message.entry, message.id) for message in messages] == list(self.waiting.items())[:count]
        for message in messages:
            del self.waiting[message.entry]
            self.flight[message.entry] = InFlight(message, name, 1)

    @rule(name=names)
    def join(self, name: str) -> None:
        """After an error of its connection a consumer asks what it holds; that counts nothing."""
        held = self.leases[name].join()
        own = {entry: one for entry, one in self.flight.items() if one.owner == name and not one.lapsed}
        assert {one.entry: one.known for one in held} == {entry: one.count - 1 for entry, one in own.items()}
        self.claims += [(name, one) for one in held]

    @precondition(lambda self: self.flight)
    @rule(nth=which)
    def lapse(self, nth: int) -> None:
        """The owner crashed, or was silent for a lease."""
        entry = self.entry(nth)
        one = self.flight[entry]
        stream, group = self.topic.keys.stream, self.topic.group
        self.client.xclaim(stream, group, one.owner, 0, [entry], idle=int(LEASE * 1000) + 5000, justid=True)
        one.lapsed = True

    @rule(name=names)
    def reap(self, name: str) -> None:
        claimed, finished = self.topic.leases(name).reap(100)
        lapsed = sorted(entry for entry, one in self.flight.items() if one.lapsed)
        assert finished
        assert sorted(one.entry for one in claimed) == lapsed
        for one in claimed:
            known = self.flight[one.entry]
            assert one.known == known.count
            known.owner, known.lapsed = name, False
            self.claims.append((name, one))

    @precondition(lambda self: self.claims)
    @rule(nth=st.integers(0, 20), forget=st.booleans())
    def attempt(self, nth: int, forget: bool) -> None:
        """A claim gets its turn, perhaps long after it was lost; `forget` False: its reply was lost, it comes again."""
        at = nth % len(self.claims)
        name, claimed = self.claims[at]
        if forget:
            del self.claims[at]
        message = self.leases[name].attempt(claimed)
        one = self.flight.get(claimed.entry)
        if one is None or one.owner != name:
            assert message is None
            return
        assert message is not None
        one.lapsed = one.lapsed and (one.count == claimed.known + 1 or one.count >= MOST)
        if one.count != claimed.known + 1:
            assert message.exhausted == (one.count >= MOST)
            one.count += not message.exhausted
        assert (message.id, message.attempts) == (one.message.id, one.count)
        one.message = message

    @precondition(lambda self: self.flight)
    @rule(nth=which, name=names, spent=st.booleans())
    def release(self, nth: int, name: str, spent: bool) -> None:
        entry = self.entry(nth)
        one = self.flight[entry]
        freed = self.leases[name].release([one.message], spent=spent)
        assert freed == (one.owner == name)
        if freed:
            one.lapsed = True
            one.count = one.count if spent or one.message.exhausted else one.message.returns_to

    @precondition(lambda self: self.flight)
    @rule(name=names)
    def keep(self, name: str) -> None:
        lost = self.leases[name].keep(sorted(self.flight))
        assert lost == [entry for entry in sorted(self.flight) if self.flight[entry].owner != name]
        for one in self.flight.values():
            if one.owner == name:
                one.lapsed = False

    @precondition(lambda self: self.flight)
    @rule(nth=which, name=names, dead=st.booleans(), again=st.booleans(), copies=st.booleans())
    def settle(self, nth: int, name: str, dead: bool, again: bool, copies: bool) -> None:
        """By anybody: who is late has done the work all the same. `copies`: it was folded with others of its id."""
        message = self.flight[self.entry(nth)].message
        if copies:
            (message,) = fold(one.message for one in self.flight.values() if one.message.id == message.id)
        self.settled(name, message, dead)
        if again:
            assert self.leases[name].settle([message], dead=dead) == 0

    def settled(self, name: str, message: Message, dead: bool) -> None:
        """Settle it, and know of it."""
        assert self.leases[name].settle([message], dead=dead) == len(message.entries)
        for entry in message.entries:
            self.ghosts.append(self.flight.pop(entry).message)
            if self.known.get(message.id) == entry:
                del self.known[message.id]
        self.unsettled.discard(message.id)
        self.acked += (not dead) * len(message.entries)
        self.dead += dead * len(message.entries)

    @rule(name=names)
    def leave(self, name: str) -> None:
        present = {one.name for one in self.topic.stats().consumers}
        owns = any(one.owner == name for one in self.flight.values())
        assert self.leases[name].leave() == (name in present and not owns)

    @rule(name=names, idle=st.sampled_from([0.0, 3600.0]))
    def sweep(self, name: str, idle: float) -> None:
        """Others that own nothing are removed, when they were silent for so long."""
        present = {one.name for one in self.topic.stats().consumers} - {name}
        owners = {one.owner for one in self.flight.values()}
        assert self.leases[name].sweep(idle) == (len(present - owners) if idle == 0 else 0)

    @invariant()
    def nothing_is_lost_or_twice(self) -> None:
        stats = self.topic.stats()
        assert (stats.waiting, stats.in_flight) == (len(self.waiting), len(self.flight))
        assert (stats.published, stats.acked, stats.dead) == (self.published, self.acked, self.dead)
        assert stats.published + self.by_hand == stats.acked + stats.dead + stats.in_flight + stats.waiting
        assert stats.published_rows == stats.acked_rows + stats.dead_rows + (stats.depth_rows or 0)
        assert (stats.dead_letters, stats.capacity) == (len(self.letters), self.capacity)

    @invariant()
    def the_server_agrees_with_the_model(self) -> None:
        messages = self.topic.peek(100)
        assert {m.entry: m.id for m in messages if not m.owner} == self.waiting
        held: dict[str, Any] = {m.entry: (m.owner, m.attempts) for m in messages if m.owner}
        assert held == {entry: (one.owner, one.count) for entry, one in self.flight.items()}
        assert self.client.hlen(self.topic.keys.ids) == self.client.hlen(self.topic.keys.rows) == len(self.known)

    @invariant()
    def absent_is_what_no_producer_has_queued(self) -> None:
        assert self.producer.absent(every_id) == [id for id in every_id if id not in self.known]


def run_model(model: type[Queue], server: Server, examples: int) -> None:
    """Run a machine on a server."""
    with Broker(server.url, namespace="model") as broker, closing(server.client()) as client:
        run_state_machine_as_test(
            lambda: model(broker, client),  # type: ignore[arg-type]  # it asks for a class, and only calls it
            settings=settings(
                max_examples=tried(examples),
                stateful_step_count=40,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )


@pytest.mark.timeout(600)  # a failure is made as short as it can be
def test_a_queue_behaves_as_its_model_whatever_the_order(redis_server: Server) -> None:
    run_model(Queue, redis_server, 10)
