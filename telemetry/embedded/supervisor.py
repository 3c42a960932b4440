"""The supervisor of `telemetry up`: keeps the roles running, and drains them in order.

What does not live here: how one process runs and is tied to this one (`children`, `keeper`), and the
display, which is told by events.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from telemetry.embedded.errors import ChildGaveUp, EmbeddedError
from telemetry.embedded.keeper import ChildSpec, Event, Keeper, ProcessKeeper, ServerKeeper
from telemetry.embedded.server import EmbeddedServer
from telemetry.embedded.state import make_folder
from telemetry.runtime.backoff import Backoff
from telemetry.runtime.logs import log_event
from telemetry.runtime.stop import Stop

__all__ = ["ChildSpec", "Event", "Supervisor"]

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.1


def _default_backoff() -> Backoff:
    return Backoff(first=1.0, cap=30.0)


class Supervisor:
    """Runs child processes and embedded servers until `stop`, restarting what dies.

    Children are in sessions of their own: Ctrl-C in the terminal reaches this process alone, which
    then ends them by `order`, lowest first, and last the servers, the latest started first. When
    this process is killed the kernel ends them. A child that exits with 2 (usage, settings) is not
    restarted: `failure` says so, and `stop` is set. `on_event` is called from several threads.
    """

    def __init__(
        self,
        *,
        stop: Stop,
        log_dir: Path,
        on_event: Callable[[Event], None] | None = None,
        backoff: Callable[[], Backoff] = _default_backoff,
    ) -> None:
        self.failure: EmbeddedError | None = None
        self._stop = stop
        self._log_dir = log_dir
        self._on_event = on_event
        self._backoff = backoff
        self._lock = threading.Lock()
        self._processes: dict[str, ProcessKeeper] = {}
        self._servers: list[ServerKeeper] = []

    def start(self, *specs: ChildSpec) -> None:
        """Start children and keep them running."""
        make_folder(self._log_dir)
        for spec in specs:
            if spec.name in self._processes:
                raise EmbeddedError(f"two children are named {spec.name}: each needs a name of its own")
            keeper = ProcessKeeper(spec, log_dir=self._log_dir, backoff=self._backoff(), tell=self._told)
            self._processes[spec.name] = keeper
            keeper.start()

    def start_server(self, server: EmbeddedServer) -> None:
        """Start an embedded server here and now, and keep it running. Raises what its start raises."""
        server.start()
        keeper = ServerKeeper(server, backoff=self._backoff(), tell=self._told)
        self._servers.append(keeper)
        keeper.start()

    def pids(self) -> dict[str, int]:
        """The process ids of what runs now, by name."""
        keepers: list[Keeper] = [*self._processes.values(), *self._servers]
        return {keeper.name: keeper.pid for keeper in keepers if keeper.pid}

    def output(self, name: str) -> str:
        """What the present or last run of a child wrote to standard output."""
        return self._processes[name].output()

    def wait_for(self, name: str) -> bool:
        """Wait for a child that ends by itself (`once`): True at its exit 0, False when stopped first.

        Raises ChildGaveUp when any child gave up.
        """
        keeper = self._processes[name]
        while not keeper.done.is_set() and not self._stop.wait(0):
            keeper.done.wait(_POLL_SECONDS)
        self._raise_failure()
        return keeper.succeeded

    def wait(self) -> None:
        """Wait for the stop. Raises ChildGaveUp when that came of a child that gave up."""
        self._stop.wait()
        self._raise_failure()

    def drain(self) -> None:
        """End the children by order, then the servers. May be called twice."""
        left = list(self._processes.values())
        for order in sorted({keeper.spec.order for keeper in left}):
            _end([keeper for keeper in left if keeper.spec.order == order])
        for server in reversed(self._servers):
            _end([server])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()

    def _raise_failure(self) -> None:
        if self.failure:
            raise self.failure

    def _told(self, event: Event) -> None:
        with self._lock:
            if event.kind == "gave up" and self.failure is None:
                self.failure = ChildGaveUp(f"{event.name} gave up: {event.detail}")
                self._stop.set(str(self.failure))
        if self._on_event:
            try:
                self._on_event(event)
            except Exception as error:  # a display that fails (a closed terminal) ends no child
                log_event(_LOG, logging.WARNING, "an event could not be shown", error=error)


def _end(keepers: Sequence[Keeper]) -> None:
    """Ask all first, then wait for each: those of one order end side by side."""
    for keeper in keepers:
        keeper.ask_to_end()
    for keeper in keepers:
        keeper.join()
