"""What holds when the server forgets, dies or runs full: nothing twice, nothing lost, no hand needed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from telemetry.broker import BrokerError, BrokerUnavailable, Topic, TopicFull
from tests.fixtures.broker import Loop, MakeTopic, Recorder, insist, publish
from tests.fixtures.servers_redis import Server
from tests.fixtures.wait import Alarm, until


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
    hooks = Recorder()
    topic = make_topic(url="redis://user:secret@127.0.0.1:1/0", hooks=hooks)
    with pytest.raises(BrokerUnavailable) as error:
        topic.broker.ping()
    assert "secret" not in str(error.value)
    with topic.consumer() as consumer:
        stop = Alarm()
        with ThreadPoolExecutor(1) as pool:
            loop = pool.submit(lambda: list(consumer.batches(stop=stop)))
            until(lambda: hooks.named("on_disconnect"), "the loop tried")
            stop.set()
            assert loop.result() == []
        assert not consumer.status.connected
