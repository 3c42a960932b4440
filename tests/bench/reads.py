"""What the API answers, beside the same questions asked by hand; and how answers slow down when the table grows.

What lives here: the questions. What does not: databases (`filled`), the server (`serving`), the arithmetic (`measure`).
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, LiteralString

import psycopg

from tests.bench.filled import Asked, filled, gpus, smaller
from tests.bench.measure import Goal, Result, in_turns, rounded
from tests.bench.serving import Client, serving
from tests.bench.stage import BenchFailed, Stage
from tests.fixtures.store import Database
from webapi.schemas import PAGE_ROWS

BY_NUMBER: LiteralString = """
SELECT s.time AS timestamp, m.name AS metric_name, g.gpu_id, g.device, g.uuid, g.model_name, g.hostname,
       w.container, w.pod, w.namespace, s.value,
       labels_raw(w.template, m.name, g.gpu_id, g.device, g.uuid, g.model_name, g.hostname,
                  w.container, w.pod, w.namespace, g.labels) AS labels_raw
FROM samples s LEFT JOIN gpus g USING (gpu) LEFT JOIN metrics m USING (metric) LEFT JOIN workloads w USING (workload)
WHERE s.gpu = {number} ORDER BY s.time
"""
"""The view telemetry of one GPU, written out so that the GPU's number stands in it: the fastest that SQL has for this.
By the view and uuid, the columnstore reads all GPUs."""

BY_VIEW: LiteralString = "SELECT * FROM telemetry WHERE uuid = '{id}' ORDER BY timestamp"

RANGES, EXPORTS, LISTS, LATEST = 10, 5, 60, 60
"""Answers in a round."""
SMALLER = 10
"""Growth is measured against a table with that part of the rows."""

Ask = Callable[[Client], object]


class ByHand:
    """One process that is connected, asks, and dumps what it got."""

    def __init__(self, connection: psycopg.Connection[Any], statement: str) -> None:
        self._connection, self._statement = connection, statement.encode()

    def get(self) -> bytes:
        cursor = self._connection.execute(self._statement)
        names = [column.name for column in cursor.description or ()]
        rows = ((row[0].isoformat(), *row[1:]) for row in cursor.fetchall())
        return json.dumps([dict(zip(names, row, strict=True)) for row in rows]).encode()


class Psql:
    """A psql that is connected, and told what to copy where."""

    def __init__(self, process: subprocess.Popen[str], statement: str) -> None:
        self._process, self._statement = process, " ".join(statement.split())

    def save(self, to: Path) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"\\copy ({self._statement}) TO '{to}' WITH (FORMAT csv, HEADER)\n\\echo done\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise BenchFailed(f"psql cannot copy to {to}")


@contextmanager
def psql(program: Path, database: Database, statement: str) -> Iterator[Psql]:
    """A connected psql that copies what a statement gives."""
    words = [str(program), "-X", "-q", "-v", "ON_ERROR_STOP=1", database.reader]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Psql(process, statement)


def range_json_vs_sql(stage: Stage) -> Sequence[Result]:
    """Records per second of a page of one GPU's telemetry as JSON over HTTP, against the SQL, fetched and dumped."""
    database = filled(stage)
    (asked,) = gpus(database, 1)
    count, path = min(asked.readings, PAGE_ROWS), f"/gpus/{asked.id}/telemetry?limit={PAGE_ROWS}"
    with serving(stage, database) as client, _connected(database) as connection:
        by_hand, by_view = (ByHand(connection, text) for text in statements(asked, f" LIMIT {PAGE_ROWS}"))
        sizes = {"ours": check_json(client.get(path), count), "floor": check_json(by_hand.get(), count)}
        ours, floor = in_turns(
            stage.rounds,
            lambda: _rate(count, RANGES, lambda: client.get(path)),
            lambda: _rate(count, RANGES, by_hand.get),
        )
        more = {**_about(count, sizes, client), "floor_by_view": rounded(_rate(count, 1, by_view.get))}
    return [Result("range_json_vs_sql", stage.tier.value, "records/s", Goal(least=0.7), ours, floor, more)]


