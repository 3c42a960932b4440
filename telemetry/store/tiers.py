"""Which kind of server stands behind the store. Same tables, same view, same answers; other ways of keeping samples."""

from enum import Enum

from telemetry.store.queries import query
from telemetry.store.session import Connection


class Tier(Enum):
    """The value names the file that makes the table samples: sql/002_samples.<value>.sql."""

    COMMUNITY = "community"
    APACHE = "apache"
    PLAIN = "plain"

    @property
    def title(self) -> str:
        """What a person calls it."""
        return {
            Tier.COMMUNITY: "TimescaleDB Community (columnstore)",
            Tier.APACHE: "TimescaleDB Apache (hypertable)",
            Tier.PLAIN: "plain PostgreSQL (daily partitions)",
        }[self]


def prepare(connection: Connection) -> Tier:
    """The best tier that this server can give; creates the extension where it is to be had."""
    available, _ = _features(connection)
    if not available:
        return Tier.PLAIN
    connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    _, licence = _features(connection)
    return Tier.COMMUNITY if licence == "timescale" else Tier.APACHE


def _features(connection: Connection) -> tuple[bool, str | None]:
    row = connection.execute(query("server_features")).fetchone()
    return (row[0], row[1]) if row else (False, None)


def in_use(connection: Connection) -> Tier | None:
    """The tier whose file made this database's samples; None before the first migration."""
    if connection.execute("SELECT to_regclass('public.schema_migrations')").fetchone() == (None,):
        return None
    row = connection.execute(query("samples_migration")).fetchone()
    return Tier(row[0].split(".")[1]) if row is not None else None
