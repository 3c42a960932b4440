"""The same queue behind Redis Cluster and behind Sentinel: the URL is all that changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from telemetry.broker import BrokerError, Topic
from tests.fixtures.broker import MakeTopic, drain_all
from tests.fixtures.servers_redis import Server, find_redis, free_port, missing
from tests.fixtures.wait import until


@pytest.fixture
def cluster_url(private_server: Callable[..., Server]) -> str:
    """A cluster of one node, which owns all slots; it takes two seconds to find that out."""
    server = private_server("--cluster-enabled", "yes")
    with closing(server.client()) as client:
        client.cluster("ADDSLOTS", *range(16384))
        until(lambda: client.cluster("INFO")["cluster_state"] == "ok", "the cluster is ready")
    return f"redis+cluster://127.0.0.1:{server.port}"


@pytest.fixture
def sentinel_url(private_server: Callable[..., Server], tmp_path: Path) -> Iterator[str]:
    """A master with one Sentinel."""
    program = find_redis()
    if program is None:
        missing("redis-server")
    server, port = private_server(), free_port()
    file = tmp_path / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor mymaster 127.0.0.1 {server.port} 1\n"
    )
    sentinel = Server(name="sentinel", url=f"redis://127.0.0.1:{port}", argv=(str(program), str(file), "--sentinel"))
    sentinel.start()
    yield f"redis+sentinel://127.0.0.1:{port}/mymaster/1"
    sentinel.stop()


def work_through(topic: Topic) -> None:
    with topic.producer() as producer:
        for n in range(5):
            assert producer.publish(f"m:{n}", b"x", rows=2, timeout=0).new
        assert producer.absent(["m:0", "m:9"]) == ["m:9"]
        assert producer.pressure() == 0.25
    poison = iter(range(100))

    def digest(message: object) -> None:
        if getattr(message, "id", "") == "m:3" and next(poison) < 2:
            raise ValueError("not yet")

    drain_all(topic, digest)
    stats = topic.stats()
    assert (stats.published, stats.acked, stats.depth, stats.dead) == (5, 5, 0, 0)


def test_a_queue_works_in_a_cluster(cluster_url: str, make_topic: MakeTopic) -> None:
    work_through(make_topic(url=cluster_url))


def test_a_queue_works_behind_sentinel(sentinel_url: str, make_topic: MakeTopic) -> None:
    work_through(make_topic(url=sentinel_url))


def test_a_cluster_that_is_addressed_as_one_server_is_named(
    private_server: Callable[..., Server], make_topic: MakeTopic
) -> None:
    server = private_server("--cluster-enabled", "yes")
    with make_topic(url=server.url).producer() as producer, pytest.raises(BrokerError):
        producer.publish("a", b"x")
    with closing(redis.Redis.from_url(server.url)) as client:
        assert client.ping()
