"""Pieces of PromQL that alerts of the pipeline and of GPUs have in common.

What does not live here: the alerts (`pipeline_alerts`, `gpu_alerts`), what dashboards ask (`pipeline_board`).
"""

from __future__ import annotations

from typing import Final

from telemetry.monitoring import thresholds as limit

__all__ = ["any_pod", "gone", "unless_away"]

_AWAY: Final = (
    f"max by (namespace) (max_over_time(telemetry_redis_up[{limit.QUICK}])) == 0 "
    f"or max by (namespace) (max_over_time(telemetry_database_up[{limit.QUICK}])) == 0"
)
"""Namespaces of which no API pod has reached Redis, or none the database, for as long as it takes to tell so.

One that comes and goes is not away: else neither its alert would fire nor those that it explains.
"""


def any_pod(expr: str) -> str:
    """What all API pods say alike, once."""
    return f"max without (instance, pod) ({expr})"


def gone(series: str) -> str:
    """Namespaces that had a series as long ago as is remembered, and have none that stays: what is gone is no number.

    What crashes again and again is scraped now and then: one counts as there that is, and was for most of the minutes
    which an alert waits for.
    """
    return (
        f"max by (namespace) (max_over_time({series}[{limit.REMEMBERED}])) "
        f"unless on (namespace) max by (namespace) (count_over_time({series}[10m:1m]) and {series}) >= {limit.STEADY}"
    )


def unless_away(expr: str) -> str:
    """Where Redis or the database is away its own alert says so, and what follows from it is no second fault."""
    return f"({expr.strip()})\nunless on (namespace) ({_AWAY})"
