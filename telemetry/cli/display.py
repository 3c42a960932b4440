"""What a person sees of `telemetry up`: the banner with commands to paste, live rates, what died and came back.

On a terminal the rates are one line that is drawn again; elsewhere a line every ten seconds, on stderr. With --json the
banner is one JSON object on stdout.
"""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status

from telemetry.broker import TopicStats
from telemetry.cli import output
from telemetry.cli.local import Database, Queue
from telemetry.embedded import Event
from telemetry.runtime.logs import mask_secrets
from telemetry.store.tiers import Tier

QUIET_EVERY = 10.0
OVERDUE = 5.0
"""Seconds that a message waits, while none is settled, until a person is sent to the logs."""


@dataclass(frozen=True, slots=True)
class Running:
    """What the banner tells."""

    tier: Tier
    database: Database
    queue: Queue
    verify: str
    api: str
    gpu: str
    state: Path
    stream: str
    guarded: bool = False
    metrics: Mapping[str, str] = field(default_factory=dict)
    """By process, where Prometheus finds what it tells of itself."""


class Display:
    """Speaks to a person; safe to call from the supervisor's threads. `logs` is the folder it points to."""

    def __init__(self, *, as_json: bool, logs: Path) -> None:
        self.as_json, self.logs = as_json, logs
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
        self._live = self._console.is_terminal and not as_json
        self.interval = 1.0 if self._live else QUIET_EVERY
        self._status: Status | None = None
        self._lock = threading.Lock()
        self._earlier: TopicStats | None = None

    def step(self, text: str) -> None:
        """What is being done now."""
        with self._lock:
            if self._live:
                self._status = self._status or Status("", console=self._console)
                self._status.update(text)
                self._status.start()
            else:
                self._console.print(text)

    def warn(self, text: str) -> None:
        """What a person should know or do."""
        with self._lock:
            self._console.print(mask_secrets(text), style="yellow")

    def event(self, event: Event) -> None:
        """Tell of children that died or gave up; the rest is in the logs."""
        if event.kind in ("exited", "gave up", "killed"):
            self.warn(f"{event.name} {event.kind}: {event.detail}")

    def banner(self, running: Running) -> None:
        """Where everything is, and what to try."""
        if self.as_json:
            output.json(_addresses(running))
            sys.stdout.flush()
            return
        with self._lock:
            if self._status:
                self._status.stop()
            print(_banner(running), flush=True)

    def rates(self, stats: TopicStats | None, pids: Mapping[str, int]) -> None:
        """How fast readings move, and how full the queue is."""
        if stats is None:
            self.step("the queue does not answer; waiting for it")
            return
        earlier, self._earlier = self._earlier, stats
        if earlier is None:
            return  # a rate takes two looks
        came, went = stats.rates(earlier)
        age = stats.oldest_age or 0
        stuck = f"  nothing is settled: {self.logs}/collector-*.log say why" if not went and age > OVERDUE else ""
        self.step(
            f"published {came:,.0f}/s  settled {went:,.0f}/s  queue {stats.depth}/{stats.capacity} messages"
            f"  oldest {age:.1f} s  died {stats.dead}  processes {len(pids)}{stuck}"
        )

    @contextmanager
    def reading(self, length: int) -> Iterator[Callable[[int], None]]:
        """A bar over the readings of a file: advance(readings done)."""
        with self._lock:
            if self._status:
                self._status.stop()
                self._status = None
        if not self._live:
            yield lambda _done: None
            return
        columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("", total=length)
            yield lambda done: progress.update(task, completed=done)

    def close(self) -> None:
        """Stop drawing."""
        with self._lock:
            if self._status:
                self._status.stop()
                self._status = None


def _addresses(running: Running) -> dict[str, Any]:
    return {
        "tier": running.tier.value,
        "api": running.api,
        "database": mask_secrets(running.database.reader),
        "queue": running.queue.shown,
        "stream": running.stream,
        "psql": running.database.psql,
        "redis_cli": running.queue.cli,
        "verify": running.verify,
        "state": str(running.state),
        **({"metrics": {"api": f"{running.api}/metrics", **running.metrics}} if running.metrics else {}),
    }


def _banner(running: Running) -> str:
    gpu = f"{running.api}/api/v1/gpus/{running.gpu}"
    curl = 'curl -s -H "Authorization: Bearer $TOKEN"' if running.guarded else "curl -s"
    token = "        # TOKEN is what `telemetry token create` printed" if running.guarded else ""
    metrics = "".join(f"\n  metrics   {url}   ({name})" for name, url in running.metrics.items())
    return f"""
telemetry is up: {running.tier.title}
  API       {running.api}   (Swagger UI: {running.api}/swagger)
  database  {mask_secrets(running.database.reader).partition("?")[0]}   ({running.database.kind})
  queue     {running.queue.shown}   ({running.queue.kind})
  state     {running.state}   (logs of every process: {running.state}/logs){metrics}

To paste into another terminal:
  {curl} {running.api}/api/v1/gpus{token}
  {curl} '{gpu}/telemetry?limit=3'
  {running.database.psql}
  {running.queue.cli}
  {running.verify}        # or: telemetry queue stats, queue peek, queue dead list ..

Ctrl-C drains and stops; the same command goes on where it was.
"""
