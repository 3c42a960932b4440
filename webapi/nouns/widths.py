"""How wide a step is: as people write it, and which width suits a range.

What lives here: numbers of steps. What does not: what becomes of the readings in them (`steps`).
"""

import re
from typing import Any, NamedTuple

from marshmallow import ValidationError, fields

LONGEST = 2_000_000 * 86_400_000_000
"""µs of a step: some 5,000 years, of which all times that there are have three. The one before 1970 still begins where
PostgreSQL has a time for it (4713 BC)."""

PATTERN = r"^[1-9]\d{0,9}(ms|s|m|h|d|w)?$"
_UNITS = {"ms": 10**3, "s": 10**6, "m": 60 * 10**6, "h": 3_600 * 10**6, "d": 86_400 * 10**6, "w": 604_800 * 10**6}
_DAY = _UNITS["d"]

FRIENDLY = (
    *(seconds * 10**6 for seconds in (1, 5, 10, 15, 30, 60, 300, 600, 900, 1_800, 3_600, 10_800, 21_600, 43_200)),
    *(days * _DAY for days in (1, 7, 30)),
)
"""Widths that are chosen, in µs; what needs a wider one gets a multiple of the last."""


class Width(fields.Field[int]):
    """A width of steps; µs inside."""

    def __init__(self, description: str, **more: Any) -> None:
        metadata = {
            "description": description,
            "type": "string",
            "pattern": PATTERN,
            "examples": ["15s", "5m", "1h", "1d", "300"],
        }
        super().__init__(metadata=metadata, **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> int:
        if not re.fullmatch(PATTERN, value, re.ASCII):
            raise ValidationError(
                "is no width; write a whole number from 1 on with ms, s, m, h, d or w, or one of seconds, as in "
                f"{attr}=5m or {attr}=500ms"
            )
        number = value.rstrip("mshdw")
        return min(int(number) * _UNITS[value[len(number) :] or "s"], LONGEST)


def named(width: int) -> str:
    """A width in µs, of whole milliseconds, as a person writes it."""
    unit, size = [(unit, size) for unit, size in _UNITS.items() if unit != "w" and width % size == 0][-1]
    return f"{width // size}{unit}"


class Bounds(NamedTuple):
    """A range of time, both ends inclusive, in µs since 1970."""

    first: int
    last: int

    def steps(self, width: int) -> int:
        """How many steps of this width it has a part in; they are counted from 1970."""
        return self.last // width - self.first // width + 1

    def fitting(self, most: int) -> int:
        """The smallest friendly width of which there are at most so many steps; if there is none, the longest."""
        for width in FRIENDLY:
            if self.steps(width) <= most:
                return width
        month = FRIENDLY[-1]
        width = 2 * month
        while self.steps(width) > most and width < LONGEST:
            width += max(month, width // 8 // month * month)
        return min(width, LONGEST)
