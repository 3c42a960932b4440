"""What a Redis user needs, and how a refusal is told: a login apart from a permission apart from an outage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import resources

import pytest

from telemetry.broker import BrokerDenied, BrokerError, BrokerUnavailable, Topic, TopicFull
from telemetry.broker.faults import GUEST, OBSERVER, PERMISSIONS
from tests.fixtures.broker import Loop, MakeTopic, drain_all, publish
from tests.fixtures.servers_redis import Server
from tests.fixtures.wait import PATIENCE, until

AsUser = Callable[..., Topic]


def publish_and_look(topic: Topic) -> None:
    with topic.producer() as producer:
        producer.publish("a", b"x")
    topic.stats()


@pytest.fixture
def as_user(private_server: Callable[..., Server], make_topic: MakeTopic) -> AsUser:
    """Makes the topic as seen by a user that has these permissions and no other."""
    server = private_server("--save", "3600 1")
    space = make_topic(on=server).broker.namespace

    def make(permissions: str) -> Topic:
        rules = permissions.replace("<namespace>", space).split()
        with closing(server.client()) as client:
            client.execute_command(  # type: ignore[no-untyped-call]
                "ACL", "SETUSER", "bob", "reset", "on", ">secret", *rules
            )
        return make_topic(url=f"redis://bob:secret@127.0.0.1:{server.port}/1", on=server, capacity=3, lease=0.1)

    return make


def test_a_user_with_the_permissions_that_are_named_can_do_everything(as_user: AsUser) -> None:
    topic = as_user(PERMISSIONS)
    topic.broker.ping()
    assert topic.check_memory(dead_letters=True) == []
    assert topic.broker.admin.command("INFO", "memory"), "what check_memory would leave out when refused"
    with topic.producer() as producer, topic.consumer() as killed:
        for id in ("a", "b", "c"):
            producer.publish(id, b"x", headers={"format": "block/1"})
        with pytest.raises(TopicFull):
            producer.publish("d", b"x", timeout=0.02)
        assert producer.absent(["a", "d"]) == ["d"]
        assert producer.pressure() == 1.0
        assert len(Loop(killed).next()) == 3
        assert killed.heart.beat() == []
        killed.abandon()
    with topic.consumer() as consumer:
        loop = Loop(consumer)
        with loop.next() as batch:
            batch.reject(batch.messages[0], "poison")
        with pytest.raises(ValueError, match="no good"), loop.next():
            raise ValueError("no good")
    topic.leases("sweeper").sweep(0.0)  # if the other one did not do so before
    assert killed.name not in {one.name for one in topic.stats().consumers}
    (letter,) = topic.dead_letters.list()
    topic.dead_letters.replay(letter.entry)
    assert len(topic.peek()) == 3
    assert topic.stats().memory_bytes
    topic.set_capacity(4)
    topic.set_capacity(None)
    assert len(drain_all(topic)) == 3
    assert not topic.dead_letters.drop(letter.entry)
    assert topic.leases("over-http").leave() is False
    assert topic.stats().acked == 3


@pytest.mark.parametrize("missing", [word for word in PERMISSIONS.split() if word not in ("+info", "+memory|usage")])
def test_each_permission_that_is_named_is_needed_and_its_lack_names_them_all(
    as_user: AsUser, missing: str, real_server: Server
) -> None:
    if missing == "+select" and real_server.name != "redis-6.2":
        pytest.skip("since Redis 7.0, SELECT is in +@connection")
    topic = as_user(" ".join(word for word in PERMISSIONS.split() if word != missing))
    with pytest.raises(BrokerError) as refusal:
        publish_and_look(topic)
    assert PERMISSIONS in str(refusal.value)
    assert isinstance(refusal.value, BrokerDenied) == (missing in ("+@connection", "+select"))


def test_less_is_enough_for_one_who_only_looks_and_for_a_guest_who_publishes(as_user: AsUser) -> None:
    publish(as_user(PERMISSIONS), "a", "b")
    observer = as_user(OBSERVER)
    assert [message.id for message in observer.peek()] == ["a", "b"]
    assert (observer.stats().depth, observer.agreed_capacity()) == (2, 3)
    assert observer.stats().memory_bytes
    with pytest.raises(BrokerError, match="may not do this"):
        publish(observer, "c")
    assert observer.stats().depth == 2
    guest = as_user(GUEST)
    publish(guest, "c")
    with pytest.raises(BrokerError, match="may not do this"):
        guest.leases("a guest").join()
    assert len(drain_all(as_user(PERMISSIONS))) == 3
    publish(as_user(GUEST), "d")


def test_a_permission_that_is_taken_away_is_waited_for_and_nothing_is_forgotten(as_user: AsUser) -> None:
    topic = as_user(PERMISSIONS)
    with topic.consumer() as consumer, ThreadPoolExecutor(1) as pool:
        publish(topic, "a")
        loop = Loop(consumer)
        batch = loop.next()
        assert consumer.status.connected
        as_user("~<namespace>:* +@connection")
        batch.ack()
        nothing = pool.submit(loop.ids)
        until(lambda: "NOPERM" in consumer.status.why, "the refusal is told")
        assert not consumer.status.connected
        as_user(PERMISSIONS)
        publish(topic, "b")
        assert nothing.result(timeout=PATIENCE) == ["b"]
        assert (consumer.status.connected, consumer.status.why) == (True, "")
    stats = topic.stats()
    assert (stats.acked, stats.depth, stats.redelivered) == (2, 0, 0)


def test_a_heartbeat_that_is_refused_is_told_once(as_user: AsUser, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="telemetry.broker.heartbeat")
    topic = as_user(PERMISSIONS)
    publish(topic, "a")
    with topic.consumer() as consumer:
        batch = Loop(consumer).next()
        for _ in range(2):
            as_user(f"{PERMISSIONS} -xclaim")
            until(lambda: not consumer.status.beating, "the refusal is told")
            as_user(PERMISSIONS)
            until(lambda: consumer.status.beating, "leases are renewed again")
        batch.ack()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all("leases cannot be renewed" in text for text in told)


def test_a_consumer_without_permissions_can_be_closed(as_user: AsUser) -> None:
    topic = as_user(PERMISSIONS)
    publish(topic, "a")
    with topic.consumer() as consumer:
        batch = Loop(consumer).next()
        as_user("~<namespace>:* +@connection")
    assert batch.open == []
    as_user(PERMISSIONS)
    assert [message.id for message in drain_all(topic)] == ["a"]


@pytest.mark.parametrize("login", ["bob:wrong@", "nobody:secret@", ""])
def test_a_refused_login_is_told_apart_from_an_outage(
    private_server: Callable[..., Server], make_topic: MakeTopic, login: str
) -> None:
    server = private_server()
    with closing(server.client()) as client:
        client.config_set("requirepass", "other")
    topic = make_topic(url=f"redis://{login}127.0.0.1:{server.port}/0", on=server)
    with pytest.raises(BrokerDenied) as refusal:
        topic.broker.ping()
    assert "wrong@" not in str(refusal.value)
    assert "URL" in str(refusal.value)


def test_the_protocol_page_names_the_permissions() -> None:
    page = resources.files("telemetry.broker").joinpath("README.md").read_text("utf-8")
    assert all(rules in page for rules in (PERMISSIONS, OBSERVER, GUEST.removeprefix(OBSERVER).strip()))


def test_a_cluster_that_is_not_there_is_unavailable(make_topic: MakeTopic, real_server: Server) -> None:
    with pytest.raises(BrokerUnavailable) as refusal:
        make_topic(url="redis+cluster://127.0.0.1:1").broker.ping()
    assert not isinstance(refusal.value, BrokerDenied)
