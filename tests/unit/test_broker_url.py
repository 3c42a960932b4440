"""Broker URLs: what they may look like, what they become, and that passwords stay out of sight."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.sentinel import SentinelConnectionPool

from telemetry.broker import Broker, BrokerError
from telemetry.broker import connect as connecting
from telemetry.broker.connect import Link, connect
from telemetry.broker.url import hide_password, parse


def link(url: str) -> Link:
    return Link(address=parse(url), client_name="test", connect_timeout=3.0, reply_timeout=5.0, connected=lambda: None)


def test_one_server() -> None:
    address = parse("redis://bob:s%40cret@example:6380/2")
    assert (address.kind, address.nodes, address.db, address.tls) == ("single", (("example", 6380),), 2, False)
    assert (address.username, address.password) == ("bob", "s@cret")
    assert parse("redis://localhost").nodes == (("localhost", 6379),)
    assert parse("rediss://[::1]:6380").tls


def test_sentinels() -> None:
    address = parse("redis+sentinel://:pw@a,b:26380/mymaster/3?sentinel_password=other")
    assert (address.kind, address.master, address.db) == ("sentinel", "mymaster", 3)
    assert address.nodes == (("a", 26379), ("b", 26380))
    assert address.options == {"sentinel_password": "other"}


def test_a_cluster() -> None:
    address = parse("rediss+cluster://a:7000,b:7001")
    assert (address.kind, address.nodes, address.tls) == ("cluster", (("a", 7000), ("b", 7001)), True)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:6379", "expected one of"),
        ("http://localhost", "expected one of"),
        ("redis://localhost/zero", "no database number"),
        ("redis://local host:port", "no host"),
        ("redis+sentinel://localhost", "name the master"),
        ("redis+cluster://localhost/1", "database 0 only"),
        ("redis://bob:pw/d@localhost", "%2F"),
        ("redis://bob:d@pw@localhost", "%40"),
        ("redis://a,b", "name one host"),
        ("redis://a:99999", "no port"),
        ("redis://a?decode_responses=true", "'decode_responses' is unknown; redis:// takes db"),
        ("redis://a?socket_timeout=1", "'socket_timeout' is unknown"),
        ("redis://a?nonsense=1", "'nonsense' is unknown"),
        ("redis://a?protocol=3", "'protocol' is unknown"),
        ("redis://a?ssl_ca_certs=/ca", "'ssl_ca_certs' is unknown"),
        ("redis://a?db=zero", "db=zero"),
        ("redis://a?db=", "db="),
        ("redis://a?db=1&db=2", "given twice"),
        ("redis+cluster://a?db=1", "takes no option"),
        ("rediss://a?ssl_check_hostname=maybe", "ssl_check_hostname=maybe"),
    ],
)
def test_what_is_no_broker_url_is_refused_with_an_example(url: str, says: str) -> None:
    with pytest.raises(BrokerError, match=says) as refusal:
        parse(url)
    assert "pw" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@h", "redis://:***@h"),
        ("redis://bob:secret@h", "redis://bob:***@h"),
        ("redis://bob:sec@ret/@h", "redis://bob:***@h"),
        ("unix:///s?password=secret&db=1", "unix:///s?password=***&db=1"),
        (
            "redis+sentinel://u:secret@a,b/m?sentinel_password=secret",
            "redis+sentinel://u:***@a,b/m?sentinel_password=***",
        ),
    ],
)
def test_passwords_are_hidden(url: str, safe: str) -> None:
    assert hide_password(url) == safe


def test_a_brokers_safe_url_and_repr_hide_the_password() -> None:
    broker = Broker("redis://bob:secret@h")
    assert broker.safe_url == "redis://bob:***@h"
    assert "secret" not in repr(broker.address)


def options(client: Any) -> dict[str, Any]:
    return dict(client.connection_pool.connection_kwargs)


def test_the_driver_never_retries_by_itself() -> None:
    for url in ("redis://h", "rediss://h", "unix:///s", "redis+sentinel://h/m"):
        made = options(connect(link(url)))
        assert made["retry"].get_retries() == 0, url
        assert made["socket_timeout"] == 5.0, url
        assert made["socket_connect_timeout"] == 3.0, url
        assert made["client_name"] == "test", url


def test_a_socket_and_tls_become_their_connections() -> None:
    assert connect(link("unix:///tmp/s?db=2")).connection_pool.connection_class is redis.UnixDomainSocketConnection
    assert connect(link("rediss://h")).connection_pool.connection_class is redis.SSLConnection


def test_options_reach_the_driver_as_what_they_mean() -> None:
    made = options(connect(link("rediss://h/4?ssl_ca_certs=/ca&ssl_cert_reqs=none&ssl_check_hostname=false")))
    assert (made["ssl_ca_certs"], made["ssl_cert_reqs"], made["ssl_check_hostname"]) == ("/ca", "none", False)
    assert (made["host"], made["port"], made["db"]) == ("h", 6379, 4)
    sock = options(connect(link("unix:///tmp/a%20b?db=2&username=bob&password=p%40w")))
    assert (sock["path"], sock["db"], sock["username"], sock["password"]) == ("/tmp/a b", 2, "bob", "p@w")
    assert options(connect(link("redis://h?db=3")))["db"] == 3


def test_sentinels_and_the_master_have_their_own_logins() -> None:
    client = connect(link("redis+sentinel://bob:pw@a,b/mymaster/3?sentinel_password=other"))
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mymaster"
    assert {key: options(client)[key] for key in ("db", "username", "password")} == {
        "db": 3,
        "username": "bob",
        "password": "pw",
    }
    sentinels = pool.sentinel_manager.sentinels
    assert [options(one)["host"] for one in sentinels] == ["a", "b"]
    assert {options(one)["password"] for one in sentinels} == {"other"}


def test_a_cluster_client_gets_all_nodes_and_no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(connecting, "RedisCluster", lambda **terms: seen.update(terms))
    connect(link("rediss+cluster://bob:pw@a:7000,b:7001?ssl_ca_certs=/ca"))
    assert [(node.host, node.port) for node in seen["startup_nodes"]] == [("a", 7000), ("b", 7001)]
    assert seen["retry"].get_retries() == 0
    assert (seen["username"], seen["password"], seen["ssl"], seen["ssl_ca_certs"]) == ("bob", "pw", True, "/ca")


def test_a_reply_may_be_held_back_for_longer_than_a_read_blocks() -> None:
    links: list[Link] = []

    class Fake:
        def execute_command(self, *_args: object) -> bytes:
            return b"PONG"

        def close(self) -> None: ...

    def connector(made: Link) -> Fake:
        links.append(made)
        return Fake()

    with Broker("redis://h", reply_timeout=1.0, client_name="pod 1", connector=connector) as broker:
        assert links == []
        broker.client("reader", block=4.0).command("PING")
        broker.ping()
    assert [one.reply_timeout for one in links] == [6.5, 1.0]
    assert [one.client_name for one in links] == ["pod_1:reader", "pod_1:admin"]
