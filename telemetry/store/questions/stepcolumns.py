"""The columns in which the values of steps come from the database, and how parts of a range become one.

What does not live here: asking for them (`steps`), their names (`aggregates`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry.block import MIN_TIME
from telemetry.store.copy import EPOCH_2000
from telemetry.store.questions.aggregates import Aggregate

COLUMNS = (">i8", ">i8", ">i8", ">f8")
"""step, key, readings, value: as PostgreSQL's send functions write them."""

MERGED = {
    Aggregate.AVG: np.add,
    Aggregate.SUM: np.add,
    Aggregate.COUNT: np.add,
    Aggregate.MIN: np.minimum,
    Aggregate.MAX: np.maximum,
}
"""The aggregates that can be put together from those of parts, and how; an average is a sum until it is answered."""

ADDED = (Aggregate.AVG, Aggregate.SUM, Aggregate.RATE)
"""The aggregates that add values up, and so must not meet any that are too large to be added."""


class Found(NamedTuple):
    """Values of shape (n,): time in µs since 1970, the key of the group (`stepgroups`), and of how many readings."""

    time: NDArray[np.int64]
    key: NDArray[np.int64]
    readings: NDArray[np.int64]
    value: NDArray[np.float64]


def unpack(columns: Sequence[bytes | None]) -> Found:
    """The columns in native byte order; None: no rows. A step that began before the year 1 begins with it."""
    arrays = [np.frombuffer(data or b"", kind) for data, kind in zip(columns, COLUMNS, strict=True)]
    time, key, readings = (array.astype(np.int64) for array in arrays[:3])
    return Found(np.maximum(time + EPOCH_2000, MIN_TIME), key, readings, arrays[3].astype(np.float64))


def merged(parts: Sequence[Found], agg: Aggregate) -> Found:
    """Parts of a range as one: what is of the same step and key becomes one value."""
    if len(parts) == 1:
        return parts[0]
    time, key, readings, value = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if not len(time):
        return parts[0]
    order = np.lexsort((key, time))
    time, key = time[order], key[order]
    new = (np.diff(time) != 0) | (np.diff(key) != 0)
    first = np.concatenate([[0], np.flatnonzero(new) + 1])
    return Found(
        time[first],
        key[first],
        np.add.reduceat(readings[order], first),
        MERGED[agg].reduceat(value[order], first),
    )
