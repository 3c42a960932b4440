"""Whether what was answered about the past would be answered again; the SQL, and why it may be believed, is state.sql.

What does not live here: the question itself (`reader`), tags of HTTP (`webapi.conditional`).
"""

from telemetry.store.pool import Pool
from telemetry.store.queries import query
from telemetry.store.questions.reader import moment

QUESTIONS = "state.sql"
"""The file of the statement that is asked here."""


def state_upto(pool: Pool, end: int) -> str | None:
    """A text that is another one once readings of times up to `end` (µs since 1970) were stored or dropped.

    Ask for it before the readings: of what is stored in between, the text then tells too early, never too late. None
    where nothing can be told. Raises StoreError.
    """
    with pool.use() as connection:
        row = connection.execute(query("state_upto", file=QUESTIONS), {"end": moment(end)}).fetchone()
    return None if row is None else str(row[0])
