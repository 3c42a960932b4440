"""What the hooks of a streamer and a collector make of what the broker tells them."""

from __future__ import annotations

import threading

import pytest

from telemetry.cli.wiring import CollectorHooks, StreamerHooks
from telemetry.runtime.metrics import CollectorMetrics, StreamerMetrics
from tests.fixtures.broker import Loop, MakeTopic
from tests.fixtures.proxy import Proxy
from tests.fixtures.servers_redis import Server
from tests.fixtures.wait import until


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One kind of server: what the kinds differ in is the broker's, and tested there."""
    return redis_server


def test_a_message_that_waits_for_room_counts_once_and_its_time_as_it_passes(make_topic: MakeTopic) -> None:
    metrics = StreamerMetrics()
    topic = make_topic(hooks=StreamerHooks(metrics), capacity=1)
    with topic.producer() as producer, topic.consumer() as consumer:
        producer.publish("s:0", b"x")
        waiting = threading.Thread(target=lambda: producer.publish("s:1", b"x", timeout=60))
        waiting.start()
        until(lambda: metrics.snapshot()["backpressure_seconds"] > 1)  # told more than once
        with Loop(consumer).next():
            pass
        waiting.join()
        producer.publish("s:1", b"x", timeout=0)  # is queued already: no wait
    counted = metrics.snapshot()
    assert (counted["backpressure_waits"], counted["publish_seconds_count"]) == (1, 3)


def test_what_is_handed_back_and_taken_over_is_counted(make_topic: MakeTopic) -> None:
    metrics = CollectorMetrics()
    topic = make_topic(hooks=CollectorHooks(metrics))
    with topic.producer() as producer:
        producer.publish("s:0", b"x")
    with topic.consumer() as first:
        batch = Loop(first).next()
        batch.release()
    with topic.consumer() as second, Loop(second).next():
        pass
    counted = metrics.snapshot()
    assert (counted["messages_released"], counted["messages_redelivered"]) == (1, 1)


def test_a_lease_that_lapses_in_hand_is_counted_as_lost(make_topic: MakeTopic) -> None:
    metrics = CollectorMetrics()
    topic = make_topic(hooks=CollectorHooks(metrics))
    with topic.producer() as producer:
        producer.publish("s:0", b"x")
    with topic.consumer(stall_limit=0.05) as stuck, topic.consumer() as rival:
        batch = Loop(stuck).next()
        with Loop(rival).next():
            until(lambda: batch.hold() or metrics.snapshot()["messages_lost"] == 1)  # type: ignore[func-returns-value]
    assert metrics.snapshot()["queue_disconnects"] == 0


def test_a_queue_that_goes_away_counts_once(make_topic: MakeTopic, server: Server, proxies: list[Proxy]) -> None:
    metrics = CollectorMetrics()
    proxies.append(proxy := Proxy(server.port))
    topic = make_topic(url=f"redis://127.0.0.1:{proxy.port}/0", hooks=CollectorHooks(metrics))
    with topic.consumer() as consumer:
        with make_topic().producer() as producer:
            producer.publish("s:0", b"x")
            loop = Loop(consumer)
            assert loop.ids() == ["s:0"]
            taking = threading.Thread(target=loop.ids)
            taking.start()
            proxy.cut()
            until(lambda: metrics.snapshot()["queue_disconnects"] == 1)
            proxy.heal()
            producer.publish("s:1", b"x")
        taking.join()
    assert metrics.snapshot()["queue_disconnects"] == 1
