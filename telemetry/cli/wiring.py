"""How the objects of a role are put together from its options, and how a role waits for what it depends on."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from telemetry import config as c
from telemetry.block import MAX_TEXT
from telemetry.broker import Broker, BrokerDenied, BrokerError, BrokerUnavailable, Hooks, Topic
from telemetry.cli.options import Values, need
from telemetry.config import ConfigError
from telemetry.runtime.backoff import Backoff
from telemetry.runtime.health import Health, HealthServer
from telemetry.runtime.logs import configure_logs, log_event
from telemetry.runtime.metrics import CollectorMetrics, RoleMetrics, StreamerMetrics
from telemetry.runtime.stop import Stop
from telemetry.runtime.waits import Waits
from telemetry.store.errors import StoreDenied, StoreError, StoreUnavailable
from telemetry.store.peers import PREFIX
from telemetry.store.schema import check_migrated
from telemetry.store.session import Session, check_url
from telemetry.store.tiers import Tier

log = logging.getLogger(__name__)

DEFAULT_LOCK_TIMEOUT = 15.0


class StreamerHooks(Hooks):
    """What a producer tells, as a streamer's metrics."""

    def __init__(self, metrics: StreamerMetrics) -> None:
        self.metrics = metrics
        self._waits = False

    def on_publish(self, rows: int, seconds: float, new: bool) -> None:
        """Time to hand over a message."""
        self._waits = False
        self.metrics.publish_seconds.observe(seconds)

    def on_wait(self, seconds: float) -> None:
        """Time spent waiting for room: told about once a second, so a message that waits counts at the first word."""
        if not self._waits:
            self.metrics.backpressure_waits.inc()
        self._waits = True
        self.metrics.backpressure_seconds.inc(seconds)


class CollectorHooks(Hooks):
    """What a consumer tells, as a collector's metrics."""

    def __init__(self, metrics: CollectorMetrics) -> None:
        self.metrics = metrics

    def on_deliver(self, messages: int, rows: int, redelivered: bool) -> None:
        """Work taken over from another collector."""
        if redelivered:
            self.metrics.messages_redelivered.inc(messages)

    def on_release(self, messages: int, spent: bool) -> None:
        """Work handed back."""
        self.metrics.messages_released.inc(messages)

    def on_lost(self, messages: int) -> None:
        """Work that another collector has now."""
        self.metrics.messages_lost.inc(messages)

    def on_disconnect(self, error: str) -> None:
        """The queue's server is away."""
        self.metrics.queue_disconnects.inc()


def database_url_of(values: Values) -> str:
    """The database's URL, checked. ConfigError names the setting, and shows nothing of the URL."""
    url: str = need(values, c.DATABASE_URL)
    try:
        check_url(url)
    except StoreError as error:
        raise ConfigError(f"--{c.DATABASE_URL.flag} (or {c.DATABASE_URL.env}) {error}") from None
    return url


def session_of(values: Values, role: str, *, lock_timeout: float | None = None) -> Session:
    """A session for a role; its name tells a person, and stuck peers, whose it is. Makes no connection yet."""
    url = database_url_of(values)
    wait = lock_timeout or values.get("lease") or DEFAULT_LOCK_TIMEOUT
    return Session(url=url, name=f"{PREFIX}{role}@{socket.gethostname()}", lock_timeout=wait)


def topic_of(values: Values, role: str, hooks: Hooks | None = None) -> Topic:
    """The topic. Makes no connection yet."""
    try:
        broker = Broker(
            need(values, c.REDIS_URL),
            namespace=values["namespace"],
            hooks=hooks,
            client_name=f"{PREFIX}{role}@{socket.gethostname()}",
        )
        return Topic(
            broker,
            values["topic"],
            capacity=values["capacity"],
            max_bytes=values["max_bytes"],
            lease=values["lease"],
            max_attempts=values["max_attempts"],
        )
    except BrokerError as error:
        raise ConfigError(f"--{c.REDIS_URL.flag} (or {c.REDIS_URL.env}): {error}") from None


def start_logs(values: Values) -> None:
    """Logs as the options want them, on stderr."""
    configure_logs(values["log_level"], json=values["log_format"] == "json")


@contextmanager
def health_server(values: Values, health: Health, metrics: RoleMetrics) -> Iterator[None]:
    """Serve probes and metrics while the role runs, when a port is given."""
    port = values["health_port"]
    if port is None:
        yield
        return
    metrics.watch(health)
    server = HealthServer(health=health, registry=metrics.registry, port=port, host=values["health_host"])
    try:
        server.start()
    except OSError as error:
        raise ConfigError(f"--health-port {port}: {error.strerror}; choose another, or 0 for a free one") from None
    log_event(log, logging.INFO, "serving probes and metrics", host=values["health_host"], port=server.port)
    try:
        yield
    finally:
        server.close()


def wait_for_database(session: Session, health: Health, stop: Stop) -> Tier | None:
    """The tier, as soon as the database is reached and migrated; None when stopped. StoreDenied at once."""
    with waits_for(session, health):
        tier = _tier(session, health, stop)
    if tier is not None:
        health.ready("database", True)
    return tier


def waits_for(session: Session, health: Health) -> Waits:
    """To be entered by who uses the session in its loop, so that a database that hangs restarts nobody."""
    return Waits(health=health, name="database", why=lambda: session.waiting)


def _tier(session: Session, health: Health, stop: Stop) -> Tier | None:
    backoff = Backoff(first=0.2, cap=3.0)
    while True:
        health.turned()
        try:
            with session.use() as connection:
                return check_migrated(connection)
        except StoreDenied:
            raise
        except StoreUnavailable as error:
            # A connection made before the schema was there does not know the settings of its extension.
            session.close()
            health.ready("database", False, str(error))
            log_event(log, logging.WARNING, "waiting for the database", error=error)
            if backoff.wait(stop):
                return None


def wait_for_queue(topic: Topic, health: Health, stop: Stop) -> bool:
    """Return when the queue answers, after saying what is wrong with its memory settings; False when stopped."""
    backoff = Backoff(first=0.2, cap=3.0)
    while True:
        health.turned()
        try:
            topic.broker.ping()
            for warning in topic.check_memory():
                log_event(log, logging.WARNING, "the queue's server is not set up for it", why=warning)
        except BrokerDenied:
            raise  # waiting does not help
        except BrokerUnavailable as error:
            health.ready("queue", False, str(error))
            log_event(log, logging.WARNING, "waiting for the queue", url=topic.broker.safe_url, error=error)
            if backoff.wait(stop):
                return False
        else:
            health.ready("queue", True)
            return True


def process_name() -> str:
    """What a consumer of this process is called; in Kubernetes the host name is the pod's."""
    return f"{socket.gethostname()}-{os.getpid()}"[:MAX_TEXT]
