"""`telemetry collect`: one process of collector workers."""

import logging
from typing import Any

import click

from telemetry import config as c
from telemetry.broker import FloodBreaker, Topic
from telemetry.cli.options import (
    COLLECTOR,
    HEALTH,
    LOGS,
    QUEUE,
    Values,
    json_logs_option,
    options,
)
from telemetry.cli.retain import retention_of
from telemetry.cli.wiring import (
    CollectorHooks,
    health_server,
    process_name,
    session_of,
    start_logs,
    topic_of,
    wait_for_database,
    wait_for_queue,
)
from telemetry.collector.collector import REPORTS, Collector
from telemetry.collector.retaining import Retaining
from telemetry.collector.sink import DeadBlockSink
from telemetry.collector.watch import Watch
from telemetry.collector.worker import OUTAGES, Worker
from telemetry.runtime.health import Health
from telemetry.runtime.heap import fix_heap_thresholds
from telemetry.runtime.logs import log_event
from telemetry.runtime.metrics import CollectorMetrics
from telemetry.runtime.stop import Stop, stop_on_signals
from telemetry.store.deadblocks import DeadBlocks
from telemetry.store.session import Session
from telemetry.store.writer import Writer

log = logging.getLogger(__name__)


@click.command()
@options(c.DATABASE_URL, *QUEUE, *COLLECTOR, *HEALTH, *LOGS)
@json_logs_option
def collect(as_json: bool, **values: Any) -> int:
    """Take blocks from the queue and store them, each once; scale by processes or --workers.

    \b
    telemetry collect --workers 2 --health-port 9101
    """
    start_logs({**values, "log_format": "json"} if as_json else values)
    fix_heap_thresholds()
    stop, health, metrics = Stop(), Health(expects=REPORTS), CollectorMetrics()
    stop_on_signals(stop)
    retention = retention_of(values)
    topic = topic_of(values, "collector", CollectorHooks(metrics))
    sessions = [session_of(values, "collector") for _ in range(values["workers"])]
    with health_server(values, health, metrics):
        tier = wait_for_database(sessions[0], health, stop)
        if tier is None or not wait_for_queue(topic, health, stop):
            return 0
        log_event(log, logging.INFO, "collecting", tier=tier.value, workers=len(sessions), queue=topic.keys.stream)
        breaker = FloodBreaker(share=values["breaker_share"])
        collector = Collector(
            workers=[_worker(values, topic, *one, breaker, metrics, stop) for one in enumerate(sessions)],
            breaker=breaker,
            watch=Watch(session=session_of(values, "collector")),
            health=health,
            metrics=metrics,
            stop=stop,
        )
        with Retaining(retention=retention):
            sound = collector.run()
    for session in sessions:
        session.close()
    log_event(log, logging.INFO, "stopped collecting", why=stop.reason)
    return 0 if sound else 1


def _worker(
    values: Values,
    topic: Topic,
    number: int,
    session: Session,
    breaker: FloodBreaker,
    metrics: CollectorMetrics,
    stop: Stop,
) -> Worker:
    sink = DeadBlockSink(dead=DeadBlocks(session=session))
    return Worker(
        consumer=topic.consumer(name=f"{process_name()}-{number}", dead_letters=sink, outages=OUTAGES),
        sink=sink,
        writer=Writer(session=session, lease=values["lease"]),
        max_bytes=values["max_bytes"],
        max_messages=values["batch_messages"],
        linger=values["linger"],
        breaker=breaker,
        metrics=metrics,
        stop=stop,
    )
