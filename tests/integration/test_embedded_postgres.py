"""The embedded PostgreSQL: real servers, started, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from telemetry.embedded import BinaryMissing, DataUnusable, EmbeddedError, EmbeddedPostgres, StartFailed, StateLocked
from telemetry.embedded.cluster import run_psql
from telemetry.embedded.state import survivor
from tests.fixtures.embedded import ask, connect, embedded
from tests.fixtures.process import Processes, command_lines, is_gone
from tests.fixtures.servers_postgres import PostgresServer, pg_bin_dir
from tests.fixtures.wait import until

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


def holder(processes: Processes, state: Path) -> int:
    """Start a process that holds a server; the server's pid."""
    process = processes.spawn([sys.executable, "-c", HOLDER, str(state), str(pg_bin_dir() or "")])
    process.wait_for_output("pid ")
    return int(process.stdout.split()[1])


def test_data_passwords_and_port_outlive_a_restart(postgres_state: Path) -> None:
    with embedded(postgres_state) as first:
        with connect(first) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
    with embedded(postgres_state) as second:
        assert ask(second, "SELECT seven FROM kept") == [(7,)]
        assert second.port == first.port
        assert second.password(second.reader) == first.password(first.reader)


def test_each_role_logs_in_with_its_own_password_only(running_postgres: EmbeddedPostgres) -> None:
    for role in running_postgres.roles:
        assert ask(running_postgres, "SELECT current_user::text", role) == [(role,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            running_postgres.url(running_postgres.writer), password=running_postgres.password(running_postgres.reader)
        )
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(running_postgres.url(running_postgres.writer))
    with psycopg.connect(running_postgres.url(running_postgres.reader, passfile=True)) as connection:
        assert connection.info.user == running_postgres.reader


def test_the_owner_owns_the_database_and_may_grant_the_other_roles(running_postgres: EmbeddedPostgres) -> None:
    with connect(running_postgres) as owner:
        owner.execute("CREATE TABLE things (n int)")
        owner.execute("GRANT SELECT ON things TO telemetry_reader")
        owner.execute("CREATE ROLE extra")
        owner.execute("GRANT telemetry_reader TO extra")
        assert ask(running_postgres, "SELECT count(*) FROM things", running_postgres.reader) == [(0,)]
        assert ask(running_postgres, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]


def test_it_is_as_durable_as_in_production_unless_told_otherwise(postgres_state: Path) -> None:
    with EmbeddedPostgres(postgres_state, bin_dir=embedded(postgres_state).install.bin_dir) as postgres:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert ask(postgres, f"SHOW {setting}") == [("on",)], setting
        assert ask(postgres, "SHOW timezone") == [("UTC",)]
        assert ask(postgres, "SHOW server_encoding") == [("UTF8",)]
        assert ask(postgres, "SHOW listen_addresses") == [("127.0.0.1",)]


def test_the_psql_command_of_the_banner_works_as_it_is_pasted(running_postgres: EmbeddedPostgres) -> None:
    command = f"{running_postgres.psql_command()} -Atc 'SELECT current_user'"
    ran = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, env={}, check=False)
    assert (ran.stdout, ran.stderr) == ("telemetry_reader\n", "")


def test_no_password_is_in_an_argument_list_or_a_log(running_postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.errors.SyntaxError), connect(running_postgres) as connection:
        connection.execute("nonsense")
    passwords = [running_postgres.password(role).encode() for role in (*running_postgres.roles, "postgres")]
    seen = command_lines() + [path.read_bytes() for path in running_postgres.folder.rglob("*.log")]
    seen += [
        running_postgres.url(running_postgres.reader, passfile=True).encode(),
        running_postgres.psql_command().encode(),
    ]
    assert any(b"nonsense" in text for text in seen)
    assert not [text for text in seen for password in passwords if password in text]


def test_what_is_secret_is_readable_by_its_owner_only(running_postgres: EmbeddedPostgres) -> None:
    files = [running_postgres.pgpass, *(running_postgres.folder / "passwords").iterdir()]
    assert len(files) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_killed_holder_leaves_no_server_behind(postgres_state: Path, processes: Processes) -> None:
    pid = holder(processes, postgres_state)
    processes.end()
    until(lambda: is_gone(pid), "the end of PostgreSQL after its parent")


def test_a_server_that_outlived_its_holder_is_stopped_before_the_next_start(
    postgres_state: Path, processes: Processes
) -> None:
    pid = holder(processes, postgres_state)
    os.kill(pid, signal.SIGSTOP)  # so that it does not see the end of its parent
    processes.end()
    assert not is_gone(pid)
    with embedded(postgres_state) as postgres:
        assert is_gone(pid)
        assert ask(postgres, "SELECT 1") == [(1,)]


def test_a_second_holder_is_refused_and_told_who_holds_the_state(running_postgres: EmbeddedPostgres) -> None:
    with pytest.raises(StateLocked, match=rf"held by pid {os.getpid()}: .*--state"):
        embedded(running_postgres.folder.parent).start()
    assert ask(running_postgres, "SELECT 1") == [(1,)]


def test_a_crash_in_the_middle_of_initdb_is_recovered_from(empty_state: Path, processes: Processes) -> None:
    embedded(empty_state)
    process = processes.spawn([sys.executable, "-c", HOLDER, str(empty_state), str(pg_bin_dir() or "")])
    folder = empty_state / "postgres"
    until(lambda: list(folder.glob("data.draft-*/base")) or not process.running, "the beginning of initdb")
    process.kill()
    assert not (folder / "data").exists()
    with embedded(empty_state) as postgres:
        assert ask(postgres, "SELECT 1") == [(1,)]
    assert not list(folder.glob("data.draft-*"))


