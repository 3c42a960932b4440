"""How Grafana shows a metric of the catalogue: its unit and its range.

What lives here: the catalogue's units in Grafana's words. What does not: the catalogue (`telemetry.catalog`), limits.
"""

from __future__ import annotations

from typing import Final

from telemetry.catalog import METRICS, Metric

__all__ = ["bounds", "metric", "unit"]

# Grafana's packages/grafana-data/src/valueFormats/categories.ts; what it has no word for is written behind the number
_UNITS: Final = {
    "MHz": "suffix: MHz",
    "C": "celsius",
    "W": "watt",
    "mJ": "suffix: mJ",
    "%": "percent",
    "MiB": "mbytes",
    "ratio": "percentunit",
    "MB/s": "MBs",
    "KB/s": "KBs",
    "bytes": "bytes",
    "bytes/s": "Bps",
    "ns": "ns",
    "count": "short",
    "code": "none",
}
_BOUNDED: Final = {"%", "ratio"}


def metric(name: str) -> Metric:
    """The catalogue's entry of a canonical name. Raises KeyError for others."""
    return METRICS[name]


def unit(name: str) -> str:
    """Grafana's word for the unit of a canonical metric. Raises KeyError for a metric that is not in the catalogue."""
    return _UNITS[METRICS[name].unit]


def bounds(name: str) -> dict[str, float]:
    """The ends of an axis where the unit has some; elsewhere the data decide, as hardware's limits lie far off."""
    entry = METRICS[name]
    return {"min": entry.low, "max": entry.high} if entry.unit in _BOUNDED else {"min": 0.0}
