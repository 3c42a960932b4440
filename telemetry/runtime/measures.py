"""Every metric once: its name, kind and labels, and the sentence why one would look at it.

The README's table, the help that Prometheus shows, and what a role may count are made from this. What does not live
here: counting (`metrics`), the readings of GPUs at /metrics/gpus, which are named as DCGM names them (`webapi.gpus`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["API", "BY_NAME", "COLLECTOR", "GPUS", "QUEUE", "ROLES", "STORE", "STREAMER", "Measure"]

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric. `name` is what Prometheus shows; `buckets` are a histogram's upper bounds, in the metric's unit."""

    name: str
    kind: Kind
    why: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 25_000.0, 50_000.0)
_BYTES = (1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0)
_ANSWERS = (0.01, 0.05, 0.25, 1.0, 2.5, 10.0)  # few: they are kept for each part of the API

_BUILD = "1, with the version that runs: compare the replicas of a rollout."
_READY = "1 while a check of /readyz is fine, 0 while it is not: which dependency this process waits for."
_AWAY = "Times that the queue's server became unreachable: a steady rise means a bad network or a server that restarts."


def _of(prefix: str, *measures: Measure) -> tuple[Measure, ...]:
    """With the names' common part before each."""
    return tuple(Measure(prefix + one.name, one.kind, one.why, one.labels, one.buckets) for one in measures)


def _counter(name: str, why: str, *labels: str) -> Measure:
    return Measure(f"{name}_total", "counter", why, labels)


def _gauge(name: str, why: str, *labels: str) -> Measure:
    return Measure(name, "gauge", why, labels)


def _histogram(name: str, why: str, buckets: tuple[float, ...], *labels: str) -> Measure:
    return Measure(name, "histogram", why, labels, buckets)


STREAMER = _of(
    "telemetry_streamer_",
    _gauge("build_info", _BUILD, "version"),
    _gauge("ready", _READY, "check"),
    _counter(
        "rows_read", "Readings taken from the source and handed on: flat while the queue has room means a stuck source."
    ),
    _counter("rows_blank", "Readings with DCGM's 'no value': a rise means that a field is not supported by a GPU."),
    _counter(
        "rows_rejected",
        "Unusable readings, by the field at fault, or quotes, too_long, field_count, other: should stay at 0.",
        "reason",
    ),
    _counter("rows_published", "Readings handed to the queue: its rate is this streamer's real throughput."),
    _counter("rows_dead", "Readings dead-lettered because no streamer could publish them: any wants a look."),
    _gauge("pending_rows", "Readings reserved and not handed over yet: stays high while the queue has no room."),
    _counter("blocks_published", "Messages handed to the queue: rows over blocks is the size of a message."),
    _counter(
        "blocks_republished",
        "Messages that replace lost ones, or a streamer's that ended: a rise outside a rollout wants a look.",
    ),
    _counter("blocks_split", "Blocks cut because a message would be too large: a rise means --block-rows is too high."),
    _histogram("block_rows", "Readings of a block: small ones at a full queue mean that pressure halves them.", _ROWS),
    _histogram("block_bytes", "Bytes of a message: times the queue's capacity, this is Redis' memory.", _BYTES),
    _histogram(
        "publish_seconds",
        "Time to hand over one message, waiting for room included: grows before the queue is full.",
        _SECONDS,
    ),
    _counter("backpressure_waits", "Messages that had to wait for room: the first sign of too few collectors."),
    _counter("backpressure_seconds", "Time spent waiting for room: close to 1 per second means too few collectors."),
    _counter("queue_disconnects", _AWAY),
)

