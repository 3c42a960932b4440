"""A collector's worker: batch after batch, one transaction each, acknowledged after the commit.

What lives here: what becomes of each message. An outage holds the batch and its lease (`patience`); anything else is
laid at the door of one message, by giving each a transaction of its own. What is refused is dead-lettered when all that
can be stored is, unless so much is refused that the messages are not to blame: then it is held and tried again.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.block import BlockError
from telemetry.broker import Batch, BrokerError, Consumer, FloodBreaker, Message
from telemetry.collector.parcel import Parcel, age_of, dead_id_of, tell_taken, unpack
from telemetry.collector.patience import Draining, Patience
from telemetry.collector.sink import DeadBlockSink
from telemetry.runtime.backoff import Backoff
from telemetry.runtime.logs import log_event
from telemetry.runtime.metrics import CollectorMetrics
from telemetry.runtime.stop import Stop
from telemetry.store.errors import StoreBusy, StoreUnavailable
from telemetry.store.gate import Standing
from telemetry.store.writer import Writer

log = logging.getLogger(__name__)

POISON_LOSSES = 5
"""Connections that one message's COPY may break, with a working database in between, until it is to blame."""
SHARED_LOSSES = 2
"""The same for a batch, before its messages are tried one by one."""

OTHER = "the ledger has other rows than {block.rows} at {block.first_row}, or none and a streamer that comes to them"

MOST_HELD = 50
"""Messages that a worker holds during a flood: among so many and those before it, it looks for one that is good."""

OUTAGES = (Draining, StoreUnavailable, StoreBusy)
"""What the consumer must know to be no message's fault."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that cannot be stored as things are."""

    message: Message
    reason: str