def test_committed_rows_outlive_a_killed_server(postgres_state: Path) -> None:
    with embedded(postgres_state) as postgres:
        with connect(postgres) as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
        assert postgres.pid
        os.kill(postgres.pid, signal.SIGKILL)
        until(lambda: not postgres.alive)
        postgres.stop()
        postgres.start()
        assert ask(postgres, "SELECT n FROM kept") == [(1,)]


def test_a_start_waits_for_what_a_killed_server_left(postgres_state: Path) -> None:
    refused = "pre-existing shared memory block"
    with embedded(postgres_state) as postgres, closing(connect(postgres)) as connection:
        assert postgres.pid
        straggler = connection.info.backend_pid
        os.kill(straggler, signal.SIGSTOP)  # so that it does not see the end of its parent
        try:
            os.kill(postgres.pid, signal.SIGKILL)
            until(lambda: not postgres.alive)
            postgres.stop()
            with ThreadPoolExecutor(1) as pool:
                start = pool.submit(postgres.start)
                until(lambda: refused in postgres.log.text() or start.done(), "a start that fails")
                os.kill(straggler, signal.SIGCONT)
                start.result()
        finally:
            with suppress(ProcessLookupError):
                os.kill(straggler, signal.SIGCONT)
        assert ask(postgres, "SELECT 1") == [(1,)]


def test_a_postmaster_pid_of_another_program_does_not_stop_the_start(postgres_state: Path) -> None:
    file = postgres_state / "postgres" / "data" / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n{file.parent}\n")
    with embedded(postgres_state) as postgres:
        assert ask(postgres, "SELECT 1") == [(1,)]


def test_a_restart_of_the_same_server_takes_its_own_port_or_none(postgres_state: Path) -> None:
    postgres = embedded(postgres_state)
    with postgres:
        port = postgres.port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(EmbeddedError, match=f"port {port} "):
        postgres.start()
    with postgres:
        assert postgres.port == port


def test_a_port_that_was_taken_meanwhile_is_replaced(postgres_state: Path) -> None:
    with embedded(postgres_state) as postgres:
        port = postgres.port
    with socket.create_server(("127.0.0.1", port)), embedded(postgres_state) as again:
        assert again.port != port
        assert ask(again, "SELECT 1") == [(1,)]


def test_a_wanted_port_that_is_taken_is_an_error_that_names_it(postgres_state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port} on 127.0.0.1 is taken"):
            embedded(postgres_state, port=port).start()


@pytest.mark.parametrize(("written", "named"), [("12\n", "12"), ("", r"\?")])
def test_data_of_another_version_or_of_none_are_refused_with_what_to_do(
    empty_state: Path, written: str, named: str
) -> None:
    data = empty_state / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text(written)
    with pytest.raises(DataUnusable, match=rf"made by PostgreSQL {named}, .*TELEMETRY_EMBEDDED_PG_BIN"):
        embedded(empty_state).start()


def test_a_set_up_that_hangs_is_an_error_that_shows_nothing_of_its_script(empty_state: Path) -> None:
    psql = empty_state / "psql"
    psql.write_text("#!/bin/sh\nexec sleep 3600\n")
    psql.chmod(0o755)
    with pytest.raises(StartFailed, match=r"did not finish its set-up within 0\.1 s") as caught:
        run_psql(psql, "127.0.0.1", 1, empty_state / "pgpass", "postgres", "hush", seconds=0.1)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"pid": null, "started": null}', '{"pid": 1}'])
def test_a_pid_file_that_was_meddled_with_names_no_survivor(empty_state: Path, kept: str) -> None:
    (empty_state / "pid").write_text(kept)
    assert survivor(empty_state / "pid") is None


def test_a_folder_without_binaries_is_named_in_the_error(empty_state: Path) -> None:
    with pytest.raises(BinaryMissing, match=r"has no postgres, initdb, psql.*TELEMETRY_EMBEDDED_PG_BIN"):
        EmbeddedPostgres(empty_state, bin_dir=empty_state).start()


def test_stopping_twice_and_starting_again_works(postgres_state: Path) -> None:
    postgres = embedded(postgres_state)
    postgres.stop()
    postgres.start()
    postgres.stop()
    postgres.stop()
    assert not postgres.alive
    with postgres:
        assert postgres.alive


@pytest.mark.timescale
def test_data_with_timescaledb_are_refused_by_a_server_without_it(postgres_state: Path) -> None:
    with embedded(postgres_state) as postgres:
        with_it = postgres.install.bin_dir
    try:
        without = EmbeddedPostgres(postgres_state)
        assert not without.has_timescaledb
    except BinaryMissing as error:
        pytest.skip(str(error))
    with pytest.raises(DataUnusable, match=rf"has none: .*TELEMETRY_EMBEDDED_PG_BIN={with_it}"):
        without.start()


@pytest.mark.timescale
def test_timescaledb_is_preloaded_and_the_owner_may_create_it(postgres_state: Path) -> None:
    with embedded(postgres_state) as postgres, connect(postgres) as owner:
        assert postgres.has_timescaledb
        owner.execute("CREATE EXTENSION timescaledb")
        assert ask(postgres, "SHOW timescaledb.telemetry_level") == [("off",)]


def test_the_servers_of_the_tests_have_the_three_roles(postgres_server: PostgresServer) -> None:
    for role in (postgres_server.owner, postgres_server.writer, postgres_server.reader):
        with psycopg.connect(postgres_server.url(role, "postgres")) as connection:
            assert connection.info.user == role
    with psycopg.connect(postgres_server.admin()) as connection:
        assert connection.info.parameter_status("is_superuser") == "on"
