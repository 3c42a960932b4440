"""The newest reading of every series, from one look to the next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import LiteralString

import numpy as np
import pytest

from telemetry.store.pool import Pool
from telemetry.store.queries import query
from telemetry.store.questions import current as module
from telemetry.store.questions.current import Current, Fleetwide, Values, newest
from tests.fixtures.filled import POWER, SECOND, TEMP, UTIL, Reading, fill, gpu
from tests.fixtures.store import Database

A, B = gpu("a", 0), gpu("b", 0)
EXPLAIN: LiteralString = "EXPLAIN "


@pytest.fixture
def pool(database: Database) -> Iterator[Pool]:
    """The reader's connections."""
    pool = Pool(url=database.reader, size=1)
    yield pool
    pool.close()


def now() -> int:
    return time.time_ns() // 1_000


def told(look: Fleetwide) -> dict[tuple[str, str], float]:
    """Values by host and metric."""
    columns = zip(look.values.gpu.tolist(), look.values.metric.tolist(), look.values.value.tolist(), strict=True)
    return {(look.gpus[gpu].hostname, look.metrics[metric].name): value for gpu, metric, value in columns}


def test_a_look_shows_the_newest_values_and_keeps_those_of_the_ones_before(database: Database, pool: Pool) -> None:
    at = now()
    fill(database, [Reading(A, at - 60 * SECOND, TEMP, 1), Reading(A, at - 250 * SECOND, UTIL, 2)])
    current = Current(pool=pool, most=100)
    assert told(current.look()) == {("a", TEMP): 1, ("a", UTIL): 2}
    fill(
        database, [Reading(A, at - 5 * SECOND, TEMP, 3), Reading(B, at, POWER, 4), Reading(B, at - 9 * SECOND, TEMP, 5)]
    )
    fill(database, [Reading(A, at - 6 * SECOND, TEMP, 9), Reading(A, at - 400 * SECOND, POWER, 9)])
    fill(database, [Reading(B, at - 9 * SECOND, POWER, 9)])
    look = current.look()
    assert told(look) == {("a", TEMP): 3, ("a", UTIL): 2, ("b", POWER): 4, ("b", TEMP): 5}
    assert {look.gpus[number].hostname for number in look.seen} == {"a", "b"}


def test_a_gpu_that_had_a_reading_of_the_future_is_heard_of_by_its_others_and_missed_for_a_day(
    database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now()
    fill(database, [Reading(A, at + 3_600 * SECOND, TEMP, 1)])
    current = Current(pool=pool, most=100)
    assert not current.look().gpus, "no sign of life"
    fill(database, [Reading(A, at - ago * SECOND, metric, 2) for ago, metric in ((9, TEMP), (1, POWER), (5, UTIL))])
    for fresh, values in ((module.FRESH, 3), (0.0, 0)):  # a silent one has no values left in the end
        monkeypatch.setattr(module, "FRESH", fresh)
        look = current.look()
        assert (len(told(look)), [row.hostname for row in look.gpus.values()]) == (values, ["a"])
        assert list(look.seen.values()) == [pytest.approx(at / 1e6 - 1)]
    monkeypatch.setattr(module, "DAY", 0.0)
    assert not current.look().gpus


def test_of_a_large_fleet_what_is_reported_less_often_comes_with_the_next_looks(
    database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 3_600.0)  # a busy machine may be slow; it is asked all the same
    at = now()
    fill(
        database, [Reading(A, at - ago * SECOND, metric, ago) for ago, metric in ((1, TEMP), (50, UTIL), (200, POWER))]
    )
    current = Current(pool=pool, most=100, many=1)
    assert [len(told(current.look())) for _ in range(4)] == [1, 2, 3, 3]


def test_of_a_series_that_has_a_newer_reading_the_older_ones_are_not_sorted(database: Database, pool: Pool) -> None:
    fill(database, [Reading(A, now() - ago * SECOND, TEMP, ago) for ago in range(30)])
    asked = {"start": "-infinity", "split": "now", "end": "infinity", "limit": 100_001}
    with pool.use() as connection:
        plan = "\n".join(row[0] for row in connection.execute(EXPLAIN + query("current", file=module.QUESTIONS), asked))
    assert "hashed SubPlan" in plan, "whatever the planner knows of the table, which is new"


def test_slices_that_would_take_too_long_are_left_out(
    database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    at = now()
    fill(database, [Reading(A, at - ago * SECOND, metric, ago) for ago, metric in ((1, TEMP), (50, UTIL))])
    current = Current(pool=pool, most=100, many=1)
    assert [len(told(current.look())) for _ in range(2)] == [1, 1]


def test_more_series_than_may_be_are_cut_and_it_is_told_how_many(database: Database, pool: Pool) -> None:
    fill(database, [Reading(gpu("a", n), now(), TEMP, n) for n in range(5)])
    look = Current(pool=pool, most=3).look()
    assert (len(look.values.time), look.cut) == (3, 2)
    assert Current(pool=pool, most=5).look().cut == 0


def test_more_gpus_than_may_be_are_cut_those_that_live_and_are_known_longest_stay(
    database: Database, pool: Pool
) -> None:
    at = now()
    fill(database, [Reading(gpu("gone", 0), at - 900 * SECOND, TEMP, 1)])
    fill(database, [Reading(gpu("known", n), at - 9 * SECOND, TEMP, n) for n in range(2)])
    fill(database, [Reading(gpu("made-up", n), at, TEMP, n) for n in range(3)])
    fill(database, [Reading(gpu("ahead", 0), at + 3_600 * SECOND, UTIL, 1), Reading(gpu("ahead", 0), at, TEMP, 1)])

    def shown(current: Current) -> tuple[list[str], int]:
        look = current.look()
        return [row.hostname for _, row in sorted(look.gpus.items())], look.cut

    current = Current(pool=pool, most=100, boards=3)
    # at least so many: three GPUs, and the values of three
    assert [shown(current) for _ in range(2)] == [(["known", "known", "made-up"], 6)] * 2
    assert shown(Current(pool=pool, most=100, boards=6)) == (["known", "known", *["made-up"] * 3, "ahead"], 1)
    assert shown(Current(pool=pool, most=100, boards=7)) == (["gone", "known", "known", *["made-up"] * 3, "ahead"], 0)


def test_of_each_series_the_newest_is_kept_unless_it_is_too_old() -> None:
    whole = [np.array(column, np.int64) for column in ([5, 7, 7, 3, 9], [1, 1, 1, 1, 2], [4, 4, 4, 5, 4], [0] * 5)]
    kept = newest(Values(whole[0], whole[1], whole[2], whole[3], np.array([1.0, 2, 3, 4, 5])), 5)
    assert (kept.gpu.tolist(), kept.value.tolist()) == ([1, 2], [3, 5])
