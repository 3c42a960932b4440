"""Dropping old readings beside the collector's work.

What lives here: a thread that looks now and then, with a connection of its own that it closes after each look. What
does not: what is due and how it is dropped (`telemetry.store.retention`).
"""

import logging
import threading
from types import TracebackType

from telemetry.runtime.logs import log_event
from telemetry.store.errors import StoreError
from telemetry.store.retention import Dropped, Outcome, Retention

log = logging.getLogger(__name__)

RETAIN_EVERY = 600.0
"""Seconds between looks for chunks that are old enough."""
AGAIN = 60.0
"""Seconds until the next look when somebody was in the way."""
JOIN = 1.0


class Retaining:
    """Looks from entering the `with` to its end; never, without a retention."""

    def __init__(self, *, retention: Retention | None, every: float = RETAIN_EVERY) -> None:
        self.retention, self.every = retention, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(retention,), name="retention", daemon=True)

    def _run(self, retention: Retention) -> None:
        while not self._over.is_set():
            self._over.wait(self.every if self._look(retention) else min(AGAIN, self.every))

    def _look(self, retention: Retention) -> bool:
        """Drop all that is due; False when something stood in the way."""
        outcomes = set()
        try:
            for dropped in retention.run():
                _tell(dropped)
                outcomes.add(dropped.outcome)
                if self._over.is_set():
                    break
        except StoreError as error:
            log_event(log, logging.WARNING, "could not drop old readings, trying again later", error=error)
            return False
        except Exception:  # a fault of ours must not end the thread: the disk would fill, and nobody would know why
            log_event(log, logging.ERROR, "could not drop old readings, trying again later", exc_info=True)
            return False
        finally:
            retention.session.close()
        return outcomes.isdisjoint((Outcome.LOCKED, Outcome.BUSY))

    def __enter__(self) -> "Retaining":
        if self.retention is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(JOIN)  # what it asked for is done by the server, or not at all: nothing to wait for


def _tell(dropped: Dropped) -> None:
    chunk, outcome = dropped.chunk, dropped.outcome
    if outcome is Outcome.DROPPED:
        log_event(
            log,
            logging.INFO,
            "dropped old readings",
            begins=chunk.begins.isoformat(),
            ends=chunk.ends.isoformat(),
            readings=dropped.readings,
        )
    elif outcome in (Outcome.WAITING, Outcome.LOCKED):
        log_event(
            log, logging.INFO, "old readings are dropped later", begins=chunk.begins.isoformat(), why=outcome.value
        )
