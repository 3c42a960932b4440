"""Collectors through outages, kills, lost acknowledgements and poison: nothing is lost, doubled, or blamed wrongly."""

import logging
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from telemetry.collector.watch import Watch
from telemetry.embedded import EmbeddedPostgres
from telemetry.store.schema import migrate
from telemetry.store.session import Session
from tests.fixtures.collectors import LASTING, LEASE, Collecting
from tests.fixtures.ledger import DAY, NOON, Store, a_block
from tests.fixtures.process import Processes
from tests.fixtures.servers_postgres import PostgresServer, open_folder, pg_bin_dir
from tests.fixtures.servers_redis import Server, free_port
from tests.fixtures.store import Database
from tests.fixtures.wait import PATIENCE, until

COLLECT = """
import sys
from telemetry.broker import Broker, FloodBreaker, Topic
from telemetry.collector.sink import DeadBlockSink
from telemetry.collector.worker import OUTAGES, Worker
from telemetry.runtime.metrics import CollectorMetrics
from telemetry.runtime.stop import Stop, stop_on_signals
from telemetry.store.deadblocks import DeadBlocks
from telemetry.store.session import Session
from telemetry.store.writer import Writer
database, redis, namespace, lease = *sys.argv[1:4], float(sys.argv[4])
topic = Topic(Broker(redis, namespace=namespace), "samples", capacity=200, lease=lease)
session, stop = Session(url=database, name="telemetry-collector@process"), Stop()
stop_on_signals(stop)
sink = DeadBlockSink(dead=DeadBlocks(session=session))
consumer = topic.consumer(dead_letters=sink, outages=OUTAGES)
Worker(consumer=consumer, sink=sink, writer=Writer(session=session, lease=lease), max_bytes=1 << 20, max_messages=8,
       linger=0.05, breaker=FloodBreaker(), metrics=CollectorMetrics(), stop=stop).run()
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
POISON = """
CREATE FUNCTION poison(value double precision) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF value = 9 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
    RETURN true;
END $$;
ALTER TABLE samples ADD CONSTRAINT poison CHECK (poison(value));
"""
DAMAGE = """
CREATE FUNCTION damaged(value double precision) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF value = 9 THEN
        RAISE EXCEPTION 'index "gpus_key" contains unexpected zero page' USING ERRCODE = 'XX002';
    END IF;
    RETURN true;
END $$;
ALTER TABLE samples ADD CONSTRAINT damaged CHECK (damaged(value));
"""


@contextmanager
def held(store: Store, first_row: int = 0) -> Iterator[None]:
    """Hold a ledger row, so that whoever has it in hand waits in the gate, until the `with` ends."""
    with psycopg.connect(store.database.admin) as connection:
        connection.execute("SELECT FROM blocks WHERE first_row = %s FOR UPDATE", (first_row,))
        yield


def publish(collecting: Collecting, first: int, count: int) -> None:
    """Reserve and publish blocks of four, the first one's number being `first`."""
    collecting.reserved(*[4] * count)
    collecting.publish(*(a_block(first_row=4 * (first + n)) for n in range(count)))


def assert_all_stored_once(collecting: Collecting, blocks: int) -> None:
    collecting.drained()
    assert collecting.store.values() == list(range(4 * blocks))
    assert collecting.dead() == []
    assert collecting.store.account().reconciles
    assert collecting.store.account().unsettled == 0


