"""Migrating: once, by any number of processes, on a new database or on one that lacks something."""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from telemetry.store.errors import NotMigrated, StoreLocked
from telemetry.store.queries import sql_folder
from telemetry.store.schema import check_migrated, migrate
from telemetry.store.session import Session
from telemetry.store.tiers import Tier
from tests.fixtures.ledger import DAY, NOON, Store, a_block, a_gpu, at_once
from tests.fixtures.process import Processes
from tests.fixtures.store import Database

MIGRATE = """
import sys
from telemetry.store.schema import migrate
from telemetry.store.session import Session
with Session(url=sys.argv[1], name="telemetry-migrate@test", lock_timeout=5) as session:
    print(len(migrate(session)))
"""


def owner(database: Database, *, lock_timeout: float = 5.0) -> Session:
    return Session(url=database.owner, name="telemetry-migrate@test", lock_timeout=lock_timeout)


def migrated(database: Database) -> list[str]:
    with owner(database) as session:
        return migrate(session)


def files(database: Database) -> int:
    """How many numbered files its tier has."""
    tier = Tier.COMMUNITY if database.server.has_timescaledb else Tier.PLAIN
    names = [file.name for file in sql_folder().iterdir() if file.name[0] == "0"]
    return len([name for name in names if name.split(".")[1] in ("sql", tier.value)])


def tier_seen_by(url: str) -> Tier:
    with Session(url=url, name="telemetry-test@test") as session, session.use() as connection:
        return check_migrated(connection)


@pytest.fixture
def usable(empty_database: Database) -> Iterator[Store]:
    """A store in a database that the test migrates."""
    migrated(empty_database)
    store = Store(empty_database)
    yield store
    store.close()


def assert_works(store: Store, first_row: int = 0) -> None:
    store.reserve(4)
    store.stored(a_block(first_row=first_row))
    assert store.database.one("SELECT count(*) FROM telemetry") == first_row + 4


def test_an_empty_database_is_said_to_be_so(empty_database: Database) -> None:
    with pytest.raises(NotMigrated, match="telemetry migrate"):
        tier_seen_by(empty_database.writer)


def test_migrating_twice_does_nothing_the_second_time(empty_database: Database) -> None:
    first = migrated(empty_database)
    assert first[0] == "001_core.sql"
    assert migrated(empty_database) == []
    tier = tier_seen_by(empty_database.reader)
    assert first[1] == f"002_samples.{tier.value}.sql"
    assert tier is (Tier.COMMUNITY if empty_database.server.has_timescaledb else Tier.PLAIN)


def test_processes_that_migrate_at_once_apply_each_file_once(empty_database: Database, processes: Processes) -> None:
    argv = [sys.executable, "-c", MIGRATE, empty_database.owner]
    spawned = [processes.spawn(argv) for _ in range(4)]
    assert [one.wait() for one in spawned] == [0] * 4, [one.stderr for one in spawned]
    assert sorted(int(one.stdout) for one in spawned) == [0, 0, 0, files(empty_database)]
    assert tier_seen_by(empty_database.writer) in Tier


def test_threads_that_reapply_the_views_at_once_agree(usable: Store) -> None:
    usable.database.ask("DELETE FROM schema_migrations WHERE name LIKE 'idempotent %'")
    assert at_once([lambda: migrated(usable.database)] * 4) == [[]] * 4
    assert usable.database.one("SELECT count(*) FROM schema_migrations WHERE name LIKE 'idempotent %'") == 1
    assert_works(usable)


def test_a_database_that_lacks_the_last_file_gets_it(usable: Store) -> None:
    usable.database.ask("DROP TABLE samples CASCADE")
    usable.database.ask("DELETE FROM schema_migrations WHERE name ~ '^(00\\d_samples|idempotent)'")
    with pytest.raises(NotMigrated, match="no schema yet"):
        tier_seen_by(usable.database.writer)
    applied = migrated(usable.database)
    assert applied[0].startswith("002_samples")
    assert_works(usable)


def test_a_ledger_of_the_version_before_can_be_pruned_after_the_migration(usable: Store) -> None:
    assert_works(usable)
    usable.database.ask("DROP TABLE pruned_blocks")
    usable.database.ask("DROP INDEX blocks_settled, dead_blocks_message")
    usable.database.ask("DELETE FROM schema_migrations WHERE name LIKE '003%%' OR name LIKE 'idempotent %%'")
    with pytest.raises(NotMigrated, match="003_pruned_blocks"):
        tier_seen_by(usable.database.writer)
    assert migrated(usable.database) == ["003_pruned_blocks.sql"]
    before = usable.account()
    assert usable.prune() == 1
    assert (usable.account(), usable.accounts.orphans()) == (before, 0)


