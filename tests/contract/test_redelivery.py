"""What leases guarantee, on every server: nothing is lost, nothing innocent dies, owners are fenced."""

from __future__ import annotations

import itertools
from contextlib import closing

import pytest

from telemetry.broker import Message, Topic
from tests.fixtures.broker import Loop, MakeTopic, Outage, Recorder, drain_all, publish
from tests.fixtures.servers_redis import Server
from tests.fixtures.wait import until

pytestmark = pytest.mark.usefixtures("real_server")  # what fakeredis can tell, publish and consume show

LONG_LEASE = 4.0
"""Seconds: where a heartbeat must not come late, however busy the machine is."""
STALL_LIMIT = 0.5
"""Seconds: so soon a loop that does not say otherwise counts as one that stands still."""


def test_a_killed_consumers_batch_is_delivered_again(topic: Topic) -> None:
    publish(topic, "a", "b", "c")
    dead = topic.consumer()
    assert len(Loop(dead).next()) == 3
    dead.abandon()
    seen = drain_all(topic)
    assert sorted((message.id, message.attempts) for message in seen) == [("a", 2), ("b", 2), ("c", 2)]
    assert topic.stats().redelivered == 3


def test_redelivered_messages_come_one_at_a_time(topic: Topic) -> None:
    publish(topic, "a", "b", "c")
    dead = topic.consumer()
    Loop(dead).next()
    dead.abandon()
    with topic.consumer() as consumer:
        loop = Loop(consumer)
        batches = []
        for _ in range(3):
            with loop.next() as batch:
                batches.append(len(batch))
    assert batches == [1, 1, 1]


def test_a_heartbeat_keeps_a_slow_batch_and_holding_keeps_it_from_counting_as_lost(
    make_topic: MakeTopic, real_server: Server
) -> None:
    topic = make_topic(lease=LONG_LEASE)
    publish(topic, "slow", "held")
    with (
        topic.consumer() as slow,
        topic.consumer(stall_limit=STALL_LIMIT) as patient,
        topic.consumer() as rival,
    ):
        batches = [Loop(one, max_messages=1).next() for one in (slow, patient)]
        others, number = Loop(rival), itertools.count()
        while slow.turned_ago() < STALL_LIMIT + 1.25 * LONG_LEASE:  # by then both were to be had, but for their beats
            batches[1].hold()
            publish(topic, id := f"quick {next(number)}")
            assert others.ids() == [id]
            others.stop.wait(0.02)
        for batch in batches:
            assert batch.lost == []
            batch.ack()
    assert topic.stats().depth == 0
    assert topic.stats().redelivered == 0


