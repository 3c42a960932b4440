"""Waiting between attempts: exponential, capped, with full jitter, and cut short by a stop.

What does not live here: deciding what is worth another attempt.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from telemetry.runtime.clock import Clock, SystemClock
from telemetry.runtime.stop import Stop

__all__ = ["Backoff"]


class Backoff:
    """Full jitter: attempt n waits uniform(0, min(cap, first * factor**n)) seconds.

    The formula is the one of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): of
    those compared there, it makes a crowd of clients ask least often after a common outage.
    """

    def __init__(
        self,
        *,
        first: float = 0.1,
        cap: float = 10.0,
        factor: float = 2.0,
        clock: Clock | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = first
        self._cap = cap
        self._factor = factor
        self._clock = clock or SystemClock()
        self._uniform = uniform
        self._ceiling = first

    def next_delay(self) -> float:
        """Give the seconds to wait before the next one."""
        ceiling = min(self._cap, self._ceiling)
        self._ceiling = ceiling * self._factor
        return self._uniform(0.0, ceiling)

    def wait(self, stop: Stop) -> bool:
        """Wait for the next delay or until `stop`; True when stopped."""
        return self._clock.sleep(self.next_delay(), stop)

    def reset(self) -> None:
        """Start over after a success."""
        self._ceiling = self._first
