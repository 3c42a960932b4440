"""Who listens to the live tail: one look at the database feeds all of a process.

What lives here: the thread that looks (only while somebody listens), places, and what waits for each listener. What
does not: what is new (`telemetry.store.questions.tail`), what is sent (`events`).
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TypeVar

from telemetry.runtime import log_event
from telemetry.store.errors import StoreError
from telemetry.store.questions.marks import Mark
from telemetry.store.questions.tail import Batch, Forgotten, Known, OtherOrder, Tail
from webapi.bodies.formats import Remembered

LOOK = 0.25
"""Seconds between two looks; more where a look takes long: at most half of the time is spent so."""
LONGEST = 5.0
"""Seconds between two looks, at most."""
RETRY = 1.0
"""Seconds between two attempts at a database that is away."""
CUT_AFTER = 1.0
"""Seconds that a listener has to end by himself when the server ends."""

log = logging.getLogger(__name__)


Answer = TypeVar("Answer")


class Full(Exception):
    """Raised when as many listen as may."""


class Over(Exception):
    """Raised when a listener is to be told no more; the text says why."""


class News(Enum):
    """Of the database, for listeners who wait."""

    AWAY = "away"
    BACK = "back"


@dataclass(frozen=True, slots=True)
class Joined:
    """From the mark on all that is new comes to the listener."""

    mark: Mark


Item = Batch | News | Joined


class Listener:
    """One who listens. `cut` ends his connection, wherever his thread waits."""

    def __init__(self, audience: "Audience", cut: Callable[[], None], held: int) -> None:
        self._audience, self.cut, self._most = audience, cut, held
        self._items: deque[Item] = deque()
        self._held, self._over = 0, ""
        self._change = threading.Condition()

    def next(self, timeout: float) -> Item | None:
        """What is next, or None after so many seconds. Over: nothing is, ever."""
        with self._change:
            self._change.wait_for(lambda: self._items or self._over, timeout)
            if self._over:
                raise Over(self._over)
            item = self._items.popleft() if self._items else None
            self._held -= len(item) if isinstance(item, Batch) else 0
            return item

    def rest(self, seconds: float) -> None:
        """Wait so long, whatever is next. Over: nothing is."""
        with self._change:
            self._change.wait_for(lambda: self._over, seconds)
            if self._over:
                raise Over(self._over)

    def caught_up(self) -> Mark | None:
        """Where the audience is, if nothing waits for this listener."""
        return self._audience.reached(lambda: not self._items)

    def offer(self, item: Item) -> bool:
        """Let it wait for him; False: too much waits already."""
        with self._change:
            size = len(item) if isinstance(item, Batch) else 0
            if self._held and self._held + size > self._most:
                return False
            self._items.append(item)
            self._held += size
            self._change.notify()
            return True

    def end(self, why: str) -> None:
        """Tell him no more."""
        with self._change:
            self._over = self._over or why
            self._items.clear()
            self._change.notify()

    def attach(self) -> None:
        """From the next look on what is new comes to him; Joined says from where."""
        self._audience.attach(self)

    def leave(self) -> None:
        """Give the place back; harmless when it is."""
        self._audience.leave(self)


class Audience:
    """Everyone who listens, `most` at a time. Nothing runs before the first one comes.

    `held` is how many readings may wait for a listener who takes them slowly; listeners share what waits. `told` is
    how many listen, whenever that changes.
    """

    def __init__(
        self, *, tail: Tail, most: int, held: int, told: Callable[[int], object] = lambda _count: None
    ) -> None:
        self._told = told
        self.tail, self.most, self.held = tail, most, held
        self.texts = Remembered()
        self._lock = threading.Lock()
        self._here: set[Listener] = set()
        self._waiting: list[Listener] = []
        self._fed: set[Listener] = set()
        self._thread: threading.Thread | None = None
        self._reached: Mark | None = None
        self._wake = threading.Event()
        self._ended = False

    def enter(self, cut: Callable[[], None]) -> Listener:
        """A place. Full: there is none."""
        with self._lock:
            if self._ended or len(self._here) >= self.most:
                raise Full
            listener = Listener(self, cut, self.held)
            self._here.add(listener)
            self._told(len(self._here))
            return listener

    def leave(self, listener: Listener) -> None:
        """Forget one."""
        with self._lock:
            self._here.discard(listener)
            self._told(len(self._here))
            self._fed.discard(listener)
            self._waiting = [one for one in self._waiting if one is not listener]

    def attach(self, listener: Listener) -> None:
        """Feed one from the next look on; begin to look if nobody does."""
        with self._lock:
            if listener not in self._here:
                return
            self._waiting.append(listener)
            if self._thread is None and not self._ended:
                self._thread = threading.Thread(target=self._run, name="tail", daemon=True)
                self._thread.start()
        self._wake.set()

    def reached(self, when: Callable[[], bool]) -> Mark | None:
        """The mark up to which all was offered, if that holds while nothing is."""
        with self._lock:
            return self._reached if when() else None

    def end(self) -> None:
        """The server ends: tell all, and cut off who does not go by himself. Does not wait."""
        with self._lock:
            self._ended = True
            here = list(self._here)
        for listener in here:
            listener.end("the server ends; connect again")
        self._wake.set()
        if here:
            timer = threading.Timer(CUT_AFTER, self._cut)
            timer.daemon = True
            timer.start()

    def _cut(self) -> None:
        with self._lock:
            here = list(self._here)
        for listener in here:
            listener.cut()

    def _run(self) -> None:
        mark: Mark | None = None
        known: Known = {}
        try:
            while self._admit(mark):
                began = time.monotonic()
                mark = self._look(mark, known)
                pause = LOOK if mark is None else max(LOOK, time.monotonic() - began)
                self._rest(min(LONGEST, pause))
        except (Forgotten, OtherOrder) as error:
            log_event(log, logging.WARNING, "live streams end", reason=error)
            self._dismiss(f"{error}; connect again without an id")
        except Exception as error:
            log.error("live streams failed", exc_info=error)
            self._dismiss("a fault of the server; connect again")

    def _admit(self, mark: Mark | None) -> bool:
        """Let those in who wait, between two looks; False, and nobody looks any more, when nobody listens."""
        with self._lock:
            self._reached = mark
            if self._ended or not (self._fed or self._waiting):
                self._thread = self._reached = None
                return False
            joining, self._waiting = (self._waiting, []) if mark is not None else ([], self._waiting)
            self._fed.update(joining)
        if mark is not None:
            for listener in joining:
                listener.offer(Joined(mark))
        return True

    def _look(self, mark: Mark | None, known: Known) -> Mark | None:
        """Offer all that is new since the mark; the new mark. What was begun is offered to its end."""
        if mark is None:
            return self._patiently(self.tail.begin)
        found = self._patiently(partial(self.tail.follow, mark))
        if found is None:
            return mark
        for part in found.blocks.parts():
            batch = self._patiently(partial(self.tail.read, found, part, known))
            if batch is None:
                return mark  # nobody is left
            self._offer(batch)
        return found.upto

    def _patiently(self, ask: Callable[[], Answer]) -> Answer | None:
        """The answer, once the database gives it; None when nobody is left to hear it."""
        away = False
        while True:
            try:
                answer = ask()
            except StoreError as error:
                if not away:
                    log_event(log, logging.WARNING, "live streams wait for the database", reason=error)
                    self._offer(News.AWAY)
                away = True
                if self._alone():
                    return None
                self._rest(RETRY)
                continue
            if away:
                self._offer(News.BACK)
            return answer

    def _alone(self) -> bool:
        with self._lock:
            return self._ended or not (self._fed or self._waiting)

    def _rest(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _offer(self, item: Item) -> None:
        with self._lock:
            fed = list(self._fed)
        for listener in fed:
            if not listener.offer(item):
                log_event(log, logging.WARNING, "a listener is dropped", reason="does not take its events")
                listener.end("too slow")
                listener.cut()
                with self._lock:
                    self._fed.discard(listener)

    def _dismiss(self, why: str) -> None:
        with self._lock:
            here = [*self._fed, *self._waiting]
            self._fed, self._waiting, self._thread, self._reached = set(), [], None, None
        for listener in here:
            listener.end(why)
