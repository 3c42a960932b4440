"""What the chart renders does its work: the queue's server runs with its configuration, the API takes its tokens, a
source is fetched, and `helm test` tells right from wrong.

What does not live here: how it is rendered (`test_default`, `test_switches`), and what a cluster makes of it.
"""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import redis

from telemetry.broker import Broker, Topic
from telemetry.catalog import lookup
from tests.fixtures.chart import HELM_CHART, Chart, Render
from tests.fixtures.pipeline import Pipeline
from tests.fixtures.pods import queue
from tests.fixtures.process import Spawned, eventually
from tests.fixtures.servers_redis import Server, free_port
from webapi.security.tokens import find, of_text

__all__ = ["queue"]

pytestmark = pytest.mark.chart

CONTENT = b"timestamp,value\n" * 100_000


def test_redis_holds_a_full_queue_and_lets_in_who_has_the_password(queue: Server, rendered: Render) -> None:
    with redis.Redis.from_url(queue.url, decode_responses=True) as client:
        found = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "appendonly", "save", "dir")}
    folder = str(queue.log.parent)
    assert found == {"maxmemory-policy": "noeviction", "appendonly": "yes", "save": "", "dir": folder}
    with redis.Redis(port=queue.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    env = {one["name"]: one.get("value") for one in collector_of(rendered)["env"]}
    capacity, max_bytes = (int(env[f"TELEMETRY_QUEUE_{name}"] or 0) for name in ("CAPACITY", "MAX_BYTES"))
    broker = Broker(queue.url, namespace="gpu")
    assert Topic(broker, "samples", capacity=capacity, max_bytes=max_bytes).check_memory() == []
    assert Topic(broker, "samples", capacity=capacity + 100, max_bytes=max_bytes).check_memory()
    broker.close()


def collector_of(render: Render) -> Mapping[str, list[dict[str, str]]]:
    found: Mapping[str, list[dict[str, str]]] = render["Deployment", "telemetry-collector"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    return found


def test_the_api_takes_the_tokens_that_people_get(rendered: Render) -> None:
    kept = of_text(rendered.secret("telemetry-api-digests", "tokens.json"))
    assert {token.name: token.scope for token in kept} == {"admin": "admin", "reader": "read"}
    for token in kept:
        text = rendered.secret("telemetry-api-tokens", token.name)
        assert find(kept, text) == token
        assert text.startswith(token.starts)
        assert text not in rendered.secret("telemetry-api-digests", "tokens.json")


def test_two_installations_share_no_password(chart: Chart, rendered: Render) -> None:
    other = Chart(chart.folder)()
    for name, key in [("telemetry-redis", "password"), ("telemetry-api-tokens", "admin")]:
        assert rendered.secret(name, key) != other.secret(name, key)


def test_each_role_logs_in_as_itself(rendered: Render) -> None:
    urls = {role: rendered.secret(f"telemetry-postgres-{role}", "url") for role in ("owner", "writer", "reader")}
    users = {role: url.removeprefix("postgresql://").split(":")[0] for role, url in urls.items()}
    assert users == {"owner": "gpu", "writer": "telemetry_writer", "reader": "telemetry_reader"}
    for role, url in urls.items():
        password = rendered.secret(f"telemetry-postgres-{role}", "password")
        assert url == f"postgresql://{users[role]}:{password}@telemetry-postgres:5432/gpu"


def test_a_variable_of_ones_own_takes_the_place_of_the_charts(chart: Chart, rendered: Render) -> None:
    """Two of one name Kubernetes refuses when Helm applies them."""
    mine = {"name": "TELEMETRY_QUEUE_LEASE", "valueFrom": {"configMapKeyRef": {"name": "mine", "key": "lease"}}}
    found = collector_of(chart({"collector": {"extraEnv": [mine]}}))["env"]
    theirs = [one for one in collector_of(rendered)["env"] if one["name"] != mine["name"]]
    assert found == [*theirs, mine]


IMAGES_OWN = """#!/bin/sh
[ "$1" = postgres ] && [ "$PGDATA" = "$HERE/data.draft" ] && mkdir "$PGDATA" && touch "$PGDATA/half" || exit 9
[ -e "$HERE/whole" ] || exit 1
echo 18 >"$PGDATA/PG_VERSION"
"""
"""Stands for the image's program that makes a cluster: it fails in the middle unless there is a file `whole`."""


def test_the_databases_cluster_is_whole_or_is_not_there(rendered: Render, tmp_path: Path) -> None:
    init = rendered["StatefulSet", "telemetry-postgres"]["spec"]["template"]["spec"]["initContainers"][0]
    program = tmp_path / "docker-ensure-initdb.sh"
    program.write_text(IMAGES_OWN)
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HERE": str(tmp_path), "PGDATA": str(tmp_path / "data")}

    def start() -> int:
        return subprocess.run([*init["command"], *init["args"]], env=env, timeout=60).returncode

    assert [start(), start()] == [1, 1]  # cut short twice: the second does not take the first one's half for a whole
    assert not (tmp_path / "data").exists()
    (tmp_path / "whole").touch()
    assert start() == 0
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"half", "PG_VERSION"}
    (tmp_path / "whole").unlink()
    assert start() == 0  # it is there, and nothing is made
    assert not (tmp_path / "data.draft").exists()


class Files(BaseHTTPRequestHandler):
    """/whole gives the file, /half breaks off; whatever else is not there."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path not in ("/whole", "/half"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if path == "/whole" else CONTENT[: len(CONTENT) // 2])

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    """The address of a server of files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetch(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", str(HELM_CHART / "files" / "fetch.py"), *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_a_source_is_fetched_whole(files: str, tmp_path: Path) -> None:
    (tmp_path / "address").write_text(f"{files}/whole?signature=hunter2\n")
    done = fetch(f"@{tmp_path / 'address'}", tmp_path / "got.csv", hashlib.sha256(CONTENT).hexdigest())
    assert (done.returncode, done.stdout) == (0, f"fetched {len(CONTENT)} bytes to {tmp_path / 'got.csv'}\n")
    assert (tmp_path / "got.csv").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "sha256", "why"),
    [
        ("/half", "", "broke off after 800000 of 1600000 bytes"),
        ("/none", "", "answers 404 Not Found"),
        ("/whole", "0" * 64, f"not streamer.source.url.sha256 {'0' * 64}"),
    ],
)
def test_what_is_not_the_file_is_not_there(files: str, tmp_path: Path, path: str, sha256: str, why: str) -> None:
    done = fetch(f"{files}{path}?signature=hunter2", tmp_path / "got.csv", *[sha256] * bool(sha256))
    assert done.returncode == 1
    assert done.stderr.startswith("fetch: http://127.0.0.1/")
    assert done.stderr.endswith(f"{why}\n")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr
    assert not (tmp_path / "got.csv").exists()


