"""`telemetry up --once`: a file is read exactly once, whatever dies on the way."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.fixtures.pipeline import (
    SAMPLE,
    TRUTH,
    Fleet,
    Pipeline,
    Run,
    counts_of,
    database_of,
    descendants,
    family_of,
    usable,
    wait_until_gone,
    without_labels,
    without_times,
)
from tests.fixtures.process import Spawned, eventually

ONCE = ("up", "--once", "--json")
MIDDLE = 30_000  # readings of 200,000
EARLY = 5_000  # of 40,000
REAL = os.environ.get("DCGM_EXPORT")


def test_a_file_is_read_exactly_once_and_a_second_run_adds_nothing(run: Run, state: Path) -> None:
    command = (*ONCE, "--csv", SAMPLE, "--streamers", 2, "--collectors", 2, "--state", state)
    first, second = run(*command), run(*command)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.counts == second.counts == counts_of(TRUTH)
    assert (first.result["already_stored"], second.result["already_stored"]) == (False, True)
    assert first.result["reconciles"]
    assert first.result["seconds"] > second.result["seconds"] >= 0
    assert first.result["tier"] in ("plain", "apache", "community")


def test_a_name_not_a_path_tells_streams_apart(run: Run, state: Path, tmp_path: Path) -> None:
    copy = shutil.copy(SAMPLE, tmp_path / "other name.csv")
    here = run(*ONCE, "--csv", SAMPLE, "--state", state)
    there = run(*ONCE, "--csv", copy, "--state", state)
    assert (here.code, there.code) == (0, 0)
    assert there.result["stream"] == here.result["stream"]
    assert there.result["already_stored"]
    anew = run(*ONCE, "--csv", copy, "--stream", "again", "--state", state)
    assert anew.counts == counts_of(TRUTH)
    assert not anew.result["already_stored"]
    assert anew.result["stream"].startswith("again@")


def kill_collectors(up: Spawned, _pipeline: Pipeline) -> None:
    for pid in family_of(up, "collect"):
        os.kill(pid, signal.SIGKILL)


def kill_streamers(up: Spawned, _pipeline: Pipeline) -> None:
    for pid in family_of(up, "stream"):
        os.kill(pid, signal.SIGKILL)


def flush(_up: Spawned, pipeline: Pipeline) -> None:
    with closing(pipeline.redis.client()) as client:
        assert client.flushall()


def kill_and_flush(up: Spawned, pipeline: Pipeline) -> None:
    kill_streamers(up, pipeline)
    flush(up, pipeline)
    kill_collectors(up, pipeline)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([kill_collectors, kill_streamers, flush], id="the end of collectors, of streamers, of the queue"),
        pytest.param([kill_and_flush], id="the end of all at once"),
    ],
)
def test_each_reading_is_stored_once_in_spite_of(
    faults: list[Callable[[Spawned, Pipeline], None]], pipeline: Pipeline, big_csv: Fleet
) -> None:
    path, truth = big_csv
    pace = ("--rate", 20_000, "--block-rows", 1_000, "--lease", 1.5, "--time", "source")
    up = pipeline.up("--once", "--csv", path, "--streamers", 2, "--collectors", 2, *pace)
    for part, fault in enumerate(faults, 1):
        pipeline.wait_until_settled(part * MIDDLE)
        fault(up, pipeline)
        assert pipeline.settled() < truth["rows"], "the fault came too late to be one in the middle"
    done = pipeline.run.end(up)
    assert done.code == 0, done.err
    assert done.counts == counts_of(truth)
    assert pipeline.stored(labels=False) == without_labels(usable(path))
    assert pipeline("verify", "--json").result["orphans"] == 0


@pytest.mark.skipif(REAL is None, reason="DCGM_EXPORT names no file: the real export is not part of the repository")
def test_the_real_export_comes_back_column_by_column(run: Run, state: Path) -> None:
    path = Path(str(REAL))
    stamped = run(*ONCE, "--csv", path, "--streamers", 2, "--collectors", 2, "--state", state)
    exact = {"read": 2470, "stored": 2470, "blank": 0, "rejected": 0, "dead": 0, "gpus": 247}
    assert (stamped.code, stamped.counts) == (0, exact)


@pytest.mark.skipif(REAL is None, reason="DCGM_EXPORT names no file: the real export is not part of the repository")
def test_the_real_export_with_its_own_times_equals_the_view(pipeline: Pipeline) -> None:
    path = Path(str(REAL))
    done = pipeline.run.end(pipeline.up("--once", "--csv", path, "--time", "source", "--streamers", 2))
    assert done.code == 0, done.err
    assert pipeline.stored() == usable(path)
    power = "SELECT round(sum(value)::numeric, 3) FROM telemetry WHERE metric_name = 'DCGM_FI_DEV_POWER_USAGE'"
    assert str(pipeline.database.one(power)) == "64997.681"
    memory = """SELECT count(*), min(total), max(total) FROM (
        SELECT sum(value) AS total FROM telemetry WHERE metric_name IN ('DCGM_FI_DEV_FB_USED', 'DCGM_FI_DEV_FB_FREE')
        GROUP BY uuid) AS gpu"""
    assert pipeline.database.ask(memory) == [(247, 81007.0, 81007.0)]


def test_a_killed_up_leaves_no_process_and_goes_on_where_it_was(run: Run, state: Path, fleet_csv: Fleet) -> None:
    path, truth = fleet_csv
    command = (*ONCE, "--csv", path, "--block-rows", 1_000, "--lease", 1.5, "--state", state)
    up = run.begin(*command, "--rate", 8_000)
    settled = "SELECT sum(rows) FROM blocks WHERE source LIKE '%once:now' AND settled_at IS NOT NULL"
    eventually(lambda: (state / "postgres" / "pgpass").exists() and family_of(up, "stream"), "streamers")
    ask = database_of(state)
    before = ask(settled)[0][0] or 0
    eventually(lambda: (ask(settled)[0][0] or 0) > before + EARLY, "some readings settled")
    below = descendants(up.pid)
    up.kill()
    wait_until_gone(below)
    after = run(*command)
    assert after.code == 0, after.err
    assert after.counts == counts_of(truth)
    assert not after.result["already_stored"]


def test_a_restart_of_the_database_in_the_middle_is_waited_out(run: Run, state: Path, fleet_csv: Fleet) -> None:
    path, truth = fleet_csv
    pace = ("--stream", "outage", "--rate", 10_000, "--block-rows", 1_000, "--lease", 1.5)
    up = run.begin(*ONCE, "--csv", path, "--state", state, *pace)
    eventually(lambda: family_of(up, "stream"), "streamers")
    ask = database_of(state)
    settled = "SELECT coalesce(sum(rows), 0) FROM blocks WHERE source LIKE 'outage@%' AND settled_at IS NOT NULL"
    eventually(lambda: ask(settled)[0][0] > EARLY, "some readings settled")
    postmaster = next(pid for pid, words in descendants(up.pid).items() if "bin/postgres " in words)
    os.kill(postmaster, signal.SIGKILL)
    done = run.end(up)
    assert done.code == 0, done.err
    assert done.counts == counts_of(truth)
    assert "postgresql exited: signal SIGKILL" in done.err


def test_the_values_of_the_sample_are_the_files(pipeline: Pipeline) -> None:
    done = pipeline.run.end(pipeline.up("--once", "--csv", SAMPLE))
    assert done.code == 0, done.err
    assert without_times(pipeline.stored()) == without_times(usable(SAMPLE))
