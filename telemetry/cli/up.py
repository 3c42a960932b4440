"""`telemetry up`: everything on this machine, until Ctrl-C or (--once) until all is stored."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click

from telemetry import config as c
from telemetry.broker import Broker, BrokerError, Topic
from telemetry.cli import output
from telemetry.cli.display import Display, Running
from telemetry.cli.local import (
    Database,
    Queue,
    address,
    answers,
    children,
    free_port,
    health_ports,
    look_inside,
    start_database,
    start_queue,
)
from telemetry.cli.options import API, COLLECTOR, HEALTH, LOGS, QUEUE, STREAMER, Values, json_option, options
from telemetry.cli.retain import rule_of
from telemetry.cli.serving import OFF, tokens_of
from telemetry.cli.stream import open_source, source_of, stream_of
from telemetry.cli.wiring import start_logs
from telemetry.config import ConfigError
from telemetry.embedded import FolderLock, Supervisor
from telemetry.embedded.state import make_folder
from telemetry.runtime.logs import mask_secrets
from telemetry.runtime.stop import Stop, stop_on_signals
from telemetry.store.accounts import Account, Accounts
from telemetry.store.errors import StoreError, StoreUnavailable
from telemetry.store.ledger import Ledger
from telemetry.store.peers import PREFIX
from telemetry.store.schema import check_migrated, migrate
from telemetry.store.session import Session
from telemetry.store.tiers import Tier
from telemetry.streamer.sources.csvfile import CsvSource

STATE = ".telemetry"
LOOK_EVERY = 0.1
API_PATIENCE = 20.0
"""Seconds to wait for the API and the first readings before commands are printed all the same; the logs tell more."""
SAMPLE = Path(__file__).parents[2] / "data" / "sample.csv"

Result = TypeVar("Result")


@click.command()
@options(
    *STREAMER,
    c.STREAMERS,
    c.COLLECTORS,
    *COLLECTOR,
    *API,
    *HEALTH,
    c.STATE,
    c.EMBEDDED_PG_BIN,
    c.DATABASE_URL,
    *QUEUE,
    *LOGS,
)
@json_option
def up(as_json: bool, **values: Any) -> int:
    """Run everything on this machine: PostgreSQL, Redis, streamers, collectors and the API.

    Without URLs, embedded servers run under one state folder and go on where they were at the next start. With --once
    the file is read exactly once, no API is started, and the last line printed is the reconciliation. With
    --health-port the streamers, then the collectors, answer probes and Prometheus there and on the ports that follow.

    \b
    telemetry up                                         the sample in a loop; API on port 8080
    telemetry up --csv export.csv --streamers 2 --collectors 2 --rate 20000
    telemetry up --once --csv export.csv --time source   the file once, with its own times
    telemetry up --health-port 9101                      one streamer's metrics on 9101, the collector's on 9102
    telemetry up --database-url postgresql://me@db/telemetry --redis-url redis://queue:6379/0
    """
    start_logs({**values, "log_level": "warning"})
    stop = Stop()
    stop_on_signals(stop)
    values["csv"] = values["csv"] or (SAMPLE if SAMPLE.exists() else None)
    values["csv"] = values["csv"] and values["csv"].absolute()
    source = source_of(values)
    _check(values)
    if not open_source(source, stop):
        return 1 if values["once"] else 0
    with ExitStack() as kept:
        for one in filter(None, health_ports(values).values()):
            kept.enter_context(free_port(values["health_host"], one, c.HEALTH_PORT))
        api = None if values["once"] else kept.enter_context(free_port(values["api_host"], values["api_port"]))
        return _supervise(values, source, api, stop, as_json)


def _supervise(values: Values, source: CsvSource, port: int | None, stop: Stop, as_json: bool) -> int:
    """Run it on a state folder of its own; the exit code. Raises StateLocked when that is another one's."""
    state = (values["state"] or Path(STATE)).expanduser().absolute()
    make_folder(state)
    lock = FolderLock(state)
    lock.open()
    display = Display(as_json=as_json, logs=state / "logs")
    try:
        with Supervisor(stop=stop, log_dir=display.logs, on_event=display.event) as supervisor:
            return _Run(values, source, state, port, supervisor, display, stop).run()
    finally:
        display.close()
        source.close()
        lock.close()


