"""The README's way of one reading, from the streamer's log to the API, run as it stands there, in one go.

Only its first line is another one: it says which file, which reading, and at which port. What the commands show is
compared with the file. A database without psql (the wheel has none) is asked by a stand-in that prints what it would.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from telemetry.embedded import leash
from tests.fixtures.filled import TEMP, Reading, fill, gpu
from tests.fixtures.pipeline import ROOT, SAMPLE, Pipeline, usable
from tests.fixtures.process import eventually
from tests.fixtures.servers_redis import free_port

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## Following one reading\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
TOLD = 1234
METRICS = tuple(
    f"DCGM_FI_DEV_{name}" for name in ("FB_FREE", "FB_USED", "POWER_USAGE", "SM_CLOCK", "GPU_TEMP", "FAN_SPEED")
)
FIRST, ROWS = 996, 498
"""The block of the wide file that the reading is in: whole rows of it, 500 readings at most."""

TELEMETRY = """\
#!/bin/sh
exec {python} -I -S {leash} $PPID {kill} -1 -1 -- {python} -m telemetry "$@"
"""
"""The command, as it is called where it is installed; it ends with the shell that began it, whatever ends that."""

PSQL = """\
#!{python}
import sys
import psycopg
url, *flags, statement = sys.argv[1:]
with psycopg.connect(url) as connection:
    for row in connection.execute(statement):
        print(*("" if one is None else one for one in row), sep="|" if "-At" in flags else " | ")
"""


class Shown(NamedTuple):
    """What the commands printed; the rows of tables as texts."""

    text: str
    json: Any
    rows: list[list[str]]

    def of(self, columns: int) -> list[list[str]]:
        """The rows of the table that has so many columns."""
        return [row for row in self.rows if len(row) == columns]


def commands() -> tuple[str, str]:
    """The first line, and the others."""
    assert SECTION is not None
    (block,) = re.findall(r"```sh\n(.*?)```", SECTION[1], re.DOTALL)
    first, _, others = block.partition("\n")
    return first, others


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A folder with the commands, before those of the machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "telemetry").write_text(
        TELEMETRY.format(python=sys.executable, leash=leash.__file__, kill=int(signal.SIGKILL))
    )
    if shutil.which("psql") is None:
        (folder / "psql").write_text(PSQL.format(python=sys.executable))
    for file in folder.iterdir():
        file.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def follow(pipeline: Pipeline, path: str, folder: Path, file: Path) -> Shown:
    """Paste the commands. Those that go on end with the shell."""
    first, others = commands()
    assert first == f"FILE=data/sample.csv READING={TOLD} PORT=8080"
    script = f"FILE='{file}' READING={TOLD} PORT={free_port()}\n{others}wait\n"
    env = {"PATH": path, "PYTHONPATH": str(ROOT), "TELEMETRY_STATE": str(folder / "state"), **pipeline.variables}
    shell = pipeline.run.processes.spawn(["/bin/bash", "-c", script], env, folder)
    eventually(lambda: not shell.running, "the end of the way")
    lines = shell.stdout.splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if "|" in line]
    return Shown(shell.stdout, json.loads(lines[-1]), rows)


def wide(folder: Path) -> Path:
    """Six metrics beside each other; the reading that is told of is one cell, and cannot be used."""
    path = folder / "my rack (3).csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["timestamp", "gpu_id", "uuid", "Hostname", *METRICS])
        for row in range(300):
            cells = [number * 1_000 + row for number in range(len(METRICS))]
            shown = ["odd" if row * len(METRICS) + at == TOLD else cell for at, cell in enumerate(cells)]
            rows.writerow([f"2025-07-18T20:{row // 60:02d}:{row % 60:02d}Z", row % 8, f"GPU-{row % 8}", "h", *shown])
    return path


def settled(shown: Shown, id: str, rows: int) -> list[int]:
    """Stored, blank, rejected and dead readings, as the ledger has them; logs and queue name the block alike."""
    ((_, source, first, count, at, *sums),) = [row for row in shown.of(9) if row[0].isdigit()]
    assert (f"{source}:{first}", count, bool(at)) == (id, str(rows), True)
    ((entry, told),) = re.findall(rf"stored a block id={re.escape(id)} entry=(\S+) rows=(\d+)", shown.text)
    assert told == count
    published = dict(re.findall(r"published a block id=(\S+) rows=(\d+)", shown.text))
    queued = {id: entry for entry, id in re.findall(r"^(\d+-\d+) +(\S+) ", shown.text, re.MULTILINE)}
    assert published.keys() <= queued.keys(), "each lists what was there by then"
    assert queued.get(id, entry) == entry
    return [int(one) for one in sums]


def samples(shown: Shown) -> list[tuple[str, str, float]]:
    """Metric, GPU and value of those that are shown."""
    return [(metric, gpu, float(value)) for _, metric, gpu, value in shown.of(4) if metric.startswith("DCGM_")]


def answered(shown: Shown) -> set[tuple[str, str, float]]:
    """Likewise of those that the API shows of the first one's GPU and time."""
    return {
        (one["metric_name"], one["uuid"] or f"{one['hostname']}:{one['gpu_id']}", one["value"]) for one in shown.json
    }


@pytest.mark.slow  # the other file is followed every day, by the same commands
def test_a_reading_can_be_followed_from_the_file_to_the_api(pipeline: Pipeline, path: str, tmp_path: Path) -> None:
    shown = follow(pipeline, path, tmp_path, SAMPLE)
    id = f"{re.findall(r'^stream +(.+)$', shown.text, re.MULTILINE)[0].strip()}:1000"
    sums, found = settled(shown, id, 500), samples(shown)
    assert (len(found), sum(sums)) == (sums[0], 500)
    truth = {(str(row[1]).strip(), row[4] or f"{row[6]}:{row[2]}", row[10]) for row in usable(SAMPLE)}
    assert set(found) | answered(shown) <= truth
    assert found[0] in answered(shown)


def test_of_another_file_its_own_reading_is_followed(pipeline: Pipeline, path: str, tmp_path: Path) -> None:
    others = [Reading(gpu("other", 0), number, TEMP, 5_000_000) for number in range(1_000)]
    fill(pipeline.database, others, others[:500], source="csv@0123456789ab:once:source")
    shown = follow(pipeline, path, tmp_path, wide(tmp_path))
    id = f"{re.findall(r'^stream +(.+)$', shown.text, re.MULTILINE)[0].strip()}:{FIRST}"
    sums, found = settled(shown, id, ROWS), samples(shown)
    assert (sums, len(found)) == ([ROWS - 1, 0, 1, 0], ROWS - 1)
    ((number, reason, _),) = [row for row in shown.of(3) if row[0].isdigit()]
    assert (number, "'odd'" in reason) == (str(TOLD), True)
    told = [divmod(number, len(METRICS)) for number in range(FIRST, FIRST + ROWS) if number != TOLD]
    assert set(found) == {(METRICS[at], f"GPU-{row % 8}", at * 1_000.0 + row) for row, at in told}
    assert found[0] in answered(shown) <= set(found)
