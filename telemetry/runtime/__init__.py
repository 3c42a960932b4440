"""What every long-running role needs around its work: stopping, time, backoff, logs, health, metrics.

What does not live here: anything that knows blocks, queues, SQL or settings. This room imports no
other room of the package; objects are built by the composition layer and passed in.
"""

from telemetry.runtime.backoff import Backoff
from telemetry.runtime.clock import Clock, SystemClock
from telemetry.runtime.health import Health, HealthServer, Report
from telemetry.runtime.logs import configure_logs, log_event, mask_secrets
from telemetry.runtime.masking import mask_tokens
from telemetry.runtime.metrics import CollectorMetrics, StreamerMetrics, new_registry
from telemetry.runtime.stop import Stop, stop_on_signals

__all__ = [
    "Backoff",
    "Clock",
    "CollectorMetrics",
    "Health",
    "HealthServer",
    "Report",
    "Stop",
    "StreamerMetrics",
    "SystemClock",
    "configure_logs",
    "log_event",
    "mask_secrets",
    "mask_tokens",
    "new_registry",
    "stop_on_signals",
]
