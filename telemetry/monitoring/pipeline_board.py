"""The dashboard of the pipeline itself, asked of Prometheus: is it healthy, who is the bottleneck, what went wrong.

Totals that every API pod tells alike are taken once (the largest); what each process counts is added up.
"""

from __future__ import annotations

from telemetry.monitoring import thresholds as limit
from telemetry.monitoring.grafana import (
    PROMETHEUS,
    Json,
    dashboard,
    datasource,
    graph,
    source,
    stat,
    steps,
    table,
    timeline,
    variable,
)

__all__ = ["pipeline_board"]

_HERE = 'namespace=~"$namespace"'
_RATE = "$__rate_interval"


def _ask(expr: str, legend: str, *, once: bool = False) -> Json:
    """One expression; `once` asks for its value now, as a table of labels where there are several."""
    asked: Json = {"datasource": source(PROMETHEUS), "editorMode": "code", "expr": expr, "legendFormat": legend}
    return asked | ({"instant": True, "range": False} if once else {"instant": False, "range": True})


def _one(metric: str) -> str:
    """A gauge of the queue or the database, once for each namespace."""
    return f"max by (namespace) ({metric}{{{_HERE}}})"


def _flow(metric: str, by: str = "namespace") -> str:
    """What is counted in a second, by all processes together."""
    return f"sum by ({by}) (rate({metric}{{{_HERE}}}[{_RATE}]))"


def _queue_flow(metric: str) -> str:
    return f"max by (namespace) (rate({metric}{{{_HERE}}}[{_RATE}]))"


def _quantile(share: float, metric: str, by: str = "namespace") -> str:
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{{_HERE}}}[{_RATE}])))"


def _mean(metric: str) -> str:
    return f"{_flow(f'{metric}_sum', 'namespace, instance')} / {_flow(f'{metric}_count', 'namespace, instance')}"


_FILL = _one("telemetry_queue_depth_messages") + " / " + _one("telemetry_queue_capacity_messages")
_FIRING = (
    'max by (alertname, namespace) (ALERTS{alertname=~"Telemetry.*", alertstate="firing", namespace=~"$namespace|"})'
)
_UP = {0: "away", 1: "up"}
_FAULTS = steps(1, colours=("green", "red"))
_ALIVE = steps(1, colours=("red", "green"))
_PLACE = "{{namespace}} {{instance}}"


def pipeline_board() -> Json:
    """The dashboard as JSON."""
    chosen = variable(
        "namespace",
        "Namespace",
        {"query": "label_values(telemetry_api_build_info, namespace)", "refId": "namespace"},
        kind=PROMETHEUS,
        all_is=".*",
    )
    rows = (
        ("Is it healthy?", _health()),
        ("Who is the bottleneck?", _way()),
        ("What went wrong?", _faults()),
        ("How large are the pieces?", _pieces()),
        ("The API", _api()),
    )
    why = "The way of a reading: streamers, queue, collectors, database, API."
    return dashboard("telemetry-pipeline", "Telemetry: pipeline", why, [datasource(PROMETHEUS), chosen], rows, "1h")


def _health() -> list[Json]:
    small = (3, 4)
    lag = "telemetry_collector_publish_to_stored_seconds"
    return [
        stat("Redis", _ask(f"min(telemetry_redis_up{{{_HERE}}})", "Redis", once=True), unit="none", texts=_UP,
             limits=_ALIVE, why="Whether every API pod reaches the queue's server.", size=small),
        stat("Database", _ask(f"min(telemetry_database_up{{{_HERE}}})", "Database", once=True), unit="none", texts=_UP,
             limits=_ALIVE, why="Whether every API pod reaches the database.", size=small),
        stat("Queue full", _ask(_FILL, "{{namespace}}", once=True), unit="percentunit",
             limits=steps(limit.QUEUE_FILL, 0.95), why="Depth over capacity: at 100 % streamers wait.", size=small),
        stat("Oldest message", _ask(_one("telemetry_queue_oldest_age_seconds"), "{{namespace}}", once=True), unit="s",
             limits=steps(15, limit.OLDEST_MESSAGE), why="Above the lease, somebody is stuck.", size=small),
        stat("Stored", _ask(_flow("telemetry_collector_rows_stored_total"), "{{namespace}}", once=True), unit="cps",
             why="Readings committed in a second, by all collectors.", size=small),
        stat("Published to stored, p95", _ask(_quantile(0.95, lag), "{{namespace}}", once=True), unit="s",
             limits=steps(1, limit.FRESHNESS), why="How old readings are when they can be asked for.", size=small),
        stat("Dead messages", _ask(_one("telemetry_store_dead_blocks"), "{{namespace}}", once=True), unit="none",
             limits=_FAULTS, why="They wait for a replay: telemetry queue dead list.", size=small),
        stat("Breakers open", _ask(f"sum(telemetry_collector_breaker_open{{{_HERE}}})", "open", once=True), unit="none",
             limits=_FAULTS, why="Collectors that hold a flood of refused messages.", size=small),
        timeline("Alerts", _ask(_FIRING, "{{alertname}} {{namespace}}"),
                 why="What fires, and since when. Each has a section in the runbook.", limits=_FAULTS),
        timeline("Not ready", _ask(f"1 - min by (namespace, instance, check) (telemetry_streamer_ready{{{_HERE}}} or "
                                   f"telemetry_collector_ready{{{_HERE}}})", f"{_PLACE} {{{{check}}}}"),
                 why="Which dependency a process waits for.", limits=_FAULTS),
    ]  # fmt: skip


