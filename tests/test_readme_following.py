"""The README's way of one reading, from the streamer's log to the API, run as it stands there.

How its commands are read: what ends with `&` goes on beside the others, `grep` waits until there is such a line, what
psql is given is asked of the database (the wheel has no psql). What they show is compared.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from tests.fixtures.api import Api
from tests.fixtures.commands import Call
from tests.fixtures.pipeline import ROOT, SAMPLE, Pipeline, usable
from tests.fixtures.process import clean_env, eventually

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## Following one reading\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
TOLD = 1234


def commands() -> list[str]:
    assert SECTION is not None
    (block,) = re.findall(r"```sh\n(.*?)```", SECTION[1], re.DOTALL)
    return [line.partition("  #")[0].strip() for line in block.splitlines()]


def without_pauses(lines: list[str]) -> list[str]:
    """Who pastes them waits for a process; here that is waited for by what it shows."""
    assert [at for at, line in enumerate(lines) if line.startswith("sleep ")] == [1, 5], "after each that goes on"
    return [line for line in lines if not line.startswith("sleep ")]


def test_a_reading_can_be_followed_from_the_file_to_the_api(
    pipeline: Pipeline, call: Call, make_api: Callable[..., Api], tmp_path: Path
) -> None:
    stream, published, peek, collect, stored, ledger, samples, curl = without_pauses(commands())
    streamer = begin(pipeline, stream, tmp_path)
    id, rows = re.findall(r" id=(\S+:1000) rows=(\d+)", grep(published, tmp_path, ":1000 "))[0]
    assert 1000 <= TOLD < 1000 + int(rows)
    (entry,) = re.findall(rf"^(\S+) +{re.escape(id)} ", call(*words(peek), **pipeline.variables).out, re.MULTILINE)
    collector = begin(pipeline, collect, tmp_path)
    assert f" id={id} entry={entry} " in grep(stored, tmp_path, ":1000 ")
    ((_, source, first, count, settled, *sums),) = ask(pipeline, ledger)
    assert (f"{source}:{first}", count, sum(sums), settled is not None) == (id, int(rows), int(rows), True)
    found = ask(pipeline, samples)
    assert len(found) == sums[0]
    time, metric, uuid, value = found[0]
    assert (metric, uuid, value) in {(str(row[1]).strip(), row[4], row[10]) for row in usable(SAMPLE)}
    path = curl.split("'")[1].removeprefix("http://127.0.0.1:8080").replace("<uuid>", uuid)
    shown = make_api(pipeline.database.reader).client.get(path.replace("<time>", f"{time.timestamp():.6f}")).get_json()
    assert {(metric, uuid, value)} <= {(one["metric_name"], one["uuid"], one["value"]) for one in shown}
    assert streamer.wait(60.0) == 0
    collector.signal(signal.SIGTERM)
    assert collector.wait(60.0) == 0


def begin(pipeline: Pipeline, line: str, folder: Path) -> Any:
    script = line.removesuffix("&").replace("data/sample.csv", shlex.quote(str(SAMPLE)))
    script = script.replace("telemetry ", f"exec {shlex.quote(sys.executable)} -m telemetry ", 1)
    env = {"PYTHONPATH": str(ROOT), "TELEMETRY_STATE": str(folder / "state"), **pipeline.variables}
    return pipeline.run.processes.spawn(["bash", "-c", script], env, folder)


def grep(line: str, folder: Path, wanted: str) -> str:
    """What it finds, once that is there; a log is made when its process begins."""

    def found() -> str:
        done = subprocess.run(shlex.split(line), cwd=folder, env=clean_env(), capture_output=True, text=True)
        return done.stdout if wanted in done.stdout else ""

    return eventually(found, line)


def words(line: str) -> list[str]:
    return shlex.split(line)[1:]


def ask(pipeline: Pipeline, line: str) -> list[tuple[Any, ...]]:
    """What psql would show to the writer, whose URL the variable is."""
    program, url, flag, statement = shlex.split(line)
    assert (program, url, flag) == ("psql", "$TELEMETRY_DATABASE_URL", "-c")
    with psycopg.connect(pipeline.variables["TELEMETRY_DATABASE_URL"]) as connection:
        return connection.execute(statement).fetchall()
