"""Files that take a child's output: appended by the child itself, bounded by its parent.

What does not live here: the format of lines (`runtime.logs`).
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from telemetry.runtime.logs import log_event

__all__ = ["LogFile"]

_LOG = logging.getLogger(__name__)
_TAIL_BYTES = 8_192


class LogFile:
    """A log of at most two times `limit` bytes: the file, and the one before it as `<name>.1`.

    The child writes by a descriptor in append mode, so that its last words survive the parent,
    and cutting the file under it is safe: the next write goes to the new end.
    """

    def __init__(self, path: Path, limit: int = 10_000_000) -> None:
        self.path = path
        self._limit = limit
        self._start = 0
        self._warned = False

    def open(self) -> int:
        """Give a descriptor to append by; what is there already is not part of `text` and `tail`."""
        self.trim()
        fd = self._create(self.path, os.O_APPEND)
        self._start = os.fstat(fd).st_size
        return fd

    def trim(self) -> None:
        """Put the file aside when it is over the limit. Never raises: a full disk is no reason to end the child."""
        try:
            if self.path.lstat().st_size > self._limit:
                self._rotate()
        except FileNotFoundError:
            return
        except OSError as error:
            self._warn("a log cannot be cut", error)

    def text(self, most: int = 1_000_000) -> str:
        """Give what was written since `open`, its end if that is more than `most` bytes; empty if it is unreadable."""
        try:
            with self._existing(os.O_RDONLY) as file:
                file.seek(max(self._start, os.fstat(file.fileno()).st_size - most))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def tail(self, lines: int = 5) -> list[str]:
        """Give the last lines that were written since `open`."""
        return [line for line in self.text(_TAIL_BYTES).splitlines() if line.strip()][-lines:]

    def _rotate(self) -> None:
        with self._existing(os.O_RDWR) as file:
            try:
                self._copy(file)
            except OSError as error:
                self._warn("a log is cut without a copy", error)
            os.ftruncate(file.fileno(), 0)
            self._start = 0

    def _copy(self, file: BinaryIO) -> None:
        # the one before goes first: on a full disk the copy takes its room; and a link there is not followed
        aside = self.path.with_name(self.path.name + ".1")
        aside.unlink(missing_ok=True)
        with os.fdopen(self._create(aside, os.O_EXCL), "wb") as copy:
            shutil.copyfileobj(file, copy)

    def _existing(self, flags: int) -> BinaryIO:
        return os.fdopen(os.open(self.path, flags | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")

    def _create(self, path: Path, flags: int) -> int:
        fd = os.open(path, flags | os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if os.geteuid() == 0:
            above = path.parent.stat()
            os.fchown(fd, above.st_uid, above.st_gid)
        return fd

    def _warn(self, sentence: str, error: OSError) -> None:
        if not self._warned:
            log_event(_LOG, logging.WARNING, sentence, path=self.path, error=error)
        self._warned = True
