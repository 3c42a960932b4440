"""The README's queries, run as they stand there on the sample, in front of the answers they should give."""

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import pytest

from telemetry.store.ledger import Ledger
from telemetry.store.session import Session
from telemetry.store.writer import Writer
from telemetry.streamer.sources.csvfile import CsvSource
from tests.fixtures.store import Database

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample.csv"
QUERIES = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def filled(database: Database) -> Database:
    source = CsvSource(path=SAMPLE, times=True).open()
    with Session(url=database.writer, name="telemetry-test") as session:
        ledger = Ledger(session=session, source="sample", length=source.length, stamped=False)
        writer = Writer(session=session, lease=15)
        while (reserved := ledger.reserve(500)) is not None:
            writer.store([source.block("sample", reserved.first_row, reserved.rows, reserved.time0)])
    source.close()
    return database


def ask(database: Database, number: int) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.reader) as connection:
        return connection.execute(cast(LiteralString, QUERIES[number])).fetchall()


def usable_rows() -> list[dict[str, str]]:
    """Rows of the sample that a reader without our code would call good."""
    with SAMPLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
    numbers = re.compile(r"-?\d+(\.\d+)?")
    blank = {"140737488355328", "9223372036854775794", "2147483632"}
    return [row for row in rows if numbers.fullmatch(row["value"].strip()) and row["value"].split(".")[0] not in blank]


def test_there_are_five_queries() -> None:
    assert len(QUERIES) == 5


def test_counts_per_metric(filled: Database) -> None:
    counted = {name: count for name, count, _, _ in ask(filled, 0)}
    assert sum(counted.values()) == filled.one("SELECT count(*) FROM telemetry")
    expected = Counter(row["metric_name"].strip() for row in usable_rows())
    assert counted.keys() <= expected.keys()
    assert all(count <= expected[name] for name, count in counted.items())


def test_newest_values_of_one_gpu(filled: Database) -> None:
    newest = ask(filled, 1)
    expected = filled.ask(
        "SELECT g.labels, m.name, max(s.time) FROM samples s JOIN metrics m USING (metric) JOIN gpus g USING (gpu) "
        "WHERE g.id = (SELECT min(id) FROM gpus) GROUP BY g.labels, m.name ORDER BY g.labels, m.name"
    )
    assert newest
    assert [(instance, name, time) for instance, name, time, _, _ in newest] == expected


def test_means_per_host_and_step(filled: Database) -> None:
    steps = ask(filled, 2)
    assert {host for _, host, _, _ in steps} == {host for (host,) in filled.ask("SELECT DISTINCT hostname FROM gpus")}
    assert all(step.minute % 5 == 0 and step.second == 0 for step, _, _, _ in steps)
    assert all(0 <= used <= 100 for _, _, used, _ in steps if used is not None)


def test_idle_gpus_that_hold_memory(filled: Database) -> None:
    idle = ask(filled, 3)
    assert idle, "the sample has such a GPU"
    for _, _, uuid, utilisation, mebibytes in idle:
        used = filled.one(
            "SELECT max(value) FROM telemetry WHERE uuid = %s AND metric_name = 'DCGM_FI_DEV_GPU_UTIL'", uuid
        )
        assert (used, utilisation) == (0, 0)
        assert mebibytes > 1000


def test_rejected_rows_with_their_reason(filled: Database) -> None:
    rejected = ask(filled, 4)
    assert len(rejected) == filled.one("SELECT sum(rejected) FROM blocks") == 7
    assert all(reason and text for _, _, reason, text in rejected)
