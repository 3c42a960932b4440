"""`telemetry stream`: one streamer, and what `up` shares with it about its source."""

import logging
import os
from pathlib import Path
from typing import Any

import click

from telemetry import config as c
from telemetry.broker import Producer
from telemetry.cli import output
from telemetry.cli.options import (
    HEALTH,
    LOGS,
    QUEUE,
    STREAMER,
    Values,
    json_option,
    need,
    options,
)
from telemetry.cli.wiring import (
    StreamerHooks,
    health_server,
    session_of,
    start_logs,
    topic_of,
    wait_for_database,
    wait_for_queue,
    waits_for,
)
from telemetry.config import ConfigError
from telemetry.runtime.backoff import Backoff
from telemetry.runtime.clock import SystemClock
from telemetry.runtime.health import Health
from telemetry.runtime.logs import log_event
from telemetry.runtime.metrics import StreamerMetrics
from telemetry.runtime.stop import Stop, stop_on_signals
from telemetry.store.accounts import Account, Accounts
from telemetry.store.deadblocks import DeadBlocks
from telemetry.store.errors import StoreBusy, StoreUnavailable
from telemetry.store.ledger import Ledger
from telemetry.store.pruning import Pruning
from telemetry.store.session import Session
from telemetry.streamer.arrow import keep_pandas_out
from telemetry.streamer.memory import keep_memory_steady
from telemetry.streamer.naming import stream_id
from telemetry.streamer.pace import Pace
from telemetry.streamer.publishing import Publishing
from telemetry.streamer.sources.csvfile import CsvSource
from telemetry.streamer.sources.indexcache import IndexCache
from telemetry.streamer.streamer import Streamer

log = logging.getLogger(__name__)

LOOP_RATE = 5_000.0
"""Rows per second of a streamer that loops, when no rate is given."""
DAY = 86_400.0
OFF = "off"


def source_of(values: Values) -> CsvSource:
    """The source that the options name, not opened yet."""
    if not values["once"] and values["time"] == "source":
        raise ConfigError("--loop --time source would store the same times at every pass; use --once or --time now")
    return CsvSource(path=need(values, c.CSV), times=values["time"] == "source", cache=_cache_of(values))


def _cache_of(values: Values) -> IndexCache | None:
    named = values["index_cache"]
    if named == OFF:
        return None
    folder = Path(os.path.expanduser(named)) if named else c.cache_folder()
    return None if folder is None else IndexCache(folder=folder)


def stream_of(values: Values, source: CsvSource) -> str:
    """The stream's id; the source is open."""
    return stream_id(values["stream"] or "csv", source.digest, once=values["once"], times=source.times)


class _Stopped(Exception):
    """Raised when the stop comes while a large file is indexed."""


def open_source(source: CsvSource, stop: Stop, health: Health | None = None) -> bool:
    """Hash and index the file, alive all the while; False when stopped. Raises SourceError."""
    keep_pandas_out()
    with output.file_progress(source.path) as advance:

        def progress(done: int, total: int) -> None:
            if stop.is_set():
                raise _Stopped
            if health is not None:
                health.turned()
            advance(done, total)

        try:
            source.open(progress)
        except _Stopped:
            source.close()
            return False
    return True


@click.command()
@options(c.DATABASE_URL, *QUEUE, *STREAMER, *HEALTH, *LOGS)
@json_option
def stream(as_json: bool, **values: Any) -> int:
    """Read a CSV export and publish its readings; any number of streamers share a file without a setting.

    With --once it ends when all is settled, prints the reconciliation and exits with 1 if that fails or was cut short.

    \b
    telemetry stream --csv export.csv --rate 10000
    telemetry stream --csv export.csv --once --time source --json
    """
    start_logs(values)
    keep_memory_steady()
    stop, health, metrics = Stop(), Health(expects=("database", "queue")), StreamerMetrics()
    stop_on_signals(stop)
    topic = topic_of(values, "streamer", StreamerHooks(metrics))
    source = source_of(values)
    with session_of(values, "streamer") as session, health_server(values, health, metrics):
        if not open_source(source, stop, health):
            return 1 if values["once"] else 0
        name = stream_of(values, source)
        log_event(log, logging.INFO, "opened the source", stream=name, readings=source.length)
        if not (wait_for_database(session, health, stop) and wait_for_queue(topic, health, stop)):
            return 1 if values["once"] else 0
        with topic.producer() as producer, waits_for(session, health):
            done = _streamer(values, source, name, session, producer, health, metrics, stop).run()
        log_event(log, logging.INFO, "stopped streaming", stream=name, why=stop.reason or "all is settled")
        if not values["once"]:
            return 0
        try:
            account = account_of(session, name, health, stop)
        except (StoreUnavailable, StoreBusy) as error:
            log_event(log, logging.WARNING, "cannot say what became of the source; telemetry verify does", error=error)
            return 1
        output.account(account, as_json=as_json)
        return 0 if done and account is not None and account.complete and account.reconciles else 1


def account_of(session: Session, stream: str, health: Health, stop: Stop) -> Account | None:
    """What became of a stream, None when nothing is known of it. Waits for a database that is away until the stop.

    Raises StoreUnavailable when it is away then, StoreBusy when it does not come to it.
    """
    backoff = Backoff(first=0.2, cap=3.0)
    while True:
        health.turned()
        try:
            with waits_for(session, health):
                return next(iter(Accounts(session=session).of(stream)), None)
        except (StoreUnavailable, StoreBusy) as error:
            log_event(log, logging.WARNING, "waiting for the database to say what became of the source", error=error)
            if backoff.wait(stop):
                raise


def _streamer(
    values: Values,
    source: CsvSource,
    name: str,
    session: Session,
    producer: Producer,
    health: Health,
    metrics: StreamerMetrics,
    stop: Stop,
) -> Streamer:
    clock = SystemClock()
    rate = values["rate"] if values["rate"] is not None else (0.0 if values["once"] else LOOP_RATE)
    length = source.length if values["once"] else None
    ledger = Ledger(session=session, source=name, length=length, stamped=not source.times)
    publishing = Publishing(
        source=source,
        ledger=ledger,
        dead=DeadBlocks(session=session),
        producer=producer,
        max_bytes=values["max_bytes"],
        metrics=metrics,
        health=health,
        stop=stop,
    )
    return Streamer(
        ledger=ledger,
        publishing=publishing,
        pace=Pace(rate=rate, block_rows=values["block_rows"], clock=clock),
        per_record=source.per_record,
        pruning=Pruning(session=session, keep=values["ledger_days"] * DAY) if values["ledger_days"] else None,
        health=health,
        stop=stop,
        clock=clock,
    )
