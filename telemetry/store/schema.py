"""Bringing a database's schema up to date: numbered files once, idempotent files every time.

Many processes may start at once: an advisory lock lets one work and the others find it done. A file of samples
(002_samples.<tier>.sql) is chosen by what the server can do when it is first migrated.
"""

import hashlib
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import LiteralString

from psycopg.errors import Diagnostic

from telemetry.store.errors import NotMigrated, StoreLocked
from telemetry.store.logins import give_login
from telemetry.store.peers import end_stuck_peers
from telemetry.store.queries import query, sql_folder
from telemetry.store.session import Connection, Session
from telemetry.store.tiers import Tier, in_use, prepare

log = logging.getLogger(__name__)

LOCK_TRIES = 20
NOBODY: Mapping[str, str] = MappingProxyType({})


def migrate(session: Session, *, lease: float = 15.0, logins: Mapping[str, str] = NOBODY) -> list[str]:
    """Bring the schema up to date; the names of the files applied now, empty when there was nothing to do.

    `session` is the owner's, with a short lock timeout: a statement that waits for a lock makes everyone
    behind it wait too, so it gives up, ends writers stuck for two leases, and tries again. `logins` are URLs by the
    group (`logins.WRITER`, `logins.READER`) that their user is to be a member of; each is given its password.
    """
    for attempt in range(LOCK_TRIES):
        try:
            with session.use() as connection:
                return _migrate(connection, logins)
        except StoreLocked:
            if attempt == LOCK_TRIES - 1:
                raise
            with session.use() as connection:
                end_stuck_peers(connection, older_than=2 * lease)
    raise AssertionError("unreachable")


def _migrate(connection: Connection, logins: Mapping[str, str]) -> list[str]:
    connection.execute(query("migration_lock"))
    connection.add_notice_handler(_warn)
    try:
        tier = in_use(connection) or _prepare(connection)
        done = {name for (name,) in connection.execute("SELECT name FROM schema_migrations")}
        applied = [name for name in _numbered(tier) if name not in done]
        for name in applied:
            with connection.transaction():
                connection.execute(_text(name))
                connection.execute("INSERT INTO schema_migrations (name) VALUES (%s)", (name,))
        _reapply(connection)
        for group, url in logins.items():  # behind the same lock: two at once would get in each other's way
            give_login(connection, group=group, url=url)
    finally:
        connection.remove_notice_handler(_warn)
        if not connection.broken:
            connection.execute(query("migration_unlock"))
    return applied


def _warn(said: Diagnostic) -> None:
    """What a migration could not do, and does without; lower than a warning nothing is sent."""
    if (said.severity_nonlocalized or said.severity) == "WARNING":
        log.warning("the server warned of a migration", extra={"why": said.message_primary})


def _prepare(connection: Connection) -> Tier:
    tier = prepare(connection)
    connection.execute(query("create_migrations"))
    return tier


def _reapply(connection: Connection) -> None:
    """Views, functions and grants, when their text is not the one that was applied last."""
    names = sorted(f"idempotent/{file.name}" for file in (sql_folder() / "idempotent").iterdir())
    texts = [_text(name) for name in names]
    digest = "idempotent " + hashlib.sha256("".join(texts).encode()).hexdigest()
    row = connection.execute("SELECT name FROM schema_migrations WHERE name LIKE 'idempotent %'").fetchone()
    if row == (digest,):
        return
    with connection.transaction():
        for text in texts:
            connection.execute(text)
        connection.execute("DELETE FROM schema_migrations WHERE name LIKE 'idempotent %'")
        connection.execute("INSERT INTO schema_migrations (name) VALUES (%s)", (digest,))


def check_migrated(connection: Connection) -> Tier:
    """The tier in use. NotMigrated when a numbered file of this version is missing there."""
    tier = in_use(connection)
    if tier is None:
        raise NotMigrated("the database has no schema yet; run: telemetry migrate")
    done = {name for (name,) in connection.execute("SELECT name FROM schema_migrations")}
    if missing := [name for name in _numbered(tier) if name not in done]:
        raise NotMigrated(f"the schema lacks {', '.join(missing)}; run: telemetry migrate")
    return tier


def _numbered(tier: Tier) -> list[str]:
    """The numbered files of a tier in order: 001_core.sql is for all, 002_samples.plain.sql for one."""
    names = sorted(file.name for file in sql_folder().iterdir() if file.name[:3].isdigit())
    return [name for name in names if name.count(".") == 1 or name.split(".")[1] == tier.value]


def _text(name: str) -> LiteralString:
    return sql_folder().joinpath(*name.split("/")).read_text(encoding="utf-8")
