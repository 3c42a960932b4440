"""Logs: a fixed sentence and key=value pairs, one line per event, as text or as JSON.

`configure_logs` is for the composition layer alone: a library only calls `logging.getLogger` and
`log_event`. What does not live here: which lines are left out (`folding`), what is worth a line, and log files (see
`embedded`).
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from json import dumps
from typing import TextIO

from telemetry.runtime.clock import Clock, SystemClock
from telemetry.runtime.folding import Folding, FoldingHandler
from telemetry.runtime.masking import mask_fields, mask_secrets

__all__ = ["JsonFormatter", "LineFormatter", "configure_logs", "log_event", "mask_secrets"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "fields"}
_PAIR = re.compile(r" (\w+)=%[^ =]*[a-z]")
_PAIRS = re.compile(rf"(?:{_PAIR.pattern})+\Z")
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


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sentence(record: logging.LogRecord) -> str:
    return mask_secrets(" ".join(_parted(record)[0].splitlines()))


def _parted(record: logging.LogRecord) -> tuple[str, dict[object, object]]:
    """The message, and the pairs at the end of a library's, `broker is back consumer=%s seconds=%.1f`."""
    pairs = _PAIRS.search(str(record.msg))
    if pairs and isinstance(record.args, tuple) and "%" not in (head := str(record.msg)[: pairs.start()]):
        names = _PAIR.findall(pairs[0])
        if len(names) == len(record.args):
            return head, dict(zip(names, record.args, strict=True))
    return record.getMessage(), {}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Give the fields without secrets: masked each by itself, because quoting would split a password from its key."""
    fields = _parted(record)[1]
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
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    text = f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text if _BARE.match(text) else dumps(text, ensure_ascii=False)
