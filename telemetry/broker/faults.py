"""The driver's errors turned into ours: which of them a retry can mend, and what to do about the others.

What lives here: the one translation. Nothing else of the package catches a redis-py error, but for NOSCRIPT.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis import exceptions as driver

from telemetry.broker.errors import BrokerDenied, BrokerError, BrokerUnavailable, GroupMissing, OutOfMemory

PERMISSIONS = "~<namespace>:* +@connection +select +@stream +@hash +@string +@scripting +time +info +memory|usage"
"""What a Redis user needs for all that this package does, as in ACL SETUSER. A Cluster wants +cluster +command too.
Redis 6.2 does not count SELECT among +@connection."""
OBSERVER = (
    "~<namespace>:* +@connection +select +eval +evalsha +time +get +hget +hlen +hvals +hgetall +xlen +xrange +xpending "
    "+xinfo +memory|usage"
)
"""What is enough for one who only looks: `Topic.stats`, `peek`, `agreed_capacity`."""
GUEST = f"{OBSERVER} +xadd +xgroup +set +hset +hdel +hincrby"
"""What is enough for one who publishes as well, and consumes nothing."""
# Answers that pass: the server starts, fails over, persists, or is busy with a script.
_PASSING = frozenset("LOADING READONLY MASTERDOWN CLUSTERDOWN TRYAGAIN MISCONF NOREPLICAS BUSY".split())
_DENIED = frozenset(("WRONGPASS", "NOAUTH"))
_REMEDIES = {
    "WRONGTYPE": "a key of this topic holds something else; choose another namespace or delete the key",
    "NOPERM": f"the Redis user may not do this; it needs {PERMISSIONS}",
    "MOVED": "this server is part of a Redis Cluster; write the URL as redis+cluster://",
    "ASK": "this server is part of a Redis Cluster; write the URL as redis+cluster://",
    "CROSSSLOT": "the keys of one topic must share a hash tag; is something rewriting key names on the way?",
    "WRONGPASS": "user or password in the URL is wrong",
    "NOAUTH": "the server wants a password; put it into the URL",
    "MISCONF": "the server cannot save to disk; see its log",
}
# Redis 6.2 wraps what a script met: "ERR Error running script (..): @user_script:3: -NOGROUP ..".
_WRAPPED = re.compile(r"@user_script:.*?-?\b([A-Z]{3,})\b ")


@contextmanager
def translated() -> Iterator[None]:
    """Raise BrokerUnavailable or BrokerError for what redis-py raises."""
    try:
        yield
    except (redis.RedisError, driver.RedisClusterException) as error:  # the latter is none of the former
        raise _ours(error) from error
    except OSError as error:
        raise BrokerUnavailable(f"cannot reach the server: {error}") from error


def code(error: Exception) -> str:
    """The word by which the server names the kind of an error, or ""."""
    known = getattr(error, "status_code", None)
    if isinstance(known, str) and known != "ERR":
        return known
    text = str(error)
    if "user executing the script" in text or "ACL failure in script" in text:  # of Redis, of Valkey: without a code
        return "NOPERM"
    wrapped = _WRAPPED.search(text)
    if wrapped:
        return wrapped[1]
    first = text.split(" ", 1)[0].lstrip("-")
    return first if first.isupper() else ""


def _ours(error: Exception) -> BrokerError:
    kind = code(error)
    remedy = _REMEDIES.get(kind)
    text = f"{kind + ': ' if kind and kind not in str(error) else ''}{error}" + (f" ({remedy})" if remedy else "")
    if kind in ("NOGROUP", "UNBLOCKED"):
        return GroupMissing(text)
    if kind == "OOM" or isinstance(error, driver.OutOfMemoryError):
        return OutOfMemory(f"the server is at maxmemory: {text}")
    if kind in _DENIED or isinstance(error, driver.AuthenticationError):
        return BrokerDenied(f"the server refuses the login: {text}")
    if isinstance(error.__cause__, driver.AuthenticationError):  # a cluster client wraps what its nodes said
        return _ours(error.__cause__)
    passing = (
        driver.ConnectionError,
        driver.TimeoutError,
        driver.ReadOnlyError,
        driver.ClusterDownError,
        driver.TryAgainError,
        driver.RedisClusterException,
        driver.InvalidResponse,
    )
    moving = type(error) is driver.ClusterError  # that class itself: redirected more often than the driver follows
    if moving:
        text = f"the topic's keys are on their way from one node to another: {text}"
    if moving or kind in _PASSING or isinstance(error, passing):
        return BrokerUnavailable(f"the server cannot serve now: {text}")
    return BrokerError(text)
