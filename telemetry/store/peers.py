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


def end_stuck_peers(connection: Connection, *, older_than: float) -> int:
    """End the writers' sessions of this database whose transaction is older than `older_than` seconds; how many."""
    ended = connection.execute(query("end_stuck_peers"), {"prefix": f"{PREFIX}%", "older": older_than}).fetchall()
    for name, age in ended:
        log.warning("ended a stuck session", extra={"session": name, "transaction_seconds": round(age, 1)})
    return len(ended)
