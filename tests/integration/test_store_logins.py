"""Migrating gives the logins that it is told: each its password and its group's rights, and no more."""

import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from telemetry.store.errors import StoreError
from telemetry.store.logins import READER, WRITER, check_login, give_login
from telemetry.store.pool import Pool
from telemetry.store.schema import migrate
from telemetry.store.session import Connection, Session
from tests.fixtures.store import Database

ODD = "it's \\ %I @:/ ü"


def named(database: Database, user: str, password: str) -> str:
    """The URL with which somebody else logs in."""
    return make_conninfo(database.owner, user=user, password=password)


@pytest.fixture
def user(database: Database) -> Iterator[Callable[[], str]]:
    """Names of roles that are not there yet, and are gone afterwards."""
    made: list[str] = []

    def name() -> str:
        made.append(f"login {uuid.uuid4().hex[:8]}")
        return made[-1]

    yield name
    with psycopg.connect(database.admin, autocommit=True) as connection:
        for role in made:
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def give(database: Database, **logins: str) -> None:
    with Session(url=database.owner, name="telemetry migrate", lock_timeout=5) as session:
        migrate(session, logins={{"writer": WRITER, "reader": READER}[who]: url for who, url in logins.items()})


def test_a_reader_that_was_given_a_login_reads_and_nothing_else(database: Database, user: Callable[[], str]) -> None:
    url = named(database, user(), ODD)
    give(database, reader=url)
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM telemetry").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM blocks")


def test_a_writer_that_was_given_a_login_writes_and_migrates_nothing(
    database: Database, user: Callable[[], str]
) -> None:
    url = named(database, user(), ODD)
    give(database, writer=url)
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("DELETE FROM blocks").rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine ()")


def shown(connection: Connection) -> str:
    """How long a statement may take there."""
    ((told,),) = connection.execute("SHOW statement_timeout").fetchall()
    return str(told)


def test_a_statement_of_a_reader_ends_in_time_unless_its_session_says_otherwise(
    database: Database, user: Callable[[], str]
) -> None:
    reader, writer = named(database, user(), "a"), named(database, user(), "b")
    give(database, reader=reader, writer=writer)
    for url, time in ((reader, "30s"), (writer, "0")):
        with psycopg.connect(url) as connection:
            assert shown(connection) == time
    pool = Pool(url=reader, statement_timeout=7.0, export_timeout=900.0)
    with pool.use() as connection:
        assert shown(connection) == "7s"
    with pool.use_for_export() as connection:
        assert shown(connection) == "15min"
    pool.close()
    with Session(url=reader, name="telemetry verify") as session, session.use() as connection:
        assert shown(connection) == "0", "commands wait for what they ask"


@pytest.mark.parametrize("where", ["", " IN DATABASE {}"])
def test_the_time_that_somebody_else_gave_a_reader_stays(
    database: Database, user: Callable[[], str], where: str
) -> None:
    url = named(database, user(), "a")
    give(database, reader=url)
    role, here = sql.Identifier(str(conninfo_to_dict(url)["user"])), sql.Identifier(database.name)
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(role, here))
        place = sql.SQL(where).format(here)
        connection.execute(sql.SQL("ALTER ROLE {}{} SET statement_timeout = '5min'").format(role, place))
    give(database, reader=url)
    with psycopg.connect(url) as connection:
        assert shown(connection) == "5min"


def test_a_password_that_is_another_by_now_replaces_the_old_one(database: Database, user: Callable[[], str]) -> None:
    old = named(database, user(), "old")
    new = make_conninfo(old, password="new")
    give(database, reader=old)
    give(database, reader=new)
    psycopg.connect(new).close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(old)


def test_the_server_never_sees_the_password(database: Database, user: Callable[[], str]) -> None:
    seen: list[str] = []
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.add_notice_handler(lambda said: seen.append(f"{said.message_primary} {said.message_detail}"))
        connection.execute("SET log_statement = 'all'")
        connection.execute("SET client_min_messages = 'log'")  # what it logs it tells us too
        give_login(connection, group=READER, url=named(database, user(), "sesame"))
    assert any("ALTER ROLE" in line for line in seen)
    assert not any("sesame" in line for line in seen)


def test_the_owners_own_login_is_not_touched(database: Database) -> None:
    with pytest.raises(StoreError, match=f"names the owner {conninfo_to_dict(database.owner)['user']}"):
        give(database, reader=make_conninfo(database.owner, password="another"))
    psycopg.connect(database.owner).close()


def test_an_owner_that_may_not_make_roles_is_told_what_it_lacks(database: Database, user: Callable[[], str]) -> None:
    someone = named(database, str(conninfo_to_dict(database.admin)["user"]), "stolen")
    with pytest.raises(StoreError, match=r"may not make or change; give .* CREATEROLE"):
        give(database, reader=someone)
    psycopg.connect(database.admin).close()


@pytest.mark.parametrize("url", ["postgresql://h/d", "postgresql://u@h/d", "postgresql://:p@h/d", "postgresql://["])
def test_a_url_without_user_and_password_is_no_login(url: str) -> None:
    with pytest.raises(StoreError, match="has no user and password to give"):
        check_login(url)
