"""What the kernel knows of processes: CPU seconds, peak memory, stolen time. Linux only, like the bench.

What does not live here: starting them (`crew`).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psycopg
import redis

from tests.fixtures.pipeline import descendants

TICK: int = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of those of its children that ended; 0 when it is gone."""
    with contextlib.suppress(OSError):
        return sum(int(ticks) for ticks in _stat(pid)[11:15]) / TICK
    return 0.0


def cpu_of_family(pid: int) -> float:
    """CPU seconds of a process and all below it, those that ended included."""
    return sum(cpu_of(one) for one in (pid, *descendants(pid)))


def cpu_of_thread(pid: int) -> float:
    """The same of a process with one thread, to the nanosecond: of a backend that worked for a few ms."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def peak_mb(pid: int) -> float:
    """The most memory that a process ever had resident; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


def share_mb(pid: int) -> float:
    """Resident memory of a process, where pages that n processes have count as 1/n; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def machine_seconds() -> tuple[float, float]:
    """CPU seconds of all cores since boot: (in all, stolen by the machine that this one runs on)."""
    fields = [int(ticks) / TICK for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[7]


class Thief:
    """The share of the cores' time that another machine got, from its making on."""

    def __init__(self) -> None:
        self._before = machine_seconds()

    def stolen(self) -> float:
        """Up to now; what was measured meanwhile could have been that much faster."""
        whole, stolen = (now - then for now, then in zip(machine_seconds(), self._before, strict=True))
        return stolen / whole if whole else 0.0


def postgres_pid(url: str) -> int | None:
    """The postmaster's process id, if the server runs here."""
    with psycopg.connect(url) as connection:
        backend = connection.info.backend_pid
        return int(_stat(backend)[1]) if _is(backend, "postgres") else None


def redis_pid(url: str) -> int | None:
    """The queue's process id, if the server runs here."""
    with redis.Redis.from_url(url) as client:
        server: dict[str, int] = client.info("server")
        pid = int(server["process_id"])
    return pid if _is(pid, "redis") or _is(pid, "valkey") else None


def _is(pid: int, name: str) -> bool:
    with contextlib.suppress(OSError):
        return name in Path(f"/proc/{pid}/comm").read_text()
    return False


def _stat(pid: int) -> list[str]:
    """The fields of stat(5) from the third, the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