def _check(values: Values) -> None:
    """ConfigError when --once could never end, or when nothing says who may ask the API."""
    if values["once"] and not values["streamers"]:
        raise ConfigError(f"--once needs a streamer: --{c.STREAMERS.flag} (or {c.STREAMERS.env}) is 0")
    if values["once"] and not values["collectors"] and not (values["database_url"] and values["redis_url"]):
        raise ConfigError(f"--once needs a collector: --{c.COLLECTORS.flag} (or {c.COLLECTORS.env}) is 0")
    rule_of(values)
    if not values["once"]:
        tokens_of(values)  # before servers are started for an API that may not be


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
        self.display.step(_servers(self.values))
        database = start_database(self.supervisor, self.state, self.values)
        queue = start_queue(self.supervisor, self.state, self.values, self._topic("redis://localhost").keys.stream)
        self._check_queue(queue)
        with Session(url=database.owner, name=f"{PREFIX}up", lock_timeout=5.0) as session:
            migrate(session)
            with session.use() as connection:
                tier = check_migrated(connection)
            if self.values["once"]:
                return self._once(session, database, queue, tier)
            self._start(database, queue)
            return self._watch(session, database, queue, tier)

    def _check_queue(self, queue: Queue) -> None:
        """Raise BrokerError when the queue is not there; say what is wrong with its memory."""
        topic = self._topic(queue.url)
        topic.broker.ping()
        for warning in topic.check_memory():
            self.display.warn(warning)

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
            account = next(iter(self._patiently(lambda: accounts.of(self.stream))), None)
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
        """Until all is settled, showing how far the streamers are. Raises ChildGaveUp."""
        ledger = Ledger(session=session, source=self.stream, length=self.source.length, stamped=True)
        done = False
        with self.display.reading(self.source.length) as advance:
            while not done and not self.stop.wait(LOOK_EVERY):
                progress = self._patiently(ledger.progress)
                if progress is not None:
                    advance(min(progress.next_row, self.source.length))
                    done = progress.done
        if self.stop.is_set():
            self.supervisor.wait()

    def _patiently(self, ask: Callable[[], Result]) -> Result:
        """The answer of a database that may be away for a while. StoreUnavailable when stopped first."""
        told = False
        while True:
            try:
                return ask()
            except StoreUnavailable as error:
                if not told:
                    self.display.warn(f"the database does not answer, waiting for it: {error}")
                told = True
                if self.stop.wait(LOOK_EVERY):
                    raise

    def _watch(self, session: Session, database: Database, queue: Queue, tier: Tier) -> int:
        """Show what runs and how fast, until the stop."""
        topic = self._topic(queue.url)
        api = address(self.values["api_host"], self.port or 0)
        patience = time.monotonic() + API_PATIENCE
        while not (answers(api) and self._flows(topic)):
            if time.monotonic() > patience or self.stop.wait(LOOK_EVERY):
                break
        running = Running(
            tier=tier,
            database=database,
            queue=queue,
            verify=look_inside(self.state, database, queue),
            api=api,
            gpu=self._example(),
            state=self.state,
            stream=self.stream,
            guarded=self.values["api_tokens"] not in (None, "", OFF),
            metrics={
                name: f"{address(self.values['health_host'], port)}/metrics"
                for name, port in health_ports(self.values).items()
                if port
            },
        )
        self.display.banner(running)
        self.display.rates(_quietly(topic.stats), self.supervisor.pids())
        while not self.stop.wait(self.display.interval):
            self.display.rates(_quietly(topic.stats), self.supervisor.pids())
        self.display.step("draining: streamers, then collectors, the API, Redis and PostgreSQL")
        self.supervisor.drain()
        self.supervisor.wait()
        return 0

    def _flows(self, topic: Topic) -> bool:
        """Whether readings have come through to be asked for; nothing to wait for without those who bring them."""
        stats = _quietly(topic.stats)
        idle = not (self.values["streamers"] and self.values["collectors"])
        return idle or (stats is not None and stats.acked_rows > 0)

    def _topic(self, url: str) -> Topic:
        broker = Broker(url, namespace=self.values["namespace"], client_name=f"{PREFIX}up")
        return Topic(broker, self.values["topic"], capacity=self.values["capacity"])

    def _example(self) -> str:
        """The id of a GPU in the file, for commands that work as they are pasted."""
        block = self.source.block("example", 0, min(self.source.length, 50 * self.source.per_record), 0)
        first = block.gpus[0] if block.gpus else None
        return "" if first is None else first.uuid or f"{first.hostname}:{first.gpu_id}"


def _servers(values: Values) -> str:
    """Which servers are started, and which ones that are there are used: by a variable left in a shell, perhaps."""
    starts, uses = [], []
    for name, setting in (("PostgreSQL", c.DATABASE_URL), ("Redis", c.REDIS_URL)):
        url = values[setting.flag.replace("-", "_")]
        starts.extend([] if url else [name])
        uses.extend([f"using {mask_secrets(url).partition('?')[0]} (--{setting.flag} or {setting.env})"] if url else [])
    return "; ".join([*([f"starting {' and '.join(starts)}"] if starts else []), *uses])


def _sound(account: Account | None) -> bool:
    return account is not None and account.complete and account.reconciles


def _quietly(action: Callable[[], Any]) -> Any:
    """What the action gives, None while a server is away: the display goes on."""
    try:
        return action()
    except (BrokerError, StoreError):
        return None
