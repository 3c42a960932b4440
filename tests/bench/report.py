"""The results as people read them: a table for a terminal, one for the README, and the object of --json.

What does not live here: how they were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.bench.measure import Result

COLUMNS = ("measurement", "tier", "ours", "floor", "unit", "ratio", "goal", "reached", "spread")
MEANINGS = {
    "ingest_vs_copy_flat": "CSV to stored, against psql `\\copy` into a flat table",
    "ingest_vs_limit": "CSV to stored, against the least CPU of parsing and storing",
    "disk_vs_flat": "bytes on disk per reading, against the flat table",
    "broker_vs_redis": "publish, consume and ack, against redis-py by hand",
    "latency_vs_floor": "p99 from read to queryable, against linger + one COPY",
    "range_json_vs_sql": "one GPU's readings as JSON, against the same SQL by hand",
    "export_csv_vs_copy": "one GPU's readings as CSV, against psql `\\copy`",
    "gpu_list_growth": "GPU list, against itself on a tenth of the rows",
    "latest_growth": "latest values of a GPU, against itself on a tenth of the rows",
    "memory_growth": "peak memory of a process, against itself on a tenth of the rows",
    "api_latest_beside_ingest": "p99 of newest values among 64 connections, beside ingestion, against the same alone",
    "api_range_beside_ingest": "p99 of an hour of one GPU among 64 connections, likewise",
    "metrics_gpus_first": "a process's first scrape of 2,000 GPUs x 10 metrics, against a second",
    "metrics_gpus": "the slowest of its next ten, likewise",
}


@dataclass
class Report:
    """Everything that a run found."""

    machine: dict[str, Any]
    results: list[Result] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What could not be measured, and why; a run that has any has failed."""

    def as_dict(self) -> dict[str, Any]:
        """The object of --json."""
        found = {"machine": self.machine, "results": [result.as_dict() for result in self.results]}
        return {**found, "failures": self.failures} if self.failures else found

    def table(self) -> str:
        """For a terminal."""
        rows = [COLUMNS, *(_cells(result) for result in self.results)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def markdown(self) -> str:
        """For the README, between its marks."""
        lines = ["| what | tier | ours | floor | ratio (spread) | goal |", "|---|---|---|---|---|---|"]
        return "\n".join([*lines, *map(_line, self.results), "", self.about()])

    def about(self) -> str:
        """The machine in a sentence or two."""
        one, packages = self.machine, self.machine["packages"]
        words = [f"{one['cores']} cores of {one['cpu']}, {one['memory_gb']:g} GB", f"Python {one['python']}"]
        words += [f"{name} {packages[name]}" for name in ("pandas", "pyarrow", "psycopg", "redis")]
        return f"{', '.join(words)}; {'; '.join(_servers(*item) for item in one['servers'].items())}."


def number(value: float) -> str:
    """Three or more digits, no more than say something."""
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _cells(result: Result) -> Sequence[str]:
    reached = result.goal.reached(result.ratio)
    return (
        result.name,
        result.tier,
        number(median(result.ours)),
        number(median(result.floor)),
        result.unit,
        number(result.ratio),
        str(result.goal),
        "-" if reached is None else "yes" if reached else "NO",
        _spread(result),
    )


def _line(result: Result) -> str:
    _, tier, ours, floor, unit, ratio, goal, reached, spread = _cells(result)
    what = MEANINGS.get(result.name, result.name)
    shown = f"**{ratio}**" if reached == "yes" else ratio
    missed = " missed" if reached == "NO" else ""
    return f"| {what} | {tier} | {ours} {unit} | {floor} {unit} | {shown} ({spread}) | {goal}{missed} |"


def _spread(result: Result) -> str:
    return f"{number(min(result.ratios))} to {number(max(result.ratios))}"


def _servers(tier: str, found: Mapping[str, Any]) -> str:
    extension = f", TimescaleDB {found['timescaledb']}" if found["timescaledb"] else ""
    settings = found["postgresql_settings"]
    kept = f"fsync {settings['fsync']}, synchronous_commit {settings['synchronous_commit']}"
    return f"{tier}: PostgreSQL {found['postgresql']}{extension} ({kept}), {found['queue']}"
