"""What helm-chart/README.md says of a backup: a dump that is taken while everything runs, restored into an empty
database, is a moment that there was; and what came after it is read again.

What does not live here: the same with volumes and pods, for which there is no cluster.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.embedded.pginstall import PgInstall
from tests.fixtures.dam import dammed
from tests.fixtures.pipeline import SAMPLE, TRUTH, Pipeline
from tests.fixtures.process import clean_env, eventually
from tests.fixtures.servers_postgres import pg_bin_dir
from tests.fixtures.store import Database, create_database, drop_database

pytestmark = pytest.mark.slow

ONCE = ("stream", "--once", "--json", "--csv", SAMPLE)


def tool(name: str, *words: object) -> str:
    """Run one of PostgreSQL's programs, of the server's version, to a good end; what it printed."""
    folder = PgInstall.find(pg_bin_dir()).bin_dir
    if not (folder / name).exists():
        pytest.skip(f"{folder} has no {name}")
    done = subprocess.run(
        [folder / name, *map(str, words)], env=clean_env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def another(pipeline: Pipeline) -> Iterator[Database]:
    """An empty database on the same server."""
    server = pipeline.database.server
    name = create_database(server)
    yield Database(server, name)
    drop_database(server, name)


def restore(dump: Path, database: Database) -> None:
    """As the README has it."""
    timescale = database.server.has_timescaledb
    if timescale:
        wanted = ["CREATE EXTENSION IF NOT EXISTS timescaledb", "SELECT timescaledb_pre_restore()"]
        tool("psql", "-v", "ON_ERROR_STOP=1", "-d", database.admin, "-c", wanted[0], "-c", wanted[1])
    tool("pg_restore", "--no-owner", "-d", database.admin, dump)
    if timescale:
        tool("psql", "-v", "ON_ERROR_STOP=1", "-d", database.admin, "-c", "SELECT timescaledb_post_restore()")


def test_a_dump_of_a_running_pipeline_is_restored_and_goes_on_where_it_was(
    pipeline: Pipeline, another: Database, tmp_path: Path
) -> None:
    dump = tmp_path / "telemetry.dump"
    with dammed(pipeline.database, 1_200):
        collector = pipeline.begin("collect")
        streamer = pipeline.begin(*ONCE, "--rate", 600, "--block-rows", 60)
        pipeline.wait_until_settled(300)
        tool("pg_dump", "-Fc", "-f", dump, pipeline.database.admin)
        assert streamer.running, "it was to be in the middle of the file"
    assert pipeline.run.end(streamer).code == 0
    collector.signal(15)
    assert collector.wait() == 0

    restore(dump, another)
    pipeline.redis.client().flushall()
    place = {"TELEMETRY_DATABASE_URL": another.writer}
    then = pipeline("verify", "--json", **place).result["streams"][0]
    assert 0 < then["stored"] < TRUTH["stored"]
    assert then["reconciles"]
    collector = pipeline.begin("collect", **place)
    done = pipeline(*ONCE, **place)
    assert (done.code, done.result["stored"], done.result["rejected"]) == (0, TRUTH["stored"], TRUTH["rejected"])
    eventually(lambda: another.one("SELECT count(*) FROM telemetry") == TRUTH["stored"], "all readings, once")
    collector.signal(15)
    assert collector.wait() == 0
