"""Roles whose database hangs, or who hang themselves: who is live, who is ready, and who keeps what it has.

What does not live here: servers that refuse or are gone, which answer at once (`test_cli_health`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from telemetry.block import Block
from telemetry.broker import FloodBreaker
from telemetry.cli.wiring import wait_for_database, waits_for
from telemetry.runtime.clock import SystemClock
from telemetry.runtime.health import Health
from telemetry.runtime.metrics import StreamerMetrics
from telemetry.runtime.stop import Stop
from telemetry.store.deadblocks import DeadBlocks
from telemetry.store.ledger import Ledger
from telemetry.store.session import Session
from telemetry.streamer.pace import Pace
from telemetry.streamer.publishing import Publishing
from telemetry.streamer.sources.csvfile import CsvSource
from telemetry.streamer.streamer import Streamer
from tests.fixtures.clock import ManualClock
from tests.fixtures.collectors import LASTING, Collecting, Recorded, Running
from tests.fixtures.ledger import Store, a_block
from tests.fixtures.pipeline import SAMPLE, Pipeline, get
from tests.fixtures.process import eventually, health_of
from tests.fixtures.proxy import Proxy
from tests.fixtures.wait import PATIENCE, until

LIMIT = 1.5
"""Seconds without a turn that a loop may take here; above the time between two looks at it. Mostly by a clock that only
moves when it is told to: a machine that stands still for a while lets nobody turn.
"""
LATE = 0.3
"""Seconds without an answer that count as a hang here."""
UNANSWERED = "[-] database: the database has not answered for"


class StuckBreaker(FloodBreaker):
    """Keeps a worker after its first stored message, as a fault of ours would."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def done(self, messages: int = 1) -> None:
        """Do not come back."""
        self.let_go.wait(60)
        super().done(messages)


class StuckSource(CsvSource):
    """Keeps a streamer at its first block."""

    let_go = threading.Event()

    def block(self, source: str, first_row: int, rows: int, time0: int | None) -> Block:
        """Do not come back."""
        self.let_go.wait(60)
        return super().block(source, first_row, rows, time0)


def outlives(health: Recorded, clock: ManualClock, limits: float) -> bool:
    """Whether it is live all the while, until so many limits have passed by its clock.

    That of the machine would say as well that it stands still when it is the machine that does.
    """
    end = clock.now + limits * LIMIT
    while clock.now < end:
        clock.pass_(0.45 * LIMIT)  # twice of it is no limit yet: a turn may be told that was made before
        await_turn(health)
    return health.liveness().ok


def await_turn(health: Recorded) -> None:
    """Wait until it is told of another turn."""
    before = health.turns
    until(lambda: health.turns > before, "another turn")


def on_a_clock(collecting: Collecting, url: str, clock: ManualClock) -> Running:
    """A collector whose loop and health go by a clock of the test's; it waits for no second message."""
    topic = collecting.lasting(clock)
    return collecting.collect(url=url, topic=topic, batch=1, stall_limit=LIMIT, late=LATE, clock=clock)


def all_ready(healths: Sequence[str]) -> bool:
    """Whether all of these probes say so."""
    return all(get(f"{health}/readyz")[0] == 200 for health in healths)


@contextmanager
def streaming(collecting: Collecting, session: Session, source: CsvSource, health: Health) -> Iterator[None]:
    """A streamer, as the command puts it together."""
    stop = Stop()
    source.open()
    with collecting.topic.producer() as producer, waits_for(session, health):
        ledger = Ledger(session=session, source="s", length=None, stamped=True)
        publishing = Publishing(
            source=source,
            ledger=ledger,
            dead=DeadBlocks(session=session),
            producer=producer,
            max_bytes=1 << 20,
            metrics=StreamerMetrics(),
            health=health,
            stop=stop,
        )
        pace = Pace(rate=100, block_rows=10, clock=SystemClock())
        streamer = Streamer(
            ledger=ledger, publishing=publishing, pace=pace, per_record=1, health=health, stop=stop, clock=SystemClock()
        )
        thread = threading.Thread(target=streamer.run)
        thread.start()
        try:
            yield
        finally:
            stop.set("the test is over")
            thread.join(PATIENCE)
            source.close()
    assert not thread.is_alive()


@pytest.mark.slow
def test_a_collector_whose_database_hangs_is_live_and_unready_and_keeps_its_leases(collecting: Collecting) -> None:
    clock, (url, proxy) = ManualClock(), collecting.store.proxied()
    running = on_a_clock(collecting, url, clock)
    collecting.reserved(4, 4)
    collecting.publish(a_block())
    collecting.drained()
    proxy.stall()
    collecting.publish(a_block(first_row=4))
    collecting.in_hand(1)
    until(lambda: UNANSWERED in running.health.readiness().text())
    rival = collecting.collect(topic=collecting.lasting())  # would take over what is not held
    assert outlives(running.health, clock, 3)
    collecting.outlive(1.25, LASTING)
    assert rival.ready
    assert not running.ready
    collecting.in_hand(1)
    proxy.heal()
    collecting.drained()
    until(lambda: running.ready)
    assert len(collecting.store.values()) == 8
    assert collecting.topic.stats().redelivered == 0


