"""A collector's worker: batch after batch, one transaction each, acknowledged after the commit.

What lives here: what follows from each kind of failure. An outage holds the batch and its lease; a conflict is tried
again; anything else is laid at the door of one message, by giving each a transaction of its own.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from telemetry.block import BlockError
from telemetry.broker import Batch, Consumer, Message
from telemetry.collector.parcel import Parcel, unpack
from telemetry.collector.sink import DeadBlockSink
from telemetry.runtime.backoff import Backoff
from telemetry.runtime.logs import log_event
from telemetry.runtime.metrics import CollectorMetrics
from telemetry.runtime.stop import Stop
from telemetry.store.errors import StoreBusy, StoreError, StoreLocked, StoreLost, StoreUnavailable
from telemetry.store.gate import Standing
from telemetry.store.writer import Writer

log = logging.getLogger(__name__)

POISON_LOSSES = 5
"""Connections that one message's COPY may break, with a working database in between, until it is to blame."""
SHARED_LOSSES = 2
"""The same for a batch, before its messages are tried one by one."""

OTHER = "the ledger has other rows than {block.rows} at {block.first_row}, or none and a streamer that comes to them"

Result = TypeVar("Result")


class Draining(Exception):
    """Raised when a stop comes while the database is away: the batch is handed back."""


OUTAGES = (Draining, StoreUnavailable, StoreBusy)
"""What the consumer must know to be no message's fault."""


