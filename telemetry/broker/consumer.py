"""Consuming: the loop that turns the stream into batches, and keeps its promises to the server while it does.

What lives here: the order of the steps of a turn (pay what is owed, rejoin, take over, read), and the end of it all.
Each step by itself is in `leases`, their renewal in `heartbeat`, what a batch asks for in `holding`.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from logging import getLogger

from telemetry.broker.batch import Batch
from telemetry.broker.client import Backoff, Broker, Stop
from telemetry.broker.deadletters import DeadLetterSink
from telemetry.broker.errors import BrokerClosed, BrokerError, GroupMissing
from telemetry.broker.heartbeat import Heartbeat
from telemetry.broker.holding import Holding
from telemetry.broker.keys import Keys
from telemetry.broker.leases import LONGEST_SILENCE, Claimed, Leases, Terms
from telemetry.broker.message import Message, fold

log = getLogger(__name__)

LONGEST_BLOCK = 0.5  # seconds a read waits: also how fast a stop is seen
LONGEST_REAP_INTERVAL = 1.0  # seconds between searches for lapsed leases
LONGEST_PAUSE = 1.0  # seconds between tries while the server is away: so late is its return noticed
DEAD_AFTER_LEASES = 10  # a consumer that owns nothing and was silent so long is removed


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """What a health probe wants to know; seconds. `beating`: leases are renewed; `why`: it is not connected."""

    name: str
    connected: bool
    turned_ago: float
    draining: bool
    beating: bool
    why: str = ""


class Consumer:
    """One member of the topic's consumer group; make it with `Topic.consumer`. One loop, one thread.

    Its name must be its own: `Topic.consumer` adds a suffix. `outages` are exceptions that are no message's fault:
    they cost no attempt.
    """

    def __init__(
        self,
        broker: Broker,
        keys: Keys,
        *,
        terms: Terms,
        sink: DeadLetterSink,
        outages: tuple[type[BaseException], ...] = (),
        stall_limit: float = 60.0,
    ) -> None:
        self.name, self.lease = terms.name, terms.lease
        self._broker, self._outages = broker, outages
        self._hooks, self._clock = broker.hooks, broker.clock
        self._interval = min(LONGEST_REAP_INTERVAL, terms.lease / 4)
        self._block = min(LONGEST_BLOCK, self._interval)
        self._reader = broker.client(f"consumer:{terms.name}", block=self._block)
        self._beater = broker.client(f"heartbeat:{terms.name}")

        self._leases = Leases(self._reader, keys, terms)
        self.heart = Heartbeat(
            Leases(self._beater, keys, terms), hooks=broker.hooks, limit=stall_limit, clock=broker.clock
        )
        self._holding = Holding(self._leases, self.heart, sink=sink, hooks=broker.hooks, stream=keys.stream)
        self._backlog: deque[Claimed] = deque()
        self._current: Batch | None = None
        self._backoff = Backoff(longest=LONGEST_PAUSE)
        self._suspect = True  # what the server believes we hold is not known
        self._down_since: float | None = None
        self._why = ""
        self._reap_at = self._show_at = self._clock()
        self._started = self._draining = self._closed = False

    # -- the loop

    def batches(self, *, max_messages: int = 8, linger: float = 0.2, stop: Stop | None = None) -> Iterator[Batch]:
        """Batches, until `stop` is set.

        A batch is handed out as soon as it has `max_messages`, or `linger` seconds after its first message; a message
        that was delivered before comes alone. Waits through outages of the server, and through refusals, which end
        when somebody gives a permission back; `status` says why meanwhile. A batch belongs to its turn: what is open
        when the loop asks for the next one is handed back, and the attempt counts.
        """
        stop = stop or threading.Event()
        self._start()
        while not stop.is_set() and not self._closed:
            messages = self._turn(max_messages, linger, stop)
            if not messages:
                continue
            batch = self._current = Batch(messages, holder=self._holding, outages=self._outages)
            try:
                yield batch
            except GeneratorExit:
                if not self._closed:
                    batch.release()
                raise
            self._check_settled(batch)
        self._drain()

    def turned_ago(self) -> float:
        """Seconds since the loop turned, or the caller said that it waits on purpose."""
        return self.heart.turned_ago()

    @property
    def status(self) -> ConsumerStatus:
        """How it goes."""
        connected = self._started and self._down_since is None and not self._suspect
        why = "" if connected else self._why or "not connected yet"
        return ConsumerStatus(self.name, connected, self.turned_ago(), self._draining, self.heart.beating, why)

    def hold(self) -> None:
        """Say for the loop that it waits on purpose, from any thread: what `Batch.hold` does from within it.

        For who knows that the call in which the loop hangs is an outage's. Good for the `stall_limit`.
        """
        self.heart.turn()

    def _start(self) -> None:
        if self._closed:
            raise BrokerClosed(f"consumer {self.name} is closed")
        if self._current is not None:
            self._current.release()  # of a loop that was left by an exception
        if not self._started:
            self._started = True
            self.heart.start()

    def _turn(self, max_messages: int, linger: float, stop: Stop) -> list[Message]:
        self.heart.turn()
        try:
            self._holding.pay()
            if self._suspect:
                self._rejoin()
            self._show()
            again = self._reclaim(max_messages, stop)
            messages = again or self._fresh(max_messages, linger, stop)
        except BrokerClosed:
            raise
        except BrokerError as error:
            self._down(error, stop)
            return []
        self._up()
        if stop.is_set():  # nothing is begun after a stop
            self._holding.give_back(messages, spent=False)
            return []
        if messages:
            self._hooks.on_deliver(len(messages), sum(message.rows for message in messages), bool(again))
        return messages

    def _check_settled(self, batch: Batch) -> None:
        self._current = None
        if batch.open:
            log.warning("messages were not settled in their turn, handing them back messages=%d", len(batch.open))
            batch.finish(RuntimeError("the loop went on without settling the message"))

    # -- steps of a turn

    def _rejoin(self) -> None:
        held = self._leases.join()
        known = self.heart.held() | {claimed.entry for claimed in self._backlog}
        fresh = [claimed for claimed in held if claimed.entry not in known]
        self._backlog.extend(fresh)
        self.heart.hold(claimed.entry for claimed in fresh)
        self._suspect = False

    def _show(self) -> None:
        """Give a sign of life where one is due, and remove others that gave none for long."""
        if self._clock() >= self._show_at:
            self._show_at = self._clock() + min(self.lease, LONGEST_SILENCE)
            self._leases.sweep(DEAD_AFTER_LEASES * self.lease if self._is_trusted() else None)

    def _is_trusted(self) -> bool:
        """Whether idle times are: they count the server's downtime, and after it owners have one lease for a word."""
        return self._reader.unbroken() >= self.lease

    def _reclaim(self, count: int, stop: Stop) -> list[Message]:
        while not stop.is_set():
            while self._backlog:
                claimed = self._backlog[0]
                message = self._leases.attempt(claimed)
                self._backlog.popleft()
                if message is not None:
                    return [message]
                self.heart.drop([claimed.entry])
            if not self._reap_is_due():
                break
            self._reap(count)
        return []

    def _reap_is_due(self) -> bool:
        return self._clock() >= self._reap_at and self._is_trusted()

    def _reap(self, count: int) -> None:
        claimed, finished = self._leases.reap(count)
        self._backlog.extend(claimed)
        self.heart.hold(one.entry for one in claimed)
        if finished:
            self._reap_at = self._clock() + self._interval

    def _fresh(self, count: int, linger: float, stop: Stop) -> list[Message]:
        messages = self._take(count, self._block)
        until = self._clock() + linger
        while messages and len(messages) < count and not stop.is_set():
            left = min(until - self._clock(), self._block)
            if left <= 0:
                break
            try:
                messages += self._take(count - len(messages), left)
            except BrokerClosed:
                raise
            except BrokerError:
                self._suspect = True
                break
        return fold(messages)

    def _take(self, count: int, block: float) -> list[Message]:
        messages = self._leases.take(count, block=block)
        self.heart.hold(message.entry for message in messages)
        return messages

    def _down(self, error: BrokerError, stop: Stop) -> None:
        self._suspect, self._why = True, str(error)
        if self._down_since is None and not isinstance(error, GroupMissing):
            self._down_since = self._clock()
            log.warning("broker unavailable, trying again consumer=%s error=%s", self.name, error)
            self._hooks.on_disconnect(str(error))
        self._backoff.pause(stop)

    def _up(self) -> None:
        self._backoff.reset()
        self._why = ""
        if self._down_since is not None:
            away, self._down_since = self._clock() - self._down_since, None
            log.info("broker is back consumer=%s seconds=%.1f", self.name, away)
            self._hooks.on_reconnect(away)

    # -- the end

    def _drain(self) -> None:
        self._draining = True
        unbegun = [(claimed.entry, claimed.known) for claimed in self._backlog]
        self._backlog.clear()
        self._holding.free(unbegun)

    def close(self) -> None:
        """Hand back what is in hand, remove this consumer from the group if it owns nothing, close the connections."""
        if self._closed:
            return
        try:
            if self._current is not None:
                self._current.release()
            self._drain()
            self.heart.stop()
            with suppress(BrokerError):  # leases lapse by themselves, others remove an empty consumer
                self._holding.pay()
                self._leases.leave()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stop without a word to the server, as a crash would: others get what is in hand when its lease lapses."""
        self._closed = True
        self.heart.stop()
        self._broker.forget(self._reader)
        self._broker.forget(self._beater)

    def __enter__(self) -> "Consumer":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
