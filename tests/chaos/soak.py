"""At full speed with the queue at its capacity, for minutes: what grows?

What lives here: the samples, their slopes, and which of them must not rise. What does not: faults.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import redis

from tests.chaos.run import say
from tests.chaos.world import Terms, World
from tests.fixtures.pipeline import descendants

EVERY = 2.0
"""Seconds between samples."""
WARM_UP = 0.2
"""Part of the time that does not count, at least a minute."""
WINDOW = 120.0
"""Seconds of which the lower quartile stands for all: what is taken, or given back, for a moment is no slope."""
MOST_MB_PER_HOUR = 1.0
LEAST_FULL = 0.25
"""Part of the time that the queue must be at its capacity."""
BACKENDS = """
SELECT pid, coalesce(nullif(split_part(application_name, '@', 1), ''), backend_type) FROM pg_stat_activity
WHERE pid <> pg_backend_pid()
"""
LONG_ENOUGH = 20.0
"""Minutes from which a slope says something."""


@dataclass
class Soak:
    """Samples by name, each with its time in seconds."""

    times: list[float] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, at: float, values: dict[str, float]) -> None:
        """One round of samples; what has none yet, or none any more, is NaN."""
        for name in values.keys() - self.samples.keys():
            self.samples[name] = [np.nan] * len(self.times)
        self.times.append(at)
        for name, series in self.samples.items():
            series.append(values.get(name, np.nan))

    def lasting(self) -> list[str]:
        """What was there from the warm-up's end to now: a process that came and went has no slope."""
        kept = np.array(self.times) >= self.warm
        return [name for name, values in self.samples.items() if np.isfinite(np.array(values)[kept]).all()]

    @property
    def warm(self) -> float:
        """When the warm-up was over, in seconds."""
        return max(60.0, WARM_UP * self.times[-1]) if self.times[-1] > 180 else 0.5 * self.times[-1]

    def slope(self, name: str) -> tuple[float, float]:
        """(growth per hour after the warm-up, its standard error): a line through each window's lower quartile."""
        times, values = np.array(self.times), np.array(self.samples[name])
        kept = times >= self.warm
        windows = ((times[kept] - self.warm) // WINDOW).astype(int)
        held = np.array([np.percentile(values[kept][windows == one], 25) for one in np.unique(windows)])
        if len(held) < 4:
            return 0.0, float("inf")
        at = np.arange(len(held)) * WINDOW / 3600
        (slope, _), covariance = np.polyfit(at, held, 1, cov=True)
        return float(slope), float(np.sqrt(covariance[0, 0]))

    def write(self, file: Path) -> None:
        """All samples as CSV: a column each, in seconds, MB and counts."""
        names = sorted(self.lasting())
        rows = zip(self.times, *(self.samples[name] for name in names), strict=True)
        lines = [",".join(["seconds", *names]), *(",".join(f"{value:.2f}" for value in row) for row in rows)]
        file.write_text("\n".join(lines) + "\n")


def soak(terms: Terms, minutes: float, series: Path | None) -> dict[str, Any]:
    """Run for so many minutes; the result, with `wrong` for what grew. `series`: where to write the samples."""
    seen = Soak()
    with World(terms) as world, contextlib.closing(world.queue.client()) as client:
        servers = [world.queue.server.kind, world.database.server.kind, world.tier.title]
        say(f"soaking for {minutes:g} minutes: {', '.join(servers)}")
        began = time.monotonic()
        while (now := time.monotonic() - began) < minutes * 60:
            with contextlib.suppress(psycopg.OperationalError, FileNotFoundError, ProcessLookupError):
                seen.add(now, {**_of_processes(world), **_of_queue(world, client), **_of_database(world)})
            if int(now / 60) != int((now - EVERY) / 60):
                say(_line(seen))
            time.sleep(EVERY)
        stored = world.database.ask("SELECT coalesce(sum(stored), 0) FROM blocks")[0][0]
        deaths = [f"{one.name} ended: {one.how}" for one in world.roles.deaths]
    if series:
        seen.write(series)
    return _result(seen, minutes, int(stored), deaths, servers)


def _result(seen: Soak, minutes: float, stored: int, deaths: list[str], servers: list[str]) -> dict[str, Any]:
    lasting = seen.lasting()
    memory = {name: seen.slope(name) for name in lasting if name.endswith("_mb")}
    counts = [name for name in lasting if not name.endswith("_mb")]
    last = {name: round(seen.samples[name][-1], 1) for name in lasting}
    wrong = list(deaths)
    if minutes >= LONG_ENOUGH:
        wrong += [
            f"{name} grows by {slope:.2f} MB/hour (standard error {error:.2f})"
            for name, (slope, error) in memory.items()
            if slope - 2 * error >= MOST_MB_PER_HOUR
        ]
    wrong += [f"{name} grows" for name in counts if _is_growing(seen.samples[name])]
    wrong += [] if stored else ["nothing was stored"]
    full = np.mean(np.array(seen.samples["queue_depth"]) >= 0.9 * seen.samples["capacity"][-1])
    if full < LEAST_FULL:
        wrong.append(f"the queue was full for {full:.0%} of the time only")
    return {
        "minutes": minutes,
        "servers": servers,
        "stored": stored,
        "rows_per_second": round(stored / (minutes * 60)),
        "share_of_time_at_capacity": round(float(full), 2),
        "mb_per_hour": {name: f"{slope:+.2f} ± {error:.2f}" for name, (slope, error) in memory.items()},
        "last": last,
        "wrong": wrong,
    }


def _is_growing(values: list[float]) -> bool:
    """Whether the lowest of the last quarter lies above the highest of the second: then it never came back."""
    quarter = len(values) // 4
    return quarter > 3 and min(values[-quarter:]) > max(values[quarter : 2 * quarter])


def _of_processes(world: World) -> dict[str, float]:
    """Memory that is a process' own (the server's shared buffers are not), open files."""
    queue, postgres = world.queue.server.pid or 0, world.database.server.pid or 0
    families = {role.name: [role.pid, *descendants(role.pid)] for role in world.roles.all}
    families |= {"queue": [queue], "postgres": [postgres]}
    found = {f"{name}_files": float(_open_files(pids[0])) for name, pids in families.items()}
    families |= {f"postgres {pid} {name}": [pid] for pid, name in world.database.ask(BACKENDS)}
    return found | {f"{name}_mb": sum(map(_anonymous, pids)) / 1024 for name, pids in families.items()}


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _anonymous(pid: int) -> float:
    """KiB."""
    with contextlib.suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return float(line.split()[1])
    return 0.0


def _of_queue(world: World, client: redis.Redis) -> dict[str, float]:
    stats = world.topic.stats()
    memory: Any = client.info("memory")
    clients: Any = client.info("clients")
    return {
        "queue_used_mb": memory["used_memory"] / (1 << 20),
        "queue_connections": clients["connected_clients"],
        "queue_depth": stats.depth,
        "capacity": stats.capacity,
        "consumers": len(stats.consumers),
        "queued_ids": int(client.hlen(world.topic.keys.ids)),
        "queued_rows": int(client.hlen(world.topic.keys.rows)),
        "keys": int(client.dbsize()),
    }


def _of_database(world: World) -> dict[str, float]:
    row = world.database.ask(
        "SELECT (SELECT count(*) FROM blocks WHERE settled_at IS NULL),"
        " (SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'telemetry-%')"
    )[0]
    return {"unsettled_blocks": float(row[0]), "database_connections": float(row[1])}


def _line(seen: Soak) -> str:
    last = {name: values[-1] for name, values in seen.samples.items()}
    memory = " ".join(
        f"{name.removesuffix('_mb')}={value:.1f}"
        for name, value in last.items()
        if name.endswith("_mb") and not name.startswith("postgres ")
    )
    return f"{seen.times[-1] / 60:.0f} min: queue {last['queue_depth']:.0f}/{last['capacity']:.0f}; MB {memory}"