class Worker:
    """One thread's work: a consumer of its own, a connection of its own; `sink` is where the consumer buries."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        sink: DeadBlockSink,
        writer: Writer,
        max_bytes: int,
        max_messages: int,
        linger: float,
        metrics: CollectorMetrics,
        stop: Stop,
    ) -> None:
        self.consumer, self.sink, self.writer = consumer, sink, writer
        self.max_bytes, self.max_messages, self.linger = max_bytes, max_messages, linger
        self.metrics, self.stop = metrics, stop
        self.outage = ""
        """Why the database cannot be used, while this worker waits for it."""

    def run(self) -> None:
        """Work until the stop, then hand back what is not begun."""
        with self.consumer:
            batches = self.consumer.batches(max_messages=self.max_messages, linger=self.linger, stop=self.stop)
            for batch in batches:
                try:
                    with batch:
                        self.settle(batch)
                except Draining:
                    log_event(log, logging.INFO, "handed back a batch while draining", messages=len(batch))

    def settle(self, batch: Batch) -> None:
        """Store, dead-letter or skip every message of a batch; afterwards all of them may be acknowledged."""
        self.metrics.messages_received.inc(len(batch))
        self.metrics.rows_received.inc(batch.rows)
        parcels = [parcel for message in batch.messages if (parcel := self._unpack(batch, message)) is not None]
        for parcel in parcels:
            if parcel.dead_id is not None:
                self._settle_alone(batch, parcel)
        fresh = [parcel for parcel in parcels if parcel.dead_id is None]
        if fresh:
            self._settle_together(batch, fresh)

    def _unpack(self, batch: Batch, message: Message) -> Parcel | None:
        if message.exhausted:
            self._reject(batch, message, f"delivered {message.attempts} times, and nobody came to store it")
            return None
        try:
            return unpack(message, self.max_bytes)
        except BlockError as error:
            self._reject(batch, message, str(error))
        except Exception as error:  # a fault of ours; what it was about is kept, and the others are stored
            self._reject(batch, message, f"{type(error).__name__}: {error}")
        return None

    def _settle_together(self, batch: Batch, parcels: Sequence[Parcel]) -> None:
        losses = SHARED_LOSSES if len(parcels) > 1 else POISON_LOSSES
        try:
            standings = self._insist(batch, lambda: self._store(parcels), losses=losses)
        except Exception as error:
            if isinstance(error, Draining):
                raise
            self._blame(batch, parcels, error)
            return
        for parcel, standing in zip(parcels, standings, strict=True):
            self._conclude(batch, parcel, standing)

    def _settle_alone(self, batch: Batch, parcel: Parcel) -> None:
        """A replay: its gate is the dead block itself."""
        dead_id = parcel.dead_id or 0
        try:
            standing = self._insist(
                batch, lambda: self.writer.store_replayed(parcel.block, dead_id), losses=POISON_LOSSES
            )
        except Exception as error:
            if isinstance(error, Draining):
                raise
            self._blame(batch, [parcel], error)
            return
        self._conclude(batch, parcel, standing)

    def _blame(self, batch: Batch, parcels: Sequence[Parcel], error: Exception) -> None:
        """Something in these messages cannot be stored: find out which one, or bury it."""
        self.metrics.write_errors.labels(kind="data").inc()
        if len(parcels) == 1:
            self._reject(batch, parcels[0].message, f"{type(error).__name__}: {error}")
            return
        log_event(log, logging.WARNING, "a batch was refused, trying each message alone", error=error)
        for parcel in parcels:
            self._settle_together(batch, [parcel])

    def _store(self, parcels: Sequence[Parcel]) -> list[Standing]:
        with self.metrics.transaction_seconds.time():
            return self.writer.store([parcel.block for parcel in parcels])

    def _conclude(self, batch: Batch, parcel: Parcel, standing: Standing) -> None:
        block = parcel.block
        if standing is Standing.STORED:
            self.metrics.rows_stored.inc(block.stored)
            self.metrics.rows_blank.inc(block.blank)
            self.metrics.rows_rejected.inc(len(block.rejected))
            self.metrics.publish_to_stored_seconds.observe(_age(parcel.message))
            log_event(log, logging.DEBUG, "stored a block", id=block.id, rows=block.rows)
        elif standing is Standing.UNKNOWN:
            self._reject(batch, parcel.message, "not reserved: no streamer has announced rows of this source")
        elif standing is Standing.OTHER:
            self._reject(batch, parcel.message, OTHER.format(block=block))
        elif standing is Standing.OPEN:
            self._settle_together(batch, [parcel])
        else:
            self._skipped(block.id, standing.value)

    def _reject(self, batch: Batch, message: Message, reason: str) -> None:
        self._insist(batch, lambda: batch.reject(message, reason), losses=0)
        if not self.sink.kept:
            self._skipped(message.id, reason)
            return
        self.metrics.messages_dead.inc()
        log_event(log, logging.ERROR, "dead-lettered a message", id=message.id, why=reason)

    def _skipped(self, id: str, why: str) -> None:
        self.metrics.messages_stale.inc()
        log_event(log, logging.DEBUG, "skipped a settled block", id=id, why=why)

    def _insist(self, batch: Batch, action: Callable[[], Result], *, losses: int) -> Result:
        """Do it through outages and conflicts, keeping the lease. Draining when a stop comes during one.

        `losses`: after so many broken connections with a working database between them the error is the action's
        own and is raised; 0 = never.
        """
        backoff = Backoff(cap=5.0)
        lost = 0
        while True:
            try:
                result = action()
            except StoreBusy as error:
                self._conflict(batch, error, backoff)
            except StoreUnavailable as error:
                self._outage(batch, error, backoff)
                lost += isinstance(error, StoreLost) and self._works()
                if losses and lost >= losses:
                    raise
            else:
                self.outage = ""
                return result

    def _conflict(self, batch: Batch, error: StoreBusy, backoff: Backoff) -> None:
        self.metrics.write_errors.labels(kind="conflict").inc()
        log_event(log, logging.INFO, "another session was in the way, trying again", error=error)
        if isinstance(error, StoreLocked):
            self._try(self.writer.end_stuck_peers)
        self._pause(batch, backoff)

    def _outage(self, batch: Batch, error: StoreUnavailable, backoff: Backoff) -> None:
        self.metrics.write_errors.labels(kind="outage").inc()
        self.outage = str(error)
        log_event(log, logging.WARNING, "database unavailable, holding the batch", error=error)
        self._pause(batch, backoff)

    def _pause(self, batch: Batch, backoff: Backoff) -> None:
        batch.hold()
        if backoff.wait(self.stop):
            raise Draining
        batch.hold()

    def _works(self) -> bool:
        return self._try(self.writer.probe)

    @staticmethod
    def _try(action: Callable[[], object]) -> bool:
        try:
            action()
        except StoreError:
            return False
        return True


def _age(message: Message) -> float:
    """Seconds since the message was queued, by the clock of the queue's server in its entry id."""
    published_ms = int(message.entry.partition("-")[0])
    return max(0.0, time.time() - published_ms / 1000)
