"""What lies between two readings of a counter of energy, and what cannot."""

import numpy as np
import pytest

from telemetry.store.questions.integrals import MOST_WATTS, increase


@pytest.mark.parametrize(
    ("before", "after", "seconds", "counted"),
    [
        (1_000, 301_000, 1, 300_000),
        (1_000, 1_000 + MOST_WATTS * 1e3, 1, MOST_WATTS * 1e3),
        (1_000, 2_000 + MOST_WATTS * 1e3, 1, 0),
        (5e8, 9_000, 30, 9_000),
        (5e8, 4e8, 30, 0),
        (1_000, 900_000_000, 1e-4, 0),
        (7, 7, 0, 0),
        (7, 8, 0, 0),
    ],
)
def test_only_what_a_board_can_draw_is_counted(before: float, after: float, seconds: float, counted: float) -> None:
    found = increase(np.array([before]), np.array([after]), np.array([float(seconds)]))
    assert float((found.first + found.second)[0]) == counted
    assert found.seconds.tolist() == [seconds]
