"""A flood breaker: when so much is refused that the messages are not to blame, dead-lettering pauses.

What lives here: the rule and the state, for all consumers of a process. What does not: burying (`deadletters`), and
holding a batch and trying it again, which only the host can do; `Batch.extend` brings it messages to try.
"""

import time
from collections import deque
from logging import getLogger
from threading import Lock

from telemetry.broker.client import Clock

log = getLogger(__name__)

LONGEST_REASON = 300  # characters of a reason that are repeated


class FloodBreaker:
    """Judges by the last `window` messages that were done or refused, none older than `memory` seconds.

    It is a flood when more than `spared` of them, and at least `share` of them, were refused. `spared` lets a few bad
    ones die in a queue that has nothing else. A share of 1 or more: never.

    The host reports `done` and `refused`, and asks `flooded` before it buries. While that is so it holds what was
    refused, says so by `trip`, and tries one message at a time with pauses: one in hand that is not refused any more
    is `mended`, and ends the flood; fresh ones are reported as always, and end it when there are enough good ones.
    Safe from any thread.
    """

    def __init__(
        self,
        *,
        share: float = 0.75,
        window: int = 20,
        spared: int = 10,
        memory: float = 600.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.share, self.window, self.spared, self.memory = share, window, spared, memory
        self._clock = clock
        self._lock = Lock()
        self._verdicts: deque[tuple[float, bool]] = deque(maxlen=window)
        self._reason = self._why = ""

    @property
    def flooded(self) -> bool:
        """Whether nothing may be buried now."""
        with self._lock:
            return self._judge()

    @property
    def why(self) -> str:
        """Why it is open; "" while it is closed."""
        with self._lock:
            self._judge()
            return self._why

    @property
    def blank(self) -> bool:
        """Whether nothing is known: at the start, after `mended`, and when all is long ago."""
        with self._lock:
            self._judge()
            return not self._verdicts

    def done(self, messages: int = 1) -> None:
        """So many were worked off: not those that were skipped, which show nothing."""
        with self._lock:
            now = self._clock()
            self._verdicts.extend([(now, True)] * min(messages, self.window))
            self._judge()

    def refused(self, reason: str) -> None:
        """One cannot be worked off."""
        with self._lock:
            self._reason = " ".join(reason.split())[:LONGEST_REASON]
            self._verdicts.append((self._clock(), False))

    def goes_on(self) -> None:
        """One that had been refused was refused again, and no fresh ones can be tried: what is known grows no older."""
        with self._lock:
            if self._judge():
                now = self._clock()
                self._verdicts = deque(((now, good) for _, good in self._verdicts), maxlen=self.window)

    def mended(self) -> None:
        """One that had been refused was worked off: what was wrong is so no more, and all is forgotten."""
        with self._lock:
            self._verdicts.clear()
            self._judge()

    def trip(self) -> None:
        """Open it, if it is a flood. Until it closes `why` says so; both are logged, once."""
        with self._lock:
            if not self._judge() or self._why:
                return
            count = sum(not good for _, good in self._verdicts)
            self._why = f"{count} of the last {len(self._verdicts)} messages were refused, the last one: {self._reason}"
            log.error("too many messages are refused, none is dead-lettered until that ends why=%r", self._why)

    def _judge(self) -> bool:
        oldest = self._clock() - self.memory
        while self._verdicts and self._verdicts[0][0] < oldest:
            self._verdicts.popleft()
        count = sum(not good for _, good in self._verdicts)
        flooded = self.share < 1 and count > self.spared and count >= self.share * len(self._verdicts)
        if self._why and not flooded:
            self._why = ""
            log.warning("the flood of refused messages has ended, going on")
        return flooded
