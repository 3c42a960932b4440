"""What looking at a queue shows: the same as the server's own commands, and looking changes nothing."""

from __future__ import annotations

from contextlib import closing
from threading import Thread

import pytest

from telemetry.broker import Topic
from telemetry.broker.leases import Terms
from tests.fixtures.broker import Loop, MakeTopic
from tests.fixtures.clock import ManualClock
from tests.fixtures.servers_redis import Server
from tests.fixtures.wait import Alarm, until

pytestmark = pytest.mark.usefixtures("real_server")  # what fakeredis can tell, publish and consume show


def publish(topic: Topic, *ids: str) -> None:
    with topic.producer() as producer:
        for id in ids:
            producer.publish(id, b"x" * 10, rows=5, timeout=0)


def test_a_topic_that_does_not_exist_is_empty(topic: Topic) -> None:
    stats = topic.stats()
    assert (stats.capacity, stats.depth, stats.waiting, stats.in_flight, stats.oldest_age) == (20, 0, 0, 0, None)
    assert stats.consumers == ()
    assert topic.peek() == []


def test_stats_are_what_the_server_says(topic: Topic, server: Server) -> None:
    publish(topic, "a", "b", "c", "d", "e")
    with topic.consumer() as consumer, closing(server.client()) as client:
        Loop(consumer, max_messages=2).next()
        stats = topic.stats()
        assert stats.depth == client.xlen(topic.keys.stream) == 5
        assert stats.in_flight == client.xpending(topic.keys.stream, "collectors")["pending"] == 2
        assert stats.waiting == 3
        assert (stats.depth_rows, stats.waiting_rows, stats.in_flight_rows) == (25, 15, 10)
        assert [(one.name, one.pending) for one in stats.consumers] == [(consumer.name, 2)]
        assert stats.oldest_age is not None
        assert stats.oldest_age >= 0
        assert (stats.memory_bytes is None) != server.real
        assert stats.capacity == 20


def test_entries_put_in_by_hand_are_counted_too(topic: Topic, server: Server) -> None:
    publish(topic, "a")
    with closing(server.client()) as client:
        client.xadd(topic.keys.stream, {"rows": "7"})
        client.xadd(topic.keys.stream, {"rows": "seven"})
        assert topic.stats().depth_rows == 12
        leases = topic.leases("someone")
        leases.take(2)
        stats = topic.stats()
        assert (stats.in_flight_rows, stats.waiting_rows) == (12, 0)


def test_a_killed_consumer_that_owns_messages_stays_a_member_and_is_heard_of_no_more(topic: Topic) -> None:
    publish(topic, "a", "b")
    dead = topic.consumer()
    Loop(dead).next()
    dead.abandon()
    until(lambda: topic.stats().heard(within=0.1) == 0, "its silence")
    assert [one.pending for one in topic.stats().consumers] == [2]
    with topic.consumer() as consumer:
        Loop(consumer).next()
        until(lambda: topic.stats().heard(within=0.1) == 1, "a sign of the one that lives")


def test_a_consumer_that_lives_is_heard_of_every_15_seconds_however_long_its_lease(make_topic: MakeTopic) -> None:
    """Before Redis 7.2 reads that find nothing are no sign."""
    clock, stop = ManualClock(), Alarm()
    topic = make_topic(lease=3_600.0, clock=clock)

    with topic.consumer() as consumer:
        turning = Thread(target=lambda: list(consumer.batches(stop=stop)))
        turning.start()
        until(lambda: topic.stats().consumers, "it has come")
        begun = topic.stats().time
        until(lambda: topic.stats().time > begun + 0.5, "a while without a message")
        clock.pass_(15)
        until(lambda: (told := topic.stats()).consumers[0].idle < told.time - begun - 0.3, "a sign since then")
        stop.set()
        turning.join()
    assert Terms(group="g", name="n", lease=3_600.0, max_attempts=1).beat == 15
    assert Terms(group="g", name="n", lease=8.0, max_attempts=1).beat == 2


def test_rates_come_from_two_looks(topic: Topic) -> None:
    before = topic.stats()
    publish(topic, "a", "b")
    with topic.consumer() as consumer:
        Loop(consumer, max_messages=1).ids()
    after = topic.stats()
    rows_in, rows_out = after.rates(before)
    assert rows_in == 2 * rows_out > 0
    assert before.rates(after) == (0.0, 0.0)


def test_peeking_shows_who_has_what_and_changes_nothing(topic: Topic, server: Server) -> None:
    publish(topic, "a", "b", "c")
    with topic.consumer() as consumer, closing(server.client()) as client:
        Loop(consumer, max_messages=1).next()
        before = client.xpending_range(topic.keys.stream, "collectors", "-", "+", 10)
        first, *rest = topic.peek()
        assert (first.id, first.owner, first.attempts, first.rows) == ("a", consumer.name, 1, 5)
        assert [(one.id, one.owner, one.attempts) for one in rest] == [("b", "", 0), ("c", "", 0)]
        assert [one.id for one in topic.peek(count=1, start=f"({first.entry}")] == ["b"]
        after = client.xpending_range(topic.keys.stream, "collectors", "-", "+", 10)
        assert [one["times_delivered"] for one in after] == [one["times_delivered"] for one in before] == [1]
        assert topic.stats().waiting == 2


def test_settings_that_would_lose_the_queue_are_named_with_a_remedy(make_topic: MakeTopic, server: Server) -> None:
    topic = make_topic(capacity=10, max_bytes=1 << 20)
    assert topic.check_memory() == []


def test_memory_that_cannot_hold_a_full_queue_is_named(make_topic: MakeTopic, private_server: object) -> None:
    server = private_server("--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru")  # type: ignore[operator]  # a factory
    topic = make_topic(on=server, capacity=10, max_bytes=1 << 20)
    policy, size = topic.check_memory()
    assert "noeviction" in policy
    assert "lower the capacity to 3" in size


def test_a_guest_learns_the_capacity_that_holds_and_changes_nothing(make_topic: MakeTopic, server: Server) -> None:
    topic, guest = make_topic(capacity=3), make_topic(capacity=500)
    assert guest.agreed_capacity() == 500
    publish(topic, "a")
    with closing(server.client()) as client:
        client.xtrim(topic.keys.stream, maxlen=0, approximate=False)
        assert (guest.agreed_capacity(), guest.stats().depth) == (3, 0)
        with guest.producer(capacity=guest.agreed_capacity()) as producer:
            producer.publish("b", b"x")
        assert guest.stats().capacity == 3
        client.set(topic.keys.capacity, "many")
        assert (guest.agreed_capacity(), guest.stats().capacity) == (500, 500)
