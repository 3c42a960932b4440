"""Metrics as a text for Prometheus: what processes of one role counted, beside what was observed of others.

What does not live here: counting (`metrics`), observing, and the readings of GPUs, which are too many for this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

from telemetry.runtime.measures import BY_NAME
from telemetry.runtime.shared import Together, shares_values

__all__ = ["exposition"]


def exposition(
    registry: CollectorRegistry, observed: Mapping[str, float] | None = None, accept: str | None = None
) -> tuple[bytes, str]:
    """Give the text and its content type, OpenMetrics where `accept` (a header) asks for it.

    Of processes that share their values, those of all of them, dead ones' counters too; else those of `registry`.
    `observed` are values by the names of `measures`; one that is not there is left out, as nothing is known of it.
    """
    whole = CollectorRegistry()
    if shares_values():
        Together(whole)  # type: ignore[no-untyped-call]  # the library's own
    else:
        whole.register(registry)
    whole.register(_Observed(observed or {}))
    encode, content_type = choose_encoder(accept or "")
    return encode(whole), content_type


class _Observed:
    """Values of one moment."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = values

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        for name, value in self._values.items():
            one = BY_NAME[name]
            if one.kind == "counter":
                yield CounterMetricFamily(name.removesuffix("_total"), one.why, value=value)
            else:
                yield GaugeMetricFamily(name, one.why, value=value)