COLLECTOR = _of(
    "telemetry_collector_",
    _gauge("build_info", _BUILD, "version"),
    _gauge("ready", _READY, "check"),
    _counter(
        "messages_received", "Messages taken from the queue: flat while the queue is deep means a stuck collector."
    ),
    _counter("rows_received", "Readings in those messages: the load on this collector."),
    _gauge("backlog_messages", "Messages taken and not settled yet: stays up while the database is away or flooded."),
    _gauge("backlog_rows", "Readings in those messages: what is delivered again if this collector dies now."),
    _counter("transactions", "Transactions committed: rows stored over it is what one COPY carries."),
    _counter("messages_stored", "Messages whose readings were committed: with stale and dead, all that were received."),
    _counter("rows_stored", "Readings committed to the database: its rate is this collector's real throughput."),
    _counter("rows_blank", "Readings with DCGM's 'no value', counted with the commit: explains received minus stored."),
    _counter("rows_rejected", "Unusable readings that were stored with their reason: should stay at 0."),
    _counter("messages_stale", "Messages settled before, so the gate skipped them: the work saved from doubling."),
    _counter(
        "messages_dead", "Messages dead-lettered with their payload: any at all wants a look at the queue's dead."
    ),
    _counter("rows_dead", "Readings in those messages: what is missing until they are replayed."),
    _counter("messages_redelivered", "Messages taken over from another collector: a rise means that collectors die."),
    _counter("messages_released", "Messages handed back unsettled: a drain, or an outage that outlasted a stop."),
    _counter(
        "messages_lost", "Messages whose lease lapsed in hand: a rise means a lease too short, or a starved host."
    ),
    _histogram(
        "transaction_seconds", "Time of one gate, COPY and commit: the database's share of the latency.", _SECONDS
    ),
    _histogram(
        "publish_to_stored_seconds", "Age of a message at its commit: what a user feels as freshness.", _SECONDS
    ),
    _counter("write_errors", "Failed transactions by kind: outage, conflict or data say where to look.", "kind"),
    _gauge("breaker_open", "1 while a flood of refused messages is held instead of dead-lettered: look at /readyz."),
    _counter("queue_disconnects", _AWAY),
)

API = _of(
    "telemetry_api_",
    _gauge("build_info", _BUILD, "version"),
    _gauge("workers", "Worker processes that answer: fewer than --api-workers for long means that they die."),
    _counter(
        "requests",
        "Requests by route and class of status (2xx): which questions are asked, and which of them fail.",
        *("method", "route", "status"),
    ),
    _counter(
        "responses", "Answers by their exact status: 429 and 503 tell of overload, 401 of a token that ended.", "status"
    ),
    _counter(
        "route_seconds",
        "Time to the first byte of answers, by route: over requests it is the mean; sorts the slow.",
        "route",
    ),
    _histogram(
        "request_duration_seconds",
        "Time to the first byte of an answer, by the part of the API: the latency that clients see.",
        _ANSWERS,
        "group",
    ),
    _gauge("database_connections_in_use", "Connections lent to questions, of all workers: at the limit others wait."),
    _gauge(
        "database_connections_limit", "Connections that all workers may make together: what in_use is held against."
    ),
    _counter(
        "database_connection_timeouts", "Questions that got no connection in time: too few threads' worth, or slow SQL."
    ),
    _gauge("streams_open", "Live streams that are open: each keeps a thread; beyond --api-streams they are refused."),
)

