"""The README's questions, run as they stand there: every curl of its section "Asking questions", and what it answers.

How they are read: blocks of `sh` in that section; each command that holds `curl` is run by a shell. The places
http://127.0.0.1:8080 and https://telemetry.example.org become that of a server with an hour of readings until now; what
stands in angle brackets is the GPU's id. A command that follows a stream is ended after two seconds. Where a block of
`json` comes next, the last command's answer must have its shape: the same fields of the same kinds, of a list in its
first item.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from telemetry.broker import Topic
from tests.fixtures.asked import METRICS, SHOWN, TRAINER, Asked, serving
from tests.fixtures.filled import SECOND, Reading, fill
from tests.fixtures.process import plain_env
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.store import Database, create_database, drop_database

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PLACE = r"http://127\.0\.0\.1:8080|https://telemetry\.example\.org"
CURL = 'curl() { command curl --silent --show-error --fail-with-body "$@"; }\n'
FOLLOW = 'curl() { command curl --silent --show-error --fail-with-body --max-time 2 "$@" || [ $? = 28 ]; }\n'


class Example(NamedTuple):
    """A command, and the answer that is shown for it, if one is."""

    command: str
    shown: str | None


def examples(text: str) -> list[Example]:
    """Those of the section, in its order."""
    section = re.search(r"^## Asking questions\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"```sh\n(.*?)```(?:\s*```json\n(.*?)```)?", section[1] if section else "", re.DOTALL)
    found = []
    for block, shown in blocks:
        commands = [line for line in block.replace("\\\n", " ").splitlines() if re.search(r"\bcurl\b", line)]
        found += [Example(command, None) for command in commands[:-1]]
        found += [Example(command, shown or None) for command in commands[-1:]]
    return found


def run(example: Example, server: Asked, folder: Path) -> str:
    """What it prints. Fails when it does."""
    command = re.sub(r"<[^<>|]+>", SHOWN.uuid, re.sub(PLACE, server.url, example.command))
    env = {**plain_env(), "TOKEN": "this-server-asks-for-none"}
    script = (FOLLOW if "/stream" in command else CURL) + command
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{example.command}\n{done.stdout[:500]}{done.stderr}"
    return done.stdout


def shape(value: Any) -> Any:
    """Its kind: what can be compared, whatever the values are. None may stand for anything."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if type(value) in (int, float) else type(value).__name__


def differ(shown: Any, answered: Any, place: str = "") -> list[str]:
    """Where two shapes are not the same."""
    if "NoneType" in (shown, answered):
        return []
    if isinstance(shown, dict) and isinstance(answered, dict):
        other = [f"{place}.{key} is in one of the two" for key in sorted(shown.keys() ^ answered.keys())]
        return other + [found for key in shown.keys() & answered for found in differ(shown[key], answered[key], key)]
    if isinstance(shown, list) and isinstance(answered, list):
        if not shown or not answered:
            return [] if shown == answered else [f"{place} has no items in one of the two"]
        return differ(shown[0], answered[0], f"{place}[]")
    return [] if shown == answered else [f"{place} is a {shown}, the answer's a {answered}"]


@pytest.fixture(scope="module")
def server(
    postgres_server: PostgresServer, migrated: str, asked_queue: Topic, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    """A server over an hour of one GPU, until now."""
    database = Database(postgres_server, create_database(postgres_server, migrated))
    now = time.time_ns() // 1_000
    hour = [
        Reading(SHOWN, now - ago * 60 * SECOND, metric, 100.0 * number + 60 - ago, TRAINER)
        for ago in range(60, -1, -1)
        for number, metric in enumerate(METRICS)
    ]
    fill(database, hour)
    with serving(database, asked_queue, tmp_path_factory.mktemp("readme")) as found:
        yield found
    drop_database(postgres_server, database.name)


def check(example: Example, server: Asked, folder: Path) -> list[str]:
    """Run it; how its answer differs from what is shown."""
    answer = run(example, server, folder)
    return differ(shape(json.loads(example.shown)), shape(json.loads(answer))) if example.shown else []


def test_every_question_of_the_readme_is_answered_as_shown(server: Asked, tmp_path: Path) -> None:
    found = examples(README)
    if not found:
        pytest.skip('the README has no section "Asking questions" yet')
    assert [(each.command, faults) for each in found if (faults := check(each, server, tmp_path))] == []


SAMPLE = """
## Before
```sh
curl http://127.0.0.1:8080/not/in/the/section
```
## Asking questions
```sh
curl -s http://127.0.0.1:8080/api/v1/gpus     # a comment
curl -s 'http://127.0.0.1:8080/api/v1/gpus/<one of the ids>/telemetry?start_time=now-10m' \\
  -H 'Accept: application/json' | head -c 100000
```
```json
[{"timestamp": "..", "metric_name": "..", "gpu_id": "0", "device": "..", "uuid": "..", "model_name": "..",
  "hostname": "..", "container": "", "pod": "", "namespace": "", "value": 1, "labels_raw": ".."}]
```
Text.
```sh
telemetry up
curl -s -o one.csv 'http://127.0.0.1:8080/api/v1/gpus/<id>/telemetry?format=csv' && wc -l one.csv
```
## After
"""


def test_the_sections_commands_are_found_and_answered(server: Asked, tmp_path: Path) -> None:
    found = examples(SAMPLE)
    assert [(each.command.split()[0], bool(each.shown)) for each in found] == [
        ("curl", False),
        ("curl", True),
        ("curl", False),
    ]
    assert [check(each, server, tmp_path) for each in found] == [[], [], []]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("api/v1/gpus ", "api/v1/gpu "), ("start_time=now-10m", "start=tomorrow"), ('"value": 1', '"value": "1"')],
)
def test_what_is_not_so_is_noticed(server: Asked, tmp_path: Path, right: str, wrong: str) -> None:
    faults = []
    for example in examples(SAMPLE.replace(right, wrong)):
        try:
            faults += check(example, server, tmp_path)
        except AssertionError as error:
            faults.append(str(error))
    assert len(faults) == 1
