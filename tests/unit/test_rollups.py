"""How a range is cut between rollups and samples."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.store.questions.rollups import BUCKETS, PIECES, SAMPLES, WORTH, Piece, fitting, pieces

MINUTE, HOUR, DAY = BUCKETS.values()
LEVELS = [3, 2, 1]


@pytest.mark.parametrize(
    ("step", "levels"),
    [(0, LEVELS), (MINUTE, [1]), (90 * 10**6, []), (HOUR, [2, 1]), (36 * HOUR, [2, 1]), (7 * DAY, LEVELS), (1, [])],
)
def test_the_rollups_of_a_step_are_those_whose_buckets_divide_it(step: int, levels: list[int]) -> None:
    assert fitting(step) == levels


def test_whole_buckets_go_to_the_coarsest_and_the_ends_to_finer_ones() -> None:
    start, end = DAY - 5 * HOUR - 7, 7 * DAY + 6 * HOUR + 9 * MINUTE
    assert pieces(start, end, LEVELS, {}) == [
        Piece(SAMPLES, start, DAY - 5 * HOUR - 1),
        Piece(2, DAY - 5 * HOUR, DAY - HOUR),
        Piece(3, DAY, 6 * DAY),
        Piece(2, 7 * DAY, 7 * DAY + 5 * HOUR),
        Piece(1, 7 * DAY + 6 * HOUR, 7 * DAY + 6 * HOUR + 8 * MINUTE),
        Piece(SAMPLES, end, end),
    ]


def test_what_is_in_doubt_goes_to_samples_with_the_whole_of_its_bucket() -> None:
    doubt = (5 * HOUR + 1, 5 * HOUR + 2)
    assert pieces(0, 10 * HOUR - 1, [2], {2: [doubt]}) == [
        Piece(2, 0, 4 * HOUR),
        Piece(SAMPLES, 5 * HOUR, 6 * HOUR - 1),
        Piece(2, 6 * HOUR, 9 * HOUR),
    ]


def test_too_few_buckets_are_not_worth_a_question() -> None:
    assert pieces(0, WORTH * HOUR - 2, [2], {}) == [Piece(SAMPLES, 0, WORTH * HOUR - 2)]


def test_where_samples_were_dropped_rollups_are_asked_however_few_buckets_it_is_and_samples_beside_them() -> None:
    doubts = {SAMPLES: [(2 * HOUR, 6 * HOUR)], 2: [(0, 2 * HOUR)], 1: [(6 * HOUR, DAY)]}
    assert pieces(HOUR + 1, 4 * HOUR + 3 * MINUTE - 2, [2, 1], doubts) == [
        Piece(SAMPLES, HOUR + 1, HOUR + MINUTE - 1),
        Piece(1, HOUR + MINUTE, 2 * HOUR - MINUTE),
        Piece(2, 2 * HOUR, 3 * HOUR),
        Piece(1, 4 * HOUR, 4 * HOUR + MINUTE),
        Piece(SAMPLES, 2 * HOUR, 4 * HOUR + 3 * MINUTE - 2),
    ]


def test_a_dropped_time_without_a_rollup_is_asked_of_samples_once() -> None:
    doubts = {SAMPLES: [(0, DAY), (2 * DAY, 3 * DAY)], 1: [(0, DAY)]}
    assert pieces(HOUR + 1, DAY + 9, [1], doubts) == [Piece(SAMPLES, HOUR + 1, DAY - 1), Piece(SAMPLES, DAY, DAY + 9)]


SPANS = st.lists(st.tuples(st.integers(-DAY, 9 * DAY), st.integers(1, DAY)), max_size=12)


@given(st.integers(-DAY, 9 * DAY), st.integers(-5, 9 * DAY), st.lists(SPANS, min_size=3, max_size=3))
def test_the_pieces_are_the_range_and_no_bucket_with_a_doubt_is_asked_of_a_rollup(
    start: int, length: int, spans: list[list[tuple[int, int]]]
) -> None:
    doubts = {level: sorted((low, low + more) for low, more in found) for level, found in enumerate(spans, 1)}
    cut = pieces(start, start + length, LEVELS, doubts)
    ends = [(each.start, each.end + BUCKETS.get(each.level, 1)) for each in cut]
    assert all(before[1] == after[0] for before, after in pairwise(ends))
    assert (ends[0][0], ends[-1][1]) == (start, start + length + 1) if length >= 0 else not ends
    for piece, (low, high) in zip(cut, ends, strict=True):
        assert low < high
        if piece.level != SAMPLES:
            assert low % BUCKETS[piece.level] == high % BUCKETS[piece.level] == 0
            assert not any(low < end and begin < high for begin, end in doubts[piece.level])
    assert sum(piece.level == 3 for piece in cut) <= PIECES
