"""The processes of the pipeline, started again when they end, as Kubernetes would; each behind proxies of its own.

What lives here: a role, what ends it and whether a fault explains that. What does not: the faults themselves.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from telemetry.embedded.children import Child, how_it_ended
from telemetry.embedded.logfiles import LogFile
from tests.fixtures.pipeline import ROOT
from tests.fixtures.process import plain_env
from tests.fixtures.proxy import Proxy

LOOK_EVERY = 0.03
RESTART_AFTER = 0.3
"""Seconds until an ended process is started again."""


@dataclass
class Death:
    """A process that ended although no fault ended it."""

    name: str
    how: str
    said: list[str] = field(default_factory=list)


class Role:
    """One process of the pipeline at a time. `number`: the pass that a streamer is at."""

    def __init__(
        self,
        *,
        name: str,
        folder: Path,
        words: Callable[[Role], Sequence[str]],
        env: Callable[[Role], dict[str, str]],
        queue: Proxy | None,
        database: Proxy,
    ) -> None:
        self.name, self.kind = name, name.partition("-")[0]
        self.queue, self.database = queue, database
        self.number = 0
        self.excuse = ""
        """Why its end, if it comes, is no surprise."""
        self.retired = False
        """It is not to be started again."""
        self._cache = folder / "index"
        self.log = LogFile(folder / f"{name}.log")
        self._out = LogFile(folder / f"{name}.out")
        self._words, self._env = words, env
        self.child: Child | None = None
        self.ended_at = 0.0

    def start(self) -> None:
        """Start the process."""
        self.excuse = ""
        here = {"PYTHONPATH": str(ROOT), "TELEMETRY_STREAMER_INDEX_CACHE": str(self._cache)}
        child = Child(
            [sys.executable, *self._words(self)],
            env={**plain_env(), **here, **self._env(self)},
            log=self.log,
            out=self._out,
            cwd=ROOT,
        )
        child.start()
        self.child = child

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        assert self.child is not None
        return self.child.pid or 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.child is not None and self.child.alive

    @property
    def stopped(self) -> bool:
        """Whether it is stopped by SIGSTOP."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    @property
    def consumer(self) -> str:
        """How the names of its consumers begin."""
        return f"{socket.gethostname()}-{self.pid}-"

    @property
    def proxies(self) -> list[Proxy]:
        """What it reaches its servers by."""
        return [one for one in (self.queue, self.database) if one is not None]

    def kill(self) -> int:
        """SIGKILL and wait for the end; the process id that is no more."""
        self.excuse = "killed"
        child = self.child
        assert child is not None
        pid = self.pid
        os.killpg(pid, signal.SIGKILL)
        child.wait(10)
        return pid

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self.excuse = "terminated"
        assert self.child is not None
        self.child.send(signal.SIGTERM)


class Roles:
    """Keeps every role running until it is retired, and remembers ends that nothing explains."""

    def __init__(self, roles: Sequence[Role]) -> None:
        self.all = list(roles)
        self.deaths: list[Death] = []
        self.last: int | None = None
        """The pass after which no other begins."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._attend, name="roles", daemon=True)

    def start(self) -> None:
        """Start all of them."""
        for role in self.all:
            role.start()
        self._thread.start()

    def of(self, kind: str) -> list[Role]:
        """The roles of one kind."""
        return [role for role in self.all if role.kind == kind]

    def finish(self) -> None:
        """Begin no other pass than the one that the foremost streamer is at."""
        self.last = max(role.number for role in self.of("streamer"))

    def close(self) -> None:
        """End all of them."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        for role in self.all:
            if role.alive and role.child is not None:
                role.child.stop([(signal.SIGTERM, 5.0)])

    def _attend(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            for role in self.all:
                if role.alive or role.retired or role.child is None:
                    continue
                if not role.ended_at:
                    role.ended_at = time.monotonic()
                    self._conclude(role)
                elif time.monotonic() > role.ended_at + RESTART_AFTER:
                    role.ended_at = 0.0
                    role.start()

    def _conclude(self, role: Role) -> None:
        assert role.child is not None
        code = role.child.returncode or 0
        if role.kind == "streamer" and code == 0:
            role.number += 1
            role.retired = self.last is not None and role.number > self.last
        elif not role.excuse:
            self.deaths.append(Death(role.name, how_it_ended(code), role.log.tail(8)))