@pytest.mark.timescale
def test_chunks_of_an_order_before_are_read_and_filled_as_the_new_ones(usable: Store) -> None:
    ask = "SELECT telemetry::text FROM telemetry ORDER BY timestamp, value"
    usable.database.ask("ALTER TABLE samples SET (timescaledb.segmentby = '', timescaledb.orderby = 'gpu, time')")
    usable.database.ask("DELETE FROM schema_migrations WHERE name LIKE '005%%'")
    usable.reserve(*[5_000] * 4)
    blocks = [a_block(first_row=n * 5_000, rows=5_000, gpus=[a_gpu(n) for n in range(9)]) for n in range(4)]
    usable.stored(*blocks[:2])
    before, account = usable.database.ask(ask), usable.account()
    assert migrated(usable.database) == ["005_samples.community.sql"]
    assert (usable.database.ask(ask), usable.account()) == (before, account)
    usable.stored(blocks[2])
    usable.stored(replace(blocks[3], time0=NOON + DAY))
    assert usable.database.one("SELECT count(*) FROM telemetry") == 20_000
    assert (usable.account().reconciles, usable.accounts.orphans()) == (True, 0)
    for chunk in usable.database.ask("SELECT show_chunks('samples')::text"):
        rowstore = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.SQL(chunk[0]))
        with psycopg.connect(usable.database.admin) as connection:
            assert connection.execute(rowstore).fetchone() == (0,)


def test_a_database_that_lacks_a_numbered_file_is_too_old(usable: Store) -> None:
    usable.database.ask("DELETE FROM schema_migrations WHERE name = '001_core.sql'")
    with pytest.raises(NotMigrated, match=r"lacks 001_core\.sql"):
        tier_seen_by(usable.database.writer)


def test_a_migration_that_died_after_its_first_statement_can_be_run_again(empty_database: Database) -> None:
    with owner(empty_database) as session, session.use() as connection:
        connection.execute("CREATE TABLE schema_migrations (name text PRIMARY KEY, applied_at timestamptz)")
    assert len(migrated(empty_database)) == files(empty_database)


@pytest.mark.parametrize(
    "change",
    [
        "DROP VIEW telemetry",
        "DROP FUNCTION ensure_days(date[])",
        "CREATE OR REPLACE FUNCTION labels_template(labels jsonb) RETURNS text LANGUAGE sql AS $$SELECT 'x'$$",
    ],
)
def test_views_and_functions_are_applied_again_when_their_text_is_another(usable: Store, change: LiteralString) -> None:
    usable.database.ask(change)
    usable.database.ask("UPDATE schema_migrations SET name = 'idempotent 0' WHERE name LIKE 'idempotent %'")
    assert migrated(usable.database) == []
    assert_works(usable)
    assert usable.database.ask("SELECT DISTINCT labels_raw FROM telemetry") == [("",)]


def test_migrating_keeps_what_is_stored(usable: Store) -> None:
    assert_works(usable)
    usable.database.ask("DELETE FROM schema_migrations WHERE name LIKE 'idempotent %'")
    migrated(usable.database)
    assert_works(usable, first_row=4)


def test_a_migration_gives_way_to_a_peer_that_is_not_stuck_and_says_so(
    usable: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[migrate.__module__], "LOCK_TRIES", 2)
    usable.database.ask("DELETE FROM schema_migrations WHERE name LIKE 'idempotent %'")
    with psycopg.connect(usable.database.writer, application_name="telemetry-collector@test") as peer:
        peer.execute("SELECT count(*) FROM telemetry")
        with owner(usable.database, lock_timeout=0.1) as session, pytest.raises(StoreLocked):
            migrate(session, lease=60)
        peer.commit()
    assert migrated(usable.database) == []


def test_a_migration_ends_a_peer_that_is_stuck(usable: Store) -> None:
    usable.database.ask("DELETE FROM schema_migrations WHERE name LIKE 'idempotent %'")
    with closing(psycopg.connect(usable.database.writer, application_name="telemetry-collector@test")) as peer:
        peer.execute("INSERT INTO stream_progress VALUES ('s', 0, 0, now())")
        peer.execute("SELECT count(*) FROM telemetry")
        with owner(usable.database, lock_timeout=0.1) as session:
            assert migrate(session, lease=0.05) == []
        with pytest.raises(psycopg.OperationalError):
            peer.execute("SELECT")
    assert usable.database.one("SELECT count(*) FROM stream_progress") == 0


def test_the_reader_cannot_migrate(empty_database: Database) -> None:
    with (
        Session(url=empty_database.reader, name="telemetry-migrate@test") as session,
        pytest.raises(Exception, match=r"permission denied|must be"),
    ):
        migrate(session)
    assert len(migrated(empty_database)) == files(empty_database)
