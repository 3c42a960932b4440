"""The metrics of streamers and collectors, each with the reason why one would look at it.

The only importer of prometheus_client among the pipeline's rooms. What does not live here: the
API's metrics (webapi) and serving them (`health`).
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from telemetry import __version__

__all__ = ["CollectorMetrics", "StreamerMetrics", "new_registry"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def new_registry() -> CollectorRegistry:
    """Give an empty registry, for rooms that may not import prometheus_client."""
    return CollectorRegistry(auto_describe=True)


class RoleMetrics:
    """Metrics of one role on one registry; `snapshot` gives plain totals to the progress display."""

    def __init__(self, role: str, registry: CollectorRegistry | None, version: str) -> None:
        self.registry = registry or new_registry()
        self._prefix = f"telemetry_{role}_"
        self._known: dict[str, Counter | Gauge | Histogram] = {}
        build = self.gauge("build_info", "Which version runs: compare the replicas of a rollout.", "version")
        build.labels(version=version).set(1)

    def counter(self, name: str, why: str, *labels: str) -> Counter:
        """Register `telemetry_<role>_<name>_total`."""
        metric = Counter(f"{self._prefix}{name}_total", why, labels, registry=self.registry)
        self._known[name] = metric
        return metric

    def gauge(self, name: str, why: str, *labels: str) -> Gauge:
        """Register `telemetry_<role>_<name>`."""
        metric = Gauge(f"{self._prefix}{name}", why, labels, registry=self.registry)
        self._known[name] = metric
        return metric

    def seconds(self, name: str, why: str) -> Histogram:
        """Register the histogram `telemetry_<role>_<name>_seconds`."""
        full = f"{self._prefix}{name}_seconds"
        metric = Histogram(full, why, registry=self.registry, buckets=_SECONDS)
        self._known[f"{name}_seconds"] = metric
        return metric

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


class StreamerMetrics(RoleMetrics):
    """What a streamer did: read = blank + rejected + published, when nothing is under way."""

    def __init__(self, registry: CollectorRegistry | None = None, *, version: str = __version__) -> None:
        super().__init__("streamer", registry, version)
        self.rows_read = self.counter(
            "rows_read", "Readings taken from the source: flat while the queue is not full means a stuck source."
        )
        self.rows_blank = self.counter(
            "rows_blank", "Readings with DCGM's 'no value': a rise means that a field is not supported by a GPU."
        )
        self.rows_rejected = self.counter(
            "rows_rejected", "Readings that cannot be used, by reason: should stay at 0; the rows are kept.", "reason"
        )
        self.rows_published = self.counter(
            "rows_published", "Readings handed to the queue: its rate is this streamer's real throughput."
        )
        self.blocks_published = self.counter(
            "blocks_published", "Messages handed to the queue: rows over blocks is the size of a message."
        )
        self.blocks_republished = self.counter(
            "blocks_republished", "Messages published again: a rise means a died streamer or a queue that lost data."
        )
        self.publish_seconds = self.seconds(
            "publish", "Time to hand over one message, waiting for room included: grows before the queue is full."
        )
        self.backpressure_seconds = self.counter(
            "backpressure_seconds", "Time spent waiting for room: close to 1 per second means too few collectors."
        )


class CollectorMetrics(RoleMetrics):
    """What a collector did: received = stored + stale + dead + redelivered later."""

    def __init__(self, registry: CollectorRegistry | None = None, *, version: str = __version__) -> None:
        super().__init__("collector", registry, version)
        self.messages_received = self.counter(
            "messages_received", "Messages taken from the queue: flat while the queue is deep means a stuck collector."
        )
        self.rows_received = self.counter("rows_received", "Readings in those messages: the load on this collector.")
        self.rows_stored = self.counter(
            "rows_stored", "Readings committed to the database: its rate is this collector's real throughput."
        )
        self.rows_blank = self.counter(
            "rows_blank", "Readings with DCGM's 'no value', counted with the commit: explains received minus stored."
        )
        self.rows_rejected = self.counter(
            "rows_rejected", "Unusable readings that were stored with their reason: should stay at 0."
        )
        self.messages_stale = self.counter(
            "messages_stale", "Messages that were settled before, so only acknowledged: the work saved from doubling."
        )
        self.messages_dead = self.counter(
            "messages_dead", "Messages dead-lettered with their payload: any at all wants a look at the queue's dead."
        )
        self.messages_redelivered = self.counter(
            "messages_redelivered", "Messages taken over from another collector: a rise means that collectors die."
        )
        self.transaction_seconds = self.seconds(
            "transaction", "Time of one gate, COPY and commit: the database's share of the latency."
        )
        self.publish_to_stored_seconds = self.seconds(
            "publish_to_stored", "Age of a message at its commit: what a user feels as freshness."
        )
        self.breaker_open = self.gauge(
            "breaker_open", "1 while a flood of refused messages is held instead of dead-lettered: look at /readyz."
        )
        self.write_errors = self.counter(
            "write_errors", "Failed transactions by kind: outage, conflict or data say where to look.", "kind"
        )
