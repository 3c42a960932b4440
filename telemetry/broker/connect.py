"""From an address to a redis-py client: one server, Sentinel, or Cluster.

What lives here: the options that matter to the protocol. Zero hidden retries (a retried XREADGROUP or XADD would
deliver or add twice), RESP2 (replies have one shape on all servers), and a timeout on every reply.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry
from redis.sentinel import Sentinel

from telemetry.broker import url as urls


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How one connection is to be made. `connected` is called after each handshake. Seconds."""

    address: urls.Address
    client_name: str
    connect_timeout: float
    reply_timeout: float
    connected: Callable[[], None]


# redis-py leaves these without types
_SENTINEL: Any = Sentinel
_NODE: Any = ClusterNode

Connector = Callable[[Link], Any]
"""Makes a client with `execute_command(*args)` and `close()`; another one may be given for tests."""


def connect(link: Link) -> Any:
    """A redis-py client for the link. For a cluster this asks the nodes for their slots, otherwise no I/O."""
    kind = link.address.kind
    if kind == "cluster":
        return _cluster(link)
    if kind == "sentinel":
        return _sentinel(link)
    return _single(link)


def _single(link: Link) -> Any:
    address = link.address
    host, port = address.nodes[0]
    place: dict[str, Any] = {"connection_class": redis.Connection, "host": host, "port": port}
    if address.path:
        place = {"connection_class": redis.UnixDomainSocketConnection, "path": address.path}
    elif address.tls:
        place |= {"connection_class": redis.SSLConnection, **_tls(address)}
    login: dict[str, Any] = {"username": address.username, "password": address.password, "db": address.db}
    return redis.Redis.from_pool(
        redis.ConnectionPool(redis_connect_func=_handshake(link), **place, **login, **_common(link))
    )


def _common(link: Link) -> dict[str, Any]:
    return {
        "socket_timeout": link.reply_timeout,
        "socket_connect_timeout": link.connect_timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        "client_name": link.client_name,
        "protocol": 2,
    }


def _handshake(link: Link) -> Callable[[Any], None]:
    def shake(connection: Any) -> None:
        try:
            connection.on_connect()
        except NoPermissionError as error:  # a user that may not even connect: no call will ever work
            raise AuthenticationError(f"NOPERM {error}") from error
        link.connected()

    return shake


def _login(address: urls.Address) -> dict[str, Any]:
    return {"username": address.username, "password": address.password, "ssl": address.tls, **_tls(address)}


def _tls(address: urls.Address) -> dict[str, str | bool]:
    options: dict[str, str | bool] = {k: v for k, v in address.options.items() if k.startswith("ssl_")}
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"] == "true"
    return options


def _sentinel(link: Link) -> Any:
    address = link.address
    sentinel_login = {
        "username": address.options.get("sentinel_username"),
        "password": address.options.get("sentinel_password"),
        "ssl": address.tls,
        **_tls(address),
    }
    common = _common(link)
    sentinel = _SENTINEL(
        list(address.nodes),
        sentinel_kwargs={**common, "socket_timeout": link.connect_timeout, **sentinel_login},
        db=address.db,
        **common,
        **_login(address),
    )
    return sentinel.master_for(address.master, redis_connect_func=_handshake(link))


def _cluster(link: Link) -> Any:
    def count(_connection: Any) -> None:  # the cluster client has shaken hands by then
        link.connected()

    return RedisCluster(
        startup_nodes=[_NODE(host, port) for host, port in link.address.nodes],
        redis_connect_func=count,
        **{k: v for k, v in _common(link).items() if k != "retry_on_error"},
        **_login(link.address),
    )
