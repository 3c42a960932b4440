"""Robust z-scores: how far a value lies from its peers, told so that a few odd ones do not hide themselves.

What lives here: the arithmetic. What does not: whose values, and who the peers are (`fleetanomalies`).
"""

from collections.abc import Sequence
from math import fsum
from statistics import median
from typing import NamedTuple

FEWEST = 5
"""Peers that a median and a deviation need to mean anything: with four, one odd value moves both."""

_MAD, _MEAN = 1.4826, 1.2533
"""What makes the median and the mean of absolute deviations the standard deviation, if values are normal."""


class Spread(NamedTuple):
    """Where the middle of some values is, and how far is far. `scale` 0: all of them are the same."""

    median: float
    scale: float
    method: str

    def score(self, value: float) -> float:
        """The modified z-score of B. Iglewicz and D. Hoaglin, "How to Detect and Handle Outliers" (1993), signed."""
        return (value - self.median) / self.scale if self.scale else 0.0


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value: by the median absolute deviation, and where that is 0 by the mean one."""
    middle = median(values)
    away = [abs(value - middle) for value in values]
    if (deviation := median(away)) > 0:
        return Spread(middle, _MAD * deviation, "median-absolute-deviation")
    return Spread(middle, _MEAN * fsum(away) / len(away), "mean-absolute-deviation")
