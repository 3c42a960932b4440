"""Making a PostgreSQL cluster: initdb once, settings at each start, roles and the database.

What does not live here: tables, grants on them and extensions (`store` migrates).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from telemetry.embedded.account import Account
from telemetry.embedded.children import Child
from telemetry.embedded.errors import DataUnusable, StartFailed
from telemetry.embedded.logfiles import LogFile
from telemetry.embedded.pginstall import PgInstall
from telemetry.embedded.place import make_for
from telemetry.embedded.state import write_private

__all__ = ["SERVER_ENV", "SUPERUSER", "arguments", "initialise", "run_psql", "set_up_roles"]

SUPERUSER = "postgres"
SERVER_ENV = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"}

# A developer's machine with a production's durability: fsync and synchronous_commit stay on.
_SETTINGS = {
    "unix_socket_directories": "",  # TCP only: a socket's path may be at most 107 bytes
    "shared_buffers": "256MB",
    "max_connections": "60",
    "max_worker_processes": "24",  # TimescaleDB's jobs, parallel queries and the launcher
    "max_wal_size": "2GB",  # bulk COPY: else a checkpoint every few seconds
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "max_locks_per_transaction": "256",  # a query over all chunks locks each
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d %a ",
}
_SHARED_MEMORY_BYTES = 256 * 1024 * 1024
_TIMESCALE = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}

# The owner migrates: it may grant the two others, and is a member of both.
_ROLES = r"""
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT format('CREATE ROLE %I LOGIN', role) FROM unnest(ARRAY[:'owner', :'writer', :'reader']) AS role
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec
ALTER ROLE :"owner" LOGIN CREATEROLE PASSWORD :'owner_password';
ALTER ROLE :"writer" LOGIN PASSWORD :'writer_password';
ALTER ROLE :"reader" LOGIN PASSWORD :'reader_password';
GRANT :"writer", :"reader" TO :"owner" WITH ADMIN OPTION;
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'owner')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
"""


def initialise(
    install: PgInstall, run_dir: Path, data: Path, account: Account | None, password: str, sync: bool, log: LogFile
) -> None:
    """Make the cluster unless it is there. Under another name first, so that a crash leaves none half made."""
    if (data / "PG_VERSION").exists():
        _check_major(install, data)
        return
    _remove_drafts(data)
    draft = data.with_name(f"{data.name}.draft-{secrets.token_hex(3)}")
    make_for(account, draft)
    words = data.with_name("initdb-password")
    write_private(words, password, account)
    try:
        _initdb(install, run_dir, draft, account, words, sync, log)
    finally:
        words.unlink(missing_ok=True)
    draft.rename(data)
    _remove_drafts(data)  # a killed initdb's last child may have gone on writing there


def _remove_drafts(data: Path) -> None:
    """What initdb left where it was killed. No error: who still writes there only costs some room."""
    for left in data.parent.glob(f"{data.name}.draft-*"):
        shutil.rmtree(left, ignore_errors=True)


def arguments(data: Path, host: str, port: int, timescaledb: bool, more: Mapping[str, str]) -> list[str]:
    """Give the server's arguments. Settings go here, not to a file: root writes nothing among the data."""
    place = {"listen_addresses": host, "port": str(port)}
    settings = {**_SETTINGS, **_shared_memory(), **(_TIMESCALE if timescaledb else {}), **more, **place}
    return ["-D", str(data), *(word for k, v in settings.items() for word in ("-c", f"{k}={v}"))]


def set_up_roles(
    psql: Path, host: str, port: int, pgpass: Path, names: Mapping[str, str], passwords: Mapping[str, str]
) -> None:
    """Make the roles and the database that are missing, and set the passwords.

    `names`: owner, writer, reader, database. Passwords reach the server as SCRAM verifiers only, so
    that not even a failed statement in its log shows one.
    """
    verifiers = {f"{who}_password": scram_verifier(passwords[names[who]]) for who in ("owner", "writer", "reader")}
    known = {**names, **verifiers}
    script = "".join(f"\\set {key} {_psql_quoted(value)}\n" for key, value in known.items()) + _ROLES
    run_psql(psql, host, port, pgpass, SUPERUSER, script)


def run_psql(psql: Path, host: str, port: int, pgpass: Path, role: str, script: str, seconds: float = 120.0) -> str:
    """Run a script from standard input on the database `postgres`. Raises StartFailed."""
    argv = [str(psql), "-X", "-q", "-A", "-t", "-w", "-h", host, "-p", str(port), "-U", role, "postgres"]
    env = {**SERVER_ENV, "PGPASSFILE": str(pgpass), "PGCONNECT_TIMEOUT": "30", "PGCLIENTENCODING": "UTF8"}
    try:
        ran = subprocess.run(  # noqa: S603  a program of the installation, no shell
            argv, input=script, env=env, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:  # from None: its text would quote the script's output
        raise StartFailed(f"PostgreSQL did not finish its set-up within {seconds:g} s") from None
    if ran.returncode != 0:
        raise StartFailed(f"PostgreSQL refused its set-up: {' '.join(ran.stderr.split())}")
    return ran.stdout


def scram_verifier(password: str, rounds: int = 4096) -> str:
    """Give what PostgreSQL stores for a password (RFC 5803, in pg_authid's form)."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${rounds}:{salt64}${stored64}:{server64}"


def _initdb(
    install: PgInstall, run_dir: Path, draft: Path, account: Account | None, words: Path, sync: bool, log: LogFile
) -> None:
    argv = [str(run_dir / "initdb"), "-D", str(draft), "-U", SUPERUSER, f"--pwfile={words}"]
    argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", *_locale(install.major)]
    argv += [] if sync else ["--no-sync"]
    child = Child(argv, env=SERVER_ENV, log=log, cwd=Path("/"), account=account)
    child.start()
    if child.wait() != 0:
        said = " | ".join(log.tail())
        raise StartFailed(f"initdb failed for {draft}: {said}; all of it is in {log.path}")


def _locale(major: int) -> Sequence[str]:
    # The built-in provider sorts alike on every machine; older versions have only the C library's.
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C", *(builtin if major >= 17 else [])]


def _shared_memory() -> dict[str, str]:
    """Parallel queries share memory by /dev/shm, of which a container has 64 MB by default."""
    try:
        found = os.statvfs("/dev/shm")  # noqa: S108  asked for its size
    except OSError:
        return {"dynamic_shared_memory_type": "mmap"}
    enough = found.f_frsize * found.f_blocks >= _SHARED_MEMORY_BYTES
    return {} if enough else {"dynamic_shared_memory_type": "mmap"}


def _check_major(install: PgInstall, data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    if made_by != str(install.major):
        raise DataUnusable(
            f"{data} was made by PostgreSQL {made_by or '?'}, and {install.bin_dir} is {install.version}: use another "
            "--state, or name the older bin folder with TELEMETRY_EMBEDDED_PG_BIN"
        )


def _psql_quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def is_ready(data: Path, pid: int | None) -> bool:
    """Say whether the server with that pid takes connections: line 8 of postmaster.pid, as pg_ctl asks."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def server_on(data: Path) -> int | None:
    """Give the pid in postmaster.pid if it is a PostgreSQL on these very data.

    Removes the file when its pid is by now another program: the server would refuse to start.
    """
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().split()[0])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        return None
    if os.fsencode(data) in words:
        return pid
    file.unlink(missing_ok=True)
    return None
