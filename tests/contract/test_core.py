"""The core of the contract, on every server and where replies get lost: each statement ends with the accounts.

What lives here: what holds for callers who repeat a call that failed with BrokerUnavailable. "redis-lossy" is Redis
behind a proxy that drops a share of the replies after the server did the work, and the connection with them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from telemetry.broker import BrokerUnavailable, Message, Topic, TopicFull
from tests.fixtures.broker import Drained, Loop, MakeTopic, drain_all, insist
from tests.fixtures.proxy import Proxy
from tests.fixtures.servers_redis import KINDS, Server, server_of
from tests.fixtures.traffic import Traffic, asked
from tests.fixtures.wait import until

LOST = 0.05
"""The share of replies that get lost."""
CAPACITY = 20
IDS = [f"m:{n}" for n in range(CAPACITY)]


@dataclass
class Way:
    """To one topic: `make` makes it by the way under test, `look` is it by one on which nothing gets lost."""

    make: Callable[[], Topic]
    look: Topic
    proxy: Proxy | None = None

    def fill(self) -> None:
        with self.make().producer() as producer:
            for id in IDS:
                insist(producer, id)

    def accounts(self) -> tuple[int, int, int]:
        """Acknowledged, dead and queued, after they were found to add up and to agree with what is kept beside."""
        stats, keys, command = self.look.stats(), self.look.keys, self.look.broker.admin.command
        assert stats.published == stats.acked + stats.dead + stats.depth
        assert stats.published_rows == stats.acked_rows + stats.dead_rows + (stats.depth_rows or 0)
        queued = {message.id.encode(): message.entry.encode() for message in self.look.peek(1000)}
        assert len(queued) == stats.depth <= CAPACITY, "an id is queued twice, or the bound is broken"
        assert command("HGETALL", keys.ids) == queued
        assert sorted(command("HKEYS", keys.rows)) == sorted(queued.values())
        if self.proxy is not None:
            assert self.proxy.lost > 0, "no reply was lost: this shows nothing"
        return stats.acked, stats.dead, stats.depth


@pytest.fixture(params=[*KINDS, "redis-lossy"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each server there is, and the one whose replies get lost."""
    if request.param == "redis-lossy":
        return replace(server_of("redis", request), name=request.param)
    return server_of(request.param, request)


@pytest.fixture
def way(server: Server, make_topic: MakeTopic, proxies: list[Proxy]) -> Way:
    if server.name != "redis-lossy":
        return Way(make_topic, make_topic())
    proxy = Proxy(server.port)
    proxies.append(proxy)
    proxy.lose_replies(LOST, seed=42)  # loses the second reply already, so that the shortest test has one
    return Way(lambda: make_topic(url=f"redis://127.0.0.1:{proxy.port}/0"), make_topic(), proxy)


def test_an_id_is_queued_once_however_many_publish_it_however_often(way: Way) -> None:
    def publish_all(first: int) -> None:
        with way.make().producer() as producer:
            for n in range(2 * CAPACITY):
                insist(producer, IDS[(first + n) % CAPACITY])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish_all, range(0, CAPACITY, CAPACITY // 4)))
    assert way.accounts() == (0, 0, CAPACITY)


def test_the_queue_never_holds_more_than_its_capacity(way: Way) -> None:
    refused = []

    def publish_more(who: int) -> None:
        with way.make().producer() as producer:
            for n in range(CAPACITY):
                try:
                    insist(producer, f"{who}:{n}")
                except TopicFull as full:
                    refused.append(full.depth)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish_more, range(4)))
    assert refused == [CAPACITY] * 3 * CAPACITY
    assert way.accounts() == (0, 0, CAPACITY)


def test_each_message_is_acknowledged_once(way: Way) -> None:
    way.fill()
    with ThreadPoolExecutor(3) as pool:
        work = [pool.submit(drain_all, way.make(), look=way.look) for _ in range(3)]
        seen = {message.id for one in work for message in one.result()}
    assert seen == set(IDS)
    assert way.accounts() == (CAPACITY, 0, 0)


def test_what_a_killed_consumer_had_in_hand_comes_to_another(way: Way, real_server: Server) -> None:
    way.fill()
    dead = way.make().consumer()
    held = {message.id for message in Loop(dead, max_messages=8).next().messages}
    dead.abandon()
    seen = drain_all(way.make(), look=way.look)
    assert {message.id for message in seen} == set(IDS)
    assert {message.id for message in seen if message.attempts > 1} >= held
    assert way.accounts() == (CAPACITY, 0, 0)


def test_what_is_rejected_leaves_one_letter_and_can_be_replayed(way: Way) -> None:
    way.fill()
    poison, stop = {"m:3", "m:7", "m:11"}, Drained(way.look)
    with way.make().consumer() as consumer:
        for batch in consumer.batches(linger=0.01, stop=stop):
            with suppress(BrokerUnavailable), batch:
                for message in batch.messages:
                    if message.id in poison:
                        batch.reject(message, "poison")
    assert sorted(letter.id for letter in way.look.dead_letters.list()) == sorted(poison)
    assert way.accounts() == (CAPACITY - 3, 3, 0)
    letters = way.make().dead_letters
    for letter in way.look.dead_letters.list():
        while way.look.dead_letters.list(1, letter.entry)[:1] == [letter]:
            with suppress(BrokerUnavailable):
                letters.replay(letter.entry)
    assert way.accounts() == (CAPACITY - 3, 3, 3)


def test_the_poison_dies_of_its_attempts_and_the_innocent_do_not(way: Way, real_server: Server) -> None:
    way.fill()

    def work(message: Message) -> None:
        if message.id == "m:5":
            raise ValueError("cannot digest it")

    drain_all(way.make(), work, look=way.look)
    (letter,) = way.look.dead_letters.list()
    assert (letter.id, letter.attempts) == ("m:5", 5)
    assert way.accounts() == (CAPACITY - 1, 1, 0)


def test_a_drained_consumer_leaves_what_it_did_not_finish_to_the_others(way: Way) -> None:
    way.fill()
    with way.make().consumer() as consumer:
        loop = Loop(consumer, max_messages=4)
        done = loop.ids()
        batch = loop.next()
        batch.ack(batch.messages[:1])
        done.append(batch.messages[0].id)
        loop.end()
    acked, _, queued = way.accounts()
    assert acked + queued == CAPACITY
    assert acked <= len(done)
    drain_all(way.make(), look=way.look)
    assert way.accounts() == (CAPACITY, 0, 0)


def test_absent_are_those_that_are_not_queued(way: Way) -> None:
    way.fill()
    producer = way.make().producer()
    asking = [*IDS, *(f"never:{n}" for n in range(CAPACITY))]
    for _ in range(10):
        assert asked(lambda: producer.absent(asking)) == asking[CAPACITY:]
    way.accounts()


def test_under_load_each_id_is_settled_and_none_is_left(way: Way, real_server: Server) -> None:
    with Traffic(way.make, producers=3, consumers=3, work=0.002) as traffic:
        traffic.flows(200)
        traffic.drained()
    assert traffic.highest <= CAPACITY
    acked, dead, queued = way.accounts()
    assert acked >= len(traffic.ledger.handled)
    assert (dead, queued) == (0, 0)
    until(lambda: way.look.stats().in_flight == 0, "nothing is left in hand")