@pytest.mark.parametrize("address", ["ftp://host/file", "file:///etc/passwd", "https://", "nonsense", "http://[", ""])
def test_what_is_no_address_is_told(address: str, tmp_path: Path) -> None:
    done = fetch(address, tmp_path / "got.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "fetch: streamer.source.url is no address; write https://host/export.csv\n"


def serving(pipeline: Pipeline, tokens: Path) -> tuple[Spawned, str]:
    """The API with a file of tokens."""
    port = free_port()
    words = ("serve", "--api-port", port, "--api-workers", 1, "--api-tokens", tokens)
    process = pipeline.begin(*words, TELEMETRY_DATABASE_URL=pipeline.database.reader)
    eventually(lambda: "serving the API" in process.stderr, "the API")
    return process, f"http://127.0.0.1:{port}"


def run_file(path: str, *words: object) -> subprocess.CompletedProcess[str]:
    """A file of the chart that is mounted under this path."""
    argv = [sys.executable, "-I", str(HELM_CHART / "files" / Path(path).name), *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def ask(*words: object) -> subprocess.CompletedProcess[str]:
    return run_file("ask.py", *words)


def test_readings_of_helm_test_are_none_of_the_fleets(rendered: Render, tmp_path: Path) -> None:
    made = run_file(rendered["Pod", "telemetry-test"]["spec"]["initContainers"][0]["command"][1], tmp_path / "made.csv")
    assert made.returncode == 0, made.stderr
    with (tmp_path / "made.csv").open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 5
    assert [row["metric_name"] for row in rows if lookup(row["metric_name"]) is not None] == []
    assert {row["Hostname"] for row in rows} == {""}, "alerts about hosts would tell of it for ever"
    assert rendered["ConfigMap", "telemetry-test"]["data"].keys() == {"ask.py", "readings.py"}


@pytest.mark.costly
def test_helm_test_tells_whether_its_readings_are_there(pipeline: Pipeline, rendered: Render, tmp_path: Path) -> None:
    readings, other = tmp_path / "readings.csv", tmp_path / "other.csv"
    (tmp_path / "tokens.json").write_text(rendered.secret("telemetry-api-digests", "tokens.json"))
    (tmp_path / "token").write_text(rendered.secret("telemetry-api-tokens", "reader"))
    make, ingest = rendered["Pod", "telemetry-test"]["spec"]["initContainers"]
    pipeline.begin("collect")
    _, api = serving(pipeline, tmp_path / "tokens.json")
    made = set()
    for _ in range(2):  # a second test has readings of its own, whatever became of those before
        eventually(lambda: not (readings.exists() and f"{int(time.time())}" in readings.read_text()), "another second")
        run_file(make["command"][1], make["command"][2].replace("/tmp/readings.csv", str(readings)))
        done = pipeline(*[word.replace("/tmp/readings.csv", str(readings)) for word in ingest["args"]])
        assert done.code == 0, done.err
        made.add(done.result["stream"])
        assert {name: done.result[name] for name in ("read", "stored", "blank", "rejected")} == {
            "read": 5,
            "stored": 3,
            "blank": 1,
            "rejected": 1,
        }
        right = ask(api, readings, tmp_path / "token")
        assert (right.returncode, right.stdout) == (0, "all 3 readings are there, each once\n"), right.stderr
    assert len(made) == 2
    other.write_text(readings.read_text().replace(".5,", ".125,"))
    wrong = ask(api, other, tmp_path / "token")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("ask: the API has [('helm_test_half', ")
    unnamed = ask(api, readings)
    assert unnamed.returncode == 0
    assert "more was not asked" in unnamed.stdout
    (tmp_path / "token").write_text("tlm_wrong")
    refused = ask(api, readings, tmp_path / "token")
    assert refused.returncode == 1
    assert refused.stderr.startswith("ask: the API answers 401:")