def _way() -> list[Json]:
    waits = _flow("telemetry_streamer_backpressure_seconds_total", "namespace, instance")
    publish, commit = "telemetry_streamer_publish_seconds", "telemetry_collector_transaction_seconds"
    lag = "telemetry_collector_publish_to_stored_seconds"
    unsettled = "telemetry_store_oldest_unsettled_age_seconds"
    return [
        graph("Readings per second, along the way",
              _ask(_flow("telemetry_streamer_rows_read_total"), "{{namespace}} read"),
              _ask(_flow("telemetry_streamer_rows_published_total"), "{{namespace}} published"),
              _ask(_queue_flow("telemetry_queue_acked_rows_total"), "{{namespace}} settled"),
              _ask(_flow("telemetry_collector_rows_stored_total"), "{{namespace}} stored"),
              unit="cps", why="The first of these that falls behind the others is the bottleneck."),
        graph("Queue",
              _ask(_one("telemetry_queue_waiting_messages"), "{{namespace}} waiting"),
              _ask(_one("telemetry_queue_in_flight_messages"), "{{namespace}} in flight"),
              _ask(_one("telemetry_queue_capacity_messages"), "{{namespace}} capacity"),
              unit="none", why="Much waiting: too few collectors. All in flight: the database."),
        graph("Streamers: share of time spent waiting for room", _ask(waits, _PLACE), unit="percentunit",
              ends={"min": 0, "max": 1}, why="Close to 100 %: whatever comes after the streamers is too slow."),
        graph("Times",
              _ask(_quantile(0.95, publish), "{{namespace}} publish, p95"),
              _ask(_quantile(0.5, commit), "{{namespace}} transaction, p50"),
              _ask(_quantile(0.95, commit), "{{namespace}} transaction, p95"),
              _ask(_quantile(0.5, lag), "{{namespace}} published to stored, p50"),
              _ask(_quantile(0.99, lag), "{{namespace}} published to stored, p99"),
              unit="s", limits=steps(limit.TRANSACTION, limit.FRESHNESS),
              why="Long transactions mean the database; a long way with short transactions means too few collectors."),
        graph("Collectors: readings in hand",
              _ask(f"max by (namespace, instance) (telemetry_collector_backlog_rows{{{_HERE}}})", _PLACE),
              unit="none", why="Stays up while the database is away or refuses."),
        graph("Readings stored by each collector",
              _ask(_flow("telemetry_collector_rows_stored_total", "namespace, instance"), _PLACE),
              unit="cps", why="One that is flat while others work is stuck."),
        graph("Blocks that are not settled", _ask(_one("telemetry_store_unsettled_blocks"), "{{namespace}}"),
              unit="none", why="Reserved by a streamer, not stored yet: grows while the way is stuck."),
        graph("Ages", _ask(_one(unsettled), "{{namespace}} unsettled block, overdue"),
              _ask(_one("telemetry_queue_oldest_age_seconds"), "{{namespace}} oldest message"),
              _ask(_one("telemetry_store_newest_reading_age_seconds"), "{{namespace}} newest reading"),
              unit="s", why="The newest reading's age is that of the data themselves: an old export stays old."),
    ]  # fmt: skip


