"""Keepers: one thread each that runs a child process or a server again whenever it dies.

What does not live here: what all of them together do (`supervisor`).
"""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from telemetry.embedded.children import Child, how_it_ended
from telemetry.embedded.errors import BinaryMissing, EmbeddedError
from telemetry.embedded.logfiles import LogFile
from telemetry.embedded.server import EmbeddedServer
from telemetry.runtime.backoff import Backoff
from telemetry.runtime.logs import mask_secrets
from telemetry.runtime.stop import Stop

__all__ = ["ChildSpec", "Event", "Keeper", "ProcessKeeper", "ServerKeeper"]

HOPELESS = (2, 126)  # wrong usage or settings; what the leash says when it cannot execute
_STEADY_SECONDS = 60.0  # a child that lived this long starts its backoff over
_WATCH_SECONDS = 0.2

Kind = Literal["started", "exited", "done", "gave up", "stopping", "killed", "stopped"]


@dataclass(frozen=True)
class ChildSpec:
    """A process to keep running.

    `env` is its whole environment. Lower `order`s are drained first. `grace` is in seconds, from
    SIGTERM to SIGKILL. `once`: exit 0 is its end, not a death.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    order: int = 0
    grace: float = 20.0
    once: bool = False
    cwd: Path | None = None


@dataclass(frozen=True)
class Event:
    """What happened to one child; `detail` is a line for people, `time` seconds since 1970."""

    name: str
    kind: Kind
    detail: str = ""
    pid: int | None = None
    time: float = field(default_factory=time.time)


class Keeper(ABC):
    """A thread that keeps one thing running until it is asked to end."""

    def __init__(self, name: str, backoff: Backoff, tell: Callable[[Event], None]) -> None:
        self.name = name
        self.done = threading.Event()
        self.succeeded = False
        self._backoff = backoff
        self._tell = tell
        self._ending = Stop()
        self._thread = threading.Thread(target=self._keep, name=f"keeper of {name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process that runs now."""

    @abstractmethod
    def ask_to_end(self) -> None:
        """Ask for the end, without waiting for it."""

    @abstractmethod
    def join(self) -> None:
        """Wait for the end, and enforce it after the grace."""

    @abstractmethod
    def _run_once(self) -> bool:
        """Run until it ends; True to run it again."""

    def _keep(self) -> None:
        try:
            while not self._ending.is_set():
                since = time.monotonic()
                if not self._attempt():
                    return
                if time.monotonic() - since > _STEADY_SECONDS:
                    self._backoff.reset()
                self._backoff.wait(self._ending)
        finally:
            self.done.set()

    def _attempt(self) -> bool:
        """Run once; whatever is raised, a state folder that was meddled with included, is one more failed start."""
        try:
            return self._run_once()
        except Exception as error:
            said = str(error) if isinstance(error, EmbeddedError) else f"{type(error).__name__}: {error}"
            self._tell(Event(self.name, "exited", mask_secrets(said)))
            return True


class ProcessKeeper(Keeper):
    """Keeps a child process running."""

    def __init__(self, spec: ChildSpec, *, log_dir: Path, backoff: Backoff, tell: Callable[[Event], None]) -> None:
        super().__init__(spec.name, backoff, tell)
        self.spec = spec
        self.log = LogFile(log_dir / f"{spec.name}.log")
        self._out = LogFile(log_dir / f"{spec.name}.out")
        self._lock = threading.Lock()
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._child.pid if self._child and self._child.alive else None

    def output(self) -> str:
        """The standard output of the present or last run."""
        return self._out.text()

    def ask_to_end(self) -> None:
        """Send SIGTERM. A child that is just being forked gets it from `_run_once`."""
        with self._lock:
            self._ending.set()
            if self._child and self._child.alive:
                self._tell(Event(self.name, "stopping", "asked to drain", self._child.pid))
                self._child.send(signal.SIGTERM)

    def join(self) -> None:
        """Wait for the grace, then kill."""
        if self._thread.ident is None:
            return
        self._thread.join(self.spec.grace)
        if self._thread.is_alive() and self._child:
            self._tell(Event(self.name, "killed", f"did not end within {self.spec.grace:g} s", self.pid))
            self._child.kill()
            self._thread.join()

    def _run_once(self) -> bool:
        child = Child(self.spec.argv, env=self.spec.env, log=self.log, out=self._out, cwd=self.spec.cwd)
        self._child = child
        try:
            code = child.run(self._on_fork)
        except BinaryMissing as error:
            self._tell(Event(self.name, "gave up", str(error)))
            return False
        return self._judge(code, child)

    def _on_fork(self) -> None:
        with self._lock:
            self._tell(Event(self.name, "started", pid=self.pid))
            if self._ending.is_set() and self._child:
                self._child.send(signal.SIGTERM)

    def _judge(self, code: int, child: Child) -> bool:
        detail = _last_words(code, child.log)
        if self._ending.is_set():
            self._tell(Event(self.name, "stopped", how_it_ended(code), child.pid))
            return False
        if code == 0 and self.spec.once:
            self.succeeded = True
            self._tell(Event(self.name, "done", pid=child.pid))
            return False
        if code in HOPELESS:
            self._tell(Event(self.name, "gave up", f"{detail}; its log is {child.log.path}", child.pid))
            return False
        self._tell(Event(self.name, "exited", detail, child.pid))
        return True


class ServerKeeper(Keeper):
    """Keeps an embedded server running; it is started before its keeper."""

    def __init__(self, server: EmbeddedServer, *, backoff: Backoff, tell: Callable[[Event], None]) -> None:
        super().__init__(server.name, backoff, tell)
        self._server = server
        self._tell(Event(self.name, "started", pid=server.pid))

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._server.pid if self._server.alive else None

    def ask_to_end(self) -> None:
        """Ask for the end."""
        self._ending.set()

    def join(self) -> None:
        """Stop the server, which has its own grace."""
        self._thread.join()
        if self._server.alive:
            self._tell(Event(self.name, "stopping", pid=self._server.pid))
            self._server.stop()
            self._tell(Event(self.name, "stopped"))

    def _run_once(self) -> bool:
        while self._server.alive:
            if self._ending.wait(_WATCH_SECONDS):
                return False
        self._tell(Event(self.name, "exited", _last_words(self._server.returncode or 0, self._server.log)))
        self._server.stop()
        self._server.start()
        self._tell(Event(self.name, "started", pid=self._server.pid))
        return True


def _last_words(code: int, log: LogFile) -> str:
    said = " | ".join(log.tail(3))
    return mask_secrets(f"{how_it_ended(code)}: {said}" if said else how_it_ended(code))
