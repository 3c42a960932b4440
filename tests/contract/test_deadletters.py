"""What dead letters guarantee: nothing is lost with them, each is kept once, and a person decides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from telemetry.broker import BrokerError, DeadLetter, Topic, TopicFull
from tests.fixtures.broker import Loop, MakeTopic, drain_all
from tests.fixtures.proxy import Proxy

pytestmark = pytest.mark.usefixtures("real_server")  # what fakeredis can tell, publish and consume show


def publish(topic: Topic, *ids: str) -> None:
    with topic.producer() as producer:
        for id in ids:
            producer.publish(id, f"body of {id}".encode(), rows=3, headers={"format": "block/1"}, timeout=0)


def bury(topic: Topic, *ids: str, reason: str = "poison") -> None:
    publish(topic, *ids)
    with topic.consumer() as consumer:
        loop = Loop(consumer, max_messages=1)
        for _ in ids:
            with loop.next() as batch:
                batch.reject(batch.messages[0], reason)


def test_a_letter_says_everything(topic: Topic) -> None:
    bury(topic, "a", reason="value out of range")
    (letter,) = topic.dead_letters.list()
    assert (letter.id, letter.body, letter.rows) == ("a", b"body of a", 3)
    assert (letter.headers, letter.reason, letter.attempts) == ({"format": "block/1"}, "value out of range", 1)
    assert letter.origin.startswith(f"{topic.keys.stream}@")
    assert letter.time > 1_700_000_000
    assert topic.dead_letters.show(letter.entry) == letter
    stats = topic.stats()
    assert (stats.dead, stats.dead_rows, stats.dead_letters, stats.depth, stats.acked) == (1, 3, 1, 0, 0)


def test_letters_are_listed_in_pages(topic: Topic) -> None:
    bury(topic, "a", "b", "c")
    first = topic.dead_letters.list(count=2)
    rest = topic.dead_letters.list(count=2, start=f"({first[-1].entry}")
    assert [letter.id for letter in (*first, *rest)] == ["a", "b", "c"]


def test_a_replayed_letter_is_a_message_again(topic: Topic) -> None:
    bury(topic, "a")
    (letter,) = topic.dead_letters.list()
    assert topic.dead_letters.replay(letter.entry) == letter
    assert topic.dead_letters.count == 0
    (message,) = drain_all(topic)
    assert (message.id, message.body, message.rows, message.headers) == ("a", b"body of a", 3, {"format": "block/1"})
    assert message.attempts == 1


def test_a_replay_is_subject_to_capacity(make_topic: MakeTopic) -> None:
    topic = make_topic(capacity=1)
    bury(topic, "a")
    publish(topic, "in the way")
    (letter,) = topic.dead_letters.list()
    with pytest.raises(TopicFull):
        topic.dead_letters.replay(letter.entry)
    assert topic.dead_letters.count == 1


def test_a_message_that_dies_again_is_a_letter_again(topic: Topic) -> None:
    bury(topic, "a")
    topic.dead_letters.replay(topic.dead_letters.list()[0].entry)
    assert topic.dead_letters.count == 0
    with topic.consumer() as consumer, Loop(consumer).next() as batch:
        batch.reject(batch.messages[0], "again")
    assert [(letter.id, letter.reason) for letter in topic.dead_letters.list()] == [("a", "again")]


def test_a_letter_stays_while_another_body_is_queued_under_its_id(topic: Topic) -> None:
    bury(topic, "a")
    (letter,) = topic.dead_letters.list()
    with topic.producer() as producer:
        producer.publish("a", b"another body")
    with pytest.raises(BrokerError, match="still queued with another body"):
        topic.dead_letters.replay(letter.entry)
    assert topic.dead_letters.list() == [letter]
    drain_all(topic)
    publish(topic, "a")
    topic.dead_letters.replay(letter.entry)
    assert (topic.dead_letters.count, topic.stats().depth) == (0, 1)


def test_a_dropped_letter_is_gone(topic: Topic) -> None:
    bury(topic, "a")
    (letter,) = topic.dead_letters.list()
    assert topic.dead_letters.drop(letter.entry)
    assert not topic.dead_letters.drop(letter.entry)
    for entry in (letter.entry, "nonsense"):
        with pytest.raises(BrokerError, match="no dead letter"):
            topic.dead_letters.show(entry)


def test_a_burial_that_is_repeated_leaves_one_letter(topic: Topic) -> None:
    publish(topic, "a")
    letter = DeadLetter(id="a", body=b"x", rows=1, headers={}, reason="r", attempts=5, origin="here@1-0", time=1.0)
    topic.dead_letters.bury(letter)
    topic.dead_letters.bury(letter)
    assert topic.dead_letters.count == 1


def test_a_burial_whose_settlement_was_lost_leaves_one_letter(
    proxied: Callable[..., tuple[Topic, Proxy]],
) -> None:
    topic, proxy = proxied()
    publish(topic, "a", "b")
    with topic.consumer() as consumer:
        loop = Loop(consumer, max_messages=1)
        with loop.next() as batch:
            proxy.cut()
            with pytest.raises(BrokerError):
                batch.reject(batch.messages[0], "the sink is away too")
            proxy.heal()
            batch.reject(batch.messages[0], "poison")
        loop.ids()
    assert topic.dead_letters.count == 1
    stats = topic.stats()
    assert (stats.dead, stats.acked) == (1, 1)


def test_the_room_for_letters_is_bounded_and_nothing_is_thrown_away(make_topic: MakeTopic) -> None:
    topic = make_topic(dead_capacity=1)
    bury(topic, "a")
    publish(topic, "b")
    with topic.consumer() as consumer:
        loop = Loop(consumer)
        with pytest.raises(TopicFull, match="replay or drop"), loop.next() as batch:
            batch.reject(batch.messages[0], "no room")
    assert topic.stats().depth == 1
    assert [message.id for message in drain_all(topic)] == ["b"]


def test_a_host_may_bring_its_own_sink(topic: Topic) -> None:
    buried: list[DeadLetter] = []

    class Sink:
        def bury(self, letter: DeadLetter) -> None:
            buried.append(letter)

    publish(topic, "a")
    with topic.consumer(dead_letters=Sink()) as consumer, Loop(consumer).next() as batch:
        batch.reject(batch.messages[0], "poison")
        batch.reject(batch.messages[0], "twice is once")
    assert [letter.id for letter in buried] == ["a"]
    assert topic.dead_letters.count == 0
