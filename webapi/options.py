"""What can be set about the API, with what holds when nobody sets it. Where settings come from is not known here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from webapi.security.tokenfile import TokenFile

Check = Callable[[], object]
"""Raises when a dependency is not fine; the exception's text says why."""


@dataclass(frozen=True, kw_only=True)
class QueuePlace:
    """Where the queue is, and what holds there until its producers agree on it: messages, bytes of each; seconds.

    The time-outs are short, because a question about the queue may hold a thread that long when its server hangs.
    """

    url: str = field(repr=False)
    namespace: str = "gpu"
    topic: str = "samples"
    capacity: int = 500
    max_bytes: int = 1 << 20
    connect_timeout: float = 1.0
    reply_timeout: float = 2.0


@dataclass(frozen=True)
class ApiOptions:
    """In seconds. `checks` are dependencies beside the database that readiness asks, by name."""

    statement_timeout: float = 10.0
    export_timeout: float = 600.0
    """How long a whole range may take, which is sent while it is read."""
    connect_timeout: float = 3.0
    connection_wait: float = 3.0
    """How long a request waits for a connection to the database before it is refused."""
    connections: int = 8
    """To the database, per process; more requests than that wait. `serve` sets it by its threads."""
    requests: int | None = None
    """Under way at once, per process; those beyond are refused. None: no limit. `serve` sets it by its threads."""
    crowd_wait: float = 0.25
    """How long one beyond those may wait for another to end; as many may wait as may be under way."""
    streams: int = 16
    """Live streams open at once, per process; beside the requests. `serve` has a thread for each."""
    stream_held: int = 500_000
    """Readings that may wait for the slowest of them until it is dropped: some 20 s of a fleet of 24,700 a second."""
    lock_wait: float = 2.0
    """How long a statement waits for a table that somebody has locked: requests must not pile up behind a migration."""
    retry_after: int = 5
    """What a refused client is told to wait."""
    access_log: bool = False
    checks: Mapping[str, Check] = field(default_factory=dict)
    tokens: TokenFile | None = None
    """Who may ask. None: everybody."""
    metrics_auth: bool = False
    """Whether /metrics needs a token too."""
    cors_origins: tuple[str, ...] = ()
    """Origins of pages elsewhere that may ask, in small letters; `*`: all."""
    local_names: frozenset[str] | None = None
    """Names of this machine, beside localhost and the loopback's addresses: who asks by another, and shows no token, is
    refused. None: any name will do."""
    behind_tls: bool = False
    """Whether clients come by HTTPS, through a proxy: browsers are told to stay with it."""
    body_max: int = 8 << 20
    """Bytes of a request's body, at most."""
    queue: QueuePlace | None = None
    """None: what is asked of the queue is refused."""
    writer_url: str | None = field(default=None, repr=False)
    """The database as a writer reaches it, for what a reader may not do: rows given back to the streamers."""
