"""What publishing guarantees, on every server: the bound, once per id, and telling instead of losing."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from telemetry.broker import BrokerClosed, Producer, PublishError, Topic, TopicFull
from tests.fixtures.broker import Loop, MakeTopic, Recorder, drain_all
from tests.fixtures.servers_redis import Server
from tests.fixtures.wait import Alarm, until


def fill(producer: Producer, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        producer.publish(f"m:{n}", b"x", timeout=0)


def test_a_message_arrives_as_it_was_sent(topic: Topic) -> None:
    body = bytes(range(256))
    with topic.producer() as producer:
        outcome = producer.publish("a:0", body, rows=7, headers={"format": "block/1"})
    assert (outcome.new, outcome.depth, outcome.capacity, outcome.pressure) == (True, 1, 20, 0.05)
    with topic.consumer() as consumer, Loop(consumer).next() as batch:
        (message,) = batch.messages
    assert (message.id, message.body, message.rows, message.headers) == ("a:0", body, 7, {"format": "block/1"})
    assert (message.attempts, message.exhausted) == (1, False)


def test_an_entry_reads_well_in_redis_cli(topic: Topic, server: Server) -> None:
    with topic.producer() as producer:
        producer.publish("a:0", b"body", rows=7, headers={"format": "block/1"})
    with closing(server.client()) as client:
        entries: Any = client.xrange(topic.keys.stream)
        ((_, fields),) = entries
    assert list(fields) == [b"id", b"rows", b"format", b"body"]
    assert topic.keys.stream.endswith(":{samples}")


def test_messages_come_in_the_order_in_which_they_were_published(topic: Topic) -> None:
    with topic.producer() as producer:
        fill(producer, 10)
    assert [message.id for message in drain_all(topic)] == [f"m:{n}" for n in range(10)]


def test_a_full_topic_refuses_at_once_when_not_asked_to_wait(topic: Topic) -> None:
    with topic.producer() as producer:
        fill(producer, 20)
        with pytest.raises(TopicFull, match="20 of 20") as refusal:
            producer.publish("one too many", b"", timeout=0)
        assert (refusal.value.depth, refusal.value.capacity) == (20, 20)
        assert producer.pressure() == 1.0
    assert topic.stats().depth == 20


def test_a_full_topic_refuses_after_the_time_given(topic: Topic) -> None:
    with topic.producer() as producer:
        fill(producer, 20)
        with pytest.raises(TopicFull):
            producer.publish("one too many", b"", timeout=0.1)
    assert topic.stats().backpressure_seconds > 0


def test_a_waiting_producer_goes_on_when_there_is_room(topic: Topic) -> None:
    with topic.producer() as producer, ThreadPoolExecutor(1) as pool:
        fill(producer, 20)
        waiting = pool.submit(producer.publish, "late", b"", stop=Alarm())
        with topic.consumer() as consumer:
            loop = Loop(consumer, max_messages=1)
            assert loop.ids() == ["m:0"]
            assert waiting.result().new
            loop.end()
    assert topic.stats().depth == 20


def test_what_is_in_flight_takes_up_room_until_it_is_acknowledged(topic: Topic) -> None:
    with topic.producer() as producer, topic.consumer() as consumer:
        fill(producer, 20)
        batch = (loop := Loop(consumer, max_messages=20)).next()
        assert len(batch) == 20
        with pytest.raises(TopicFull):
            producer.publish("late", b"", timeout=0)
        batch.ack()
        assert producer.publish("late", b"", timeout=0).depth == 1
        loop.end()


def test_a_waiting_producer_obeys_stop(topic: Topic) -> None:
    stop = threading.Event()
    with topic.producer() as producer, ThreadPoolExecutor(1) as pool:
        fill(producer, 20)
        waiting = pool.submit(producer.publish, "late", b"", stop=stop)
        stop.set()
        with pytest.raises(BrokerClosed, match="not queued"):
            waiting.result()
    assert topic.stats().depth == 20


def test_a_waiting_producer_calls_back_while_it_waits(make_topic: MakeTopic, real_server: Server) -> None:
    hooks, calls, stop = Recorder(), [], Alarm()
    topic = make_topic(hooks=hooks, capacity=1)

    def on_wait() -> None:
        calls.append(1)
        stop.set()

    with topic.producer() as producer:
        producer.publish("first", b"")
        with pytest.raises(BrokerClosed):
            producer.publish("late", b"", stop=stop, on_wait=on_wait)
    assert calls == [1]
    assert sum(seconds for (seconds,) in hooks.named("on_wait")) > 0.9
    assert topic.stats().backpressure_seconds > 0.9


def test_an_id_that_is_queued_is_not_queued_again(topic: Topic) -> None:
    with topic.producer() as producer:
        assert producer.publish("a:0", b"x", rows=3).new
        again = producer.publish("a:0", b"x", rows=3)
    assert (again.new, again.depth) == (False, 1)
    assert topic.stats().published == 1


def test_an_id_in_flight_is_not_queued_again(topic: Topic) -> None:
    with topic.producer() as producer, topic.consumer() as consumer:
        producer.publish("a:0", b"x")
        with (loop := Loop(consumer)).next():
            assert not producer.publish("a:0", b"x").new
        assert producer.publish("a:0", b"x").new, "once acknowledged, the id is free"
        loop.end()


def test_a_queued_id_is_known_even_when_the_topic_is_full(topic: Topic) -> None:
    with topic.producer() as producer:
        fill(producer, 20)
        assert not producer.publish("m:3", b"x", timeout=0).new


def test_an_id_whose_entry_was_deleted_by_hand_is_free_again(topic: Topic, server: Server) -> None:
    with topic.producer() as producer, closing(server.client()) as client:
        fill(producer, 3)
        client.xdel(topic.keys.stream, topic.peek()[1].entry)
        client.xadd(topic.keys.stream, {"id": "by hand"})  # as many ids as entries: the numbers tell nothing
        assert producer.absent(["m:0", "m:1", "m:2"]) == ["m:1"]
        assert client.hlen(topic.keys.rows) == 2
        client.xdel(topic.keys.stream, topic.peek()[0].entry)
        assert producer.publish("m:0", b"x").new
        assert client.hlen(topic.keys.rows) == 2


def test_absent_names_what_is_neither_waiting_nor_in_flight(topic: Topic) -> None:
    with topic.producer() as producer, topic.consumer() as consumer:
        fill(producer, 3)
        loop = Loop(consumer, max_messages=1)
        assert loop.ids() == ["m:0"]
        loop.next()
        assert producer.absent([f"m:{n}" for n in range(5)]) == ["m:0", "m:3", "m:4"]
        assert producer.absent([]) == []
        loop.end()


def test_the_bound_is_exact_under_eight_producers(make_topic: MakeTopic, real_server: Server) -> None:
    topic = make_topic(capacity=10)
    admitted: list[str] = []
    highest: list[int] = []
    stop = Alarm()

    def produce(who: int) -> None:
        with topic.producer() as producer:
            for n in range(15):
                outcome = producer.publish(f"p{who}:{n}", b"x" * 100, stop=stop)
                assert outcome.new
                highest.append(outcome.depth)
                admitted.append(f"p{who}:{n}")

    seen: list[str] = []
    with ThreadPoolExecutor(8) as pool, topic.consumer() as consumer:
        work = [pool.submit(produce, who) for who in range(8)]
        until(lambda: topic.stats().depth == 10, "the queue is full")
        loop = Loop(consumer)
        while len(seen) < 120:
            assert topic.stats().depth <= 10
            seen += loop.ids()
        for one in work:
            one.result()
        loop.end()
    assert max(highest) == 10
    assert sorted(seen) == sorted(admitted)
    assert len(set(seen)) == 120


def test_the_first_capacity_holds_until_the_queue_is_empty(
    make_topic: MakeTopic, caplog: pytest.LogCaptureFixture
) -> None:
    small, large = make_topic(capacity=2), make_topic(capacity=5)
    with small.producer() as first, large.producer() as second, caplog.at_level(logging.WARNING):
        fill(first, 2)
        for _ in range(2):
            with pytest.raises(TopicFull) as refusal:
                second.publish("late", b"", timeout=0)
        assert refusal.value.capacity == 2
        assert [record.message for record in caplog.records if "capacity" in record.message] == [
            "another capacity holds than this producer's: what producers agreed on until the queue is empty, "
            "one set by hand until it is deleted topic=samples agreed=2 own=5"
        ]
        drain_all(small)
        assert second.publish("late", b"", timeout=0).capacity == 5


def test_the_capacity_can_be_set_at_once(topic: Topic) -> None:
    with topic.producer() as producer:
        fill(producer, 20)
        topic.set_capacity(21)
        assert producer.publish("late", b"", timeout=0).depth == 21


@pytest.mark.parametrize("by", ["set_capacity", "redis-cli"])
def test_a_capacity_set_by_a_person_holds_until_it_is_taken_back(topic: Topic, server: Server, by: str) -> None:
    with topic.producer() as producer, closing(server.client()) as client:
        producer.publish("m", b"x")
        if by == "set_capacity":
            topic.set_capacity(20)  # the value of the producers, but a person's now
            topic.set_capacity(3)
        else:
            client.set(topic.keys.capacity, 3)
        drain_all(topic)
        assert producer.publish("late", b"", timeout=0).capacity == 3
        topic.set_capacity(None)
        assert producer.publish("later", b"", timeout=0).capacity == 20


def test_a_person_may_insist_on_the_value_that_producers_have(make_topic: MakeTopic) -> None:
    topic, other = make_topic(capacity=2), make_topic(capacity=5)
    with topic.producer() as producer, other.producer() as newcomer:
        producer.publish("m", b"x")
        topic.set_capacity(2)
        drain_all(topic)
        assert newcomer.publish("late", b"", timeout=0).capacity == 2


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        ({"id": "big", "body": b"x" * 1022}, "max_bytes=1024"),
        ({"id": "x" * 1025, "body": b""}, "max_bytes=1024"),
        ({"id": "a", "body": b"", "headers": {"µ" * 300: "µ" * 300}}, "1201 bytes"),
        ({"id": "", "body": b""}, "needs an id"),
        ({"id": "a", "body": b"", "rows": -1}, "must be 0 to"),
        ({"id": "a", "body": b"", "rows": 2**31}, "must be 0 to"),
        ({"id": "a", "body": b"", "headers": {"body": "x"}}, "field of the broker"),
    ],
)
def test_what_can_never_be_published_is_refused_before_it_is_sent(
    make_topic: MakeTopic, terms: dict[str, object], says: str
) -> None:
    topic = make_topic(max_bytes=1024)
    with topic.producer() as producer:
        with pytest.raises(PublishError, match=says) as refusal:
            producer.publish(**terms)  # type: ignore[arg-type]  # parameters of the test
        assert refusal.value.unsent == (terms["id"],)
        assert topic.stats().depth == 0
        assert producer.publish("fits", b"x" * 1020, rows=2**31 - 1).new
    assert topic.stats().published_rows == 2**31 - 1


def test_the_group_is_made_at_the_beginning_of_the_stream(topic: Topic, server: Server) -> None:
    with closing(server.client()) as client, topic.producer() as producer:
        client.xadd(topic.keys.stream, {"id": "by hand"})
        producer.publish("a:0", b"")
        (group,) = client.xinfo_groups(topic.keys.stream)
        assert group["name"] == b"collectors"
    assert [message.id for message in drain_all(topic)] == ["by hand", "a:0"]


def test_a_closed_producer_says_so(topic: Topic) -> None:
    producer = topic.producer()
    producer.close()
    with pytest.raises(BrokerClosed):
        producer.publish("a:0", b"")
