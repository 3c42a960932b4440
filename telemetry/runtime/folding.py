"""What keeps a log readable when the same thing goes wrong again and again: equal lines are folded into a count.

What lives here: which lines are equal, what of them is told all the same, and when. What does not: how a line looks
(`logs`).
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

from telemetry.runtime.clock import Clock

__all__ = ["Folding", "FoldingHandler"]

FOLD_SECONDS = 10.0
IDS = ("id", "request_id")
"""Fields that say which one it was: of lines that are folded these are told, because they are looked for."""
MOST_IDS = 100
"""Ids of one window that are told; of a flood the count tells the rest."""
LONGEST_ID = 200
"""Characters of an id: what somebody else made may be of any length."""


@dataclass(slots=True)
class _Window:
    since: float
    last: logging.LogRecord
    count: int = 0
    ids: dict[str, list[str]] = field(default_factory=dict)

    def fold(self, record: logging.LogRecord) -> None:
        self.last, self.count = record, self.count + 1
        for name, id in _ids(record):
            known = self.ids.setdefault(f"{name}s", [])
            if len(known) < MOST_IDS:
                known.append(id[:LONGEST_ID])

    def closed(self) -> logging.LogRecord:
        """The last record, with how many were folded and which."""
        counted = copy.copy(self.last)
        counted.__dict__.update({"repeated": self.count, **self.ids})
        return counted


class Folding:
    """Lets the first of equal warnings or errors through, and counts the rest for `seconds`. Not thread-safe.

    Equal means the same logger and the same sentence, whatever the fields. Levels below WARNING
    pass always: there the fields are the message ("child started" of two children are two events).
    """

    def __init__(self, *, clock: Clock, seconds: float = FOLD_SECONDS) -> None:
        self.seconds = seconds
        self._clock = clock
        self._open: dict[tuple[str, str], _Window] = {}

    @property
    def owes(self) -> bool:
        """Something was folded and is not told yet."""
        return any(window.count for window in self._open.values())

    def passes(self, record: logging.LogRecord) -> bool:
        """Say whether a record is to be written now."""
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, str(record.msg))
        if window := self._open.get(key):
            window.fold(record)
            return False
        self._open[key] = _Window(self._clock.monotonic(), record)
        return True

    def settled(self, everything: bool = False) -> list[logging.LogRecord]:
        """Close the windows that are over: the last record of each that folded any, with its count and ids."""
        now = self._clock.monotonic()
        over = [key for key, one in self._open.items() if everything or now - one.since >= self.seconds]
        closed = [self._open.pop(key) for key in over]
        return [window.closed() for window in closed if window.count]


class FoldingHandler(logging.StreamHandler[TextIO]):
    """Writes events that are not folded, and the counts of windows that are over: before the next event, or in time.

    Everything happens under the handler's own lock, which logging makes anew in a process that is forked.
    """

    def __init__(self, stream: TextIO, folding: Folding) -> None:
        super().__init__(stream)
        self._folding = folding
        self._timer: threading.Timer | None = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write what is due, then the record unless it is folded into an earlier one."""
        with self._alone():
            self._write(self._folding.settled())
            if self._folding.passes(record):
                return super().handle(record)
            self._watch()
            return False

    def close(self) -> None:
        """Write the counts that are still open, then close."""
        with self._alone():
            if self._timer is not None:
                self._timer.cancel()
            self._write(self._folding.settled(everything=True))
            super().close()

    def _watch(self) -> None:
        """See to it that what was folded is told though nothing else happens: who is killed tells nothing more.

        A timer that was begun before a fork is dead in the child. Where no thread can begin, the next event tells.
        """
        if self._timer is None or not self._timer.is_alive():
            self._timer = threading.Timer(self._folding.seconds, self._wake)
            self._timer.daemon = True
            with suppress(RuntimeError):
                self._timer.start()

    def _wake(self) -> None:
        with self._alone():
            self._timer = None
            self._write(self._folding.settled())
            if self._folding.owes:
                self._watch()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _write(self, records: list[logging.LogRecord]) -> None:
        for record in records:
            super().handle(record)


def _ids(record: logging.LogRecord) -> Iterator[tuple[str, str]]:
    given = record.__dict__.get("fields")
    fields = {**vars(record), **given} if isinstance(given, Mapping) else vars(record)
    return ((name, str(fields[name])) for name in IDS if fields.get(name) is not None)
