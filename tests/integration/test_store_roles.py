"""Who may do what: exactly what they need."""

import shutil
import uuid
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import errors, sql

from telemetry.embedded import EmbeddedPostgres
from telemetry.store.gate import Standing
from telemetry.store.ledger import Ledger
from telemetry.store.schema import migrate
from telemetry.store.session import Session
from telemetry.store.writer import Writer
from tests.fixtures.ledger import Store, a_block
from tests.fixtures.servers_postgres import PostgresServer, open_folder, pg_bin_dir
from tests.fixtures.store import Database, drop_database

TABLES = (
    "blocks",
    "dead_blocks",
    "dropped_blocks",
    "dropped_chunks",
    "dropped_sources",
    "gpus",
    "metrics",
    "pruned_blocks",
    "rejected_rows",
    "samples",
    "schema_migrations",
    "source_days",
    "stream_progress",
    "telemetry",
    "workloads",
)
ROLLUPS = ("rollup_day", "rollup_hour", "rollup_minute")
"""What TimescaleDB Community has besides."""
WRITES = {
    "blocks": "SELECT INSERT UPDATE DELETE",
    "dead_blocks": "SELECT INSERT UPDATE DELETE",
    "gpus": "SELECT INSERT UPDATE",
    "metrics": "SELECT INSERT UPDATE",
    "pruned_blocks": "SELECT INSERT UPDATE",
    "rejected_rows": "SELECT INSERT",
    "samples": "SELECT INSERT",
    "source_days": "SELECT INSERT",
    "stream_progress": "SELECT INSERT UPDATE",
    "workloads": "SELECT INSERT UPDATE",
}
ALL = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def tables(database: Database) -> list[str]:
    return sorted([*TABLES, *(ROLLUPS if database.server.has_timescaledb else ())])


def privileges(database: Database, role: str) -> dict[str, str]:
    found = {}
    for table in tables(database):
        ask = "SELECT string_agg(p, ' ' ORDER BY n) FROM unnest(%s::text[]) WITH ORDINALITY AS a(p, n)"
        found[table] = database.one(ask + " WHERE has_table_privilege(%s, %s, p)", list(ALL), role, f"public.{table}")
    return found


def test_no_table_is_left_out_here(database: Database) -> None:
    ask = (
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
        " ORDER BY relname"
    )
    assert [name for (name,) in database.ask(ask)] == tables(database)


def test_the_reader_reads_and_nothing_else(database: Database) -> None:
    assert privileges(database, database.server.reader) == dict.fromkeys(tables(database), "SELECT")


def test_the_writer_may_do_exactly_this(database: Database) -> None:
    assert privileges(database, database.server.writer) == dict.fromkeys(tables(database), "SELECT") | WRITES


def test_both_may_read_days_that_are_made_later(store: Store) -> None:
    store.reserve(4)
    store.stored(a_block())
    for url in (store.database.reader, store.database.writer):
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM telemetry").fetchone() == (4,)
            days = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'samples'::regclass LIMIT 1"
            (day,) = connection.execute(days).fetchone() or ("samples",)
            assert connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.SQL(day))).rowcount == 1


WRITER_MAY_NOT: list[LiteralString] = [
    "DELETE FROM samples",
    "UPDATE samples SET value = 0",
    "TRUNCATE samples",
    "ALTER TABLE samples ADD COLUMN x int",
    "DROP TABLE samples",
    "SELECT drop_chunk('samples', 'samples', now(), now())",
    "SELECT account_for_dropped(ARRAY[1], ARRAY[1])",
    "SELECT sum_dropped()",
    "DELETE FROM dropped_chunks",
    "DELETE FROM source_days",
    "DELETE FROM gpus",
    "DELETE FROM rejected_rows",
    "DELETE FROM stream_progress",
    "DELETE FROM schema_migrations",
    "INSERT INTO schema_migrations VALUES ('x')",
    "CREATE TABLE public.mine (x int)",
    "CREATE OR REPLACE VIEW telemetry AS SELECT 1",
    "CREATE INDEX ON blocks (rows)",
    "SET ROLE telemetry",
]
READER_MAY_NOT: list[LiteralString] = [
    *WRITER_MAY_NOT,
    "INSERT INTO samples SELECT * FROM samples",
    "UPDATE blocks SET settled_at = NULL",
    "DELETE FROM dead_blocks",
    "SELECT FROM blocks FOR UPDATE",
    "SELECT ensure_days(ARRAY['2024-01-01'::date])",
    "SELECT drop_samples(1, '7 days', true, '0')",
    "SELECT drop_rollup(1, '7 days')",
    "INSERT INTO source_days VALUES (now())",
    "INSERT INTO telemetry (value) VALUES (1)",
    "SET ROLE telemetry_writer",
]


