"""The alerts of the pipeline: queue, collectors, streamers, database, API.

Gauges of the queue and the database come from every API pod alike, so the largest counts. While Redis or the database
is away many of them are absent, and what the others then tell of follows from that: the alert that says so is the only
one that fires.
"""

from __future__ import annotations

from typing import Final

from telemetry.monitoring import thresholds as limit
from telemetry.monitoring.alerts import Alert
from telemetry.monitoring.promql import any_pod, gone, unless_away

__all__ = ["PIPELINE"]


def _quantile(metric: str) -> str:
    return f"histogram_quantile(0.95, sum by (namespace, le) (rate({metric}_bucket[5m])))"


_FILL = any_pod("telemetry_queue_depth_messages / telemetry_queue_capacity_messages")
_ASKED = 'route=~"/api/.*"'
"""Probes and scrapes come however little is asked, and a probe's 503 is no fault of the API's."""
_DEPTH = any_pod("telemetry_queue_depth_messages")
_NEWEST = any_pod("telemetry_store_newest_reading_age_seconds")
_WAITING = any_pod("min_over_time(telemetry_queue_depth_messages[5m])")
_SETTLED = any_pod("rate(telemetry_queue_acked_messages_total[5m]) + rate(telemetry_queue_dead_messages_total[5m])")

QUEUE: Final = (
    Alert(
        "TelemetryQueueNearlyFull",
        "warning",
        unless_away(f"{_FILL} > {limit.QUEUE_FILL}"),
        limit.SLOW,
        "The queue has been more than {{ $value | humanizePercentage }} full for ten minutes: streamers wait.",
        "See whether collectors or the database are the bottleneck; add collectors if the database is not busy.",
    ),
    Alert(
        "TelemetryOldestMessageStuck",
        "warning",
        unless_away(f"{any_pod('telemetry_queue_oldest_age_seconds')} > {limit.OLDEST_MESSAGE:g}"),
        limit.USUAL,
        "The oldest message has been in the queue for {{ $value | humanizeDuration }}.",
        "Look at `telemetry queue stats`: who holds it, and for how long.",
    ),
    Alert(
        "TelemetryNoProgress",
        "critical",
        unless_away(f"{_WAITING} > 0 and {_SETTLED} == 0"),
        limit.QUICK,
        "{{ $value | humanize }} messages or more are in the queue, and none has been settled for five minutes.",
        "Look at the collectors' /readyz and log: they say what they wait for.",
    ),
    Alert(
        "TelemetryDeadLetters",
        "warning",
        f"{any_pod('telemetry_store_dead_blocks')} > 0 or {any_pod('telemetry_queue_dead_letters')} > 0",
        limit.QUICK,
        "Messages that could not be stored wait for a decision: {{ $value | humanize }}.",
        "Read the reasons with `telemetry queue dead list`; replay after a fix, drop what is of no use.",
    ),
    Alert(
        "TelemetryRedisAway",
        "critical",
        "telemetry_redis_up == 0",
        limit.QUICK,
        "The queue's server does not answer {{ $labels.instance }}: nothing is published or stored.",
        "Look at the Redis pod or service, its memory and the network to it; nothing is lost meanwhile.",
    ),
)

COLLECTORS: Final = (
    Alert(
        "TelemetryCollectorAbsent",
        "critical",
        f"{any_pod('telemetry_queue_consumers')} == 0 and {_DEPTH} > 0",
        limit.USUAL,
        "Messages wait in the queue, and no collector has asked for them for five minutes.",
        "Start a collector; look why the last ones ended.",
    ),
    Alert(
        "TelemetryBreakerOpen",
        "critical",
        "telemetry_collector_breaker_open > 0",
        limit.QUICK,
        "{{ $labels.instance }} holds its messages back, because the database refuses nearly all of them.",
        "Read the reason at its /readyz: most often a schema that was not migrated; it goes on by itself then.",
    ),
    Alert(
        "TelemetryFreshnessLag",
        "warning",
        f"{_quantile('telemetry_collector_publish_to_stored_seconds')} > {limit.FRESHNESS:g}",
        limit.SLOW,
        "One message of twenty takes longer than {{ $value | humanizeDuration }} from the queue to the database.",
        "Compare with the time of transactions: if that is short, collectors are too few.",
    ),
    Alert(
        "TelemetryDatabaseSlow",
        "warning",
        f"{_quantile('telemetry_collector_transaction_seconds')} > {limit.TRANSACTION:g}",
        limit.SLOW,
        "One transaction of twenty takes the database longer than {{ $value | humanizeDuration }}.",
        "Look at the database's disk, locks and processor; more collectors would make it worse.",
    ),
    Alert(
        "TelemetryDatabaseAway",
        "critical",
        "telemetry_database_up == 0",
        limit.QUICK,
        "The database does not answer {{ $labels.instance }}: nothing is stored, and questions fail.",
        "Look at the database, its disk and connections; collectors hold what they have and go on by themselves.",
    ),
    Alert(
        "TelemetryBlocksUnsettled",
        "warning",
        # what waits in a deep queue is overdue, too, as long as the oldest message is old: that is no lost block
        f"""
        {any_pod("telemetry_store_oldest_unsettled_age_seconds")} - {any_pod("telemetry_queue_oldest_age_seconds")}
        > {limit.UNSETTLED:g}
        """,
        limit.USUAL,
        "A block is overdue, by {{ $value | humanizeDuration }} more than anything has waited in the queue: "
        "nobody publishes it.",
        "Start a streamer of the source that `telemetry verify` names: only that can read its rows again.",
    ),
)