def test_a_loop_that_stands_still_loses_its_batch_and_its_late_ack_is_harmless(
    make_topic: MakeTopic, real_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Recorder()
    topic = make_topic(hooks=hooks)
    publish(topic, "a")
    with topic.consumer(stall_limit=0.05) as stuck, topic.consumer() as rival:
        batch = (loop := Loop(stuck)).next()
        with Loop(rival).next() as taken:
            assert [message.id for message in taken.messages] == ["a"]

            def found_out() -> bool:
                batch.hold()  # it runs again
                return bool(batch.lost)

            until(found_out, "the heartbeat finds out")
            until(lambda: hooks.named("on_lost") == [(1,)], "it is told")  # after it is known
            batch.ack()
        publish(topic, "b")
        assert loop.ids() == ["b"]
    assert "stands still" in caplog.text
    stats = topic.stats()
    assert (stats.published, stats.acked, stats.depth) == (2, 2, 0)


def test_a_stale_owner_can_neither_release_nor_count_nor_renew(topic: Topic) -> None:
    publish(topic, "a")
    stale, owner = topic.leases("stale", lease=0.01), topic.leases("owner", lease=0.01)
    (message,) = stale.take(1)
    (claimed,) = until(lambda: owner.reap(10)[0], "the lease lapses")
    assert owner.attempt(claimed) is not None
    assert stale.keep([message.entry]) == [message.entry]
    assert stale.release([message]) == 0
    assert stale.attempt(claimed) is None
    (seen,) = topic.peek()
    assert (seen.owner, seen.attempts) == ("owner", 2)
    assert not owner.leave()
    assert stale.leave()
    assert stale.settle([message]) == 1, "an acknowledgement is not fenced: the work is done"


def test_a_count_whose_reply_was_lost_is_not_repeated(topic: Topic) -> None:
    publish(topic, "a")
    one = topic.leases("one", lease=0.01)
    one.take(1)
    (claimed,) = until(lambda: one.reap(10)[0], "the lease lapses")
    first, second = one.attempt(claimed), one.attempt(claimed)
    assert first is not None
    assert second is not None
    assert (first.attempts, second.attempts) == (2, 2)


def test_exactly_the_poison_among_innocents_dies(topic: Topic) -> None:
    ids = [f"m:{n}" for n in range(12)]
    publish(topic, *ids)

    def work(message: Message) -> None:
        if message.id in ("m:3", "m:7"):
            raise ValueError(f"cannot digest {message.id}")

    seen = drain_all(topic, work)
    letters = topic.dead_letters.list()
    assert sorted(letter.id for letter in letters) == ["m:3", "m:7"]
    assert [letter.attempts for letter in letters] == [5, 5]
    assert all(f"cannot digest {letter.id}" in letter.reason or "5 were made" in letter.reason for letter in letters)
    assert {message.id for message in seen} == set(ids)
    assert max(message.attempts for message in seen if message.id not in ("m:3", "m:7")) <= 2
    stats = topic.stats()
    assert (stats.published, stats.acked, stats.dead, stats.depth) == (12, 10, 2, 0)


def test_a_consumer_that_dies_over_each_delivery_uses_up_the_attempts(make_topic: MakeTopic) -> None:
    topic = make_topic(lease=0.1, max_attempts=3)
    publish(topic, "killer")
    delivered = []
    for _ in range(3):
        consumer = topic.consumer()
        batch = Loop(consumer).next()
        delivered.append((batch.messages[0].attempts, batch.messages[0].exhausted))
        consumer.abandon()
    assert delivered == [(1, False), (2, False), (3, False)]
    (last,) = drain_all(topic)
    assert (last.attempts, last.exhausted) == (3, True)
    assert topic.dead_letters.list()[0].reason == "no attempt left: 3 were made"


def test_an_outage_costs_no_attempt(topic: Topic) -> None:
    publish(topic, "a", "b", "c")
    outages = iter([True] * 12)

    def work(_message: Message) -> None:
        if next(outages, False):
            raise Outage

    seen = drain_all(topic, work)
    assert {message.attempts for message in seen} == {1}
    assert topic.dead_letters.count == 0
    assert topic.stats().acked == 3


def test_an_outage_while_an_exhausted_message_is_buried_leaves_it(make_topic: MakeTopic) -> None:
    topic = make_topic(max_attempts=1)
    publish(topic, "a")

    class Away:
        def bury(self, _letter: object) -> None:
            raise Outage

    with topic.consumer(dead_letters=Away(), outages=[Outage]) as consumer:
        loop = Loop(consumer)
        with pytest.raises(ValueError, match="no good"), loop.next():
            raise ValueError("no good")
        for _ in range(2):
            batch = loop.next()
            assert batch.messages[0].exhausted
            with pytest.raises(Outage), batch:
                pass
    assert topic.stats().depth == 1
    (seen,) = drain_all(topic)
    assert (seen.exhausted, topic.dead_letters.count) == (True, 1)


def test_a_long_list_of_lapsed_leases_is_followed_to_its_end(make_topic: MakeTopic) -> None:
    topic = make_topic(capacity=200)
    publish(topic, *(f"m:{n}" for n in range(150)))
    dead = topic.consumer()
    assert len(Loop(dead, max_messages=150).next()) == 150
    dead.abandon()
    assert len(drain_all(topic)) == 150


def test_an_entry_deleted_by_hand_while_it_is_in_flight_troubles_nobody(topic: Topic, server: Server) -> None:
    publish(topic, "a", "b")
    dead = topic.consumer()
    Loop(dead).next()
    dead.abandon()
    client = server.client()
    client.xdel(topic.keys.stream, topic.peek()[0].entry)
    client.close()
    assert [message.id for message in drain_all(topic)] == ["b"]
    assert topic.stats().in_flight == 0
    with closing(server.client()) as client:
        assert client.hgetall(topic.keys.ids) == {}
        assert client.hgetall(topic.keys.rows) == {}


def test_a_late_acknowledgement_leaves_the_message_that_has_its_entry_now(topic: Topic, server: Server) -> None:
    publish(topic, "a")
    leases = topic.leases("one")
    (old,) = leases.take(1)
    with closing(server.client()) as client:
        client.delete(topic.keys.stream, topic.keys.ids, topic.keys.rows)  # as FLUSHALL would
        client.xadd(topic.keys.stream, {"id": "b", "rows": "1", "body": "x"}, id=old.entry)
        client.hset(topic.keys.ids, "b", old.entry)
    leases.join()
    (new,) = leases.take(1)
    assert leases.settle([old]) == 0
    assert [message.id for message in topic.peek()] == ["b"]
    assert leases.settle([new]) == 1
    assert topic.stats().depth == 0


def test_what_is_acknowledged_after_a_failover_lost_its_delivery_is_counted(topic: Topic, server: Server) -> None:
    publish(topic, "a")
    leases = topic.leases("one")
    (message,) = leases.take(1)
    with closing(server.client()) as client:  # as a replica that learned of the message, not of who has it
        client.xgroup_destroy(topic.keys.stream, topic.group)
        client.xgroup_create(topic.keys.stream, topic.group, id="0")
    assert [leases.settle([message]) for _ in range(2)] == [1, 0]
    stats = topic.stats()
    assert (stats.published, stats.acked, stats.acked_rows, stats.depth) == (1, 1, 1, 0)


def test_a_lapsed_lease_behind_many_live_ones_is_found(make_topic: MakeTopic) -> None:
    topic = make_topic(capacity=200, lease=30.0)
    publish(topic, *(f"m:{n}" for n in range(100)))
    holder, heir = topic.leases("holder"), topic.leases("heir")
    *_, last = holder.take(100)
    holder.release([last])
    found = until(lambda: heir.reap(1)[0], "the search goes on where it stopped")
    assert [one.entry for one in found] == [last.entry]


def test_settling_an_old_copy_does_not_forget_the_id_of_a_newer_one(topic: Topic, server: Server) -> None:
    publish(topic, "a")
    leases = topic.leases("one")
    (old,) = leases.take(1)
    client = server.client()
    client.hdel(topic.keys.ids, "a")  # as a lost tail would
    client.close()
    with topic.producer() as producer:
        assert producer.publish("a", b"x").new
        assert leases.settle([old]) == 1
        assert not producer.publish("a", b"x").new
