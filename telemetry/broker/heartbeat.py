"""The heartbeat: while a batch is worked on, its leases are renewed from another thread and another connection.

What lives here: the thread, what is in hand, what was lost, and when the loop last turned. Renewing is one call of
`leases`.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging import getLogger

from telemetry.broker.client import Backoff, Clock
from telemetry.broker.errors import BrokerClosed, BrokerError, BrokerUnavailable
from telemetry.broker.hooks import Hooks
from telemetry.broker.leases import Leases

log = getLogger(__name__)


class Heartbeat:
    """Renews the leases of what is in hand, from a thread and a connection of its own.

    It stops renewing when `stalled()` says that the loop has not turned for too long, so that a hung consumer loses
    its messages to the others, and goes on when the loop turns again.
    """

    def __init__(self, leases: Leases, *, hooks: Hooks, limit: float, clock: Clock = time.monotonic) -> None:
        self._leases, self._hooks, self._limit, self._clock = leases, hooks, limit, clock
        self._held: set[str] = set()
        self._lost: set[str] = set()
        self._leaving: set[str] = set()
        self._lock = threading.Lock()
        self._beating = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._turned = clock()
        self._stalled = self._refused = False

    def start(self) -> None:
        """Begin to beat."""
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{self._leases.terms.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; leases then lapse by themselves."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=10.0)

    @property
    def beating(self) -> bool:
        """Whether leases are renewed: the thread runs, the loop does not stand still, the server does not refuse."""
        return self._thread is not None and self._thread.is_alive() and not self._stalled and not self._refused

    def turn(self) -> None:
        """The loop turns, or waits on purpose."""
        self._turned = self._clock()

    def turned_ago(self) -> float:
        """Seconds since the loop turned."""
        return self._clock() - self._turned

    def hold(self, entries: Iterable[str]) -> None:
        """Renew these from now on."""
        gained = list(entries)
        with self._lock:
            self._held.update(gained)
            for kept in (self._lost, self._leaving):
                kept.difference_update(gained)

    def leave(self, entries: Iterable[str]) -> None:
        """Renew these until they are dropped, but that the server has them no more is not a loss: they are settled."""
        with self._lock:
            self._leaving.update(entries)

    def drop(self, entries: Iterable[str]) -> None:
        """Renew these no longer."""
        gone = list(entries)
        with self._lock:
            for kept in (self._held, self._lost, self._leaving):
                kept.difference_update(gone)

    def held(self) -> set[str]:
        """What is renewed."""
        with self._lock:
            return set(self._held)

    def lost(self) -> set[str]:
        """What was in hand when another consumer took it over."""
        with self._lock:
            return set(self._lost)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No beat is under way inside: one that was sent before a hand-back must not renew after it."""
        waited = self._beating.acquire(timeout=1.0)  # a beat that hangs costs the others one lease, not us more
        try:
            yield
        finally:
            if waited:
                self._beating.release()

    def beat(self) -> list[str]:
        """Renew once; what turned out to be lost."""
        with self._beating:
            held = self.held()
            if not held:
                return []
            lost = self._leases.keep(sorted(held))
        with self._lock:
            gone = [entry for entry in lost if entry in self._held - self._leaving]  # settled meanwhile: not lost
            self._held.difference_update(lost)
            self._lost.update(gone)
        return gone

    def _run(self) -> None:
        interval = self._leases.terms.beat
        retry = Backoff(first=interval / 4, longest=interval)
        while not self._over.wait(interval):
            if self._is_stalled():
                continue
            while not self._over.is_set() and not self._beaten():
                retry.pause(self._over)
            retry.reset()

    def _is_stalled(self) -> bool:
        stalled = self.turned_ago() > self._limit
        if stalled and not self._stalled:
            log.error("consumer loop stands still, leases are not renewed consumer=%s", self._leases.terms.name)
        self._stalled = stalled
        return stalled

    def _beaten(self) -> bool:
        try:
            lost = self.beat()
            if lost:
                log.warning("leases lapsed in hand consumer=%s messages=%d", self._leases.terms.name, len(lost))
                self._hooks.on_lost(len(lost))
        except BrokerClosed:
            return True
        except BrokerUnavailable:  # the loop meets it too, and says so
            return False
        except BrokerError as error:  # the loop may be allowed all that it does, and not know
            if not self._refused:
                log.error("leases cannot be renewed consumer=%s error=%s", self._leases.terms.name, error)
            self._refused = True
            return False
        except Exception:
            log.exception("heartbeat failed, beating on consumer=%s", self._leases.terms.name)
        self._refused = False
        return True
