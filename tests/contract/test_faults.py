"""What holds when the network fails: nothing twice, nothing lost, no hand needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from telemetry.broker import BrokerUnavailable, Topic
from telemetry.broker.client import Script
from tests.fixtures.broker import LEASE, Loop, Recorder, drain_all, insist, publish
from tests.fixtures.proxy import Proxy
from tests.fixtures.servers_redis import Server
from tests.fixtures.traffic import asked
from tests.fixtures.wait import until

Proxied = Callable[..., tuple[Topic, Proxy]]


def sha(script: str) -> bytes:
    return Script(script).sha.encode()


def test_a_publish_whose_reply_was_lost_does_not_double(proxied: Proxied) -> None:
    topic, proxy = proxied()
    with topic.producer() as producer:
        producer.publish("first", b"x")
        proxy.lose_reply(sha("publish"))
        with pytest.raises(BrokerUnavailable):
            producer.publish("second", b"x")
        again = producer.publish("second", b"x")
    assert (again.new, again.depth, proxy.lost) == (False, 2, 1)
    assert topic.stats().published == 2


def test_an_ack_whose_reply_was_lost_is_counted_once(proxied: Proxied) -> None:
    topic, proxy = proxied()
    publish(topic, "a", "b", "c")
    with topic.consumer() as consumer:
        loop = Loop(consumer, max_messages=1)
        assert loop.ids() == ["a"]
        proxy.lose_reply(sha("settle"))
        assert loop.ids() == ["b"]
        assert loop.ids() == ["c"]
    stats = topic.stats()
    assert (stats.acked, stats.depth, stats.redelivered, proxy.lost) == (3, 0, 0, 1)


def test_what_was_acknowledged_is_not_told_as_a_lost_lease(proxied: Proxied) -> None:
    topic, proxy = proxied(lease=20.0)  # the test beats, no thread does
    publish(topic, "warm")
    with topic.consumer() as consumer:
        loop = Loop(consumer)
        assert loop.ids() == ["warm"]
        publish(topic, "a", "b")
        batch = loop.next()
        acknowledged, taken = batch.messages
        proxy.lose_reply(sha("settle"))
        batch.ack([acknowledged])
        assert proxy.lost == 1
        topic.leases("another").settle([taken])
        assert consumer.heart.beat() == [taken.entry]
        assert batch.lost == [taken]


def test_an_ack_that_could_not_be_sent_is_sent_later(proxied: Proxied, caplog: pytest.LogCaptureFixture) -> None:
    topic, proxy = proxied()
    publish(topic, "a")
    with topic.consumer() as consumer, caplog.at_level(logging.WARNING):
        loop = Loop(consumer)
        batch = loop.next()
        proxy.cut()
        batch.ack()
        assert "a step is owed" in caplog.text
        proxy.heal()
        publish(topic, "b")
        assert loop.ids() == ["b"]
    stats = topic.stats()
    assert (stats.acked, stats.redelivered) == (2, 0)


def test_a_hand_back_whose_reply_was_lost_costs_no_attempt(proxied: Proxied) -> None:
    topic, proxy = proxied()
    publish(topic, "a")
    with topic.consumer() as consumer:
        loop = Loop(consumer)
        loop.next().release()
        batch = loop.next()
        proxy.lose_reply(sha("hand_back"))
        batch.release()
        assert proxy.lost == 1
        assert loop.next().messages[0].attempts == 1


def test_a_delivery_whose_reply_was_lost_comes_again_at_once_and_costs_nothing(proxied: Proxied) -> None:
    topic, proxy = proxied(lease=20.0)
    publish(topic, "warm")
    with topic.consumer() as consumer:
        loop = Loop(consumer, linger=0)
        assert loop.ids() == ["warm"]
        with ThreadPoolExecutor(1) as pool:
            proxy.lose_reply(b"XREADGROUP")
            waiting = pool.submit(loop.next)
            publish(topic, "lost")
            batch = waiting.result()
        assert proxy.lost == 1
        assert [(message.id, message.attempts) for message in batch.messages] == [("lost", 1)]


def test_an_attempt_whose_reply_was_lost_is_counted_once(proxied: Proxied) -> None:
    topic, proxy = proxied()
    publish(topic, "a")
    with topic.consumer() as consumer:
        loop = Loop(consumer)
        loop.next().release()
        loop.next().release()
        proxy.lose_reply(sha("attempt"))
        assert loop.next().messages[0].attempts == 1
        assert proxy.lost == 1


def test_a_consumer_comes_back_after_a_cut(proxied: Proxied) -> None:
    hooks = Recorder()
    topic, proxy = proxied(hooks=hooks)
    publish(topic, "a")
    with topic.consumer() as consumer, ThreadPoolExecutor(1) as pool:
        loop = Loop(consumer)
        assert loop.ids() == ["a"]
        waiting = pool.submit(loop.next)
        proxy.cut()
        until(lambda: not consumer.status.connected, "the cut is noticed")
        proxy.heal()
        with topic.producer() as producer:
            insist(producer, "b")
        assert [message.id for message in waiting.result().messages] == ["b"]
        assert consumer.status.connected
    assert len(hooks.named("on_disconnect")) == len(hooks.named("on_reconnect")) == 1


def test_a_stalled_network_is_an_error_not_a_hang(proxied: Proxied) -> None:
    topic, proxy = proxied(reply_timeout=0.2)
    with topic.producer() as producer:
        insist(producer, "a")
        proxy.stall()
        with pytest.raises(BrokerUnavailable):
            producer.publish("b", b"x")
        proxy.heal()
        insist(producer, "b")
    assert asked(topic.stats).depth == 2


def test_a_slow_network_loses_nothing(proxied: Proxied) -> None:
    topic, proxy = proxied()
    proxy.slow(0.005)
    publish(topic, "a", "b", "c")
    assert [message.id for message in drain_all(topic)] == ["a", "b", "c"]
    assert topic.stats().redelivered == 0


def test_a_consumer_whose_connection_keeps_breaking_takes_over_nothing(proxied: Proxied) -> None:
    topic, proxy = proxied(lease=10.0)
    publish(topic, "a")
    holder = topic.leases("holder")
    holder.release(holder.take(1))  # from now on anybody may have it
    with topic.consumer() as consumer, ThreadPoolExecutor(1) as pool:
        loop = Loop(consumer)
        waiting = pool.submit(loop.next)
        for _ in range(3):
            until(lambda: consumer.status.connected, "connected")
            proxy.cut()
            until(lambda: not consumer.status.connected, "cut")
            proxy.heal()
        assert not waiting.done()
        loop.stop.set()
        with pytest.raises(AssertionError, match="no batch"):
            waiting.result()
    (message,) = topic.peek()
    assert (message.owner, message.attempts) == ("holder", 0)


def test_a_consumer_reaps_only_when_its_own_connection_is_old_enough(topic: Topic, real_server: Server) -> None:
    publish(topic, "a")
    holder = topic.leases("holder")
    holder.take(1)
    until(lambda: topic.peek()[0].idle > LEASE, "the lease lapses")
    with topic.consumer() as consumer:
        (message,) = Loop(consumer).next().messages
        assert message.attempts == 2
        assert consumer._reader.unbroken() >= LEASE
