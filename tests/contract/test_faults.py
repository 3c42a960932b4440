"""What holds when the network, the server or its memory fail: nothing twice, nothing lost, no hand needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from telemetry.broker import BrokerError, BrokerUnavailable, Producer, Topic, TopicFull
from telemetry.broker.client import Script
from tests.fixtures.broker import LEASE, Loop, MakeTopic, Recorder, drain_all
from tests.fixtures.proxy import Proxy
from tests.fixtures.servers_redis import Server
from tests.fixtures.wait import Alarm, until

Proxied = Callable[..., tuple[Topic, Proxy]]


def sha(script: str) -> bytes:
    return Script(script).sha.encode()


def publish(topic: Topic, *ids: str) -> None:
    with topic.producer() as producer:
        for id in ids:
            producer.publish(id, b"x", timeout=0)


def insist(producer: Producer, id: str, body: bytes = b"x") -> bool:
    """Publish as a caller does: again after each error. Whether the last call queued it."""

    def attempt() -> list[bool]:
        try:
            return [producer.publish(id, body, timeout=0).new]
        except BrokerUnavailable:
            return []

    return until(attempt, f"{id} is published")[0]


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
        producer.publish("a", b"x")
        proxy.stall()
        with pytest.raises(BrokerUnavailable):
            producer.publish("b", b"x")
        proxy.heal()
        insist(producer, "b")
    assert topic.stats().depth == 2


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
        for _ in range(6):
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


def test_scripts_that_the_server_forgot_are_sent_again(
    private_server: Callable[..., Server], make_topic: MakeTopic
) -> None:
    server = private_server()
    topic = make_topic(on=server)
    with closing(server.client()) as client, topic.producer() as producer, topic.consumer() as consumer:
        loop = Loop(consumer)
        for n in range(3):
            client.script_flush()
            producer.publish(f"m:{n}", b"x")
            client.script_flush()
            assert loop.ids() == [f"m:{n}"]
    assert topic.stats().acked == 3


def test_flushall_in_mid_way_stops_neither_producer_nor_consumer(
    private_server: Callable[..., Server], make_topic: MakeTopic
) -> None:
    server = private_server()
    topic = make_topic(on=server, capacity=3)
    with closing(server.client()) as client, topic.producer() as producer, topic.consumer() as consumer:
        loop = Loop(consumer, max_messages=2)
        for n in range(3):
            producer.publish(f"m:{n}", b"x")
        batch = loop.next()
        client.flushall()
        until(lambda: len(batch.lost) == 2, "the heartbeat finds out")
        assert producer.absent([f"m:{n}" for n in range(3)]) == ["m:0", "m:1", "m:2"]
        batch.ack()
        assert producer.publish("m:0", b"x", timeout=0).depth == 1
        assert loop.ids() == ["m:0"]
        client.flushall()
        producer.publish("m:1", b"x", timeout=0)
        assert loop.ids() == ["m:1"]
        loop.end()
    assert topic.stats().depth == 0


def test_flushall_wakes_a_producer_that_waits_for_room(
    private_server: Callable[..., Server], make_topic: MakeTopic
) -> None:
    server = private_server()
    topic = make_topic(on=server, capacity=1)
    with closing(server.client()) as client, topic.producer() as producer, ThreadPoolExecutor(1) as pool:
        producer.publish("a", b"x")
        waiting = pool.submit(producer.publish, "b", b"x", stop=Alarm())
        client.flushall()
        assert waiting.result().new
    assert [message.id for message in topic.peek()] == ["b"]


def test_an_idle_consumer_survives_flushall(private_server: Callable[..., Server], make_topic: MakeTopic) -> None:
    server = private_server()
    topic = make_topic(on=server)
    with closing(server.client()) as client, topic.consumer() as consumer, ThreadPoolExecutor(1) as pool:
        loop = Loop(consumer)
        waiting = pool.submit(loop.next)
        until(lambda: consumer.status.connected)
        client.flushall()
        until(lambda: client.exists(topic.keys.stream), "the group is made anew")
        publish(topic, "a")
        assert len(waiting.result()) == 1


def test_a_server_that_dies_and_comes_back_with_its_data_loses_nothing(
    private_server: Callable[..., Server], make_topic: MakeTopic
) -> None:
    server = private_server("--appendonly", "yes", "--appendfsync", "always")
    topic = make_topic(on=server)
    with topic.producer() as producer, topic.consumer() as consumer:
        loop = Loop(consumer, max_messages=1)
        for id in ("a", "b", "c"):
            producer.publish(id, b"x")
        batch = loop.next()
        server.stop()
        with pytest.raises(BrokerUnavailable):
            producer.publish("d", b"x")
        batch.ack()
        server.start()
        insist(producer, "d")
        assert loop.ids() + loop.ids() + loop.ids() == ["b", "c", "d"]
    stats = topic.stats()
    assert (stats.published, stats.acked, stats.redelivered) == (4, 4, 0)


def test_a_server_out_of_memory_is_a_full_topic_and_goes_on_when_there_is_room(
    private_server: Callable[..., Server], make_topic: MakeTopic
) -> None:
    server = private_server("--maxmemory-policy", "noeviction")
    topic = make_topic(on=server, capacity=50, max_bytes=1 << 20)
    with closing(server.client()) as client, topic.producer() as producer, topic.consumer() as consumer:
        for n in range(6):
            producer.publish(f"m:{n}", b"x" * 200_000)
        loop = Loop(consumer, max_messages=1)
        poison = loop.next()
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used - 100_000)
        with pytest.raises(TopicFull, match="maxmemory"):
            producer.publish("late", b"x" * 200_000, timeout=0.05)
        with pytest.raises(TopicFull, match="no more letters"):
            poison.reject(poison.messages[0], "nowhere to bury it")
        poison.release()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(producer.publish, "late", b"x" * 200_000, stop=Alarm())
            seen = [loop.ids()[0] for _ in range(7)]
            assert waiting.result().new
        assert sorted(seen) == sorted(["late", *(f"m:{n}" for n in range(6))])
        loop.end()
    stats = topic.stats()
    assert (stats.depth, stats.published, stats.dead) == (0, 7, 0)


def test_what_the_server_refuses_for_good_is_said_with_a_remedy(topic: Topic, server: Server) -> None:
    with closing(server.client()) as client, topic.producer() as producer:
        client.set(topic.keys.stream, "something else")
        with pytest.raises(BrokerError) as refusal:
            producer.publish("a", b"x")
        assert not isinstance(refusal.value, BrokerUnavailable)
        if server.real:  # the text is the server's
            assert "another namespace" in str(refusal.value)


def test_a_server_that_is_not_there_is_unavailable(make_topic: MakeTopic, real_server: Server) -> None:
    topic = make_topic(url="redis://user:secret@127.0.0.1:1/0")
    with pytest.raises(BrokerUnavailable) as error:
        topic.broker.ping()
    assert "secret" not in str(error.value)
    with topic.consumer() as consumer:
        stop = Alarm()
        with ThreadPoolExecutor(1) as pool:
            loop = pool.submit(lambda: list(consumer.batches(stop=stop)))
            until(lambda: consumer.turned_ago() < 30)
            stop.set()
            assert loop.result() == []
        assert not consumer.status.connected
