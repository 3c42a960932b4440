"""A look at something that may hang, for scrapes: they must answer in time, and there may be many.

What does not live here: what is looked at (`observed`, `gpus`).
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from telemetry.runtime import log_event

log = logging.getLogger(__name__)

Found = TypeVar("Found")


class _Flight(Generic[Found]):
    """One look, under way or over."""

    def __init__(self, patience: float) -> None:
        self.began = time.monotonic()
        self._until = self.began + patience
        self._over = threading.Event()
        self._found: Found | None = None

    def land(self, found: Found | None) -> None:
        """It is over."""
        self._found = found
        self._over.set()

    def wait(self) -> Found | None:
        """What was found; None when nothing is, or not in time."""
        self._over.wait(max(0.0, self._until - time.monotonic()))
        return self._found


class Glance(Generic[Found]):
    """Gives what `look` finds. One look at a time, in a thread of its own; what it found is good for `keep` seconds
    after it began: it may be as old as that.

    One that takes longer than `patience` seconds is not waited for, by whoever asks, and no other is begun until it is
    over: what hangs costs one thread.
    """

    def __init__(self, what: str, look: Callable[[], Found], *, patience: float, keep: float = 0.0) -> None:
        self._look, self._patience, self._keep = look, patience, keep
        self._sentence = f"a scrape is answered without the {what}"
        self._lock = threading.Lock()
        self._flight: _Flight[Found] | None = None
        self._last: tuple[float, Found] | None = None

    def ask(self) -> Callable[[], Found | None]:
        """Begin a look where one is due; what is given back waits for it, and gives None when it failed or is late."""
        with self._lock:
            if self._flight is not None:
                return self._flight.wait
            if self._last is not None and time.monotonic() - self._last[0] < self._keep:
                found = self._last[1]
                return lambda: found
            return self._begin()

    def _begin(self) -> Callable[[], Found | None]:
        flight = _Flight[Found](self._patience)
        try:
            threading.Thread(target=self._fly, args=(flight,), name="glance", daemon=True).start()
        except RuntimeError as error:  # there are too many: another scrape may get one
            log_event(log, logging.WARNING, self._sentence, error=error)
            return lambda: None
        self._flight = flight  # not before: without a thread nobody would take it back
        return flight.wait

    def _fly(self, flight: _Flight[Found]) -> None:
        found: Found | None = None
        try:
            found = self._look()
        except Exception as error:  # whatever it is, the scrape is answered without it
            log_event(log, logging.WARNING, self._sentence, error=error)
        finally:
            with self._lock:
                self._flight = None
                self._last = None if found is None else (flight.began, found)
            flight.land(found)
