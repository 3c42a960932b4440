"""Sessions of our own that stopped in the middle of a transaction and hold everyone up.

A process stopped (SIGSTOP, a frozen node) in mid-COPY keeps its row locks and perhaps the creation of a chunk; no
time-out of PostgreSQL ends it, only another session of the same role can.
"""

import logging

from telemetry.store.queries import query
from telemetry.store.session import Connection

log = logging.getLogger(__name__)

PREFIX = "telemetry-"
"""How the application_name of every session of this project begins."""

KINDS = ("collector", "streamer", "retention")
"""Whose sessions hold rows for moments only, or can begin anew. A migration or a reader of all may take its time."""


def end_stuck_peers(connection: Connection, *, older_than: float) -> int:
    """End streamers' and collectors' sessions of this database in a transaction older than that (seconds); how many."""
    names = [f"{PREFIX}{kind}@%" for kind in KINDS]
    ended = connection.execute(query("end_stuck_peers"), {"names": names, "older": older_than}).fetchall()
    for name, age in ended:
        log.warning("ended a stuck session", extra={"session": name, "transaction_seconds": round(age, 1)})
    return len(ended)
