"""What each role counts, on a registry of its own.

The only importer of prometheus_client among the pipeline's rooms, beside its neighbours here. What does not live here:
the names and what they are good for (`measures`), serving them (`health`, `exposition`).
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily

from telemetry import __version__
from telemetry.runtime.health import Health
from telemetry.runtime.measures import BY_NAME, Measure

__all__ = ["ApiMetrics", "CollectorMetrics", "StreamerMetrics", "new_registry"]

FAULTS: Mapping[str, str] = MappingProxyType({"its": "quotes", "longer": "too_long", "fields": "field_count"})
"""What faults of a whole row are called, by the first word of their reason; a reason that begins with a number is of
another count of fields than the header's."""
FIELDS = frozenset(
    (
        *("timestamp", "metric_name", "gpu_id", "device", "uuid", "model_name", "hostname", "container", "pod"),
        *("namespace", "value", "labels_raw"),
    )
)
"""First words of the other reasons that are told apart: the field that cannot be used. All others are `OTHER`: a wide
file has a column for each metric, and names them."""
OTHER = "other"

KINDS = ("outage", "conflict", "data")
"""What a transaction fails of: the database is away, another session is in the way, what is to be stored is refused."""


def new_registry() -> CollectorRegistry:
    """Give an empty registry, for rooms that may not import prometheus_client.

    Its counters do not say when they were made: that would double their number, and a streamer's and a collector's
    `process_start_time_seconds` tells. The API is several processes, of which the library cannot tell that together.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own
    return CollectorRegistry(auto_describe=True)


class RoleMetrics:
    """Metrics of one role on one registry; `snapshot` gives plain totals to the progress display."""

    def __init__(self, role: str, registry: CollectorRegistry | None, version: str) -> None:
        self.registry = registry or new_registry()
        self._prefix = f"telemetry_{role}_"
        self._known: dict[str, Counter | Gauge | Histogram] = {}
        self.gauge("build_info", "max").labels(version=version).set(1)

    def counter(self, name: str) -> Counter:
        """Register `telemetry_<role>_<name>_total`."""
        one = self._measure(f"{name}_total")
        metric = Counter(one.name, one.why, one.labels, registry=self.registry)
        self._known[name] = metric
        return metric

    def gauge(self, name: str, of_workers: str = "livesum") -> Gauge:
        """Register `telemetry_<role>_<name>`; `of_workers` says what several processes of one role give together."""
        one = self._measure(name)
        metric = Gauge(
            one.name,
            one.why,
            one.labels,
            registry=self.registry,
            multiprocess_mode=of_workers,  # type: ignore[arg-type]  # a literal of the library's
        )
        self._known[name] = metric
        return metric

    def histogram(self, name: str) -> Histogram:
        """Register the histogram `telemetry_<role>_<name>`."""
        one = self._measure(name)
        metric = Histogram(one.name, one.why, one.labels, registry=self.registry, buckets=one.buckets)
        self._known[name] = metric
        return metric

    def watch(self, health: Health) -> None:
        """Tell of this process too: its checks as `ready`, its processor time, memory and files as `process_*`."""
        self.registry.register(_Checks(self._measure("ready"), health))
        ProcessCollector(registry=self.registry)

    def snapshot(self) -> dict[str, float]:
        """Totals by name, summed over labels; a histogram gives `_count` and `_sum`."""
        totals: dict[str, float] = {}
        for name, metric in self._known.items():
            for sample in (sample for family in metric.collect() for sample in family.samples):
                suffix = sample.name.removeprefix(self._prefix + name)
                if suffix in ("", "_total", "_count", "_sum"):
                    key = name + suffix.replace("_total", "")
                    totals[key] = totals.get(key, 0.0) + sample.value
        return totals

    def _measure(self, name: str) -> Measure:
        return BY_NAME[self._prefix + name]


class _Checks:
    """The checks of a role's readiness, as they are when they are asked for."""

    def __init__(self, measure: Measure, health: Health) -> None:
        self._measure, self._health = measure, health

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._measure.name, self._measure.why, labels=self._measure.labels)
        for name, ok, _ in self._health.readiness().checks:
            family.add_metric([name], float(ok))
        yield family


