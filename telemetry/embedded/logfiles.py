"""Files that take a child's output: appended by the child itself, bounded by its parent.

What does not live here: the format of lines (`runtime.logs`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

__all__ = ["LogFile"]

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

    def open(self) -> int:
        """Give a descriptor to append by; what is there already is not part of `text` and `tail`."""
        self.trim()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self.path, flags, 0o600)
        if os.geteuid() == 0:
            above = self.path.parent.stat()
            os.fchown(fd, above.st_uid, above.st_gid)
        self._start = os.fstat(fd).st_size
        return fd

    def trim(self) -> None:
        """Put the file aside when it is over the limit."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size > self._limit:
                shutil.copyfile(self.path, self.path.with_name(self.path.name + ".1"))
                os.truncate(self.path, 0)
                self._start = 0

    def text(self, most: int = 1_000_000) -> str:
        """Give what was written since `open`, its end if that is more than `most` bytes."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(self._start, os.fstat(file.fileno()).st_size - most))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def tail(self, lines: int = 5) -> list[str]:
        """Give the last lines that were written since `open`."""
        return [line for line in self.text(_TAIL_BYTES).splitlines() if line.strip()][-lines:]
