"""Boards: what the rows of one GPU are together. A MIG instance has a row of its own, and so has a place it left.

What lives here: which rows are one board, and what a value that several of them report is for the board. What does
not: asking for rows and values (`fleet`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from math import fsum

from telemetry.store.questions.fleet import Newest
from telemetry.store.questions.reader import GpuRow

Instance = tuple[tuple[str, str], ...]
"""The labels of a MIG instance, sorted; () is the board itself."""


@dataclass(frozen=True, slots=True)
class Board:
    """All rows of one id, the latest first."""

    rows: Sequence[GpuRow]

    @property
    def latest(self) -> GpuRow:
        """The row that was seen last: where the board is."""
        return self.rows[0]

    @property
    def last_seen(self) -> datetime | None:
        """When it was; up to 10 s behind its newest reading."""
        return self.latest.last_seen


def boards(rows: Sequence[GpuRow]) -> list[Board]:
    """The boards of rows that stand by id, the latest first, as `Fleet.part` gives them."""
    return [Board(list(group)) for _, group in groupby(rows, key=lambda row: row.id)]


def instance_of(row: GpuRow) -> Instance:
    """Which MIG instance a row is; () for the board."""
    return tuple(sorted(row.labels.items()))


def newest_of(rows: Sequence[GpuRow], values: Mapping[tuple[int, str], Newest], metric: str) -> dict[Instance, Newest]:
    """The newest value of each instance, wherever it was; `values` by number of the row and canonical metric."""
    found: dict[Instance, Newest] = {}
    for row in rows:
        value, instance = values.get((row.number, metric)), instance_of(row)
        if value is not None and (instance not in found or found[instance].time < value.time):
            found[instance] = value
    return found


def mean(values: Mapping[Instance, float]) -> float | None:
    """Of what each instance says of the whole board, like its power: the board's own word, else their mean."""
    if () in values:
        return values[()]
    return fsum(values.values()) / len(values) if values else None


def total(values: Mapping[Instance, float]) -> float | None:
    """Of what each instance has of the board, like memory: the board's own word, else their sum."""
    if () in values:
        return values[()]
    return fsum(values.values()) if values else None
