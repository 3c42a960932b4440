"""`telemetry up --once`: a file is read exactly once, whatever dies on the way."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.dam import dammed
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
MIDDLE = 15_000  # readings of 100,000
EARLY = 5_000  # of 40,000
REAL = os.environ.get("DCGM_EXPORT")


@pytest.mark.slow
def test_a_file_is_read_exactly_once_however_often_and_from_wherever_it_is_named(
    run: Run, state: Path, tmp_path: Path
) -> None:
    copy = shutil.copy(SAMPLE, tmp_path / "other name.csv")
    command = (*ONCE, "--streamers", 2, "--collectors", 2, "--state", state)
    first, second = run(*command, "--csv", SAMPLE), run(*command, "--csv", copy)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.counts == second.counts == counts_of(TRUTH)
    assert first.result["stream"] == second.result["stream"]
    assert (first.result["already_stored"], second.result["already_stored"]) == (False, True)
    assert first.result["reconciles"]
    assert first.result["seconds"] > second.result["seconds"] >= 0
    assert first.result["tier"] in ("plain", "apache", "community")
    anew = run(*ONCE, "--csv", SAMPLE, "--stream", "again", "--state", state)
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
        pytest.param(
            [kill_collectors, kill_streamers, flush],
            id="the end of collectors, of streamers, of the queue",
            marks=pytest.mark.slow,
        ),
        pytest.param([kill_and_flush], id="the end of all at once"),
    ],
)
def test_each_reading_is_stored_once_in_spite_of(
    faults: list[Callable[[Spawned, Pipeline], None]], pipeline: Pipeline, big_csv: Fleet
) -> None:
    path, truth = big_csv
    pace = ("--rate", 15_000, "--block-rows", 1_000, "--lease", 1.5, "--time", "source")
    with dammed(pipeline.database, 4 * MIDDLE):
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
def test_the_real_export_comes_back_column_by_column(pipeline: Pipeline) -> None:
    path = Path(str(REAL))
    done = pipeline.run.end(pipeline.up("--once", "--csv", path, "--time", "source", "--streamers", 2))
    exact = {"read": 2470, "stored": 2470, "blank": 0, "rejected": 0, "dead": 0, "gpus": 247}
    assert (done.code, done.counts) == (0, exact), done.err
    assert pipeline.stored() == usable(path)
    power = "SELECT round(sum(value)::numeric, 3) FROM telemetry WHERE metric_name = 'DCGM_FI_DEV_POWER_USAGE'"
    assert str(pipeline.database.one(power)) == "64997.681"
    memory = """SELECT count(*), min(total), max(total) FROM (
        SELECT sum(value) AS total FROM telemetry WHERE metric_name IN ('DCGM_FI_DEV_FB_USED', 'DCGM_FI_DEV_FB_FREE')
        GROUP BY uuid) AS gpu"""
    assert pipeline.database.ask(memory) == [(247, 81007.0, 81007.0)]


@pytest.mark.slow
def test_neither_the_end_of_the_database_nor_that_of_up_itself_loses_or_leaves_anything(
    run: Run, state: Path, fleet_csv: Fleet
) -> None:
    path, truth = fleet_csv
    command = (*ONCE, "--csv", path, "--block-rows", 1_000, "--lease", 1.5, "--state", state)
    up = run.begin(*command, "--rate", 8_000)
    eventually(lambda: family_of(up, "stream"), "streamers")
    ask = database_of(state)
    settled = "SELECT coalesce(sum(rows), 0) FROM blocks WHERE rows = 1000 AND settled_at IS NOT NULL"

    def settled_rows() -> int:
        with contextlib.suppress(psycopg.OperationalError):
            return int(ask(settled)[0][0])
        return 0

    eventually(lambda: settled_rows() > EARLY, "some readings settled")
    postmaster = next(pid for pid, words in descendants(up.pid).items() if "bin/postgres " in words)
    os.kill(postmaster, signal.SIGKILL)
    eventually(lambda: "postgresql exited: signal SIGKILL" in up.stderr, "word of the database's end")
    eventually(lambda: settled_rows() > 2 * EARLY, "more readings settled")
    below = descendants(up.pid)
    up.kill()
    wait_until_gone(below)
    after = run(*command)
    assert after.code == 0, after.err
    assert after.counts == counts_of(truth)
    assert not after.result["already_stored"]


def test_the_values_of_the_sample_are_the_files(pipeline: Pipeline) -> None:
    done = pipeline.run.end(pipeline.up("--once", "--csv", SAMPLE))
    assert done.code == 0, done.err
    assert without_times(pipeline.stored()) == without_times(usable(SAMPLE))
