"""What PostgreSQL and Redis have in common as children: a locked folder, one process, starting and stopping.

What does not live here: how either of them is set up, and starting one again when it dies (`keeper`).
"""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from telemetry.embedded.children import Child, wait_until_ready
from telemetry.embedded.errors import StartFailed
from telemetry.embedded.logfiles import LogFile
from telemetry.embedded.state import FolderLock, choose_port, end, make_folder, remember, survivor, write_private

__all__ = ["EmbeddedServer"]

_PASSES_WITHIN = 15.0
"""Seconds for which a start is tried again that failed for a reason that passes: what a killed server left ends in its
own time."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

Steps = Sequence[tuple[signal.Signals, float]]
"""Signals, each with the seconds that it may take."""


class EmbeddedServer(ABC):
    """A server of our own with its state in `folder`. Port 0: the last one while it is free, else a free one."""

    name: ClassVar[str]
    _ending: ClassVar[Steps]
    _left_behind: ClassVar[Steps]
    _passing: ClassVar[tuple[str, ...]]  # what it says when another start may succeed

    def __init__(self, folder: Path, *, port: int, host: str) -> None:
        self.host = host
        self.port = port
        self.folder = folder
        self.log = LogFile(folder / "server.log")
        self._wanted_port = port
        self._lock = FolderLock(folder)
        self._child: Child | None = None

    @property
    @abstractmethod
    def kind(self) -> str:
        """What runs, with its version, for messages."""

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child else None

    @property
    def returncode(self) -> int | None:
        """How the server process ended, negative for a signal; None while it runs."""
        return self._child.returncode if self._child else None

    @property
    def alive(self) -> bool:
        """True while the server process runs."""
        return self._child is not None and self._child.alive

    def start(self) -> None:
        """Start, and return when it answers. Raises EmbeddedError.

        A server that a killed run left behind is stopped first.
        """
        make_folder(self.folder)
        self._lock.open()
        try:
            left = survivor(self.folder / "pid")
            if left:
                end(left, self._left_behind)
            self._serve()
        except OSError as error:
            self.stop()
            raise StartFailed(f"cannot start {self.name} in {self.folder}: {error}; another --state?") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, and let go of the folder. May be called twice."""
        if self._child:
            self._child.stop(self._ending)
            self._child = None
        self._lock.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @abstractmethod
    def _serve(self) -> None:
        """Run the server, and return when it answers."""

    def _launch(self, make: Callable[[], Child], is_ready: Callable[[Child], bool], seconds: float) -> None:
        """Run the process that `make` describes on `port`; again, when it fails for a reason that passes."""
        until, pause = time.monotonic() + _PASSES_WITHIN, _FIRST_PAUSE
        while True:
            self.port = choose_port(self.folder / "port", self._wanted_port, self.host)
            child = self._child = make()
            child.start()
            if child.pid:
                remember(self.folder / "pid", child.pid)
            try:
                wait_until_ready(child, self.kind, partial(is_ready, child), seconds)
                break
            except StartFailed as error:
                if time.monotonic() > until or not any(reason in str(error) for reason in self._passing):
                    raise
                child.stop(self._ending)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        write_private(self.folder / "port", str(self.port))
        self._wanted_port = self.port  # others were told it: a restart takes this one or none
