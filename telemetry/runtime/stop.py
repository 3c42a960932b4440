"""The stop signal that is passed to everything that waits, and its wiring to SIGTERM and SIGINT.

What does not live here: what a role does while it drains, and in which order processes end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType

__all__ = ["Stop", "stop_on_signals"]


class Stop:
    """A latch that is set once, with the reason, and never cleared.

    `set` may be called from a signal handler. threading.Event may not: its lock is not
    re-entrant, and a handler that runs while the main thread is inside `wait` would deadlock.
    Here waiters queue on one bare lock, which is released once and then handed on.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._set = False
        self._reason = ""

    @property
    def reason(self) -> str:
        """Why the stop was asked for; empty until it is."""
        return self._reason

    def is_set(self) -> bool:
        """Say whether a stop was asked for."""
        return self._set

    def set(self, reason: str = "asked to stop") -> None:
        """Ask for a stop. The first reason stays."""
        if self._set:
            return
        self._reason = reason
        self._set = True
        self._open()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep for so many seconds (None: without end) or until the stop; True when stopped."""
        if self._set:
            return True
        timeout = -1.0 if seconds is None else min(max(seconds, 0.0), threading.TIMEOUT_MAX)
        if self._gate.acquire(timeout=timeout):
            self._open()  # the next waiter's turn
        return self._set

    def _open(self) -> None:
        # two threads that set at the same moment both come here: the second finds it open
        with contextlib.suppress(RuntimeError):
            self._gate.release()


def stop_on_signals(stop: Stop) -> None:
    """Set `stop` on SIGTERM, SIGINT or SIGHUP (a closed terminal); a second signal ends the process with 128 + n.

    Call it from the main thread, once, before the work begins.
    """

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set(f"received {signal.Signals(number).name}")

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP on purpose
            signal.signal(number, on_signal)
