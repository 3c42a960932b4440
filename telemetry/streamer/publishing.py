"""From a reservation to a message in the queue, or to a dead block when that cannot be.

What lives here: what happens to one reservation, whatever fails on the way. What does not: which reservation is
next (`streamer`).
"""

import contextlib
import logging
import os
import socket

from telemetry.block import FORMAT, Block, block_id
from telemetry.broker import BrokerClosed, BrokerError, Producer, PublishError
from telemetry.runtime.backoff import Backoff
from telemetry.runtime.health import Health
from telemetry.runtime.logs import log_event
from telemetry.runtime.metrics import StreamerMetrics
from telemetry.runtime.stop import Stop
from telemetry.store.deadblocks import RAW_FORMAT, DeadBlocks, Letter
from telemetry.store.errors import StoreError
from telemetry.store.gate import Standing
from telemetry.store.ledger import Ledger, Reservation
from telemetry.streamer.sources.csvfile import CsvSource

log = logging.getLogger(__name__)

MAX_TRIES = 5
"""Claims after which a slice that no streamer could publish is dead-lettered."""
ENVELOPE = 1_024
"""Bytes of a message's limit that are left for its id and headers."""
MARGIN = 0.9
"""Part of a message's limit that the next block is planned for: its rows may be a little larger."""
FADING = 0.9
"""How a large row's size is forgotten, from block to block."""
RAW_LIMIT = 16 << 20
"""Most bytes of such a slice that are kept."""


class Publishing:
    """Turns reservations into messages, for one streamer."""

    def __init__(
        self,
        *,
        source: CsvSource,
        ledger: Ledger,
        dead: DeadBlocks,
        producer: Producer,
        max_bytes: int,
        metrics: StreamerMetrics,
        health: Health,
        stop: Stop,
    ) -> None:
        self.source, self.ledger, self.dead, self.producer = source, ledger, dead, producer
        self.max_bytes, self.metrics, self.health, self.stop = max_bytes - ENVELOPE, metrics, health, stop
        self.pressure = 0.0
        self.in_hand = ""
        """Id of the block that is being published, or that could not be."""
        self._row_bytes = 1.0

    @property
    def fitting(self) -> int:
        """Rows of the next block that will fit into a message, going by those before: to cut one costs it twice."""
        return int(MARGIN * self.max_bytes / self._row_bytes)

    def publish(self, reserved: Reservation) -> None:
        """Read, encode and queue the reserved rows; a slice that was tried too often is dead-lettered instead.

        Raises SourceChanged and StoreError. A stop leaves the block to the next streamer, at no cost in tries.
        """
        self.in_hand = block_id(self.ledger.source, reserved.first_row)
        self.metrics.pending_rows.set(reserved.rows)
        try:
            self._publish(reserved, again=reserved.tries > 0)
        finally:
            self.metrics.pending_rows.set(0)
        self.in_hand = ""

    def _publish(self, reserved: Reservation, *, again: bool) -> None:
        if reserved.tries >= MAX_TRIES:
            self._bury(reserved, f"{reserved.tries} streamers took these rows and none came to publish them")
            return
        block = self.source.block(self.ledger.source, reserved.first_row, reserved.rows, reserved.time0).in_order()
        body = block.encode(self.max_bytes)
        self._row_bytes = max(len(body) / block.rows, FADING * self._row_bytes)
        if len(body) > self.max_bytes:
            self._split(reserved, len(body), again=again)
            return
        if self._send(block, body):
            self._published(block, len(body), again=again)
        if reserved.tries:
            self.ledger.pardon(reserved.first_row)

    def _send(self, block: Block, body: bytes) -> bool:
        """Queue the block, through waits and outages of the queue; False when stopped before it was."""
        backoff, away = Backoff(cap=2.0), False
        while True:
            try:
                published = self.producer.publish(
                    block.id,
                    body,
                    rows=block.rows,
                    headers={"format": FORMAT},
                    stop=self.stop,
                    on_wait=lambda: self._waiting(block),
                )
            except PublishError:
                raise
            except BrokerClosed:
                return False
            except BrokerError as error:
                # Also what waiting alone does not mend, a missing permission say: the rows must not pay for it.
                self.health.ready("queue", False, str(error))
                log_event(log, logging.WARNING, "queue unavailable, holding the block", id=block.id, error=error)
                self.metrics.queue_disconnects.inc(not away)
                away = True
                self._waiting(block)
                if backoff.wait(self.stop):
                    return False
            else:
                if away:
                    log_event(log, logging.INFO, "queue can be used again, going on")
                self.health.ready("queue", True)
                self.pressure = published.pressure
                return True

    def _waiting(self, block: Block) -> None:
        """Stay alive and keep the reservation. When that fails, another streamer publishes the same block: no harm."""
        self.health.turned()
        with contextlib.suppress(StoreError):
            self.ledger.renew(block.first_row)

    def _split(self, reserved: Reservation, size: int, *, again: bool) -> None:
        """Halve a block whose message would be too large, and publish both. One row alone cannot be halved.

        The second half is claimed from the ledger like a dead streamer's, but nobody had published it before.
        """
        per = self.source.per_record
        keep = reserved.rows // 2 // per * per
        if not keep:
            self._bury(reserved, f"a body of {size} bytes would be over the limit of {self.max_bytes}")
            return
        second = self.ledger.split(reserved, keep)
        if second is None:
            log_event(log, logging.INFO, "left a block that another streamer cut first", first_row=reserved.first_row)
            return
        self.metrics.blocks_split.inc()
        id = block_id(self.ledger.source, reserved.first_row)
        log_event(log, logging.INFO, "split a block too large for a message", id=id, rows=reserved.rows, bytes=size)
        # Reading and encoding what is too large took a while of the lease, and each half may be cut again.
        self.health.turned()
        self.ledger.renew(reserved.first_row)
        self._publish(Reservation(reserved.first_row, keep, reserved.time0, reserved.tries), again=again)
        self.health.turned()
        rest = self.ledger.claim([second])
        if rest is not None:
            self._publish(rest, again=again)

    def _bury(self, reserved: Reservation, reason: str) -> None:
        source = self.ledger.source
        letter = Letter(
            message_id=block_id(source, reserved.first_row),
            source=source,
            first_row=reserved.first_row,
            rows=reserved.rows,
            format=RAW_FORMAT,
            reason=reason,
            attempts=reserved.tries,
            origin=f"streamer {socket.gethostname()}/{os.getpid()}",
            payload=self.source.raw(reserved.first_row, reserved.rows, RAW_LIMIT),
        )
        if self.dead.bury(letter) is not Standing.STORED:
            return  # settled meanwhile: a message of it was in the queue after all
        self.metrics.rows_read.inc(reserved.rows)
        self.metrics.rows_dead.inc(reserved.rows)
        log_event(log, logging.ERROR, "dead-lettered rows that cannot be published", id=letter.message_id, why=reason)

    def _published(self, block: Block, size: int, *, again: bool) -> None:
        """Count. What was read and not published is another streamer's to read, and to count."""
        self.metrics.rows_read.inc(block.rows)
        self.metrics.rows_blank.inc(block.blank)
        self.metrics.rejected(item.reason for item in block.rejected)
        self.metrics.rows_published.inc(block.rows)
        self.metrics.blocks_published.inc()
        self.metrics.blocks_republished.inc(again)
        self.metrics.block_rows.observe(block.rows)
        self.metrics.block_bytes.observe(size)
        log_event(log, logging.DEBUG, "published a block", id=block.id, rows=block.rows, bytes=size, again=again)
