"""The last text of /metrics, for scrapes beyond those that are worked on at a time: no crowd blinds Prometheus.

What does not live here: how many those are (`webapi.process.crowd`), the text (`telemetry.runtime.exposition`).
"""

import time

FOR = 5.0
"""Seconds for which a text may stand for a newer one."""
OPEN_METRICS = "application/openmetrics-text"

Text = tuple[bytes, str]
"""A text and its content type."""


class Kept:
    """One text for each of the two formats."""

    def __init__(self, lasts: float = FOR) -> None:
        self._lasts = lasts
        self._texts: dict[bool, tuple[float, Text]] = {}

    def keep(self, text: Text) -> Text:
        """Have this one for those who come next."""
        self._texts[OPEN_METRICS in text[1]] = time.monotonic(), text
        return text

    def lately(self, accept: str | None) -> Text | None:
        """The last one in the format that is asked for; None when it is too old, or there is none."""
        at, text = self._texts.get(OPEN_METRICS in (accept or ""), (0.0, None))
        return text if time.monotonic() - at < self._lasts else None