class Worker:
    """One thread's work: a consumer of its own, a connection of its own; `sink` is where the consumer buries.

    Workers of one process share the `breaker`: what one finds out holds for all.
    """

    def __init__(
        self,
        *,
        consumer: Consumer,
        sink: DeadBlockSink,
        writer: Writer,
        max_bytes: int,
        max_messages: int,
        linger: float,
        breaker: FloodBreaker,
        metrics: CollectorMetrics,
        stop: Stop,
    ) -> None:
        self.consumer, self.sink, self.writer = consumer, sink, writer
        self.max_bytes, self.max_messages, self.linger = max_bytes, max_messages, linger
        self.breaker, self.metrics, self.stop = breaker, metrics, stop
        self.patience = Patience(writer=writer, metrics=metrics, stop=stop)
        self._refused: list[Refused] = []
        self._in_hand = 0, 0  # messages, and readings in them
        self._again = False  # what is tried was refused, and counted, before

    @property
    def outage(self) -> str:
        """Why the database cannot be used, while this worker waits for it."""
        return self.patience.outage

    @property
    def waiting(self) -> str:
        """That a statement of this worker hangs, "" when none does."""
        return self.writer.session.waiting

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
        self._refused = []
        try:
            self._take(batch, batch.messages)
            self._bury(batch)
        finally:
            self._hand_on(*self._in_hand)

    def _take(self, batch: Batch, messages: Sequence[Message]) -> None:
        count, rows = len(messages), sum(message.rows for message in messages)
        self.metrics.messages_received.inc(count)
        self.metrics.rows_received.inc(rows)
        self._hand_on(-count, -rows)
        tell_taken(messages, self.consumer.name)
        self._try(batch, messages)

    def _hand_on(self, count: int, rows: int) -> None:
        """So many are no longer in hand; below 0: more are."""
        self._in_hand = self._in_hand[0] - count, self._in_hand[1] - rows
        self.metrics.backlog_messages.dec(count)
        self.metrics.backlog_rows.dec(rows)

    def _try(self, batch: Batch, messages: Sequence[Message]) -> None:
        """Store or skip these, each id but once among them; what cannot be is in `_refused` then."""
        parcels = [parcel for message in messages if (parcel := self._unpack(message)) is not None]
        for parcel in parcels:
            if parcel.dead_id is not None:
                self._settle_alone(batch, parcel)
        fresh = [parcel for parcel in parcels if parcel.dead_id is None]
        if fresh:
            self._settle_together(batch, fresh)

    def _unpack(self, message: Message) -> Parcel | None:
        if message.exhausted:
            self._refuse(message, f"delivered {message.attempts} times, and nobody came to store it")
            return None
        try:
            return unpack(message, self.max_bytes)
        except BlockError as error:
            self._refuse(message, str(error))
        except Exception as error:  # a fault of ours; what it was about is kept, and the others are stored
            self._refuse(message, f"{type(error).__name__}: {error}")
        return None

    def _settle_together(self, batch: Batch, parcels: Sequence[Parcel]) -> None:
        losses = SHARED_LOSSES if len(parcels) > 1 else POISON_LOSSES
        try:
            standings = self.patience.insist(batch, lambda: self._store(parcels), losses=losses)
        except Exception as error:
            if isinstance(error, Draining):
                raise
            self._blame(batch, parcels, error)
            return
        for parcel, standing in zip(parcels, standings, strict=True):
            self._conclude(batch, parcel, standing)
        self._follow_up(batch)

    def _settle_alone(self, batch: Batch, parcel: Parcel) -> None:
        """A replay: its gate is the dead block itself."""
        dead_id = parcel.dead_id or 0
        try:
            standing = self.patience.insist(batch, lambda: self._store_replayed(parcel, dead_id), losses=POISON_LOSSES)
        except Exception as error:
            if isinstance(error, Draining):
                raise
            self._blame(batch, [parcel], error)
            return
        self._conclude(batch, parcel, standing)
        self._follow_up(batch)

    def _follow_up(self, batch: Batch) -> None:
        """What is owed after a commit, before it is acknowledged: only a delivery once more would tell another of it.

        The commit stands and is counted, whatever becomes of this: it is neither tried again nor anybody's fault.
        """
        try:
            self.patience.insist(batch, self.writer.follow_up, losses=0)
        except Exception as error:
            if isinstance(error, Draining):
                raise
            log_event(log, logging.ERROR, "could not tell when the GPUs of a batch were seen", error=error)

    def _blame(self, batch: Batch, parcels: Sequence[Parcel], error: Exception) -> None:
        """Something in these messages cannot be stored: find out which one."""
        self.metrics.write_errors.labels(kind="data").inc()
        if len(parcels) == 1:
            self._refuse(parcels[0].message, f"{type(error).__name__}: {error}")
            return
        log_event(log, logging.WARNING, "a batch was refused, trying each message alone", error=error)
        for parcel in parcels:
            self._settle_together(batch, [parcel])

    def _store(self, parcels: Sequence[Parcel]) -> list[Standing]:
        began = time.monotonic()
        standings = self.writer.commit([parcel.block for parcel in parcels])
        self.metrics.committed(time.monotonic() - began)
        return standings

    def _store_replayed(self, parcel: Parcel, dead_id: int) -> Standing:
        began = time.monotonic()
        standing = self.writer.commit_replayed(parcel.block, dead_id)
        self.metrics.committed(time.monotonic() - began)
        return standing

    def _conclude(self, batch: Batch, parcel: Parcel, standing: Standing) -> None:
        block = parcel.block
        if standing is Standing.STORED:
            self.breaker.mended() if self._again else self.breaker.done()
            self.metrics.messages_stored.inc()
            self.metrics.rows_stored.inc(block.stored)
            self.metrics.rows_blank.inc(block.blank)
            self.metrics.rows_rejected.inc(len(block.rejected))
            self.metrics.publish_to_stored_seconds.observe(age_of(parcel.message))
            entry = parcel.message.entry
            log_event(log, logging.DEBUG, "stored a block", id=block.id, entry=entry, rows=block.rows)
        elif standing is Standing.UNKNOWN:
            self._refuse(parcel.message, "not reserved: no streamer has announced rows of this source")
        elif standing is Standing.OTHER:
            self._refuse(parcel.message, OTHER.format(block=block))
        elif standing is Standing.OPEN:
            self._settle_together(batch, [parcel])
        else:
            self._skipped(block.id, standing.value)

    def _refuse(self, message: Message, reason: str) -> None:
        self._refused.append(Refused(message, reason))
        if not self._again and dead_id_of(message.headers) is None:  # a replay is dead already
            self.breaker.refused(reason)

    def _bury(self, batch: Batch) -> None:
        """Dead-letter what was refused, one by one, unless and until it is a flood."""
        while self._refused:
            if self.breaker.flooded:
                self._sit_out(batch)
            else:
                self._reject(batch, self._refused[0])
                del self._refused[0]

    def _sit_out(self, batch: Batch) -> None:
        """Hold what was refused until the flood has ended, then try it once more. Draining when stopped."""
        self._look_ahead(batch, self.max_messages)
        self.breaker.trip()
        backoff = Backoff(first=0.5, cap=2.0)
        while self._refused and self.breaker.flooded:
            self.patience.pause(batch, backoff)
            if self._try_again(batch, 1) and len(self._refused) >= MOST_HELD:
                self.breaker.goes_on()  # more may wait behind these: that none comes is no quiet
            while self.breaker.flooded and len(self._refused) < MOST_HELD and self._look_ahead(batch, 1):
                continue  # a good one: perhaps enough of them follow
        self._try_again(batch, len(self._refused))

    def _look_ahead(self, batch: Batch, count: int) -> bool:
        """Try new messages, as a flood spares none of them; whether some came and none was refused.

        What is stored is acknowledged: it need not wait with the others.
        """
        batch.hold()
        try:
            messages = batch.extend(count)
        except BrokerError:  # the consumer meets it too, and says so
            messages = []
        known = len(self._refused)
        self._take(batch, messages)
        held = {refused.message.entry for refused in self._refused}
        settled = [message for message in batch.open if message.entry not in held]
        batch.ack(settled)
        self._hand_on(len(settled), sum(message.rows for message in settled))
        return bool(messages) and len(self._refused) == known

    def _try_again(self, batch: Batch, count: int) -> int:
        """Try the oldest ones once more, each alone, and say how many; counted anew when nothing is known any more.

        Not those that were given up untried: who tried them died.
        """
        self._again = not self.breaker.blank
        triable = [refused for refused in self._refused if not refused.message.exhausted][:count]
        try:
            for refused in triable:
                self._refused.remove(refused)
                self._try(batch, [refused.message])
        finally:
            self._again = False
        return len(triable)

    def _reject(self, batch: Batch, refused: Refused) -> None:
        message, reason = refused.message, refused.reason
        self.patience.insist(batch, lambda: batch.reject(message, reason), losses=0)
        if not self.sink.kept:
            self._skipped(message.id, reason)
            return
        self.metrics.messages_dead.inc()
        self.metrics.rows_dead.inc(message.rows)
        log_event(log, logging.ERROR, "dead-lettered a message", id=message.id, entry=message.entry, why=reason)

    def _skipped(self, id: str, why: str) -> None:
        self.metrics.messages_stale.inc()
        log_event(log, logging.DEBUG, "skipped a settled block", id=id, why=why)
