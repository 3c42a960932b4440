"""One check of the dependencies at a time, however many ask: probes never take more than one thread, nor wait for it.

What does not live here: the checks (`probes`).
"""

import logging
import threading
import time
from collections.abc import Callable

from telemetry.runtime import Report, log_event

log = logging.getLogger(__name__)


class Readiness:
    """Gives the report of `check`, which runs in a thread of its own: what it asks may hang. None waits for it longer
    than `patience` seconds; whoever asks while a check is under way gets the report before.

    Once a check is under way for that long, or while there is no report before: not ready.
    """

    def __init__(self, check: Callable[[], Report], *, patience: float) -> None:
        self._check, self._patience = check, patience
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last: Report | None = None

    def report(self) -> Report:
        """The report; within `patience` seconds, whatever the dependencies do."""
        with self._lock:
            if self._since is not None:
                return self._meanwhile(time.monotonic() - self._since)
            over = self._begin()
        in_time = over.wait(self._patience)
        with self._lock:
            return self._last if in_time and self._last is not None else _late(self._patience)

    def _begin(self) -> threading.Event:
        over = threading.Event()
        threading.Thread(target=self._run, args=(over,), name="readiness", daemon=True).start()
        self._since = time.monotonic()  # not before: without a thread nobody would take it back
        return over

    def _run(self, over: threading.Event) -> None:
        try:
            report = self._check()
        except Exception as error:  # whatever it is, probes are answered
            log_event(log, logging.WARNING, "the check of the dependencies failed", error=error)
            report = Report((("dependencies", False, f"their check failed: {type(error).__name__}, see the log"),))
        with self._lock:
            self._since, self._last = None, report
        over.set()

    def _meanwhile(self, seconds: float) -> Report:
        return self._last if self._last is not None and seconds <= self._patience else _late(seconds)


def _late(seconds: float) -> Report:
    why = f"a check of them is under way for {seconds:.0f} s: the database, or another that is asked, does not answer"
    return Report((("dependencies", False, why),))
