"""What the numbers were measured on: the machine, the versions, and the settings that durability hangs on.

What does not live here: the numbers.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import redis

from telemetry.store.tiers import Tier
from tests.bench.stage import Stage

PACKAGES = ("telemetry-pipeline", "redis", "hiredis", "psycopg", "pandas", "pyarrow", "numpy", "orjson", "flask")
POSTGRES = (
    "fsync", "synchronous_commit", "full_page_writes", "wal_level", "shared_buffers", "max_wal_size", "jit",
    "timescaledb.license",
)  # fmt: skip
REDIS = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """Hardware, system and packages; the load is that before the first measurement."""
    return {
        "cores": cores(),
        "cpu": _cpu(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30), 1),
        "system": platform.platform(terse=True),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def servers(stage: Stage) -> dict[str, Any]:
    """Versions and settings of a stage's servers, as they tell them."""
    settings = "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s) ORDER BY name"
    extension = stage.ask("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    with redis.Redis.from_url(stage.redis_url, decode_responses=True) as client:
        told: Any = client.info("server")
        queue = {name: value for one in REDIS for name, value in dict(client.config_get(one)).items()}
    return {
        "postgresql": stage.ask("SHOW server_version")[0][0].split()[0],
        "timescaledb": extension[0][0] if extension else None,
        "licence": _licence(stage.tier),
        "postgresql_settings": dict(stage.ask(settings, [*POSTGRES])),
        "queue": f"{told.get('server_name', 'redis')} {told.get('valkey_version') or told['redis_version']}",
        "queue_settings": queue,
    }


def _licence(tier: Tier) -> str | None:
    """As the server gives it: `timescale` is the Community edition."""
    return {Tier.COMMUNITY: "timescale", Tier.APACHE: "apache", Tier.PLAIN: None}[tier]


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()
