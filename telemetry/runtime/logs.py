"""Logs: a fixed sentence and key=value pairs, one line per event, as text or as JSON.

`configure_logs` is for the composition layer alone: a library only calls `logging.getLogger` and
`log_event`. What does not live here: what is worth a line, and log files (see `embedded`).
"""

from __future__ import annotations

import copy
import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from json import dumps
from typing import TextIO

from telemetry.runtime.clock import Clock, SystemClock
from telemetry.runtime.masking import mask_fields, mask_secrets

__all__ = ["Folding", "JsonFormatter", "LineFormatter", "configure_logs", "log_event", "mask_secrets"]

FOLD_SECONDS = 10.0
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "fields"}
_BARE = re.compile(r"[A-Za-z0-9_.:/@+%*,~-]+\Z")


def log_event(
    logger: logging.Logger, level: int, sentence: str, /, *, exc_info: bool = False, **fields: object
) -> None:
    """Log one event: a fixed sentence, and what varies as fields (any name is allowed)."""
    logger.log(level, sentence, exc_info=exc_info, extra={"fields": fields})


def configure_logs(
    level: str | int, json: bool = False, stream: TextIO | None = None, clock: Clock | None = None
) -> None:
    """Make the root logger write to `stream` (stderr), and replace what it wrote to before."""
    handler = FoldingHandler(stream or sys.stderr, Folding(clock=clock or SystemClock()))
    handler.setFormatter(JsonFormatter() if json else LineFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.upper() if isinstance(level, str) else level)


class Folding(logging.Filter):
    """Lets the first of equal warnings or errors through, and counts the rest for `seconds`.

    Equal means the same logger and the same sentence, whatever the fields. Levels below WARNING
    pass always: there the fields are the message ("child started" of two children are two events).
    """

    def __init__(self, *, clock: Clock, seconds: float = FOLD_SECONDS) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], tuple[float, int, logging.LogRecord]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is to be written."""
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, str(record.msg))
        with self._lock:
            if key in self._open:
                since, count, _ = self._open[key]
                self._open[key] = (since, count + 1, record)
                return False
            self._open[key] = (self._clock.monotonic(), 0, record)
            return True

    def settled(self, everything: bool = False) -> list[logging.LogRecord]:
        """Close the windows that are over: the last record of each that folded any, with its count."""
        now = self._clock.monotonic()
        with self._lock:
            over = [k for k, (since, _, _) in self._open.items() if everything or now - since >= self._seconds]
            closed = [self._open.pop(key) for key in over]
        return [_with_count(record, count) for _, count, record in closed if count]


class FoldingHandler(logging.StreamHandler[TextIO]):
    """Writes events that are not folded, and before each the counts of windows that are over."""

    def __init__(self, stream: TextIO, folding: Folding) -> None:
        super().__init__(stream)
        self._folding = folding

    def handle(self, record: logging.LogRecord) -> bool:
        """Write what is due, then the record unless it is folded into an earlier one."""
        self._write(self._folding.settled())
        return self._folding.filter(record) and super().handle(record)

    def close(self) -> None:
        """Write the counts that are still open, then close."""
        self._write(self._folding.settled(everything=True))
        super().close()

    def _write(self, records: list[logging.LogRecord]) -> None:
        for record in records:
            super().handle(record)


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z WARNING telemetry.collector the database is away attempt=3`."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the one line of an event."""
        head = f"{_time(record)} {record.levelname} {record.name} {_sentence(record)}"
        return " ".join([head, *(f"{k}={_quoted(v)}" for k, v in _fields(record).items())])


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, event, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the one line of an event."""
        head = {"time": _time(record), "level": record.levelname, "logger": record.name}
        event = {**_fields(record), **head, "event": _sentence(record)}
        return dumps(event, ensure_ascii=False)


def _with_count(record: logging.LogRecord, count: int) -> logging.LogRecord:
    counted = copy.copy(record)
    counted.__dict__["repeated"] = count
    return counted


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sentence(record: logging.LogRecord) -> str:
    return mask_secrets(" ".join(record.getMessage().splitlines()))


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Give the fields without secrets: masked each by itself, because quoting would split a password from its key."""
    fields: dict[object, object] = {}
    given = record.__dict__.get("fields")
    if isinstance(given, Mapping):
        fields.update(given)
    fields.update((k, v) for k, v in vars(record).items() if k not in _STANDARD)
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        fields["error"] = f"{type(error).__name__}: {error}"
        fields["traceback"] = "".join(traceback.format_exception(error)).rstrip()
    return mask_fields(fields)


def _quoted(value: object) -> str:
    text = f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text if _BARE.match(text) else dumps(text, ensure_ascii=False)
