"""What holds while the server changes: a replica is promoted behind Sentinel, a Cluster's slot goes to another node.

Traffic flows all the while. What a failover loses is published again by those who keep a ledger, asking `absent`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from telemetry.broker import Topic, TopicStats
from tests.fixtures.broker import MakeTopic
from tests.fixtures.servers_redis import Server
from tests.fixtures.topologies import Cluster, Sentinels, tell
from tests.fixtures.traffic import Traffic, asked
from tests.fixtures.wait import until

CAPACITY = 20
pytestmark = pytest.mark.parametrize("server", ["redis"], indirect=True)  # the kind that topologies are made of


@pytest.fixture
def by(server: Server, make_topic: MakeTopic) -> Callable[[str], Callable[[], Topic]]:
    """By this URL, a way to make the topic."""
    return lambda url: lambda: make_topic(url=url, capacity=CAPACITY, reply_timeout=2.0, lease=1.0)


def finished(traffic: Traffic) -> TopicStats:
    """The end of every run: all handled, nothing left, the bound held, the accounts in order."""
    stats = traffic.drained()
    assert traffic.highest <= CAPACITY
    assert set(traffic.ledger.handled) >= {f"m:{n}" for n in range(len(traffic.ledger.handled))}
    assert (stats.in_flight, stats.dead) == (0, 0)
    assert stats.published == stats.acked
    return stats


def nothing_left_beside(topic: Topic) -> None:
    for key in (topic.keys.ids, topic.keys.rows):
        assert asked(lambda key=key: topic.broker.admin.command("HLEN", key)) == 0  # type: ignore[misc]


def test_traffic_goes_on_when_the_replica_is_promoted_and_the_old_master_comes_back(
    sentinels: Sentinels, by: Callable[[str], Callable[[], Topic]]
) -> None:
    make = by(sentinels.url)
    with Traffic(make) as traffic:
        traffic.flows()
        sentinels.master.stop()
        until(sentinels.promoted, "the replica is promoted")
        traffic.flows()
        sentinels.master.start()  # as an empty master, until the Sentinels see to it
        tell(sentinels.replica, "CLIENT", "KILL", "TYPE", "normal")
        traffic.flows()
        finished(traffic)
    nothing_left_beside(make())
    there = tell(sentinels.master, "EXISTS", make().keys.stream)
    assert not there or tell(sentinels.master, "ROLE")[0] == b"slave", "somebody took it for the master"


def test_what_a_failover_loses_is_published_again(
    sentinels: Sentinels, by: Callable[[str], Callable[[], Topic]]
) -> None:
    make = by(sentinels.url)
    with Traffic(make) as traffic:
        traffic.flows()
        sentinels.part()
        traffic.flows(3 * CAPACITY)  # by now the master's queue has nothing of what the replica has
        sentinels.master.stop()
        until(sentinels.promoted, "the replica is promoted")
        traffic.flows()
        finished(traffic)
    assert traffic.ledger.republished > 0
    nothing_left_beside(make())


def test_traffic_goes_on_when_the_owner_of_the_slot_is_killed_and_comes_back(
    cluster: Cluster, by: Callable[[str], Callable[[], Topic]]
) -> None:
    make = by(cluster.url)
    owner = cluster.owner(make().keys.stream)
    with Traffic(make) as traffic:
        traffic.flows()
        owner.stop()
        until(lambda: cluster.misses(owner), "the others miss it")
        owner.start()
        traffic.flows()
        finished(traffic)
    nothing_left_beside(make())


def test_traffic_goes_on_while_the_slot_moves_to_another_node(
    cluster: Cluster, by: Callable[[str], Callable[[], Topic]]
) -> None:
    make = by(cluster.url)
    stream = make().keys.stream
    slot, source = cluster.slot(stream), cluster.owner(stream)
    target = next(node for node in cluster.nodes if node is not source)
    with Traffic(make) as traffic:
        traffic.flows()
        cluster.begin_move(slot, source, target)
        traffic.flows()  # the keys are all at one node still
        assert cluster.move_keys(slot, source, target, at_most=2) == 2
        traffic.stands()
        while cluster.move_keys(slot, source, target):
            pass
        cluster.end_move(slot, source, target)
        traffic.flows()
        finished(traffic)
        assert cluster.owner(stream) is target
    nothing_left_beside(make())


def test_traffic_goes_on_when_the_slots_replica_takes_over(
    cluster: Cluster, by: Callable[[str], Callable[[], Topic]]
) -> None:
    make = by(cluster.url)
    stream = make().keys.stream
    owner = cluster.owner(stream)
    replica = cluster.replica_of(owner)
    with Traffic(make) as traffic:
        traffic.flows()
        owner.stop()
        until(lambda: cluster.owner(stream) is replica, "the replica is promoted")
        traffic.flows()
        finished(traffic)
    nothing_left_beside(make())
