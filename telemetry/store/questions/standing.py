"""How the database stands, in seven numbers; the SQL is sql/watch.sql.

What does not live here: the newest readings (`current`), the account of each stream (`accounts`).
"""

from dataclasses import dataclass

from telemetry.store.pool import Pool
from telemetry.store.queries import query

QUESTIONS = "watch.sql"
"""The file of the statements that are asked here."""
AHEAD = 300.0
"""Seconds by which a clock may be ahead."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One moment. Ages in seconds; None where there is nothing that could have one.

    Below 0: a clock is ahead, by no more than `AHEAD`.
    """

    gpus: int
    newest_reading_age: float | None
    gpus_ahead: int
    unsettled_blocks: int
    oldest_unsettled_age: float | None
    dead_blocks: int
    dead_rows: int


def standing(pool: Pool) -> Standing:
    """Ask. Raises StoreError."""
    with pool.use() as connection, connection.cursor(binary=True) as cursor:
        row = cursor.execute(query("standing", file=QUESTIONS), {"ahead": AHEAD}).fetchone()
    if row is None:
        raise AssertionError("a statement without conditions gives a row")
    return Standing(*row)
