"""The dashboards' SQL as the database gets it, and a fleet that has something of all.

What lives here: filling in what Grafana fills in (pkg/tsdb/grafana-postgresql-datasource/macros.go, and variables), the
fleet. What does not: the tests (`test_dashboard_sql`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from telemetry.block import Gpu, Workload
from telemetry.catalog import METRICS
from telemetry.monitoring.written import boards
from tests.fixtures.filled import IDLE, LABELS, SECOND, Reading, gpu
from tests.fixtures.store import Database

__all__ = ["BUSY", "MIG", "SILENT", "TRAINING", "Connection", "Range", "ask", "connect", "fleet", "statements"]

Connection = psycopg.Connection[tuple[Any, ...]]

BUSY, LAZY, MIG, SILENT = gpu("node-a", 0), gpu("node-a", 1), gpu("node-b", 0, mig="7"), gpu("node-c", 2)
TRAINING = Workload("trainer", "train-1", "research", LABELS)
_RISING = {"count": 2.0, "ns": 3e8, "mJ": 7e5}
"""Of counters, by unit: in a second."""
_RATIOS = ("DCGM_FI_DEV_GPU_UTIL_RATIO", " dcgm_fi_dev_gpu_util_ratio")
_LEVEL = {"%": 40.0, "ratio": 0.4, "C": 60.0, "W": 300.0, "MiB": 40_000.0}
_OF_BUSY = {"XID_ERRORS": 79.0, "CLOCK_THROTTLE_REASONS": 0x44, "ROW_REMAP_PENDING": 1.0}


class Range:
    """What a reader chose: a range of time in µs since 1970, a step, and values of variables."""

    def __init__(self, start: int, end: int, step_ms: int, **chosen: Sequence[str] | str) -> None:
        self.start, self.end, self.step_ms, self.chosen = start, end, step_ms, chosen

    def fill(self, statement: str) -> str:
        """The statement as Grafana sends it. Raises KeyError for what it does not know."""
        first, last = (f"'{datetime.fromtimestamp(time / SECOND, UTC).isoformat()}'" for time in (self.start, self.end))
        text = re.sub(r"\$\{(\w+):(\w+)\}", self._variable, statement)
        text = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN {first} AND {last}", text)
        text = text.replace("$__timeFrom()", first).replace("$__timeTo()", last)
        words = {"__interval_ms": self.step_ms, "__from": self.start // 1000, "__to": self.end // 1000, **self.chosen}
        return re.sub(r"\$(\w+)", lambda found: str(words[found[1]]), text)

    def _variable(self, found: re.Match[str]) -> str:
        values = self.chosen[found[1]]
        if found[2] == "raw":
            return str(values)
        return ",".join(
            "'" + value.replace("'", "''") + "'" for value in ([values] if isinstance(values, str) else values)
        )


def statements(uid: str) -> Iterator[tuple[str, str, str]]:
    """Panel, form and SQL of every question of a dashboard."""
    for panel in boards()[uid]["panels"]:
        for target in panel.get("targets", []):
            if "rawSql" in target:
                yield panel["title"], target["format"], target["rawSql"]


def connect(database: Database, timeout: float = 10.0) -> Connection:
    """As the API's reader, whose statements have no more time than the API's."""
    return psycopg.connect(database.reader, autocommit=True, options=f"-c statement_timeout={timeout * 1000:.0f}")


def ask(connection: Connection, statement: str) -> list[dict[str, Any]]:
    """Rows by column."""
    cursor = connection.execute(statement)
    names = [column.name for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def fleet(metrics: Sequence[str], start: int, seconds: int, step: int = 15) -> list[Reading]:
    """Readings of these metrics of four boards, one every `step` seconds; one board falls silent halfway."""
    made: list[Reading] = []
    for time in range(0, seconds, step):
        for board in (BUSY, LAZY, MIG, *([SILENT] if time < seconds / 2 else [])):
            load = TRAINING if board is BUSY else IDLE
            made += [Reading(board, start + time * SECOND, *_value(board, metric, time), load) for metric in metrics]
    return made


def _value(board: Gpu, name: str, time: int) -> tuple[str, float]:
    """A name that the source writes, and a value: the second host writes names of the new generation."""
    entry, short = METRICS[name], name.removeprefix("DCGM_FI_DEV_")
    if short == "ECC_DBE_VOL_TOTAL":
        return name, 2.0 if board is BUSY else 0.0
    if entry.kind == "counter":
        return name, _RISING.get(entry.unit, 1.0) * time
    if entry.kind == "code":
        return name, _OF_BUSY.get(short, 0.0) if board is BUSY else 0.0
    if short == "GPU_UTIL" and board is MIG:
        return _RATIOS[time // 15 % 2], 0.5
    if short == "GPU_UTIL" and board is LAZY:
        return name, 0.0
    return name, _LEVEL.get(entry.unit, 1000.0)
