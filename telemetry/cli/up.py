"""`telemetry up`: everything on this machine, until Ctrl-C or (--once) until all is stored."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from telemetry import config as c
from telemetry.broker import Broker, BrokerError, Topic
from telemetry.cli import output
from telemetry.cli.display import Display, Running
from telemetry.cli.local import Database, Queue, children, free_port, start_database, start_queue
from telemetry.cli.options import QUEUE, STREAMER, Values, json_option, options
from telemetry.cli.roles import source_of, stream_of
from telemetry.cli.wiring import start_logs
from telemetry.embedded import FolderLock, Supervisor
from telemetry.embedded.state import make_folder
from telemetry.runtime.stop import Stop, stop_on_signals
from telemetry.store.accounts import Account, Accounts
from telemetry.store.errors import StoreError
from telemetry.store.ledger import Ledger
from telemetry.store.peers import PREFIX
from telemetry.store.schema import check_migrated, migrate
from telemetry.store.session import Session
from telemetry.store.tiers import Tier
from telemetry.streamer.sources.csvfile import CsvSource

STATE = ".telemetry"
SAMPLE = Path(__file__).parents[2] / "data" / "sample.csv"


@click.command()
@options(
    *STREAMER, c.STREAMERS, c.COLLECTORS, c.WORKERS, c.API_HOST, c.API_PORT, c.STATE, c.EMBEDDED_PG_BIN, c.DATABASE_URL
)
@options(*QUEUE, c.LOG_LEVEL, c.LOG_FORMAT)
@json_option
def up(as_json: bool, **values: Any) -> int:
    """Run everything on this machine: PostgreSQL, Redis, streamers, collectors and the API.

    Without URLs, embedded servers run under one state folder and go on where they were at the next start. With --once
    the file is read exactly once, no API is started, and the last line printed is the reconciliation.
    """
    start_logs({**values, "log_level": "warning"})
    stop = Stop()
    stop_on_signals(stop)
    values["csv"] = values["csv"] or (SAMPLE if SAMPLE.exists() else None)
    values["csv"] = values["csv"] and values["csv"].absolute()
    source = source_of(values)
    with output.file_progress(source.path) as advance:
        source.open(advance)
    port = None if values["once"] else free_port(values["api_host"], values["api_port"])
    state = (values["state"] or Path(STATE)).expanduser().absolute()
    make_folder(state)
    lock = FolderLock(state)
    lock.open()
    display = Display(as_json=as_json)
    try:
        with Supervisor(stop=stop, log_dir=state / "logs", on_event=display.event) as supervisor:
            return _Run(values, source, state, port, supervisor, display, stop).run()
    finally:
        display.close()
        source.close()
        lock.close()


class _Run:
    """One `up`, from the servers' start to the end of the roles."""

    def __init__(
        self,
        values: Values,
        source: CsvSource,
        state: Path,
        port: int | None,
        supervisor: Supervisor,
        display: Display,
        stop: Stop,
    ) -> None:
        self.values, self.source, self.state, self.port = values, source, state, port
        self.supervisor, self.display, self.stop = supervisor, display, stop
        self.stream = stream_of(values, source)

    def run(self) -> int:
        """The exit code."""
        self.display.step("starting PostgreSQL and Redis")
        database = start_database(self.supervisor, self.state, self.values)
        queue = start_queue(self.supervisor, self.state, self.values, self._topic("redis://localhost").keys.stream)
        with Session(url=database.owner, name=f"{PREFIX}up", lock_timeout=5.0) as session:
            migrate(session)
            with session.use() as connection:
                tier = check_migrated(connection)
            if self.values["once"]:
                return self._once(session, database, queue, tier)
            self._start(database, queue)
            return self._watch(session, database, queue, tier)

    def _start(self, database: Database, queue: Queue) -> None:
        self.supervisor.start(*children(self.values, database, queue, self.source.path, self.port))

    def _once(self, session: Session, database: Database, queue: Queue, tier: Tier) -> int:
        """Read the file to its end, unless that was done before; print what became of it."""
        accounts, started = Accounts(session=session), time.monotonic()
        account = next(iter(accounts.of(self.stream)), None)
        already = account is not None and account.complete
        if not already:
            self._start(database, queue)
            self._wait(session)
            account = next(iter(accounts.of(self.stream)), None)
        seconds = round(time.monotonic() - started, 3)
        self.display.close()
        result = {
            **output.account_of(account),
            "gpus": accounts.gpus(self.stream),
            "seconds": seconds,
            "tier": tier.value,
            "already_stored": already,
        }
        output.json(result) if self.display.as_json else output.pairs(result)
        if self.stop.is_set():
            click.echo("stopped before the end; the same command goes on where it was", err=True)
        return 0 if _sound(account) else 1

    def _wait(self, session: Session) -> None:
        """Until every streamer has ended by itself, showing how far they are."""
        ledger = Ledger(session=session, source=self.stream, length=self.source.length, stamped=True)
        names = [f"streamer-{number}" for number in range(1, self.values["streamers"] + 1)]
        with self.display.reading(self.source.length) as advance:
            while not self.stop.is_set() and set(names) & self.supervisor.pids().keys():
                progress = ledger.progress()
                advance(0 if progress is None else min(progress.next_row, self.source.length))
                self.stop.wait(0.1)
        for name in names:
            self.supervisor.wait_for(name)

    def _watch(self, session: Session, database: Database, queue: Queue, tier: Tier) -> int:
        """Show what runs and how fast, until the stop."""
        topic = self._topic(queue.url)
        running = Running(
            tier=tier,
            database=database,
            queue=queue,
            api=f"http://{self.values['api_host']}:{self.port}",
            gpu=self._example(),
            state=self.state,
            stream=self.stream,
        )
        self.display.banner(running)
        while not self.stop.wait(self.display.interval):
            self.display.rates(_quietly(topic.stats), self.supervisor.pids())
        self.display.step("draining: streamers, then collectors, the API, Redis and PostgreSQL")
        self.supervisor.drain()
        self.supervisor.wait()
        return 0

    def _topic(self, url: str) -> Topic:
        broker = Broker(url, namespace=self.values["namespace"], client_name=f"{PREFIX}up")
        return Topic(broker, self.values["topic"], capacity=self.values["capacity"])

    def _example(self) -> str:
        """The id of a GPU in the file, for commands that work as they are pasted."""
        block = self.source.block("example", 0, min(self.source.length, 50 * self.source.per_record), 0)
        first = block.gpus[0] if block.gpus else None
        return "" if first is None else first.uuid or f"{first.hostname}:{first.gpu_id}"


def _sound(account: Account | None) -> bool:
    return account is not None and account.complete and account.reconciles


def _quietly(action: Callable[[], Any]) -> Any:
    """What the action gives, None while a server is away: the display goes on."""
    try:
        return action()
    except (BrokerError, StoreError):
        return None
