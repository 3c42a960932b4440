"""What the benchmark compares is the same work: floors give the records and messages that ours gives.

What does not live here: any judgement of a time.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from telemetry.embedded.pginstall import PgInstall
from tests.bench import reads
from tests.bench.broker import ByHand, Library, Pace, Payload
from tests.bench.filled import Asked
from tests.bench.stage import BenchFailed
from tests.fixtures.api import Api
from tests.fixtures.filled import fill, fleet
from tests.fixtures.pipeline import ROOT
from tests.fixtures.process import plain_env
from tests.fixtures.servers_postgres import pg_bin_dir
from tests.fixtures.servers_redis import Server
from tests.fixtures.store import Database

ONE = "/gpus/GPU-node-0-0/telemetry"


@pytest.fixture
def program() -> Path:
    return PgInstall.find(pg_bin_dir()).psql


@pytest.fixture
def statements(database: Database) -> tuple[str, str]:
    fill(database, fleet())
    number = database.one("SELECT gpu FROM gpus WHERE id = 'GPU-node-0-0'")
    return reads.statements(Asked("GPU-node-0-0", number, 15))


def comparable(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Times as instants, values as numbers; in an order of its own, for the floor leaves that of one instant open."""
    return sorted(
        (datetime.fromisoformat(one.pop("timestamp")), float(one.pop("value")), *sorted(one.items())) for one in records
    )


def test_the_floors_of_reading_give_the_records_that_the_api_gives(
    api: Api, database: Database, program: Path, statements: tuple[str, str], tmp_path: Path
) -> None:
    expected = comparable(api.json(ONE))
    assert len(expected) == 15
    copied = tmp_path / "floor.csv"
    for statement in statements:
        with psycopg.connect(database.reader, autocommit=True) as connection:
            assert comparable(json.loads(reads.ByHand(connection, statement).get())) == expected
        with reads.psql(program, database, statement) as floor:
            floor.save(copied)
        with copied.open(newline="") as file:
            assert comparable(list(csv.DictReader(file))) == expected


def test_a_copy_that_fails_is_no_measurement(database: Database, program: Path, tmp_path: Path) -> None:
    with (
        reads.psql(program, database, "SELECT 1/0") as floor,
        pytest.raises(BenchFailed, match="psql cannot copy"),
    ):
        floor.save(tmp_path / "floor.csv")


def test_an_answer_that_lacks_a_record_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="holds 2 records, not 3"):
        reads.check_json(b"[1,2]", 3)
    short = tmp_path / "short.csv"
    short.write_text("header\n1\n")
    assert reads.check_csv(short, 1) == 9
    with pytest.raises(BenchFailed, match="has 2 lines, not 2 and a header"):
        reads.check_csv(short, 2)


@pytest.mark.parametrize("kind", [Library, ByHand])
def test_both_ways_of_moving_messages_leave_nothing_behind(
    redis_server: Server, kind: type[Library] | type[ByHand]
) -> None:
    with redis_server.client() as client:
        before = set(client.keys("bench:*"))
        side = kind(redis_server.url, Payload(3, b"\x00\xff body"))
        pace = Pace(lambda: 0.0)
        assert pace.measure(side, 2) > 0
        assert (len(pace.publish), len(pace.consume)) == (1, 1)
        (stream,) = {key for key in client.keys("bench:*") if client.type(key) == b"stream"} - before
        assert client.xlen(stream) == 0
        side.close()
        assert set(client.keys("bench:*")) == before


@pytest.mark.slow
def test_a_small_run_measures_every_read() -> None:
    names = ["range_json_vs_sql", "export_csv_vs_copy", "gpu_list_growth", "latest_growth"]
    words = [word for name in names for word in ("--only", name)]
    argv = [sys.executable, "-m", "tests.bench", "--rows", "3000", "--rounds", "1", "--json", *words]
    done = subprocess.run(argv, cwd=ROOT, env=plain_env(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = {result["name"]: result for result in json.loads(done.stdout)["results"]}
    assert list(results) == names
    for result in results.values():
        assert result["ratio"] == pytest.approx(result["ours"] / result["floor"], rel=0.01)
    assert results["range_json_vs_sql"]["records"] == results["export_csv_vs_copy"]["records"] > 0
    assert results["latest_growth"]["rows"] == 10 * results["latest_growth"]["floor_rows"]
