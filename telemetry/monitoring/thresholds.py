"""Every number at which somebody is told, once: alerts fire beyond them, dashboards colour by them.

Shares are of 1, ages and lags in seconds, durations as Prometheus writes them.
"""

from typing import Final

QUEUE_FILL: Final = 0.8
"""Of the capacity: from here on producers halve their blocks (`broker.producer`)."""
OLDEST_MESSAGE: Final = 60.0
"""Four leases: whoever held it has lost it three times by then."""
FRESHNESS: Final = 10.0
"""From publishing to stored, for 95 of 100 messages. Beyond 30 s the histogram does not tell how long."""
TRANSACTION: Final = 5.0
"""Of one gate, COPY and commit: a third of the lease."""
UNSETTLED: Final = 300.0
"""How long a block may be overdue that is not queued: streamers look every 2 s for those that nobody has."""
READING_AGE: Final = 300.0
"""Of the newest reading of any GPU: sources send every 1 to 60 s."""
READING_PAST: Final = 604_800.0
"""An older one is that of an export with times of its own, or of a fleet that was given up."""
REMEMBERED: Final = "7d"
"""How long a role that was there is missed: what breaks before a holiday is to be told after it, too."""
STEADY: Final = 4
"""Minutes of the last ten: fewer than an alert of absence waits for, and more than a process is there that Kubernetes
starts every five minutes."""
REJECTED_SHARE: Final = 0.01
API_ERROR_SHARE: Final = 0.05

GPU_SILENCE: Final = 300.0
"""Sources send every 1 to 60 s; Prometheus forgets a series after as long."""
CLOCK_AHEAD: Final = 300.0
"""Beyond this a source's clock is wrong, and its times are no sign of life."""
FAULT_KEPT: Final = "15m"
"""How long a fault stands that a board tells of no more: longer than until a silent one is told as missing."""
GLIMPSE: Final = "30s"
"""What a board says for so long is seen: the chart's own scrape interval."""
THERMAL_SHARE: Final = 0.05
"""Of the time: a GPU that is cooled well is never throttled by heat."""
POWER_SHARE: Final = 0.5
"""Of the time: boards at full load touch their limit now and then, by design."""
HOT_C: Final = (83.0, 87.0)
"""Warm and hot: NVIDIA's data-centre boards begin to slow down between 83 and 90 C."""
HOT_MEMORY_C: Final = (90.0, 95.0)
"""Near and at 95 C, the "Memory Max Operating Temp" that `nvidia-smi -q` tells of A100 and H100: HBM is warmer than
the core beside it, at full load too."""
IDLE_UTIL: Final = 0.0
"""Per cent, at most, all the time."""
IDLE_MEMORY: Final = 1_000.0
"""MiB, at least, all the time: less is what the driver itself keeps."""
MEMORY_SHARE: Final = (0.9, 0.98)
FULL: Final = (90.0, 98.0)
"""Per cent of use: busy, at the limit."""

QUICK: Final = "2m"
USUAL: Final = "5m"
SLOW: Final = "10m"
LONG: Final = "30m"
"""How long a condition holds before it is told; the longest for what comes and goes by itself."""
