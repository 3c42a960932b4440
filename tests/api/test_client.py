"""A client in Python is generated, not written: openapi-python-client's, asked of a running server.

What is shown here holds for people too: `telemetry openapi --out api.json`, then
`openapi-python-client generate --path api.json`.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fixtures.asked import SHOWN, Asked
from tests.fixtures.process import plain_env
from tests.fixtures.wait import PATIENCE
from webapi.document import document, written

NAME = "generated_telemetry_client"
Import = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated package's parent."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "api.json").write_text(written(), encoding="utf-8")
    # Nothing is formatted afterwards, which only takes time; a warning is a part of the contract that was left out.
    (folder / "settings.yml").write_text("post_hooks: []\nliteral_enums: true\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "api.json", "--fail-on-warning"]
    settings = ["--config", "settings.yml", "--meta", "none", "--output-path", NAME]
    done = subprocess.run([*command, *settings], cwd=folder, env=plain_env(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Imports a module of it."""
    monkeypatch.syspath_prepend(str(folder))
    return lambda name: importlib.import_module(f"{NAME}.{name}")


@pytest.fixture
def client(load: Import, asked_guarded: Asked) -> Iterator[Any]:
    """Its client, with a token that may read."""
    with client_of(load, asked_guarded, asked_guarded.tokens["read"]) as made:
        yield made


def client_of(load: Import, server: Asked, token: str) -> Any:
    """A client with this token, from an address of its own: others show wrong ones, of which an address has so many."""
    made, httpx = load("client").AuthenticatedClient, load("client").httpx
    transport = httpx.HTTPTransport(local_address="127.0.0.9")
    return made(base_url=server.url, token=token, timeout=httpx.Timeout(PATIENCE), httpx_args={"transport": transport})


def test_gpus_are_listed_and_described(load: Import, client: Any) -> None:
    ids = load("api.gpus.list_gpus").sync(client=client)
    assert SHOWN.uuid in ids
    assert load("api.gpus.list_gpus").sync(client=client, host="mtv5-*") == [SHOWN.uuid]
    gpu = load("api.gpus.get_gpu").sync(SHOWN.uuid, client=client)
    assert (gpu.id, gpu.hostname, gpu.places[0].gpu_id) == (SHOWN.uuid, SHOWN.hostname, SHOWN.gpu_id)
    assert gpu.first_seen == datetime(2025, 7, 18, 20, 42, 34, tzinfo=UTC)
    assert load("api.fleet.list_inventory").sync(client=client, host="mtv5-*")[0].id == SHOWN.uuid


def test_readings_come_as_objects_in_a_range_of_datetimes(load: Import, client: Any) -> None:
    start = datetime(2025, 7, 18, 20, 52, 34, tzinfo=UTC)
    readings = load("api.gpus.get_gpu_telemetry").sync(
        SHOWN.uuid, client=client, start_time=start, end_time=start + timedelta(minutes=20), metric=["GPU_TEMP"]
    )
    assert [(reading.timestamp - start, reading.value) for reading in readings] == [
        (timedelta(minutes=minute), 10.0 + minute) for minute in (0, 10, 20)
    ]
    assert {type(reading).__name__ for reading in readings} == {"TelemetryRecord"}


def test_steps_come_as_objects_of_their_own(load: Import, client: Any) -> None:
    steps = load("api.gpus.get_gpu_telemetry").sync(
        SHOWN.uuid, client=client, step="1h", agg="max", metric=["POWER_USAGE"], start_time="2025-07-18T20:00:00Z"
    )
    assert [(type(step).__name__, step.timestamp.hour, step.value) for step in steps] == [
        ("StepRecord", 20, 2010.0),
        ("StepRecord", 21, 2060.0),
    ]


def test_newest_values_and_the_fleets_are_typed(load: Import, client: Any) -> None:
    newest = load("api.gpus.get_gpu_latest").sync(SHOWN.uuid, client=client)
    assert {(type(value.age_seconds), value.stale) for value in newest} == {(float, True)}
    top = load("api.fleet.list_top").sync(
        client=client, metric="POWER_USAGE", start_time="2025-07-18T20:00:00Z", end_time="2025-07-18T22:00:00Z", k=1
    )
    assert len(top) == 1


def test_a_problem_is_an_object_too(load: Import, client: Any) -> None:
    found = load("api.gpus.get_gpu").sync_detailed("GPU-nobody", client=client)
    assert (found.status_code, found.parsed.status, found.parsed.title) == (404, 404, "No GPU has this id")
    assert "GPU-nobody" in found.parsed.detail
    wrong = load("api.gpus.list_gpus").sync_detailed(client=client, limit=0)
    assert [(fault.parameter, fault.value) for fault in wrong.parsed.errors] == [("limit", "0")]


def test_pages_are_walked_by_the_link_header(load: Import, client: Any) -> None:
    walked: list[str] = []
    cursor = load("types").UNSET
    while True:
        page = load("api.gpus.list_gpus").sync_detailed(client=client, limit=3, cursor=cursor)
        walked += page.parsed
        found = re.search(r"[?&]cursor=([^&>]+)", page.headers.get("link", ""))
        if found is None:
            break
        cursor = found[1]
    assert walked == load("api.gpus.list_gpus").sync(client=client)
    assert len(walked) == 7


def test_tokens_are_sent_and_told_apart(load: Import, client: Any, asked_guarded: Asked) -> None:
    replay = load("api.queue.replay_dead_block")
    assert replay.sync(9, client=client).status == 403
    with client_of(load, asked_guarded, "tlm_unknown") as stranger:
        refused = load("api.gpus.list_gpus").sync_detailed(client=stranger)
        assert (refused.status_code, refused.parsed.status) == (401, 401)
    with client_of(load, asked_guarded, asked_guarded.tokens["admin"]) as admin:
        assert replay.sync(999, client=admin).status == 404


def test_names_are_such_as_a_person_would_give(folder: Path) -> None:
    models = {path.stem for path in (folder / NAME / "models").glob("*.py")}
    assert not [model for model in models if re.search(r"_type_\d|_schema|_\d$|response_", model)]
    operations = [item for path in document()["paths"].values() for item in path.values() if "operationId" in item]
    files = {path.stem for path in (folder / NAME / "api").glob("*/*.py")} - {"__init__"}
    assert len(files) == len(operations), "an operation was left out"


@pytest.mark.slow
def test_it_type_checks(folder: Path) -> None:
    settings = ["--config-file", "/dev/null", "--cache-dir", str(folder / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *settings, NAME], cwd=folder, env=plain_env(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
