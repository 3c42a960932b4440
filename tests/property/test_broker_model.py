"""The accounts of a queue, against a model: published = acknowledged + dead + in flight + waiting, whatever the order.

What lives here: every step that a consumer can take at the server, taken in any order by three consumers, with crashes
in between. Time does not pass by itself: a lapse makes an entry's lease old.
"""

from __future__ import annotations

import itertools
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
from tests.fixtures.servers_redis import Server

CAPACITY, MOST, LEASE = 6, 3, 3600.0
NAMES = ("one", "two", "three")
names = st.sampled_from(NAMES)
which = st.integers(0, CAPACITY - 1)


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
        self.waiting: list[str] = []
        self.flight: dict[str, InFlight] = {}
        self.claims: list[tuple[str, Claimed]] = []
        self.published = self.acked = self.dead = 0

    def teardown(self) -> None:
        self.producer.close()
        for key in self.client.scan_iter(f"{self.topic.keys.stream}*"):
            self.client.delete(key)

    def entry(self, nth: int) -> str:
        return sorted(self.flight)[nth % len(self.flight)]

    @rule(n=st.integers(0, 9))
    def publish(self, n: int) -> None:
        id = f"m:{n}"
        queued = [*self.waiting, *(one.message.id for one in self.flight.values())]
        if id in queued:
            assert not self.producer.publish(id, b"x", rows=n, timeout=0).new
        elif len(queued) == CAPACITY:
            with pytest.raises(TopicFull):
                self.producer.publish(id, b"x", rows=n, timeout=0)
        else:
            assert self.producer.publish(id, b"x", rows=n, timeout=0).new
            self.waiting.append(id)
            self.published += 1

    @rule(name=names, count=st.integers(1, 4))
    def deliver(self, name: str, count: int) -> None:
        messages = self.leases[name].take(count)
        assert [message.id for message in messages] == self.waiting[:count]
        del self.waiting[:count]
        for message in messages:
            self.flight[message.entry] = InFlight(message, name, 1)

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
    @rule(nth=which, name=names, dead=st.booleans(), again=st.booleans())
    def settle(self, nth: int, name: str, dead: bool, again: bool) -> None:
        """By anybody: who is late has done the work all the same."""
        one = self.flight.pop(self.entry(nth))
        assert self.leases[name].settle([one.message], dead=dead) == 1
        if again:
            assert self.leases[name].settle([one.message], dead=dead) == 0
        self.acked += not dead
        self.dead += dead

    @rule(name=names)
    def leave(self, name: str) -> None:
        present = {one.name for one in self.topic.stats().consumers}
        owns = any(one.owner == name for one in self.flight.values())
        assert self.leases[name].leave() == (name in present and not owns)

    @invariant()
    def nothing_is_lost_or_twice(self) -> None:
        stats = self.topic.stats()
        assert (stats.waiting, stats.in_flight) == (len(self.waiting), len(self.flight))
        assert (stats.published, stats.acked, stats.dead) == (self.published, self.acked, self.dead)
        assert stats.published == stats.acked + stats.dead + stats.in_flight + stats.waiting
        assert stats.published_rows == stats.acked_rows + stats.dead_rows + (stats.depth_rows or 0)
        assert stats.depth <= CAPACITY

    @invariant()
    def the_server_agrees_with_the_model(self) -> None:
        messages = self.topic.peek(100)
        assert sorted(m.id for m in messages if not m.owner) == sorted(self.waiting)
        held: dict[str, Any] = {m.entry: (m.owner, m.attempts) for m in messages if m.owner}
        assert held == {entry: (one.owner, one.count) for entry, one in self.flight.items()}
        assert self.client.hlen(self.topic.keys.ids) == self.client.hlen(self.topic.keys.rows) == len(messages)

    @invariant()
    def absent_is_what_is_not_queued(self) -> None:
        every = [f"m:{n}" for n in range(10)]
        queued = set(itertools.chain(self.waiting, (one.message.id for one in self.flight.values())))
        assert self.producer.absent(every) == [id for id in every if id not in queued]


def test_a_queue_behaves_as_its_model_whatever_the_order(redis_server: Server) -> None:
    with Broker(redis_server.url, namespace="model") as broker, closing(redis_server.client()) as client:

        class Connected(Queue):
            def __init__(self) -> None:
                super().__init__(broker, client)

        run_state_machine_as_test(
            Connected,
            settings=settings(
                max_examples=200,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
