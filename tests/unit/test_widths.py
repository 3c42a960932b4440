"""Widths of steps: which ones are chosen, and what they are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.block import MAX_TIME, MIN_TIME
from webapi.nouns.widths import FRIENDLY, LONGEST, Bounds, named

MINUTE, HOUR, DAY = 60 * 10**6, 3_600 * 10**6, 86_400 * 10**6


@pytest.mark.parametrize(
    ("first", "last", "steps"),
    [(0, 0, 1), (0, MINUTE - 1, 1), (0, MINUTE, 2), (-1, 0, 2), (-MINUTE, -1, 1), (MINUTE - 1, MINUTE, 2)],
)
def test_steps_are_counted_from_1970_to_either_side(first: int, last: int, steps: int) -> None:
    assert Bounds(first, last).steps(MINUTE) == steps


@pytest.mark.parametrize(
    ("length", "most", "width"),
    [
        (HOUR, 3_601, "1s"),
        (HOUR, 3_600, "5s"),
        (HOUR, 61, "1m"),
        (HOUR, 60, "5m"),
        (365 * DAY, 100, "7d"),
        (365 * DAY, 5, "90d"),
    ],
)
def test_the_smallest_friendly_width_that_fits_is_chosen(length: int, most: int, width: str) -> None:
    assert named(Bounds(0, length).fitting(most)) == width


@given(st.integers(MIN_TIME, MAX_TIME), st.integers(MIN_TIME, MAX_TIME), st.integers(3, 11_000))
def test_from_three_on_there_is_a_width_for_every_range(one: int, other: int, most: int) -> None:
    bounds = Bounds(min(one, other), max(one, other))
    width = bounds.fitting(most)
    assert bounds.steps(width) <= most
    narrower = [friendly for friendly in FRIENDLY if friendly < width]
    assert all(bounds.steps(friendly) > most for friendly in narrower)
    assert width <= LONGEST


@pytest.mark.parametrize(
    ("width", "name"),
    [
        (1_000, "1ms"),
        (1_500_000, "1500ms"),
        (15 * 10**6, "15s"),
        (90 * 10**6, "90s"),
        (36 * HOUR, "36h"),
        (7 * DAY, "7d"),
    ],
)
def test_a_width_is_called_by_its_largest_unit(width: int, name: str) -> None:
    assert named(width) == name
