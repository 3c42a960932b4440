"""Pieces of PromQL that alerts of the pipeline and of GPUs have in common.

What does not live here: the alerts (`pipeline_alerts`, `gpu_alerts`), what dashboards ask (`pipeline_board`).
"""

from __future__ import annotations

from telemetry.monitoring import thresholds as limit

__all__ = ["any_pod", "gone"]


def any_pod(expr: str) -> str:
    """What all API pods say alike, once."""
    return f"max without (instance, pod) ({expr})"


def gone(series: str) -> str:
    """Namespaces that had a series as long ago as is remembered, and have none: what is gone cannot be compared."""
    return (
        f"max by (namespace) (max_over_time({series}[{limit.REMEMBERED}])) "
        f"unless on (namespace) max by (namespace) ({series})"
    )
