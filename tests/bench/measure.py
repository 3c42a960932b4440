"""Ours and the floor in turns, and what that says: medians, ratio, spread, goal.

What lives here: arithmetic, on numbers that were measured. What does not: servers, data, and what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Measure = Callable[[], float]
"""Does the work once and says how it went in the result's unit: rows per second, seconds, bytes per row."""


class NothingMeasured(ValueError):
    """Raised when a ratio would be made of no measurement, of zero or of what is no number."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What the ratio ours / floor must be: at least, or at most, so much. Neither: it is told, and has no goal."""

    least: float = -math.inf
    most: float = math.inf

    @property
    def is_none(self) -> bool:
        """Whether any ratio would do."""
        return math.isinf(self.least) and math.isinf(self.most)

    def reached(self, ratio: float) -> bool | None:
        """Whether the ratio is within the goal; None without one."""
        return None if self.is_none else self.least <= ratio <= self.most

    def __str__(self) -> str:
        if self.is_none:
            return "-"
        return f">= {self.least:g}" if self.most == math.inf else f"<= {self.most:g}"


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table: a figure on a tier, round by round.

    `ours[i]` and `floor[i]` were measured one right after the other, so that a machine that slows down in between
    rounds slows both; `more` is what a reader wants beside it (CPU seconds, peak memory, sizes).
    """

    name: str
    tier: str
    unit: str
    goal: Goal
    ours: Sequence[float]
    floor: Sequence[float]
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.ours or len(self.ours) != len(self.floor):
            raise NothingMeasured(f"{self.name}: {len(self.ours)} rounds of ours, {len(self.floor)} of the floor")
        for value in (*self.ours, *self.floor):
            if not (math.isfinite(value) and value > 0):
                raise NothingMeasured(f"{self.name}: a round measured {value} {self.unit}")

    @property
    def ratios(self) -> list[float]:
        """Ours / floor of each round."""
        return [ours / floor for ours, floor in zip(self.ours, self.floor, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios)

    def as_dict(self) -> dict[str, Any]:
        """For --json: medians, the ratio, and the lowest and highest ratio of a round as `spread`."""
        return {
            "name": self.name,
            "tier": self.tier,
            "ours": rounded(median(self.ours)),
            "floor": rounded(median(self.floor)),
            "unit": self.unit,
            "ratio": rounded(self.ratio),
            "goal": str(self.goal),
            "reached": self.goal.reached(self.ratio),
            "rounds": len(self.ours),
            "spread": [rounded(min(self.ratios)), rounded(max(self.ratios))],
            **self.more,
        }


def in_turns(rounds: int, ours: Measure, floor: Measure) -> tuple[list[float], list[float]]:
    """Measure both `rounds` times; who goes first changes from round to round."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            found[which].append((ours, floor)[which]())
    return found


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")