ENDS: Final = (
    Alert(
        "TelemetryNothingRead",
        "warning",
        unless_away(
            f"sum by (namespace) (rate(telemetry_streamer_rows_read_total[10m])) == 0 "
            f"unless on (namespace) ({_FILL} > {limit.QUEUE_FILL})"
        ),
        limit.SLOW,
        "Streamers run, the queue has room, and no reading was taken from the source for ten minutes.",
        "Look at the streamers' log: the source may have ended, stand still or be out of reach.",
    ),
    Alert(
        "TelemetryRowsRejected",
        "warning",
        f"""
        sum by (namespace) (increase(telemetry_collector_rows_rejected_total[1h]))
        / sum by (namespace) (
          increase(telemetry_collector_rows_stored_total[1h])
          + increase(telemetry_collector_rows_blank_total[1h])
          + increase(telemetry_collector_rows_rejected_total[1h])
        ) > {limit.REJECTED_SHARE}
        """,
        limit.QUICK,
        "{{ $value | humanizePercentage }} of the last hour's readings cannot be used and are kept with their reason.",
        "Read the reasons: `SELECT reason, count(*) FROM rejected_rows GROUP BY reason`.",
    ),
    Alert(
        "TelemetryNotReady",
        "warning",
        unless_away("telemetry_streamer_ready == 0 or telemetry_collector_ready == 0"),
        limit.SLOW,
        "{{ $labels.instance }} is not ready: its check {{ $labels.check }} has failed for ten minutes.",
        "Ask its /readyz, which says why in a line.",
    ),
    Alert(
        "TelemetryApiErrors",
        "warning",
        unless_away(
            f'sum by (namespace) (rate(telemetry_api_requests_total{{{_ASKED}, status="5xx"}}[5m])) '
            f"/ sum by (namespace) (rate(telemetry_api_requests_total{{{_ASKED}}}[5m])) > {limit.API_ERROR_SHARE}"
        ),
        limit.SLOW,
        "The API answers {{ $value | humanizePercentage }} of all questions with an error of its own.",
        "Look at its log for status=5, and whether the database is slow: 503 is a question that took too long.",
    ),
    Alert(
        "TelemetryApiConnectionsShort",
        "warning",
        unless_away("increase(telemetry_api_database_connection_timeouts_total[10m]) > 0"),
        limit.SLOW,
        "{{ $value | humanize }} questions at {{ $labels.instance }} got no database connection within ten minutes.",
        "Look for slow questions (telemetry_api_route_seconds_total), then add API pods or threads.",
    ),
)

PRESENCE: Final = (
    Alert(
        "TelemetryApiAbsent",
        "critical",
        gone("telemetry_api_build_info"),
        limit.USUAL,
        "No API pod was there to be scraped for five minutes: queue, database and GPUs are watched by nobody.",
        "Look at the API's pods, then whether Prometheus still reaches them; until then no other alert can be trusted.",
    ),
    Alert(
        "TelemetryStreamerAbsent",
        "critical",
        gone("telemetry_streamer_build_info"),
        limit.USUAL,
        "No streamer was there to be scraped for five minutes: nothing is read.",
        "Start a streamer; look why the last ones ended. What a file has waits; what an exporter says now is missed.",
    ),
    Alert(
        "TelemetryReadingsOld",
        "warning",
        unless_away(f"({_NEWEST} > {limit.READING_AGE:g}) < {limit.READING_PAST:g}"),
        limit.USUAL,
        "The newest reading of all GPUs is {{ $value | humanizeDuration }} old.",
        "Follow the way from the source: streamers, queue, collectors; each has alerts of its own.",
    ),
    Alert(
        "TelemetryClockAhead",
        "warning",
        f"{any_pod('telemetry_store_gpus_ahead')} > 0",
        limit.SLOW,
        "{{ $value | humanize }} GPUs have readings that are dated more than five minutes ahead: nobody sees "
        "if they fall silent.",
        "Set the clock of their hosts right; the runbook has the question that names them, and how to undo one date.",
    ),
)

PIPELINE: Final = QUEUE + COLLECTORS + ENDS + PRESENCE
"""All of them, in the order in which a reading goes."""
