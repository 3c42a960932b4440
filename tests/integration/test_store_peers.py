"""Sessions that stopped in the middle of a transaction are ended, and only those."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest

from telemetry.store.errors import StoreLocked
from telemetry.store.gate import Standing
from telemetry.store.peers import end_stuck_peers
from tests.fixtures.ledger import DAY, NOON, Store, a_block
from tests.fixtures.process import Processes, Spawned
from tests.fixtures.store import Database
from tests.fixtures.wait import until

COLLECTOR = "telemetry-collector@test"
STUCK = """
import signal, sys, time
from telemetry.store.copy import COPY, HEADER, pack
from telemetry.store.gate import open_gate
from telemetry.store.session import Session
from telemetry.store.writer import Writer
from tests.fixtures.ledger import a_block
woken = []  # asked again and again: the signal may come before the wait, and to any thread
signal.signal(signal.SIGUSR1, lambda *_: woken.append(1))
with Session(url=sys.argv[1], name="telemetry-collector@stuck") as session:
    writer, block = Writer(session=session, lease=15), a_block(rows=2_000)
    writer._prepare([block])
    with session.use() as connection, connection.transaction():
        numbers = open_gate(connection, [block])
        rows = pack([block], list(numbers.values()), writer._dimensions)
        with connection.cursor().copy(COPY) as copy:
            copy.write(HEADER)
            copy.write(rows[:1_000].tobytes())
            connection.pgconn.flush()
            print("in the middle", flush=True)
            while not woken:
                time.sleep(0.01)
            copy.write(rows[1_000:].tobytes())
            copy.write(b"\\xff\\xff")
"""

BESIDE = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
AND xact_start IS NOT NULL
"""


def alone(database: Database) -> None:
    """Wait until nobody else is in a transaction there: a session ends some time after its client did, or was ended."""
    until(lambda: database.one(BESIDE) == 0, "the end of all other transactions")


@contextmanager
def standing_still(store: Store, processes: Processes) -> Iterator[Spawned]:
    """A collector that was stopped in mid-COPY."""
    stuck = processes.spawn([sys.executable, "-c", STUCK, store.database.writer])
    stuck.wait_for_output("in the middle")
    stuck.signal(signal.SIGSTOP)
    try:
        yield stuck
    finally:
        stuck.end()
        alone(store.database)  # it is the next test's too


def test_a_collector_stopped_in_mid_copy_is_ended_after_two_leases(store: Store, processes: Processes) -> None:
    store.reserve(2_000)
    with standing_still(store, processes) as stuck:
        patient, hasty = store.writer(lease=60), store.writer(lease=0.3)
        with pytest.raises(StoreLocked):
            hasty.store([a_block(rows=2_000)])
        assert patient.end_stuck_peers() == 0
        until(lambda: hasty.end_stuck_peers() == 1, "the stuck peer is ended")
        assert patient.store([a_block(rows=2_000)]) == [Standing.STORED]
        assert hasty.end_stuck_peers() == 0
        stuck.signal(signal.SIGCONT)
        stuck.signal(signal.SIGUSR1)
        assert stuck.wait() == 1
    assert "StoreLost" in stuck.stderr
    assert store.database.one("SELECT count(*) FROM telemetry") == 2_000
    assert store.account().reconciles


def test_blocks_of_others_are_stored_beside_a_stuck_peer(store: Store, processes: Processes) -> None:
    store.reserve(2_000, 4, 4, 4)
    writer = store.writer(lease=60)
    assert writer.store([a_block(first_row=2_000)]) == [Standing.STORED]
    with standing_still(store, processes):
        assert writer.store([a_block(first_row=2_004)]) == [Standing.STORED]
        assert writer.store([a_block(first_row=2_008, time0=NOON - 9 * DAY)]) == [Standing.STORED]


def alive(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    try:
        return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize(
    ("name", "role", "begun", "ended"),
    [
        (COLLECTOR, "writer", True, True),
        ("telemetry-streamer@test", "writer", True, True),
        (COLLECTOR, "writer", False, False),
        ("telemetry-migrate@test", "writer", True, False),
        ("telemetry-verify@test", "writer", True, False),
        ("telemetry-api", "writer", True, False),
        ("psql", "writer", True, False),
        (COLLECTOR, "owner", True, False),
        (COLLECTOR, "reader", True, False),
        (COLLECTOR, "admin", True, False),
    ],
)
def test_only_writers_that_are_in_a_transaction_are_ended(
    shared_store: Store, name: str, role: str, begun: bool, ended: bool
) -> None:
    with closing(psycopg.connect(getattr(shared_store.database, role), application_name=name)) as peer:
        if begun:
            peer.execute("SELECT")
        with shared_store.session().use() as connection:
            assert end_stuck_peers(connection, older_than=3_600) == 0
            assert end_stuck_peers(connection, older_than=0) == int(ended)
        assert alive(peer) is not ended
    alone(shared_store.database)


def test_the_owner_ends_writers_too(store: Store) -> None:
    with closing(psycopg.connect(store.database.writer, application_name=COLLECTOR)) as peer:
        peer.execute("SELECT")
        with store.session(url=store.database.owner).use() as connection:
            assert end_stuck_peers(connection, older_than=0) == 1
        assert not alive(peer)
    alone(store.database)


def test_sessions_of_other_databases_are_left_alone(store: Store, new_database: Callable[[], Database]) -> None:
    with closing(psycopg.connect(new_database().writer, application_name=COLLECTOR)) as peer:
        peer.execute("SELECT")
        with store.session().use() as connection:
            assert end_stuck_peers(connection, older_than=0) == 0
        assert alive(peer)
