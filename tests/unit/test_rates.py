"""Rates of counters, however the readings come in slices."""

import random
from itertools import pairwise

import numpy as np
import pytest

from telemetry.store.questions.rates import Rates, Side, Terms
from telemetry.store.questions.slices import Columns
from telemetry.store.questions.stepcolumns import Found

SECOND = 1_000_000
TERMS = Terms(
    step=10 * SECOND,
    origin=0,
    metrics=Side([1, 2, 5], [0, 0, 100]),
    places=Side([1, 2, 3], [0, 10, 10]),
    loads=Side([], []),
    most=[5.0, 5.0, np.inf],
    series=[(1, 1), (2, 2), (3, 2)],
    gpus=None,
    workloads=None,
)
"""Two names of one metric and one of another; a GPU, and one of two rows."""


def columns(rows: list[tuple[int, int, int, float]]) -> Columns:
    time, gpu, metric = (np.array([row[place] for row in rows], np.int64) for place in range(3))
    return Columns(time, gpu, metric, np.full(len(rows), 7), np.array([row[3] for row in rows]))


def rates(*slices: list[tuple[int, int, int, float]]) -> Found:
    found = Rates(TERMS)
    for rows in slices:
        found.add(columns(rows))
    return found.found()


@pytest.mark.parametrize("cuts", [(1,), (30,), (7, 8, 9, 60), tuple(range(1, 99))])
def test_they_are_the_same_in_however_many_slices_the_readings_come(cuts: tuple[int, ...]) -> None:
    chance = random.Random(7)
    rows = [
        (at * SECOND, gpu, metric, float(at + chance.randrange(4)))
        for at in range(100)
        for gpu in (1, 2, 3)
        for metric in chance.sample((1, 2, 5), chance.randrange(4))
    ]
    ends = [0, *cuts, 100]
    slices = [[row for row in rows if low * SECOND <= row[0] < high * SECOND] for low, high in pairwise(ends)]
    whole, parts = rates(rows), rates(*(chance.sample(some, len(some)) for some in slices if some))
    assert list(zip(parts.time.tolist(), parts.key.tolist(), strict=True)) == list(
        zip(whole.time.tolist(), whole.key.tolist(), strict=True)
    )
    assert parts.value.tolist() == pytest.approx(whole.value.tolist())
    assert set(whole.key.tolist()) == {0, 10, 100, 110}


def test_what_a_series_rose_counts_for_the_instant_that_ends_it_and_a_jump_for_nobody() -> None:
    found = rates([(0, 1, 1, 10.0), (5 * SECOND, 1, 2, 20.0)], [(12 * SECOND, 1, 1, 27.0), (13 * SECOND, 1, 1, 99.0)])
    assert (found.time.tolist(), found.value.tolist()) == ([0, 10 * SECOND], [2.0, 1.0])
