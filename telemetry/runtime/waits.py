"""A loop that hangs in a call to a server cannot say that it waits: here it is said for it.

What lives here: the thread that says so to the health of a role. What does not: how one knows that a call hangs (who
makes it tells), and any verdict on a loop that stands still for another reason.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from telemetry.runtime.health import Health
from telemetry.runtime.logs import log_event

__all__ = ["Waits"]

log = logging.getLogger(__name__)

EVERY = 0.5
"""Seconds between looks."""


class Waits:
    """Inside the `with`, while `why()` says that a call to `name` hangs, the role is live and unready.

    That the call was answered is for the loop to report, at its next turn: it knows whether it was a good answer.
    """

    def __init__(self, *, health: Health, name: str, why: Callable[[], str], every: float = EVERY) -> None:
        self.health, self.name, self.why, self.every = health, name, why, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name}-waits", daemon=True)
        self._told = False

    def _run(self) -> None:
        while not self._over.wait(self.every):
            why = self.why()
            if why:
                self.health.turned()
                self.health.ready(self.name, False, why)
            self._tell(why)

    def _tell(self, why: str) -> None:
        if why and not self._told:
            log_event(log, logging.WARNING, f"waiting for an answer of the {self.name}", why=why)
        elif self._told and not why:
            log_event(log, logging.INFO, f"the {self.name} has answered, going on")
        self._told = bool(why)

    def __enter__(self) -> Waits:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()  # nothing that it does waits