@pytest.mark.slow
def test_a_collector_whose_own_statement_hangs_alone_is_live_and_its_messages_go_to_others(
    collecting: Collecting,
) -> None:
    clock, (url, proxy) = ManualClock(), collecting.store.proxied()
    running = on_a_clock(collecting, url, clock)
    collecting.reserved(4)
    hold = proxy.hold(b"COPY samples")
    collecting.publish(a_block())
    assert hold.wait(PATIENCE)
    until(lambda: UNANSWERED in running.health.readiness().text())
    assert outlives(running.health, clock, 3)
    rival = collecting.collect(topic=collecting.lasting())
    collecting.drained()
    until(lambda: running.ready)  # the rival ended the session that hung
    assert outlives(running.health, clock, 1)
    assert len(collecting.store.values()) == 4
    assert collecting.topic.stats().redelivered == 1
    assert rival.health.seen == [False, True]


def test_a_worker_that_is_stuck_while_the_servers_answer_is_not_live_until_it_goes_on(collecting: Collecting) -> None:
    breaker = StuckBreaker()
    running = collecting.collect(breaker=breaker, stall_limit=LIMIT)
    collecting.reserved(4)
    collecting.publish(a_block())
    until(lambda: not running.health.liveness().ok)
    assert "[+] database ok" in running.health.readiness().text()
    breaker.let_go.set()
    until(lambda: running.health.liveness().ok)
    collecting.drained()


@pytest.mark.slow
def test_a_streamer_whose_database_hangs_is_live_and_unready_until_it_answers(collecting: Collecting) -> None:
    url, proxy = collecting.store.proxied()
    clock = ManualClock()
    health = Recorded(expects=("database", "queue"), live_limit=LIMIT, clock=clock)
    session = collecting.store.session("streamer", url=url, late=LATE)
    with streaming(collecting, session, CsvSource(path=SAMPLE, times=False), health):
        until(lambda: health.readiness().ok)
        proxy.stall()
        until(lambda: UNANSWERED in health.readiness().text())
        assert outlives(health, clock, 3)
        assert not health.readiness().ok
        proxy.heal()
        until(lambda: health.readiness().ok)
        assert outlives(health, clock, 1)


def test_a_streamer_that_is_stuck_while_the_servers_answer_is_not_live_until_it_goes_on(collecting: Collecting) -> None:
    health = Health(live_limit=LIMIT)
    source = StuckSource(path=SAMPLE, times=False)
    with streaming(collecting, collecting.store.session("streamer", late=LATE), source, health):
        until(lambda: not health.liveness().ok)
        source.let_go.set()
        until(lambda: health.liveness().ok)


def test_a_role_whose_database_hangs_at_its_start_is_live_and_waits(store: Store) -> None:
    url, proxy = store.proxied()
    clock, stop = ManualClock(), Stop()
    health = Recorded(expects=("database",), live_limit=LIMIT, clock=clock)
    session = store.session(url=url, late=LATE)
    hold = proxy.hold(b"pg_settings")  # the first statement of a connection
    thread = threading.Thread(target=wait_for_database, args=(session, health, stop))
    thread.start()
    assert hold.wait(PATIENCE)
    until(lambda: UNANSWERED in health.readiness().text())
    assert outlives(health, clock, 2)
    proxy.heal()
    until(lambda: health.readiness().ok)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_session_says_that_it_waits_only_while_the_server_owes_it_an_answer(store: Store) -> None:
    session = store.session(late=0)
    assert session.waiting == ""

    def ask() -> None:
        with session.use() as connection:
            connection.execute("SELECT pg_advisory_lock(1)")

    with store.session().use() as other:
        other.execute("SELECT pg_advisory_lock(1)")
        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: session.waiting)
        other.execute("SELECT pg_advisory_unlock(1)")
        thread.join(PATIENCE)
    assert session.waiting == ""
    with session.use() as connection:
        connection.execute("SELECT 1")
        assert session.waiting == ""  # what is done with the answer is no wait


@pytest.mark.costly
@pytest.mark.timeout(400)
@pytest.mark.parametrize("server", ["database", "queue"])
def test_a_server_that_hangs_for_minutes_restarts_no_role(
    server: str, pipeline: Pipeline, store: Store, proxies: list[Proxy]
) -> None:
    database, proxy = store.proxied()
    env = {"TELEMETRY_DATABASE_URL": database}
    if server == "queue":
        proxies.append(proxy := Proxy(pipeline.redis.port))
        env = {"TELEMETRY_REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"}
    with ExitStack() as ends:
        ends.callback(proxy.heal)
        roles = [
            pipeline.begin("stream", "--csv", SAMPLE, "--rate", 100, "--health-port", 0, **env),
            pipeline.begin("collect", "--workers", 2, "--health-port", 0, **env),
        ]
        healths = [health_of(role) for role in roles]
        eventually(lambda: all_ready(healths), "readiness")
        pipeline.wait_until_settled(1)
        proxy.stall()
        end, dead = time.monotonic() + 150, set[str]()  # beyond twice the limit
        while time.monotonic() < end:
            dead |= {health for health in healths if get(f"{health}/livez")[0] != 200}
            time.sleep(1)
        assert not dead
        for health in healths:
            status, text = get(f"{health}/readyz")
            assert status == 503
            assert (UNANSWERED if server == "database" else "[-] queue: ") in text
        settled = pipeline.settled()
        proxy.heal()
        eventually(lambda: all_ready(healths), "readiness again")
        pipeline.wait_until_settled(settled + 1)
        assert server == "queue" or pipeline.topic.stats().redelivered == 0
        assert not dead | {health for health in healths if get(f"{health}/livez")[0] != 200}