def _faults() -> list[Json]:
    kinds = {"redelivered": "redelivered", "stale": "settled before", "released": "handed back", "lost": "lease lapsed"}
    return [
        graph("Readings rejected and blank",
              _ask(_flow("telemetry_streamer_rows_rejected_total", "namespace, reason"), "{{namespace}} {{reason}}"),
              _ask(_flow("telemetry_streamer_rows_blank_total"), "{{namespace}} blank"),
              unit="cps", why="Rejected ones are kept with their reason in rejected_rows."),
        graph("Failed transactions",
              _ask(_flow("telemetry_collector_write_errors_total", "namespace, kind"), "{{namespace}} {{kind}}"),
              unit="cps", why="Outage: the database. Conflict: tried again. Data: one message after the other."),
        graph("Dead",
              _ask(_one("telemetry_store_dead_blocks"), "{{namespace}} messages in dead_blocks"),
              _ask(_one("telemetry_store_dead_rows"), "{{namespace}} readings in them"),
              _ask(_one("telemetry_queue_dead_letters"), "{{namespace}} in the queue's own dead letters"),
              unit="none", why="Any at all wants a look."),
        graph("Messages that came again",
              *(_ask(_flow(f"telemetry_collector_messages_{kind}_total"), f"{{{{namespace}}}} {text}")
                for kind, text in kinds.items()),
              _ask(_flow("telemetry_streamer_blocks_republished_total"), "{{namespace}} published again"),
              unit="cps", why="Collectors or streamers died, or the queue lost data. None of it is doubled."),
        graph("Connections to the queue that broke",
              _ask(_flow("telemetry_streamer_queue_disconnects_total", "namespace, instance"), _PLACE),
              _ask(_flow("telemetry_collector_queue_disconnects_total", "namespace, instance"), _PLACE),
              unit="cps", why="A steady rise means a bad network or a server that restarts."),
        graph("Consumers", _ask(_one("telemetry_queue_consumers"), "{{namespace}} consumers"),
              _ask(_one("telemetry_queue_consumer_idle_seconds"), "{{namespace}} longest silence, s"),
              unit="none", why="None, with messages waiting: nobody stores."),
    ]  # fmt: skip


def _pieces() -> list[Json]:
    size = (8, 7)
    stored, commits = "telemetry_collector_rows_stored_total", "telemetry_collector_transactions_total"
    per_commit = f"{_flow(stored, 'namespace, instance')} / {_flow(commits, 'namespace, instance')}"
    return [
        graph("Readings in a block", _ask(_mean("telemetry_streamer_block_rows"), _PLACE), unit="none", size=size,
              why="Small ones at a full queue mean that pressure halves them."),
        graph("Bytes of a message", _ask(_mean("telemetry_streamer_block_bytes"), _PLACE), unit="bytes", size=size,
              why="Times the capacity, this is Redis' memory."),
        graph("Readings in a transaction", _ask(per_commit, _PLACE), unit="none", size=size,
              why="Larger ones compress better."),
        graph("Redis' memory", _ask(_one("telemetry_queue_memory_bytes"), "{{namespace}}"), unit="bytes", size=size,
              why="Hold it against maxmemory."),
        graph("Blocks split", _ask(_flow("telemetry_streamer_blocks_split_total", "namespace, instance"), _PLACE),
              unit="cps", size=size, why="A rise means that --block-rows is too high."),
        table("Versions", _ask(f"count by (namespace, version) (telemetry_streamer_build_info{{{_HERE}}} or "
                               f"telemetry_collector_build_info{{{_HERE}}} or telemetry_api_build_info{{{_HERE}}})",
                               "{{namespace}} {{version}}", once=True) | {"format": "table"},
              why="Which versions run, and how many processes of each.", size=size),
    ]  # fmt: skip


def _api() -> list[Json]:
    size = (8, 8)
    slow = f"{_flow('telemetry_api_route_seconds_total', 'route')} / {_flow('telemetry_api_requests_total', 'route')}"
    used = (f"sum by (namespace, instance) (telemetry_api_database_connections_in_use{{{_HERE}}}) / "
            f"sum by (namespace, instance) (telemetry_api_database_connections_limit{{{_HERE}}})")  # fmt: skip
    return [
        graph("Answers by status",
              _ask(_flow("telemetry_api_responses_total", "namespace, status"), "{{namespace}} {{status}}"),
              unit="reqps", size=size, why="429 and 503 tell of overload, 401 of a token that ended."),
        graph("Time to the first byte, p95",
              _ask(_quantile(0.95, "telemetry_api_request_duration_seconds", "group"), "{{group}}"),
              unit="s", size=size, why="By the part of the API."),
        graph("Slowest questions, mean", _ask(f"topk(10, {slow})", "{{route}}"), unit="s", size=size,
              why="Which question to look at first."),
        graph("Database connections in use", _ask(used, _PLACE), unit="percentunit", size=size,
              ends={"min": 0, "max": 1}, why="At 100 % questions wait, then get 503."),
        graph("Live streams and workers",
              _ask(f"sum by (namespace, instance) (telemetry_api_streams_open{{{_HERE}}})", f"{_PLACE} streams"),
              _ask(f"sum by (namespace, instance) (telemetry_api_workers{{{_HERE}}})", f"{_PLACE} workers"),
              unit="none", size=size, why="Fewer workers than --api-workers for long means that they die."),
        graph("Series at /metrics/gpus",
              _ask(f"max by (namespace, state) (telemetry_gpus_series{{{_HERE}}})", "{{namespace}} {{state}}"),
              unit="none", size=size, why="Cut ones are beyond the most; nameless ones have a name that another has."),
    ]  # fmt: skip
