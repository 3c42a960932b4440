"""The benchmark's arithmetic, and that a small run of it gives numbers that agree with each other.

What does not live here: any judgement of a time. A test that measures nothing may run on any machine.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from telemetry.store.tiers import Tier
from tests.bench.exports import Export, Exports
from tests.bench.floors import Least
from tests.bench.ingest import further
from tests.bench.latency import Lags, Onlooker
from tests.bench.measure import Goal, NothingMeasured, Result, in_turns, rounded
from tests.bench.once import Once, check
from tests.bench.report import Report
from tests.bench.scale import Size, markdown
from tests.bench.stage import BenchFailed, Stage, Terms
from tests.fixtures.pipeline import ROOT
from tests.fixtures.process import plain_env

AT_LEAST, AT_MOST, NONE = Goal(least=5), Goal(most=0.02), Goal()


def result(ours: list[float], floor: list[float], goal: Goal = AT_LEAST) -> Result:
    return Result("ingest_vs_copy_flat", "plain", "rows/s", goal, ours, floor, {"rows": 7})


def test_the_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_medians() -> None:
    one = result([10, 40, 90], [10, 10, 10])
    other = result([10, 100, 100], [10, 50, 100])
    assert (one.ratio, other.ratio) == (4, 1)
    assert (other.as_dict()["ours"], other.as_dict()["floor"]) == (100, 50)


def test_the_spread_is_the_lowest_and_the_highest_ratio_of_a_round() -> None:
    assert result([10, 100, 100], [10, 50, 100]).as_dict()["spread"] == [1, 2]


def test_a_goal_is_reached_on_its_own_side_only() -> None:
    assert AT_LEAST.reached(5.0)
    assert not AT_LEAST.reached(4.99)
    assert AT_MOST.reached(0.02)
    assert not AT_MOST.reached(0.021)
    assert [str(goal) for goal in (AT_LEAST, AT_MOST, NONE)] == [">= 5", "<= 0.02", "-"]


def test_what_has_no_goal_is_neither_reached_nor_missed() -> None:
    one = result([1], [2], NONE)
    assert one.as_dict()["reached"] is None
    assert "missed" not in Report(about_nothing(), [one]).markdown()


@pytest.mark.parametrize(
    ("ours", "floor"),
    [([], []), ([1.0], []), ([0.0], [1.0]), ([1.0], [0.0]), ([1.0], [math.nan]), ([math.inf], [1.0]), ([-1.0], [1.0])],
)
def test_no_ratio_is_made_of_an_empty_or_a_zero_measurement(ours: list[float], floor: list[float]) -> None:
    with pytest.raises(NothingMeasured):
        result(ours, floor)


def test_ours_and_the_floor_take_turns_in_going_first() -> None:
    order: list[str] = []

    def measure(name: str, value: float) -> Callable[[], float]:
        return lambda: order.append(name) or value  # type: ignore[func-returns-value]

    assert in_turns(3, measure("ours", 2), measure("floor", 4)) == ([2, 2, 2], [4, 4, 4])
    assert order == ["ours", "floor", "floor", "ours", "ours", "floor"]


def test_four_digits_are_told() -> None:
    assert [rounded(value) for value in (123456.0, 0.0123456)] == [123500.0, 0.01235]


def test_the_limit_is_what_all_cores_could_do_with_the_least_cpu() -> None:
    assert Least(parse=2e-6, client=1e-6, server=1e-6).limit(2) == pytest.approx(500_000)


def ran() -> Once:
    used = {name: 0.001 for name in ("streamers", "collectors", "postgres")}
    peak = {"streamer": 100.0, "collector": 50.0}
    return Once(
        rows=1_000, stored=900, seconds=2, start=1, settled_rate=1_000, transaction_rows=1, bytes=1_800, cpu=used,
        peak=peak, stolen=0,
    )  # fmt: skip


def test_a_runs_rate_counts_every_row_that_was_read_and_all_of_the_time() -> None:
    assert ran().rate == 500


def test_the_cost_of_a_row_is_told_by_who_pays_it() -> None:
    size = Size(tier="plain", series=10, streamers=2, collectors=1, run=ran())
    found = size.as_dict()
    assert found["us_per_row"] == {"streamers": 1.0, "collectors": 1.0, "postgres": 1.0}
    assert found["bytes_per_reading"] == 2.0
    header, _, line = markdown([size]).splitlines()
    assert header.count("|") == line.count("|")
    assert "| 1.00 | 1.00 | - | 1.00 | 100 | 50 | 2.0 |" in line


def test_the_cpu_of_a_further_row_leaves_out_what_starting_takes() -> None:
    more = replace(ran(), rows=1_001_000, cpu={name: 2.001 for name in ran().cpu})
    assert further([more, more], [ran()]) == {"streamers": 2.0, "collectors": 2.0, "postgres": 2.0}
    assert further([ran()], [ran()]) == {}


def lags(seconds: list[float], *, asked: float = 100, rate: float = 100, growing: bool = False) -> Lags:
    return Lags(asked=asked, rate=rate, seconds=np.array(seconds), transaction_rows=10, growing=growing)


def test_a_latency_is_that_of_each_reading_by_its_own_stamp() -> None:
    onlooker = Onlooker.__new__(Onlooker)
    onlooker.blocks = {0: (3, 1_000_000, 1_500_000), 3: (2, 1_200_000, 1_400_000), 5: (1, 9_000_000, 9_100_000)}
    found = onlooker.lags(1_000_000, 2_000_000)
    assert found.tolist() == pytest.approx([0.5, 0.499999, 0.499998, 0.2, 0.199999])


def test_a_rate_is_that_between_the_first_and_the_last_that_came_into_sight() -> None:
    onlooker = Onlooker.__new__(Onlooker)
    onlooker.blocks = {0: (50, 0, 2_000_000), 50: (50, 0, 2_000_000), 100: (30, 0, 3_000_000), 130: (30, 0, 4_000_000)}
    assert onlooker.rate(1_000_000, 5_000_000) == 30
    assert onlooker.rate(1_000_000, 3_000_000) == 0


def test_a_rate_is_held_when_it_was_read_and_nothing_waits_longer_and_longer() -> None:
    assert lags([1]).held
    assert not lags([1], rate=90).held
    assert not lags([1], growing=True).held


def test_a_percentile_weighs_readings_and_not_blocks() -> None:
    assert lags([0.1] * 98 + [5.0] * 2).at(0.99) == pytest.approx(5.0)
    assert lags([0.1] * 100).at(0.99) == pytest.approx(0.1)


def test_a_table_says_which_goals_were_missed() -> None:
    report = Report(about_nothing(), [result([10], [10]), result([60], [10])])
    _, missed, reached = report.table().splitlines()
    assert (" NO " in missed, " yes " in reached) == (True, True)
    assert report.markdown().count("missed") == 1


def test_a_failed_measurement_is_told_in_json() -> None:
    assert "failures" not in Report(about_nothing(), []).as_dict()
    assert Report(about_nothing(), [], ["a row was lost"]).as_dict()["failures"] == ["a row was lost"]


def about_nothing() -> dict[str, Any]:
    packages = dict.fromkeys(("pandas", "pyarrow", "psycopg", "redis"), "1")
    return {"cores": 2, "cpu": "x", "memory_gb": 1.0, "python": "3", "packages": packages, "servers": {}}


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    """What a small run prints."""
    words = ["--rows", "5000", "--rounds", "1", "--tier", "plain", "--streamers", "1", "--json"]
    names = ["--only", "ingest_vs_copy_flat", "--only", "disk_vs_flat"]
    argv = [sys.executable, "-m", "tests.bench", *words, *names]
    done = subprocess.run(argv, cwd=ROOT, env=plain_env(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_run_gives_what_was_asked_for_and_nothing_else(run: dict[str, Any]) -> None:
    assert [(one["name"], one["tier"]) for one in run["results"]] == [
        ("ingest_vs_copy_flat", "plain"),
        ("disk_vs_flat", "plain"),
    ]
    assert {"name", "tier", "ours", "floor", "unit", "ratio", "goal", "rounds", "spread"} <= run["results"][0].keys()


def test_the_numbers_of_a_run_agree_with_each_other(run: dict[str, Any]) -> None:
    for one in run["results"]:
        assert one["ratio"] == pytest.approx(one["ours"] / one["floor"], rel=2e-3)
        assert one["rounds"] == 1
        assert one["spread"] == [one["ratio"], one["ratio"]]
    ingested, disk = run["results"]
    assert ingested["ours"] * ingested["seconds"] == pytest.approx(ingested["rows"], rel=2e-3)
    assert ingested["floor"] * ingested["floor_seconds"] == pytest.approx(5_000, rel=2e-3)
    assert disk["ours"] * disk["stored"] == pytest.approx(disk["bytes"], rel=2e-3)


def test_a_run_tells_what_it_ran_on_and_that_nothing_was_switched_off(run: dict[str, Any]) -> None:
    about = run["machine"]["servers"]["plain"]
    assert run["machine"]["cores"] >= 1
    assert about["postgresql_settings"]["fsync"] == "on"
    assert about["postgresql_settings"]["synchronous_commit"] == "on"
    assert about["queue_settings"]["appendonly"] == "yes"


def test_a_run_tells_what_each_process_used(run: dict[str, Any]) -> None:
    used = run["results"][0]
    assert used["cpu_seconds"].keys() == {"streamers", "collectors", "redis", "postgres"}
    assert min(used["cpu_seconds"]["streamers"], used["peak_mb"]["streamer"], used["peak_mb"]["collector"]) > 0


def test_a_run_whose_rows_are_not_in_the_tables_is_no_measurement(tmp_path: Path) -> None:
    truth = {"rows": 3, "stored": 2, "blank": 1, "rejected": 0}
    with Stage(Terms(), Exports(tmp_path), Tier.PLAIN) as stage:
        with pytest.raises(BenchFailed, match=r"should be \(3, 2, 1, 0, 0, 2\) and are \(0, 0, 0, 0, 0, 0\)"):
            check(stage, Export(tmp_path / "export.csv", truth))
        assert check(stage, Export(tmp_path / "export.csv", dict.fromkeys(truth, 0))) == 0
