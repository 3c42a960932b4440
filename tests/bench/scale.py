"""What a row costs, and what a process holds, at other sizes: more processes, more rows, more series.

What lives here: which sizes, and the table of them. What does not: a run (`once`), more workers of the API (`crowd`).
Nothing here has a floor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.exports import FLEET, Export
from tests.bench.measure import rounded
from tests.bench.once import Once, once
from tests.bench.stage import Stage, say

CREWS = ((1, 1), (2, 1), (2, 2), (4, 2), (4, 4))
"""(streamers, collectors)."""
PARTS = (10, 3)
"""Parts of the rows that are tried beside all of them."""
HOSTS = (125, 1_240)
"""Hosts of larger fleets than the usual: some 10,000 and 105,000 series."""
SPENDERS = ("streamers", "collectors", "redis", "postgres")
HEADER = ("tier", "rows", "series", "streamers", "collectors", "rows/s", "once begun", "µs CPU of a row in streamers",
          "collectors", "redis", "postgres", "MB of a streamer", "collector", "bytes/reading", "stolen")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Size:
    """One run at one size."""

    tier: str
    series: int
    streamers: int
    collectors: int
    run: Once

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        run = self.run
        return {
            "tier": self.tier,
            "rows": run.rows,
            "series": self.series,
            "streamers": self.streamers,
            "collectors": self.collectors,
            "rate": rounded(run.rate),
            "settled_rate": rounded(run.settled_rate),
            "us_per_row": {name: rounded(seconds / run.rows * 1e6) for name, seconds in run.cpu.items()},
            "peak_mb": {name: rounded(peak) for name, peak in run.peak.items()},
            "bytes_per_reading": rounded(run.bytes / run.stored),
            "stolen": rounded(run.stolen),
        }


def scale(stage: Stage) -> Iterator[Size]:
    """Every size, one thing changed at a time."""
    usual = stage.export(stage.rows)
    for streamers, collectors in CREWS:
        yield _size(stage, usual, streamers, collectors)
    crew = stage.terms.streamers, stage.terms.collectors
    for part in PARTS:
        yield _size(stage, stage.export(max(1, stage.rows // part)), *crew)
    for hosts in HOSTS:
        yield _size(stage, stage.exports.of(stage.rows, ("--hosts", str(hosts), *FLEET[2:])), *crew)


def markdown(sizes: Sequence[Size]) -> str:
    """The table."""
    lines = [HEADER, ["---"] * len(HEADER), *map(_cells, sizes)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _size(stage: Stage, export: Export, streamers: int, collectors: int) -> Size:
    run = once(stage, export, streamers, collectors)
    series = stage.ask("SELECT count(*) FROM (SELECT DISTINCT gpu, metric FROM samples) series")[0][0]
    size = Size(tier=stage.tier.value, series=series, streamers=streamers, collectors=collectors, run=run)
    say(", ".join(f"{name} {cell}" for name, cell in zip(HEADER, _cells(size), strict=True)))
    return size


def _cells(size: Size) -> Sequence[str]:
    run = size.run
    costs = [run.cpu[name] / run.rows * 1e6 if name in run.cpu else None for name in SPENDERS]
    return [
        size.tier,
        *(f"{count:,}" for count in (run.rows, size.series, size.streamers, size.collectors)),
        f"{run.rate:,.0f}",
        f"{run.settled_rate:,.0f}",
        *("-" if cost is None else f"{cost:.2f}" for cost in costs),
        *(f"{run.peak[name]:.0f}" for name in ("streamer", "collector")),
        f"{run.bytes / run.stored:.1f}",
        f"{run.stolen:.0%}",
    ]