QUEUE = (
    _gauge(
        "telemetry_redis_up",
        "1 when the queue's server answered this scrape, else 0, and telemetry_queue_* are absent.",
    ),
    *_of(
        "telemetry_queue_",
        _gauge("depth_messages", "Messages in the queue, waiting and in flight: near capacity, streamers wait."),
        _gauge("depth_rows", "Readings in them: over the rate of storing, it is how long the way takes now."),
        _gauge("waiting_messages", "Messages that nobody has taken: grows when collectors are too few or stuck."),
        _gauge("waiting_rows", "Readings that nobody has taken."),
        _gauge(
            "in_flight_messages",
            "Messages that collectors hold: all of the depth, and no progress, means a stuck database.",
        ),
        _gauge("in_flight_rows", "Readings that collectors hold."),
        _gauge("capacity_messages", "Messages that the queue takes before streamers wait: depth over it is the alert."),
        _gauge(
            "oldest_age_seconds", "Age of the oldest message, 0 when there is none: above the lease somebody is stuck."
        ),
        _gauge("consumers", "Collector workers heard of within a minute: 0 means that nobody stores."),
        _gauge(
            "consumer_idle_seconds",
            "Silence of the worker that was quiet longest: above the lease it is dead or stopped.",
        ),
        _gauge(
            "dead_letters", "Messages in the queue's own dead-letter stream: clients other than collectors bury here."
        ),
        _gauge("memory_bytes", "Memory of the queue in its server: hold it against maxmemory."),
        _counter("published_messages", "Messages queued since the queue was made: flat means that nothing is read."),
        _counter(
            "published_rows",
            "Readings queued since the queue was made: what all streamers bring. Steps back with what Redis loses.",
        ),
        _counter("acked_messages", "Messages settled as done: flat at some depth means no progress."),
        _counter(
            "acked_rows", "Readings settled as done: what all collectors store. Steps back with what Redis loses."
        ),
        _counter("dead_messages", "Messages that died: any at all wants a look."),
        _counter("dead_rows", "Readings that died."),
        _counter("redelivered_messages", "Messages delivered again: a rise means that collectors die or stall."),
        _counter("backpressure_seconds", "Time that all producers together waited for room: too few collectors."),
    ),
)

STORE = (
    _gauge(
        "telemetry_database_up", "1 when the database answered this scrape, else 0, and telemetry_store_* are absent."
    ),
    *_of(
        "telemetry_store_",
        _gauge("gpus", "GPUs that have telemetry: a jump means a new fleet, or identities that are read wrongly."),
        _gauge(
            "newest_reading_age_seconds", "Age of the newest reading of any GPU, good to 10 s: freshness, end to end."
        ),
        _gauge(
            "gpus_ahead",
            "GPUs whose newest reading is dated over 300 s ahead, which the age leaves out: a clock is wrong.",
        ),
        _gauge("unsettled_blocks", "Blocks reserved and not settled, queued ones too: grows while the way is stuck."),
        _gauge(
            "oldest_unsettled_age_seconds",
            "How long the longest unsettled block is overdue, else 0: far above the lease, nobody stores it.",
        ),
        _gauge("dead_blocks", "Messages that wait in dead_blocks for a replay: any at all wants a look."),
        _gauge("dead_rows", "Readings in them: what is missing until they are replayed."),
    ),
)

GPUS = (
    _gauge(
        "telemetry_gpus_up",
        "1 when GPUs were read within the last 60 s, else 0, and no GPU is told of: whether to trust this page.",
    ),
    _gauge(
        "telemetry_gpu_last_seen_timestamp_seconds",
        "When a GPU was last heard of (Unix time, good to 10 s), for a day: tells of a missing GPU, of a silent host.",
        *("gpu", "UUID", "device", "modelName", "Hostname"),
    ),
    _gauge(
        "telemetry_gpus_series",
        "Series by what became of them: exported, cut (at least so many too many), or nameless (another has the name).",
        "state",
    ),
    _gauge(
        "telemetry_gpus_read_timestamp_seconds",
        "When these values were read from the database: answers are kept for some seconds.",
    ),
)

ROLES: Mapping[str, tuple[Measure, ...]] = MappingProxyType(
    {
        "Streamer, `/metrics` on `--health-port`": STREAMER,
        "Collector, `/metrics` on `--health-port`": COLLECTOR,
        "API, `/metrics`": API,
        "The queue, at the API's `/metrics` alone": QUEUE,
        "The database, at the API's `/metrics` alone": STORE,
        "GPUs, at the API's `/metrics/gpus`, beside DCGM's own names": GPUS,
    }
)
"""Where each of them is to be had."""


def _by_name(measures: Iterable[Measure]) -> Mapping[str, Measure]:
    return MappingProxyType({one.name: one for one in measures})


BY_NAME: Mapping[str, Measure] = _by_name(one for measures in ROLES.values() for one in measures)
