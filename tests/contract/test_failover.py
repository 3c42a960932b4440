"""What holds while the server changes: a replica is promoted behind Sentinel, a Cluster's slot goes to another node.

Traffic flows all the while. What a failover loses is published again by those who keep a ledger, asking `absent`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from telemetry.broker import Topic, TopicStats
from tests.fixtures.broker import MakeTopic
from tests.fixtures.servers_redis import Server
from tests.fixtures.topologies import Sentinels
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


def test_traffic_goes_on_when_sentinels_promote_the_replica(
    sentinels: Sentinels, by: Callable[[str], Callable[[], Topic]]
) -> None:
    make = by(sentinels.url)
    with Traffic(make) as traffic:
        traffic.flows()
        sentinels.master.stop()
        until(sentinels.promoted, "the replica is promoted")
        traffic.flows()
        finished(traffic)
    nothing_left_beside(make())


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
