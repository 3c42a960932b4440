"""PostgreSQL and Redis as child processes, and the supervisor of `telemetry up`.

What does not live here: SQL of the schema, clients of either server, settings and the display.
"""

from telemetry.embedded.errors import (
    BinaryMissing,
    ChildGaveUp,
    DataUnusable,
    EmbeddedError,
    StartFailed,
    StateLocked,
)
from telemetry.embedded.postgres import EmbeddedPostgres
from telemetry.embedded.redis import EmbeddedRedis
from telemetry.embedded.server import EmbeddedServer
from telemetry.embedded.state import FolderLock
from telemetry.embedded.supervisor import ChildSpec, Event, Supervisor

__all__ = [
    "BinaryMissing",
    "ChildGaveUp",
    "ChildSpec",
    "DataUnusable",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedRedis",
    "EmbeddedServer",
    "Event",
    "FolderLock",
    "StartFailed",
    "StateLocked",
    "Supervisor",
]
