"""One check of the dependencies at a time, however many ask: probes never take more than one thread.

What does not live here: the checks (`probes`).
"""

import threading
import time
from collections.abc import Callable

from telemetry.runtime import Report


class Readiness:
    """Gives the report of `check`. Whoever asks while a check is under way gets the one before.

    Once a check is under way for longer than `patience` seconds, or while there is no report before: not ready.
    """

    def __init__(self, check: Callable[[], Report], *, patience: float) -> None:
        self._check, self._patience = check, patience
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last: Report | None = None

    def report(self) -> Report:
        """The report; may raise what the check raises."""
        with self._lock:
            if self._since is not None:
                return self._meanwhile(time.monotonic() - self._since)
            self._since = time.monotonic()
        report = None
        try:
            report = self._check()
        finally:
            with self._lock:
                self._since, self._last = None, report
        return report

    def _meanwhile(self, seconds: float) -> Report:
        if self._last is not None and seconds <= self._patience:
            return self._last
        return Report((("dependencies", False, f"a check of them is under way for {seconds:.0f} s"),))
