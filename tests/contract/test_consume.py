"""What consuming guarantees, on every server: batches, settling, folding, draining."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from telemetry.broker import Batch, BrokerClosed, Hooks, Topic
from tests.fixtures.broker import Loop, MakeTopic, Outage, Recorder, drain_all
from tests.fixtures.servers_redis import Server
from tests.fixtures.wait import Alarm, until


def publish(topic: Topic, *ids: str) -> None:
    with topic.producer() as producer:
        for id in ids:
            producer.publish(id, f"body of {id}".encode(), rows=2, timeout=0)


def give_up_after_rejecting(batch: Batch) -> None:
    batch.reject(batch.messages[0], "poison")
    raise Outage


def test_a_clean_exit_acknowledges_deletes_and_forgets(topic: Topic, server: Server) -> None:
    publish(topic, "a", "b")
    with topic.consumer() as consumer:
        assert Loop(consumer).ids() == ["a", "b"]
    with closing(server.client()) as client:
        assert client.xlen(topic.keys.stream) == 0
        assert client.xpending(topic.keys.stream, "collectors")["pending"] == 0
        assert client.hgetall(topic.keys.ids) == {}
        assert client.hgetall(topic.keys.rows) == {}
    stats = topic.stats()
    assert (stats.published, stats.acked, stats.acked_rows, stats.dead) == (2, 2, 4, 0)


def test_a_batch_is_handed_out_as_soon_as_it_is_full(topic: Topic) -> None:
    publish(topic, "a", "b", "c", "d", "e")
    with topic.consumer() as consumer:
        loop = Loop(consumer, max_messages=2, linger=3600)
        assert loop.ids() == ["a", "b"]
        assert loop.ids() == ["c", "d"]


def test_a_batch_is_handed_out_when_it_has_lingered(topic: Topic) -> None:
    publish(topic, "a")
    with topic.consumer() as consumer:
        assert Loop(consumer, max_messages=100, linger=0.05).ids() == ["a"]


def test_two_consumers_share_the_work(topic: Topic) -> None:
    publish(topic, "a", "b", "c", "d")
    with topic.consumer() as one, topic.consumer() as other:
        first, second = Loop(one, max_messages=2), Loop(other, max_messages=2)
        batches = first.next(), second.next()
        assert [message.id for batch in batches for message in batch.messages] == ["a", "b", "c", "d"]
        assert batches[0].lost == batches[1].lost == []


def test_part_of_a_batch_can_be_acknowledged(topic: Topic) -> None:
    publish(topic, "a", "b", "c")
    with topic.consumer() as consumer:
        batch = (loop := Loop(consumer)).next()
        batch.ack(batch.messages[:1])
        assert [message.id for message in batch.open] == ["b", "c"]
        batch.ack(batch.messages[:1])
        assert topic.stats().acked == 1
        batch.release()
        assert batch.open == []
        assert sorted(loop.ids() + loop.ids()) == ["b", "c"]


def test_copies_of_one_id_are_folded_and_all_acknowledged(topic: Topic, server: Server) -> None:
    with closing(server.client()) as client:
        publish(topic, "a")
        for _ in range(2):
            client.xadd(topic.keys.stream, {"id": "a", "rows": "2", "body": "body of a"})
        publish(topic, "b")
        with topic.consumer() as consumer, Loop(consumer).next() as batch:
            assert [message.id for message in batch.messages] == ["a", "b"]
            assert len(batch.messages[0].copies) == 2
            assert batch.rows == 4
    assert topic.stats().depth == 0


def test_whatever_somebody_put_into_the_stream_comes_out(topic: Topic, server: Server) -> None:
    publish(topic, "good")
    odd = [{"x": "y"}, {"id": "no rows"}, {"rows": "-3"}, {"rows": "many", "body": b"\xff"}, {b"\xfe": b"\xff\x00"}]
    with closing(server.client()) as client:
        for fields in odd:
            client.xadd(topic.keys.stream, fields)  # type: ignore[arg-type]  # odd on purpose
    with topic.consumer() as consumer, Loop(consumer).next() as batch:
        assert [(message.id, message.rows) for message in batch.messages] == [
            ("good", 2), ("", 0), ("no rows", 0), ("", 0), ("", 0), ("", 0)
        ]  # fmt: skip
        assert batch.messages[1].headers == {"x": "y"}
        assert batch.messages[4].body == b"\xff"
        assert batch.messages[5].fields == {b"\xfe": b"\xff\x00"}
        for message in batch.messages[1:]:
            batch.reject(message, "what is this?")
    assert topic.stats().depth == 0
    assert topic.dead_letters.count == 5


def test_an_exception_goes_on_and_hands_back(topic: Topic) -> None:
    publish(topic, "a")
    with topic.consumer() as consumer:
        loop = Loop(consumer)
        with pytest.raises(ValueError, match="no good"), loop.next():
            raise ValueError("no good")
        with loop.next() as batch:
            assert [(message.id, message.attempts) for message in batch.messages] == [("a", 2)]


def test_an_interruption_costs_no_attempt(topic: Topic) -> None:
    publish(topic, "a")
    with topic.consumer() as consumer:
        loop = Loop(consumer)
        with pytest.raises(KeyboardInterrupt), loop.next():
            raise KeyboardInterrupt
        with pytest.raises(BrokerClosed), loop.next():
            raise BrokerClosed("stopped")
        assert [message.attempts for message in loop.next().messages] == [1]


def test_leaving_the_loop_hands_back_what_is_in_hand(topic: Topic) -> None:
    publish(topic, "a", "b")
    with topic.consumer() as consumer:
        for _batch in consumer.batches(linger=0.02):
            break
        assert Loop(consumer).next().messages[0].attempts == 1


def test_what_the_loop_forgets_to_settle_is_handed_back(topic: Topic, caplog: pytest.LogCaptureFixture) -> None:
    publish(topic, "a")
    with topic.consumer() as consumer:
        loop = Loop(consumer)
        loop.next()
        assert loop.next().messages[0].attempts == 2
    assert "not settled in their turn" in caplog.text


def test_a_stop_ends_the_loop_and_hands_back(topic: Topic) -> None:
    publish(topic, "a", "b", "c")
    with topic.consumer() as consumer:
        loop = Loop(consumer, max_messages=1)
        loop.ids()
        loop.next()
        loop.end()
        assert consumer.status.draining
    stats = topic.stats()
    assert (stats.depth, stats.acked) == (2, 1)
    assert sorted((message.id, message.attempts) for message in drain_all(topic)) == [("b", 2), ("c", 1)]


def test_a_drained_consumer_that_owns_nothing_leaves_the_group(topic: Topic) -> None:
    publish(topic, "a")
    with topic.consumer(name="pod-1") as consumer:
        loop = Loop(consumer)
        loop.ids()
        assert [one.name for one in topic.stats().consumers] == [consumer.name]
        assert consumer.name.startswith("pod-1-")
    assert topic.stats().consumers == ()


def test_a_consumer_that_owns_something_is_never_removed(topic: Topic) -> None:
    publish(topic, "a")
    with topic.consumer() as consumer:
        Loop(consumer).next()
    (left,) = topic.stats().consumers
    assert left.pending == 1
    assert [message.id for message in drain_all(topic)] == ["a"]


def test_only_the_silent_and_empty_are_removed_by_the_others(make_topic: MakeTopic, real_server: Server) -> None:
    topic, stop = make_topic(lease=0.35), Alarm()  # ten of them: who lives is never silent for so long
    silent = topic.leases("silent")
    with topic.consumer() as one, topic.consumer() as other, ThreadPoolExecutor(2) as pool:
        loops = [pool.submit(lambda which: list(which.batches(stop=stop)), live) for live in (one, other)]
        until(lambda: one.status.connected and other.status.connected, "both are there")
        silent.join()

        def is_alone() -> bool:
            present = {member.name for member in topic.stats().consumers}
            assert present >= {one.name, other.name}, "who lives stays, however quiet the topic"
            return "silent" not in present

        until(is_alone, "ten leases passed")
        assert not stop.rang
        stop.set()
        assert [loop.result() for loop in loops] == [[], []]


def test_a_consumer_waits_for_a_topic_that_does_not_exist_yet(topic: Topic) -> None:
    with topic.consumer() as consumer:
        assert not consumer.status.connected
        loop = Loop(consumer)
        publish(topic, "a")
        assert loop.ids() == ["a"]
        assert consumer.status.connected


def test_a_hook_that_raises_does_not_end_the_heartbeat(make_topic: MakeTopic, real_server: Server) -> None:
    class Faulty(Hooks):
        def on_lost(self, messages: int) -> None:
            raise RuntimeError(f"cannot count {messages}")

    topic = make_topic(hooks=Faulty())
    publish(topic, "a", "b")
    with topic.consumer() as consumer:
        assert not consumer.status.beating
        first, second = (loop := Loop(consumer)).next().messages
        topic.leases("another").settle([first])
        until(lambda: first.entry not in consumer.heart.held(), "the heartbeat found out")
        topic.leases("another").settle([second])
        until(lambda: second.entry not in consumer.heart.held(), "it beats on")
        assert consumer.status.beating
        loop.end()
    assert not consumer.status.beating


def test_a_consumer_that_cannot_be_closed_cleanly_is_closed(make_topic: MakeTopic) -> None:
    class Faulty(Hooks):
        def on_release(self, messages: int, spent: bool) -> None:
            raise RuntimeError(f"cannot count {messages}")

    topic = make_topic(hooks=Faulty())
    publish(topic, "a")
    consumer = topic.consumer()
    Loop(consumer).next()
    with pytest.raises(RuntimeError, match="cannot count 1"):
        consumer.close()
    assert not consumer.status.beating
    with pytest.raises(BrokerClosed):
        next(consumer.batches())


def test_a_closed_consumer_says_so(topic: Topic) -> None:
    consumer = topic.consumer()
    consumer.close()
    consumer.close()
    with pytest.raises(BrokerClosed):
        next(consumer.batches())


def test_hooks_are_told_what_happens(make_topic: MakeTopic) -> None:
    hooks = Recorder()
    topic = make_topic(hooks=hooks)
    publish(topic, "a", "b")
    with topic.consumer(outages=[Outage]) as consumer:
        loop = Loop(consumer)
        with pytest.raises(Outage), loop.next() as batch:
            give_up_after_rejecting(batch)
        loop.ids()
    assert [(rows, new) for rows, _, new in hooks.named("on_publish")] == [(2, True)] * 2
    assert hooks.named("on_deliver") == [(2, 4, False), (1, 2, True)]
    assert hooks.named("on_dead") == [(1, 2, "poison")]
    assert hooks.named("on_release") == [(1, False)]
    assert hooks.named("on_ack") == [(1, 2)]


def test_the_bare_steps_serve_a_client_without_a_loop(topic: Topic) -> None:
    publish(topic, "a", "b")
    leases = topic.leases("over-http")
    assert leases.join() == []
    first, second = leases.take(5)
    assert leases.keep([first.entry, second.entry]) == []
    assert leases.settle([first]) == 1
    assert leases.settle([first]) == 0
    assert not leases.leave()
    assert leases.release([second]) == 1
    (claimed,) = until(lambda: leases.reap(10)[0])
    again = leases.attempt(claimed)
    assert again is not None
    assert (again.id, again.attempts) == ("b", 1)
    leases.settle([again])
    assert leases.leave()


def test_a_batch_can_take_more_in_hand_and_settles_it_with_the_rest(topic: Topic) -> None:
    publish(topic, "a", "b", "c")
    with topic.consumer() as consumer:
        batch = (loop := Loop(consumer, max_messages=1)).next()
        assert [message.id for message in batch.extend(1)] == ["b"]
        assert [message.id for message in batch.open] == ["a", "b"]
        assert topic.stats().in_flight == 2
        with batch:
            assert [message.id for message in batch.extend(5)] == ["c"]
            assert batch.extend(5) == []
        assert topic.stats().acked == 3
        publish(topic, "d", "e")
        batch = loop.next()
        batch.extend(1)
        batch.release()
        assert sorted(loop.ids() + loop.ids()) == ["d", "e"]