def test_an_outage_longer_than_the_lease_holds_the_batch_and_spends_no_attempt(
    collecting: Collecting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url, proxy = collecting.store.proxied()
    # three at a time, whatever the machine is busy with
    running = collecting.collect(url=url, topic=collecting.lasting(), batch=3, linger=PATIENCE)
    publish(collecting, 0, 3)
    collecting.drained()
    until(lambda: running.ready)
    proxy.cut()
    publish(collecting, 3, 3)
    until(lambda: not running.ready)
    assert any(name == "database" and not ok and why for name, ok, why in running.health.readiness().checks)
    collecting.collect(topic=collecting.lasting())  # would take over what is not held
    collecting.outlive(1.25, LASTING)
    held_now = collecting.topic.peek(10)
    assert [(one.id, one.attempts) for one in held_now] == [("s:12", 1), ("s:16", 1), ("s:20", 1)]
    assert {one.owner for one in held_now} == {running.consumer.name}
    proxy.heal()
    assert_all_stored_once(collecting, 6)
    until(lambda: running.ready)
    assert running.health.liveness().ok
    assert "database can be used again" in caplog.text
    counted = running.metrics.snapshot()
    assert counted["write_errors"] > 0
    assert counted["transaction_seconds_count"] == counted["transactions"], "those that failed took no time"


def test_an_idle_collector_is_unready_while_its_database_is_away(collecting: Collecting) -> None:
    url, proxy = collecting.store.proxied()
    running = collecting.collect(url=url)
    until(lambda: running.ready)
    proxy.cut()
    until(lambda: not running.ready)
    assert [name for name, ok, why in running.health.readiness().checks if not ok and why] == ["database"]
    proxy.heal()
    until(lambda: running.ready)


def test_the_end_of_an_idle_connection_is_no_outage(collecting: Collecting) -> None:
    watch = Watch(session=collecting.store.session())
    assert watch._ask() == ""
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'telemetry-coll%%'"
    assert collecting.store.database.ask(ended) == [(True,)]
    assert watch._ask() == ""


def test_a_stop_during_an_outage_hands_the_batch_back_at_once(collecting: Collecting) -> None:
    url, proxy = collecting.store.proxied()
    proxy.cut()
    running = collecting.collect(url=url, batch=3, linger=PATIENCE)
    publish(collecting, 0, 3)
    collecting.in_hand(3)
    until(lambda: any("refused" in why or "closed" in why for _, _, why in running.health.readiness().checks))
    running.end()
    handed_back = collecting.topic.peek(10)
    assert [one.attempts for one in handed_back] == [0, 0, 0]
    assert all(one.idle >= LEASE for one in handed_back)
    collecting.collect()
    assert_all_stored_once(collecting, 3)


def test_a_database_that_restarts_is_waited_for(redis_server: Server) -> None:
    folder = open_folder()
    settings = {"fsync": "off", "shared_buffers": "32MB"}
    postgres = EmbeddedPostgres(folder, bin_dir=pg_bin_dir(), settings=settings, port=free_port())
    postgres.start()
    passwords = {role: postgres.password(role) for role in postgres.roles}
    admin = f"postgresql://postgres:{postgres.password('postgres')}@127.0.0.1:{postgres.port}/postgres"
    server = PostgresServer(admin, passwords, postgres.has_timescaledb)
    store = Store(Database(server, "telemetry"))
    collecting = Collecting(store, redis_server)
    try:
        with Session(url=store.database.owner, name="telemetry-test") as session:
            migrate(session)
        running = collecting.collect()
        publish(collecting, 0, 3)
        collecting.drained()
        collecting.reserved(*[4] * 3)
        postgres.stop()
        collecting.publish(*(a_block(first_row=4 * n) for n in range(3, 6)))
        until(lambda: not running.ready)
        collecting.outlive(2)
        postgres.start()
        store.forget()
        assert_all_stored_once(collecting, 6)
        until(lambda: running.ready)
    finally:
        collecting.close()
        store.close()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_connections_that_are_ended_again_and_again_cost_nobody_anything(collecting: Collecting) -> None:
    collecting.collect()
    for turn in range(8):
        publish(collecting, 3 * turn, 3)
        ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'telemetry-coll%%'"
        collecting.store.database.ask(ask)
    assert_all_stored_once(collecting, 24)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_collector_that_dies_or_freezes_with_a_batch_is_taken_over(
    collecting: Collecting, processes: Processes, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    caplog.set_level(logging.INFO)
    arguments = [collecting.store.database.writer, collecting.server.url, collecting.space, str(LEASE)]
    process = processes.spawn([sys.executable, "-c", COLLECT, *arguments])
    collecting.reserved(*[4] * 4)
    with held(collecting.store):
        collecting.publish(*(a_block(first_row=4 * n) for n in range(4)))
        until(lambda: collecting.store.database.one(WAITING) or not process.running)
        process.signal(number)
    collecting.collect(lock_timeout=LEASE)
    assert_all_stored_once(collecting, 4)
    told = [record.__dict__["fields"] for record in caplog.records if record.message == "took over a block"]
    assert {fields["id"] for fields in told} == {"s:0", "s:4", "s:8", "s:12"}
    if number == signal.SIGSTOP:
        process.signal(signal.SIGCONT)
        publish(collecting, 4, 1)
        assert_all_stored_once(collecting, 5)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_a_batch_whose_acknowledgement_is_lost_is_delivered_again_and_not_stored_again(collecting: Collecting) -> None:
    topic, proxy = collecting.proxied()
    collecting.reserved(*[4] * 3)
    with held(collecting.store):
        collecting.publish(*(a_block(first_row=4 * n) for n in range(3)))
        first = collecting.collect(topic=topic, lock_timeout=30)
        until(lambda: collecting.store.database.one(WAITING))
        proxy.cut()  # it can store, but not acknowledge
    until(lambda: len(collecting.store.values()) == 12)
    second = collecting.collect()
    assert_all_stored_once(collecting, 3)
    assert second.metrics.messages_stale._value.get() == 3
    proxy.heal()
    publish(collecting, 3, 2)
    assert_all_stored_once(collecting, 5)
    until(lambda: first.ready)


def test_collectors_share_the_work_while_the_queue_is_lost_and_published_again(collecting: Collecting) -> None:
    for _ in range(3):
        collecting.collect(batch=4)
    publish(collecting, 0, 20)
    collecting.redis.delete(collecting.topic.keys.stream, collecting.topic.keys.ids)
    collecting.publish(*(a_block(first_row=4 * n) for n in range(20)))
    until(lambda: collecting.store.account().unsettled == 0)
    assert_all_stored_once(collecting, 20)


def test_a_message_that_breaks_its_connection_dies_and_innocent_ones_live(collecting: Collecting) -> None:
    with psycopg.connect(collecting.store.database.owner, autocommit=True) as owner:
        owner.execute(POISON)
    publish(collecting, 0, 5)
    running = collecting.collect()
    collecting.drained()
    ((id, attempts, reason, payload),) = collecting.dead()
    assert (id, attempts, payload) == ("s:8", 1, a_block(first_row=8).encode())
    assert "StoreLost" in reason
    assert collecting.store.values() == [n for n in range(20) if n not in range(8, 12)]
    assert collecting.store.account().reconciles
    publish(collecting, 5, 1)
    collecting.drained()
    until(lambda: running.ready)
    assert len(collecting.dead()) == 1


@pytest.mark.parametrize("ended", [False, True])
def test_a_commit_is_counted_and_not_repeated_though_what_follows_it_must_wait(
    collecting: Collecting, ended: bool
) -> None:
    seen = "SELECT last_seen > first_seen + INTERVAL '1 hour' FROM gpus"
    first = collecting.collect(topic=collecting.lasting())
    publish(collecting, 0, 1)
    collecting.drained()
    collecting.reserved(4)
    with psycopg.connect(collecting.store.database.admin) as locking:
        locking.execute("SELECT FROM gpus FOR UPDATE")
        collecting.publish(a_block(first_row=4, time0=NOON + DAY))
        until(lambda: first.metrics.snapshot()["rows_stored"] == 8)
        until(lambda: first.metrics.snapshot().get("write_errors", 0))  # the lock was met
        assert collecting.topic.stats().depth == 1  # of nobody else would another hear what is owed
        if ended:
            first.end()
    second = collecting.collect(topic=collecting.lasting()) if ended else first
    assert_all_stored_once(collecting, 2)
    assert collecting.store.database.one(seen)
    until(lambda: second.metrics.snapshot()["backlog_messages"] == 0)
    names = ("rows_stored", "messages_stored", "messages_stale", "messages_dead", "publish_to_stored_seconds_count")
    assert [first.metrics.snapshot()[name] for name in names] == [8, 2, 0, 0, 2]
    assert second.metrics.snapshot()["messages_stale"] == ended


def test_a_damaged_index_is_an_outage_and_no_messages_fault(collecting: Collecting) -> None:
    with psycopg.connect(collecting.store.database.owner, autocommit=True) as owner:
        owner.execute(DAMAGE)
        publish(collecting, 0, 5)
        running = collecting.collect()
        until(lambda: any("zero page" in why for _, _, why in running.health.readiness().checks))
        collecting.outlive(2)
        assert collecting.dead() == []
        owner.execute("ALTER TABLE samples DROP CONSTRAINT damaged")
    assert_all_stored_once(collecting, 5)
    until(lambda: running.ready)


def test_an_outage_of_the_database_while_a_message_is_buried_loses_nothing(collecting: Collecting) -> None:
    collecting.reserved(4)
    url, proxy = collecting.store.proxied()
    proxy.lose_reply(b"INSERT INTO dead_blocks")
    collecting.add(id="s:0", rows="4", format="block/1", body="no JSON")
    running = collecting.collect(url=url)
    collecting.drained()
    assert [(id, payload) for id, _, _, payload in collecting.dead()] == [("s:0", b"no JSON")]
    assert proxy.lost == 1
    until(lambda: running.metrics.messages_dead._value.get() == 1)
    assert running.metrics.messages_stale._value.get() == 0
    until(lambda: running.ready)


def test_a_stuck_peer_is_ended_by_the_collector_that_waits_for_it(collecting: Collecting) -> None:
    publish(collecting, 0, 2)
    with psycopg.connect(collecting.store.database.writer, application_name="telemetry-collector@stuck") as stuck:
        stuck.execute("SELECT FROM blocks FOR UPDATE")
        collecting.collect(lock_timeout=0.2)
        assert_all_stored_once(collecting, 2)
        with pytest.raises(psycopg.OperationalError):
            stuck.execute("SELECT")
