"""Logins of streamers, collectors and the API: roles that may log in with a password, each a member of its group.

What lives here: making them, and giving them the password that a URL has. What does not: what the groups may do
(sql/idempotent/900_roles.sql), and where the URLs come from (`telemetry.cli`).
"""

from typing import LiteralString, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict

from telemetry.store.errors import StoreError
from telemetry.store.queries import query
from telemetry.store.session import Connection

WRITER, READER = "telemetry_writer", "telemetry_reader"
"""The groups: what they may do is theirs, and whoever logs in is a member of one of them, or that role itself."""

PATIENCE = {READER: "30s"}
"""How long a statement of such a login may take that says nothing of it itself: Grafana cannot, and gives up after so
long, by default, on what then goes on. The API and our commands say how long each of theirs may."""


def check_login(url: str) -> tuple[str, str]:
    """User and password of a URL. Raises StoreError when one of them is missing; its text shows nothing of the URL."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        parts = {}
    user, password = str(parts.get("user") or ""), str(parts.get("password") or "")
    if not user or not password:
        raise StoreError("has no user and password to give; write postgresql://user:password@host:5432/database")
    return user, password


def give_login(connection: Connection, *, group: str, url: str) -> str:
    """Let the user of `url` log in with the password of `url`, and do what `group` may; the user's name.

    `connection` is the owner's, who needs CREATEROLE. The server gets a SCRAM verifier, so that not even its log of
    failed statements shows a password. Doing it again changes nothing but the verifier's salt. A reader's statements
    end after `PATIENCE`, unless the login has another statement_timeout by then.
    Raises StoreError when the URL has no login, when it is the owner's own, or when the owner may not make it.
    """
    user, password = check_login(url)
    if user == connection.info.user:
        raise StoreError(f"names the owner {user}, who migrates; name a user of its own, as {group}")
    pgconn = connection.pgconn
    verifier = pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
    named = {"role": user, "verifier": verifier, "group": group, "patience": PATIENCE.get(group)}
    try:
        for (statement,) in connection.execute(query("login_statements", file="logins.sql"), named).fetchall():
            connection.execute(cast(LiteralString, statement))  # quoted by the server itself
    except psycopg.errors.InsufficientPrivilege:
        owner = connection.info.user
        raise StoreError(
            f"names {user}, which {owner} may not make or change; give {owner} CREATEROLE, and ADMIN OPTION on {user} "
            f"and {group}, or make {user} by hand and do not name it here"
        ) from None
    return user
