"""The processes of the pipeline as a user starts them, and what each of them used.

What lives here: starting, looking, ending. What does not: what is measured with them.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from telemetry.embedded.children import Child, how_it_ended
from telemetry.embedded.logfiles import LogFile
from tests.bench.proc import cpu_of, peak_mb
from tests.bench.stage import BenchFailed, Stage
from tests.fixtures.pipeline import ROOT
from tests.fixtures.process import plain_env

ENDING = [(signal.SIGTERM, 30.0)]
"""Seconds that a process may take to drain."""


class Member:
    """One process: `telemetry stream` or `telemetry collect`."""

    def __init__(self, stage: Stage, name: str, words: Sequence[str]) -> None:
        self.name, self.kind = name, name.partition("-")[0]
        self.cpu = self.peak = 0.0
        """CPU seconds and MB of the last look while it ran."""
        self.log, self.out = LogFile(stage.folder / f"{name}.log"), LogFile(stage.folder / f"{name}.out")
        env = {
            "PYTHONPATH": str(ROOT),
            "TELEMETRY_DATABASE_URL": stage.writer_url,
            "TELEMETRY_REDIS_URL": stage.redis_url,
            "TELEMETRY_QUEUE_NAMESPACE": stage.namespace,
            # shared by the streamers of one run, and empty at its start: no run lives on what another has read
            "TELEMETRY_STREAMER_INDEX_CACHE": str(stage.folder / f"index-{stage.namespace}"),
        }
        argv = [sys.executable, "-m", "telemetry", *words]
        self.child = Child(argv, env={**plain_env(), **env}, log=self.log, out=self.out, cwd=ROOT)

    def look(self) -> None:
        """Remember what it used up to now. Raises BenchFailed when it ended otherwise than well."""
        if self.child.returncode:
            said = " | ".join(self.log.tail())
            raise BenchFailed(f"{self.name} ended ({how_it_ended(self.child.returncode)}); it said: {said}")
        pid = self.child.pid or 0
        self.cpu, self.peak = max(self.cpu, cpu_of(pid)), max(self.peak, peak_mb(pid))

    def stop(self) -> None:
        """Drain it."""
        self.child.stop(ENDING)


class Crew:
    """Streamers and collectors on a stage; a `with` starts them all at once and ends them."""

    def __init__(
        self, stage: Stage, *, stream: Sequence[str], collect: Sequence[str], streamers: int, collectors: int
    ) -> None:
        self.streamers = [Member(stage, f"streamer-{one}", ["stream", *stream]) for one in range(streamers)]
        self.collectors = [Member(stage, f"collector-{one}", ["collect", *collect]) for one in range(collectors)]

    @property
    def all(self) -> list[Member]:
        """Everybody."""
        return [*self.collectors, *self.streamers]

    def __enter__(self) -> Self:
        try:
            for member in self.all:
                member.child.start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def look(self) -> None:
        """Look at everybody."""
        for member in self.all:
            member.look()

    def cpu(self) -> dict[str, float]:
        """CPU seconds of streamers and of collectors, as of the last look."""
        return {"streamers": _sum(self.streamers), "collectors": _sum(self.collectors)}

    def peak(self) -> dict[str, float]:
        """MB of the largest streamer and of the largest collector."""
        return {kind: max(one.peak for one in members) for kind, members in self._kinds().items()}

    def _kinds(self) -> dict[str, list[Member]]:
        return {"streamer": self.streamers, "collector": self.collectors}

    def _stop(self) -> None:
        for member in reversed(self.all):  # streamers first: what they read is then settled or handed back
            member.stop()


def _sum(members: Sequence[Member]) -> float:
    return sum(member.cpu for member in members)
