"""How a worker waits for the database, keeping its batch and its leases, and alive all the while.

What lives here: what follows from an outage and from a conflict. What does not: what a refusal means (`worker`).
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from telemetry.broker import Batch
from telemetry.runtime.backoff import Backoff
from telemetry.runtime.logs import log_event
from telemetry.runtime.metrics import CollectorMetrics
from telemetry.runtime.stop import Stop
from telemetry.store.errors import StoreBusy, StoreError, StoreLocked, StoreLost, StoreUnavailable
from telemetry.store.writer import Writer

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Draining(Exception):
    """Raised when a stop comes while something is waited for: the batch is handed back."""


class Patience:
    """One worker's."""

    def __init__(self, *, writer: Writer, metrics: CollectorMetrics, stop: Stop) -> None:
        self.writer, self.metrics, self.stop = writer, metrics, stop
        self.outage = ""
        """Why the database cannot be used, while it is waited for."""

    def insist(self, batch: Batch, action: Callable[[], Result], *, losses: int) -> Result:
        """Do it through outages and conflicts, keeping the lease. Draining when a stop comes during one.

        `losses`: after so many broken connections with a working database between them the error is the action's
        own and is raised; 0 = never.
        """
        backoff = Backoff(cap=5.0)
        lost = 0
        while True:
            batch.hold()  # many messages alone take longer than one turn may
            try:
                result = action()
            except StoreBusy as error:
                self._conflict(batch, error, backoff)
            except StoreUnavailable as error:
                self._outage(batch, error, backoff)
                lost += isinstance(error, StoreLost) and self._try(self.writer.probe)
                if losses and lost >= losses:
                    raise
            else:
                if self.outage:
                    log_event(log, logging.INFO, "database can be used again, going on", after=self.outage)
                self.outage = ""
                return result

    def pause(self, batch: Batch, backoff: Backoff) -> None:
        """Wait a while, on purpose. Draining when stopped."""
        batch.hold()
        if backoff.wait(self.stop):
            raise Draining
        batch.hold()

    def _conflict(self, batch: Batch, error: StoreBusy, backoff: Backoff) -> None:
        self.metrics.write_errors.labels(kind="conflict").inc()
        log_event(log, logging.INFO, "another session was in the way, trying again", error=error)
        if isinstance(error, StoreLocked):
            self._try(self.writer.end_stuck_peers)
        self.pause(batch, backoff)

    def _outage(self, batch: Batch, error: StoreUnavailable, backoff: Backoff) -> None:
        self.metrics.write_errors.labels(kind="outage").inc()
        self.outage = str(error)
        log_event(log, logging.WARNING, "database unavailable, holding the batch", error=error)
        self.pause(batch, backoff)

    @staticmethod
    def _try(action: Callable[[], object]) -> bool:
        try:
            action()
        except StoreError:
            return False
        return True
