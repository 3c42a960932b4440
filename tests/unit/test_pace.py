"""Pace: how many rows when, on a clock that the test moves."""

from __future__ import annotations

import pytest

from telemetry.runtime.stop import Stop
from telemetry.streamer.pace import BLOCK_SECONDS, Pace
from tests.fixtures.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def pace_of(clock: ManualClock, rate: float, block_rows: int = 5_000) -> Pace:
    return Pace(rate=rate, block_rows=block_rows, clock=clock)


@pytest.mark.parametrize(
    ("rate", "block_rows", "rows"),
    [(0, 5_000, 5_000), (1e9, 5_000, 5_000), (1_000, 5_000, 200), (1, 5_000, 1), (0, 1, 1)],
)
def test_a_block_is_as_large_as_a_fifth_of_a_second_allows(
    clock: ManualClock, rate: float, block_rows: int, rows: int
) -> None:
    assert pace_of(clock, rate, block_rows).rows(1) == rows


def test_a_block_is_cut_at_whole_rows_of_the_file_and_holds_one_at_least(clock: ManualClock) -> None:
    assert pace_of(clock, 0, 5_000).rows(30) == 4_980
    assert pace_of(clock, 1, 5_000).rows(30) == 30


def test_blocks_are_halved_while_the_queue_fills(clock: ManualClock) -> None:
    pace = pace_of(clock, 0, 1_000)
    pace.pressure = 0.79
    assert pace.rows(1) == 1_000
    pace.pressure = 0.8
    assert pace.rows(1) == 500
    assert pace.rows(1_000) == 1_000


def test_a_block_has_no_more_rows_than_fit_into_a_message(clock: ManualClock) -> None:
    pace = Pace(rate=0, block_rows=5_000, clock=clock)
    assert pace.rows(10) == 5_000
    pace.fitting = 1_999
    assert pace.rows(10) == 1_990
    pace.fitting = 0
    assert pace.rows(10) == 10


@pytest.mark.parametrize("rate", [0.5, 7, 5_000, 123_456])
def test_no_more_rows_are_read_than_the_rate_allows(clock: ManualClock, rate: float) -> None:
    pace, stop, read = pace_of(clock, rate), Stop(), 0
    start = clock.now
    while clock.now < start + 100:
        rows = pace.rows(1)
        if pace.wait(rows, stop, at_most=2.0):
            read += rows
    assert read / (clock.now - start) == pytest.approx(rate, rel=0.03)


def test_after_a_pause_the_rate_is_not_made_up_for(clock: ManualClock) -> None:
    pace, stop = pace_of(clock, 1_000), Stop()
    assert pace.wait(200, stop, at_most=2.0)
    clock.now += 3_600
    resumed, read = clock.now, 0
    while clock.now < resumed + 10:
        assert pace.wait(200, stop, at_most=2.0)
        read += 200
    assert read <= 1_000 * (10 + 3 * BLOCK_SECONDS)


def test_a_long_wait_comes_in_pieces_and_adds_up(clock: ManualClock) -> None:
    pace, stop = pace_of(clock, 0.01), Stop()
    assert pace.wait(1, stop, at_most=2.0)
    start, pieces = clock.now, 1
    while not pace.wait(1, stop, at_most=2.0):
        pieces += 1
    assert pieces == 50
    assert clock.now - start == pytest.approx(100)


@pytest.mark.parametrize("rate", [0, 1_000])
def test_a_stop_ends_the_wait(clock: ManualClock, rate: float) -> None:
    pace, stop = pace_of(clock, rate), Stop()
    stop.set()
    assert not pace.wait(200, stop, at_most=2.0)
    assert not pace.wait(200, stop, at_most=2.0)