class StreamerMetrics(RoleMetrics):
    """What a streamer did: read = blank + rejected + published, when nothing is under way."""

    def __init__(self, registry: CollectorRegistry | None = None, *, version: str = __version__) -> None:
        super().__init__("streamer", registry, version)
        self.rows_read = self.counter("rows_read")
        self.rows_blank = self.counter("rows_blank")
        self.rows_rejected = self.counter("rows_rejected")
        # From 0 on: of a series that is born with its value no rate is seen.
        for word in (*FAULTS.values(), *FIELDS, OTHER):
            self.rows_rejected.labels(reason=word)
        self.rows_published = self.counter("rows_published")
        self.rows_dead = self.counter("rows_dead")
        self.pending_rows = self.gauge("pending_rows")
        self.blocks_published = self.counter("blocks_published")
        self.blocks_republished = self.counter("blocks_republished")
        self.blocks_split = self.counter("blocks_split")
        self.block_rows = self.histogram("block_rows")
        self.block_bytes = self.histogram("block_bytes")
        self.publish_seconds = self.histogram("publish_seconds")
        self.backpressure_waits = self.counter("backpressure_waits")
        self.backpressure_seconds = self.counter("backpressure_seconds")
        self.queue_disconnects = self.counter("queue_disconnects")

    def rejected(self, reasons: Iterable[str]) -> None:
        """Count the rejected readings of a block by what their reasons begin with."""
        words = Tally("fields" if reason[:1].isdigit() else reason.partition(" ")[0] for reason in reasons)
        for word, count in words.items():
            self.rows_rejected.labels(reason=FAULTS.get(word, word if word in FIELDS else OTHER)).inc(count)


class CollectorMetrics(RoleMetrics):
    """What a collector did: received = stored + stale + dead + redelivered later."""

    def __init__(self, registry: CollectorRegistry | None = None, *, version: str = __version__) -> None:
        super().__init__("collector", registry, version)
        self.messages_received = self.counter("messages_received")
        self.rows_received = self.counter("rows_received")
        self.backlog_messages = self.gauge("backlog_messages")
        self.backlog_rows = self.gauge("backlog_rows")
        self.transactions = self.counter("transactions")
        self.messages_stored = self.counter("messages_stored")
        self.rows_stored = self.counter("rows_stored")
        self.rows_blank = self.counter("rows_blank")
        self.rows_rejected = self.counter("rows_rejected")
        self.messages_stale = self.counter("messages_stale")
        self.messages_dead = self.counter("messages_dead")
        self.rows_dead = self.counter("rows_dead")
        self.messages_redelivered = self.counter("messages_redelivered")
        self.messages_released = self.counter("messages_released")
        self.messages_lost = self.counter("messages_lost")
        self.transaction_seconds = self.histogram("transaction_seconds")
        self.publish_to_stored_seconds = self.histogram("publish_to_stored_seconds")
        self.write_errors = self.counter("write_errors")
        for kind in KINDS:  # from 0 on, as above
            self.write_errors.labels(kind=kind)
        self.breaker_open = self.gauge("breaker_open")
        self.queue_disconnects = self.counter("queue_disconnects")

    def committed(self, seconds: float) -> None:
        """Count a transaction. Not one that failed: a database that refuses at once would pass for a fast one."""
        self.transactions.inc()
        self.transaction_seconds.observe(seconds)


class ApiMetrics(RoleMetrics):
    """What a server answered, and how long that took. Its workers are processes: what they count is added up."""

    def __init__(self, registry: CollectorRegistry | None = None, *, version: str = __version__) -> None:
        super().__init__("api", registry, version)
        self.workers = self.gauge("workers")
        self.requests = self.counter("requests")
        self.responses = self.counter("responses")
        self.route_seconds = self.counter("route_seconds")
        self.request_duration_seconds = self.histogram("request_duration_seconds")
        self.connections_in_use = self.gauge("database_connections_in_use")
        self.connections_limit = self.gauge("database_connections_limit")
        self.connection_timeouts = self.counter("database_connection_timeouts")
        self.streams_open = self.gauge("streams_open")

    def answered(self, method: str, route: str, group: str, status: int, seconds: float) -> None:
        """Count one answer. `route` and `group` are of the routes that there are, `method` of those they take."""
        self.requests.labels(method=method, route=route, status=f"{status // 100}xx").inc()
        self.responses.labels(status=str(status)).inc()
        self.route_seconds.labels(route=route).inc(seconds)
        self.request_duration_seconds.labels(group=group).observe(seconds)
