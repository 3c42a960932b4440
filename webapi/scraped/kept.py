"""The last text of /metrics, for scrapes beyond those that are worked on at a time: no crowd blinds Prometheus.

What does not live here: how many those are (`webapi.process.crowd`), the text (`telemetry.runtime.exposition`).
"""

import threading
import time
from collections.abc import Callable

FOR = 5.0
"""Seconds for which a text may stand for a newer one."""
MEANWHILE = 60.0
"""Seconds for which it may while one is being made, as a look at what hangs takes its time: two scrapes lie that far
apart at most."""
OPEN_METRICS = "application/openmetrics-text"

Text = tuple[bytes, str]
"""A text and its content type."""


class Kept:
    """One text for each of the two formats."""

    def __init__(self, lasts: float = FOR, meanwhile: float = MEANWHILE) -> None:
        self._lasts, self._meanwhile = lasts, meanwhile
        self._texts: dict[bool, tuple[float, Text]] = {}
        self._making = {False: threading.Lock(), True: threading.Lock()}

    def keep(self, text: Text) -> Text:
        """Have this one for those who come next."""
        self._texts[_open(text[1])] = time.monotonic(), text
        return text

    def lately(self, accept: str | None, make: Callable[[], Text]) -> Text | None:
        """The last one in the format that is asked for. One that is too old is made anew, by one thread at a time.

        Strangers may ask for one format and Prometheus for the other, or keep all places for long. None when there was
        none lately and another thread is at it.
        """
        which = _open(accept or "")
        if found := self._younger(which, self._lasts):
            return found
        if not self._making[which].acquire(blocking=False):
            return self._younger(which, self._meanwhile)
        try:
            return self.keep(make())
        finally:
            self._making[which].release()

    def _younger(self, which: bool, age: float) -> Text | None:
        at, text = self._texts.get(which, (0.0, None))
        return text if time.monotonic() - at < age else None


def _open(media_type: str) -> bool:
    return OPEN_METRICS in media_type
