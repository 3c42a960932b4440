"""The clock seam: what reads the time or sleeps takes a `Clock`, so that tests need no waiting.

What does not live here: formatting of times, and schedules.
"""

from __future__ import annotations

import time
from typing import Protocol

from telemetry.runtime.stop import Stop

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time in seconds, as floats."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""
        ...

    def time(self) -> float:
        """Seconds since 1970 in UTC."""
        ...

    def sleep(self, seconds: float, stop: Stop) -> bool:
        """Sleep until so many seconds have passed or `stop` is set; True when stopped."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds on the machine's monotonic clock."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since 1970 by the machine's wall clock."""
        return time.time()

    def sleep(self, seconds: float, stop: Stop) -> bool:
        """Sleep on the stop signal; True when stopped."""
        return stop.wait(seconds)
