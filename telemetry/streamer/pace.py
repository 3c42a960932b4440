"""How many rows when: the rate of a streamer, and the size of its blocks."""

from telemetry.runtime.clock import Clock
from telemetry.runtime.stop import Stop

BLOCK_SECONDS = 0.2
"""A block holds at most so many seconds of the rate, so that a slow stream is a fresh one."""
PRESSURE = 0.8
"""Fullness of the queue from which on blocks are halved."""


class Pace:
    """A rate in rows per second; 0 = as fast as the queue takes them. After a pause it does not catch up."""

    def __init__(self, *, rate: float, block_rows: int, clock: Clock) -> None:
        self.rate, self.block_rows, self.clock = rate, block_rows, clock
        self.pressure = 0.0
        self.fitting = block_rows
        """Rows that a message has room for, going by the ones before."""
        self._next = clock.monotonic()

    def rows(self, multiple: int) -> int:
        """Rows of the next block, a multiple of `multiple` (the readings of a row), at least that."""
        rows = min(self.block_rows, max(1, int(self.rate * BLOCK_SECONDS))) if self.rate else self.block_rows
        if self.pressure >= PRESSURE:
            rows //= 2
        rows = min(rows, self.fitting)
        return max(multiple, rows - rows % multiple)

    def wait(self, rows: int, stop: Stop, at_most: float) -> bool:
        """Wait until `rows` more may be read: True then, False when stopped first or after `at_most` seconds."""
        if not self.rate:
            return not stop.is_set()
        now = self.clock.monotonic()
        left = self._next - now
        if left > 0 and (self.clock.sleep(min(left, at_most), stop) or left > at_most):
            return False
        self._next = max(self._next, now - BLOCK_SECONDS) + rows / self.rate
        return not stop.is_set()