@pytest.mark.parametrize(
    ("role", "statement"),
    [("writer", text) for text in WRITER_MAY_NOT] + [("reader", text) for text in READER_MAY_NOT],
)
def test_the_others_are_refused(shared_database: Database, role: str, statement: LiteralString) -> None:
    refused = (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState)  # the latter: a view of joins
    with psycopg.connect(getattr(shared_database, role)) as connection, pytest.raises(refused):
        connection.execute(statement)


def test_only_owner_and_writer_may_make_days(shared_database: Database, stranger: str) -> None:
    ask = "SELECT has_function_privilege(%s, 'ensure_days(date[])', 'EXECUTE')"
    roles = [shared_database.server.owner, shared_database.server.writer, shared_database.server.reader, stranger]
    assert [shared_database.one(ask, role) for role in roles] == [True, True, False, False]


def test_a_table_of_the_writers_own_cannot_stand_in_for_a_catalogue(database: Database) -> None:
    with psycopg.connect(database.writer, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE pg_class (oid oid, relkind text, relname text, relnamespace oid)")
        connection.execute("SELECT ensure_days(ARRAY['2024-01-01'::date])")
    plain = database.one("SELECT relkind = 'p' FROM pg_class WHERE oid = 'samples'::regclass")
    assert database.one("SELECT to_regclass('samples_20240101') IS NOT NULL") == plain


@pytest.fixture
def stranger(postgres_server: PostgresServer) -> Iterator[str]:
    """A login role that is nobody's member."""
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_server.admin(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
        yield name
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_an_owner_who_may_create_no_roles_migrates_where_they_exist(
    empty_database: Database, stranger: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = empty_database.server
    with psycopg.connect(empty_database.admin, autocommit=True) as admin:
        who, what = sql.Identifier(stranger), sql.Identifier(empty_database.name)
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(what, who))
        if server.has_timescaledb:
            admin.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    head, _, tail = empty_database.owner.partition("://")
    url = f"{head}://{stranger}:x@{tail.partition('@')[2]}"
    try:
        with Session(url=url, name="telemetry-migrate@test") as session:
            assert migrate(session)[0] == "001_core.sql"
            assert migrate(session) == []
        assert ["no member of telemetry_writer" in vars(record)["why"] for record in caplog.records] == [True]
        assert privileges(empty_database, server.writer) == dict.fromkeys(tables(empty_database), "SELECT") | WRITES
        assert privileges(empty_database, server.reader) == dict.fromkeys(tables(empty_database), "SELECT")
        store = Store(empty_database)
        store.reserve(4)
        store.stored(a_block())
        store.close()
        assert store.values() == [0, 1, 2, 3]
    finally:
        drop_database(server, empty_database.name)


@pytest.fixture
def bare() -> Iterator[Database]:
    """A server of its own on which nobody has made the writer and the reader."""
    folder = open_folder()
    try:
        with EmbeddedPostgres(folder, bin_dir=pg_bin_dir(), settings={"fsync": "off"}) as postgres:
            place = f"@127.0.0.1:{postgres.port}/postgres"
            admin = f"postgresql://postgres:{postgres.password('postgres')}{place}"
            passwords = {role: postgres.password(role) for role in postgres.roles}
            database = Database(PostgresServer(admin, passwords, postgres.has_timescaledb), postgres.database)
            with psycopg.connect(database.admin, autocommit=True) as connection:
                connection.execute("DROP ROLE telemetry_writer, telemetry_reader")
                if postgres.has_timescaledb:
                    connection.execute("CREATE EXTENSION timescaledb")
            yield database
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_roles_that_are_missing_are_made_or_done_without(bare: Database, caplog: pytest.LogCaptureFixture) -> None:
    def ours() -> tuple[Any, ...]:
        ask = "SELECT count(*), bool_and(pg_has_role('telemetry', oid, 'USAGE')) FROM pg_roles WHERE rolname = ANY(%s)"
        return bare.ask(ask, ["telemetry_writer"])[0]

    store = Store(bare)
    with Session(url=bare.owner, name="telemetry-migrate@test") as session:
        bare.ask("ALTER ROLE telemetry NOCREATEROLE")
        assert migrate(session)[0] == "001_core.sql"
        assert len([record for record in caplog.records if "is missing" in vars(record)["why"]]) == 2
        assert ours() == (0, None)
        ledger = Ledger(session=session, source="s", length=None, stamped=False)
        assert ledger.reserve(4) is not None
        assert Writer(session=session, lease=1).store([a_block()]) == [Standing.STORED]
        assert store.values() == [0, 1, 2, 3]

        bare.ask("ALTER ROLE telemetry CREATEROLE")
        bare.ask("DELETE FROM schema_migrations WHERE name LIKE 'idempotent %'")
        assert migrate(session) == []
        assert ours() == (1, True)  # without it the owner could not end a stuck writer
    assert privileges(bare, "telemetry_writer") == dict.fromkeys(tables(bare), "SELECT") | WRITES
    assert privileges(bare, "telemetry_reader") == dict.fromkeys(tables(bare), "SELECT")