def export_csv_vs_copy(stage: Stage) -> Sequence[Result]:
    """Records per second of one GPU's whole range as CSV over HTTP into a file, against psql's `\\copy` of the same."""
    database = filled(stage)
    (asked,) = gpus(database, 1)
    path, mine, theirs = f"/gpus/{asked.id}/telemetry?format=csv", stage.folder / "ours.csv", stage.folder / "floor.csv"
    by_number, by_view = statements(asked)
    with serving(stage, database) as client, psql(stage.psql, database, by_number) as floor_psql:
        client.save(path, mine)
        floor_psql.save(theirs)
        sizes = {"ours": check_csv(mine, asked.readings), "floor": check_csv(theirs, asked.readings)}
        ours, floor = in_turns(
            stage.rounds,
            lambda: _rate(asked.readings, EXPORTS, lambda: client.save(path, mine)),
            lambda: _rate(asked.readings, EXPORTS, lambda: floor_psql.save(theirs)),
        )
        more = _about(asked.readings, sizes, client)
    with psql(stage.psql, database, by_view) as floor_psql:
        more["floor_by_view"] = rounded(_rate(asked.readings, 1, lambda: floor_psql.save(theirs)))
    return [Result("export_csv_vs_copy", stage.tier.value, "records/s", Goal(least=0.8), ours, floor, more)]


def gpu_list_growth(stage: Stage) -> Sequence[Result]:
    """Seconds of the list of all GPUs, against the same with a tenth of the rows."""
    return _growth(stage, "gpu_list_growth", LISTS, lambda _: lambda client: client.get("/gpus"))


def latest_growth(stage: Stage) -> Sequence[Result]:
    """Seconds of a GPU's newest values, of GPUs from all over the fleet, against the same with a tenth of the rows."""

    def ask(database: Database) -> Ask:
        paths = cycle([f"/gpus/{asked.id}/latest" for asked in gpus(database, LATEST)])
        return lambda client: client.get(next(paths))

    return _growth(stage, "latest_growth", LATEST, ask)


def _growth(stage: Stage, name: str, count: int, ask: Callable[[Database], Ask]) -> Sequence[Result]:
    large, rows = filled(stage), max(1, stage.rows // SMALLER)
    with smaller(stage, rows) as small, serving(stage, large) as at_large, serving(stage, small) as at_small:
        of_large, of_small = ask(large), ask(small)
        of_large(at_large), of_small(at_small)  # connections open
        found = [_alternate(count, lambda: of_large(at_large), lambda: of_small(at_small)) for _ in range(stage.rounds)]
    ours, floor = ([pair[which] for pair in found] for which in (0, 1))
    return [Result(name, stage.tier.value, "s", Goal(most=1.2), ours, floor, {"rows": stage.rows, "floor_rows": rows})]


def statements(asked: Asked, end: str = "") -> tuple[str, str]:
    """All records of a GPU, in order of time: the fastest that SQL has for it, and as most people would write it."""
    return BY_NUMBER.format(number=asked.number) + end, BY_VIEW.format(id=asked.id) + end


@contextmanager
def _connected(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.reader, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


def _rate(records: int, times: int, act: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(times):
        act()
    return records * times / (time.perf_counter() - began)


def _alternate(times: int, ours: Callable[[], object], floor: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a typical one of each: medians of acts in turns, because a pause of the machine says nothing."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(2 * times):
        began = time.perf_counter()
        (ours, floor)[number % 2]()
        found[number % 2].append(time.perf_counter() - began)
    return median(found[0]), median(found[1])


def _about(records: int, sizes: dict[str, int], client: Client) -> dict[str, Any]:
    return {"records": records, "bytes": sizes, "api_peak_mb": rounded(client.peak)}


def check_json(body: bytes, count: int) -> int:
    """The bytes of an answer that must hold so many records."""
    if len(json.loads(body)) != count:
        raise BenchFailed(f"an answer holds {len(json.loads(body))} records, not {count}")
    return len(body)


def check_csv(path: Path, count: int) -> int:
    """The bytes of a file that must hold so many lines after its header."""
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
    if lines != count + 1:
        raise BenchFailed(f"{path.name} has {lines} lines, not {count} and a header")
    return path.stat().st_size
