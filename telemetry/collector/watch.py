"""Whether the database answers while no worker has anything to ask of it.

What lives here: a thread with a connection of its own, so that an answer that never comes holds up nobody. What does
not: what a worker sees in its work (`worker`), and the verdict (`collector`).
"""

import threading
import time
from types import TracebackType

from telemetry.store.errors import StoreError, StoreLost
from telemetry.store.session import Session

WATCH_EVERY = 5.0
"""Seconds between questions while the database answers."""
AGAIN = 1.0
"""Seconds between questions while it does not."""
LATE = 15.0
"""Seconds without an answer that count as an outage: above what connecting may take, twice."""


class Watch:
    """Asks every few seconds, from entering the `with` to its end."""

    def __init__(self, *, session: Session, every: float = WATCH_EVERY, late: float = LATE) -> None:
        self.session, self.every, self.late = session, every, late
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="database-watch", daemon=True)
        self._why: str | None = None
        self._asked: float | None = None

    @property
    def why(self) -> str | None:
        """Why the database cannot be used, "" when it can; None before the first answer."""
        asked = self._asked
        waiting = 0.0 if asked is None else time.monotonic() - asked
        return f"the database has not answered for {waiting:.0f} s" if waiting > self.late else self._why

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._asked = time.monotonic()
                self._why = self._ask()
                self._asked = None
                self._over.wait(min(AGAIN, self.every) if self._why else self.every)
        finally:
            self.session.close()

    def _ask(self) -> str:
        try:
            try:
                self._select()
            except StoreLost:  # perhaps only this idle connection, ended by a restart that is over
                self._select()
        except StoreError as error:
            return str(error)
        return ""

    def _select(self) -> None:
        with self.session.use() as connection:
            connection.execute("SELECT 1")

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(AGAIN)  # one that waits for an answer ends with the process
