"""The streamer's loop: first what is due, then what is next, until told to stop or (--once) until all is settled."""

import logging

from telemetry.block import block_id
from telemetry.broker import BrokerError
from telemetry.runtime.backoff import Backoff
from telemetry.runtime.clock import Clock
from telemetry.runtime.health import Health
from telemetry.runtime.logs import log_event
from telemetry.runtime.stop import Stop
from telemetry.store.errors import StoreBusy, StoreError, StoreUnavailable
from telemetry.store.ledger import Ledger
from telemetry.store.pruning import Pruning
from telemetry.streamer.errors import SourceError
from telemetry.streamer.pace import Pace
from telemetry.streamer.publishing import Publishing

log = logging.getLogger(__name__)

DUE_EVERY = 2.0
"""Seconds between looks for blocks that nobody published."""
DUE_PAGE = 500
PRUNE_EVERY = 60.0
"""Seconds between looks for ledger rows that are old enough to be pruned, of any source."""
SETTLE_POLL = 0.2
"""Seconds between looks whether the last blocks of a source are settled."""


class Streamer:
    """Reads one source side by side with any number of others; the ledger alone says who reads what."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        publishing: Publishing,
        pace: Pace,
        per_record: int,
        health: Health,
        stop: Stop,
        clock: Clock,
        pruning: Pruning | None = None,
    ) -> None:
        self.ledger, self.publishing, self.pace, self.per_record = ledger, publishing, pace, per_record
        self.health, self.stop, self.clock, self.pruning = health, stop, clock, pruning
        self._due_at = self._prune_at = clock.monotonic()
        self._at_end = False
        self._away = ""
        self._backoff = Backoff(cap=5.0)

    def run(self) -> bool:
        """Work until the source is settled to its end (True) or a stop (False). Raises SourceError."""
        while not self.stop.is_set():
            self.health.turned()
            try:
                if self._turn():
                    return True
            except (StoreUnavailable, BrokerError) as error:
                # Whatever the queue's server answers, a command it may not run too, is no fault of the rows.
                name = "queue" if isinstance(error, BrokerError) else "database"
                self.health.ready(name, False, str(error))
                log_event(log, logging.WARNING, f"{name} unavailable, trying again", error=error)
                self._away = name
                self._backoff.wait(self.stop)
            except StoreBusy as error:
                log_event(log, logging.INFO, "database busy, trying again", error=error)
            except SourceError:
                raise
            except Exception:
                # A slice that fails here is due again in a moment and, after some tries, dead-lettered.
                log_event(log, logging.ERROR, "could not publish a block", id=self.publishing.in_hand, exc_info=True)
                self._backoff.wait(self.stop)
            else:
                if self._away:
                    log_event(log, logging.INFO, f"{self._away} can be used again, going on")
                self._away = ""
                self._ready()
        self.health.ready("draining", False, self.stop.reason)
        return False

    def _turn(self) -> bool:
        """Publish something, or wait a little; True when nothing is left to do for good."""
        if self.clock.monotonic() >= self._due_at:
            self._publish_due()
            self._prune()
            self._due_at = self.clock.monotonic() + DUE_EVERY
        if not self._at_end:
            self._publish_next()
            return False
        progress = self.ledger.progress()
        if progress is None or progress.done:
            return True
        self.clock.sleep(SETTLE_POLL, self.stop)
        return False

    def _publish_next(self) -> None:
        """Reserve and publish, when the pace allows it soon: what is due and the probes do not wait for a slow rate."""
        self.pace.pressure, self.pace.fitting = self.publishing.pressure, self.publishing.fitting
        rows = self.pace.rows(self.per_record)
        if not self.pace.wait(rows, self.stop, at_most=DUE_EVERY):
            return
        reserved = self.ledger.reserve(rows)
        if reserved is None:
            self._at_end = True
        else:
            self.publishing.publish(reserved)

    def _publish_due(self) -> None:
        """Publish again what is neither settled nor in the queue: its streamer died, or the queue lost it."""
        source, after = self.ledger.source, -1
        while not self.stop.is_set() and (page := self.ledger.due(after, DUE_PAGE)):
            absent = self.publishing.producer.absent([block_id(source, first_row) for first_row in page])
            missing = [int(text.rpartition(":")[2]) for text in absent]
            while missing and not self.stop.is_set() and (claimed := self.ledger.claim(missing)) is not None:
                self.health.turned()
                missing.remove(claimed.first_row)
                self.publishing.publish(claimed)
            after = page[-1]

    def _prune(self) -> None:
        """One bounded step, the next one soon when there is more. When it fails, the readings go on all the same."""
        if self.pruning is None or self.clock.monotonic() < self._prune_at:
            return
        more = False
        try:
            blocks, readings, more = self.pruning.step()
            if blocks:
                log_event(log, logging.DEBUG, "pruned the ledger", blocks=blocks, readings=readings)
        except StoreError as error:
            log_event(log, logging.WARNING, "could not prune the ledger, trying again later", error=error)
        self._prune_at = self.clock.monotonic() + (0.0 if more else PRUNE_EVERY)

    def _ready(self) -> None:
        self._backoff.reset()
        for name in ("queue", "database"):
            self.health.ready(name, True)
