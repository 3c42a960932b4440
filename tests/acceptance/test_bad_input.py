"""Files, addresses and passwords that cannot work: one line that says so, the right exit code, nothing stored."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.exports import export, row
from tests.fixtures.hostile import garbage, opinion, well_formed
from tests.fixtures.pipeline import ROOT, SAMPLE, Pipeline, Run, get
from tests.fixtures.process import eventually

HEADER = SAMPLE.read_bytes().split(b"\n", 1)[0]
SECRET = "open-sesame"
FILES = {
    "missing": (None, "No such file"),
    "empty": (b"", "empty"),
    "a header only": (HEADER + b"\n", "no rows"),
    "UTF-16": ("timestamp,metric_name,gpu_id,uuid,value\n".encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": ("timestamp,metric_name,gpu_id,uuid,value\n".encode("utf-16-le"), "NUL"),
    "gzip": (gzip.compress(HEADER), "gunzip"),
    "a name twice": (HEADER + b",VALUE\n1\n", "more than once"),
    "a name of two lines": (HEADER + b',"a\nb"\n1\n', "quotes"),
    "a terminal's commands": (b"\x1b[2Jtime,value\x0b\n1\n", "control characters"),
    "without values": (b"timestamp,metric_name,gpu_id,uuid\n1,a,0,GPU-1\n", "value"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_export_is_told_in_one_line(kind: str, run: Run, tmp_path: Path) -> None:
    content, why = FILES[kind]
    path, state = tmp_path / "the file.csv", tmp_path / "state"
    if content is not None:
        path.write_bytes(content)
    urls = ("--database-url", "postgresql://nobody@127.0.0.1:1/x", "--redis-url", "redis://127.0.0.1:1")
    begun = [run.begin("up", "--once", "--csv", path, "--state", state)]
    if kind in ("missing", "UTF-16"):
        begun.append(run.begin("stream", "--once", "--csv", path, *urls, "--log-level", "error"))
    for done in map(run.end, begun):
        assert done.code == 2
        assert done.out == ""
        (line,) = done.err.splitlines()
        assert str(path) in line
        assert why.lower() in line.lower()
    assert not state.exists()


def test_a_folder_is_no_export(run: Run, tmp_path: Path) -> None:
    done = run("up", "--once", "--csv", tmp_path, "--state", tmp_path / "state")
    assert done.code == 2
    assert str(tmp_path) in done.err
    assert not (tmp_path / "state").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_file_that_may_not_be_read_is_told(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "secret.csv"
    path.write_bytes(HEADER)
    path.chmod(0)
    done = run("up", "--once", "--csv", path, "--state", tmp_path / "state")
    assert done.code == 2
    assert "Permission denied" in done.err


@pytest.mark.slow
def test_rows_full_of_bad_fields_are_stored_blank_or_rejected_as_an_independent_reader_says(pipeline: Pipeline) -> None:
    contents = [well_formed(seed) for seed in (4, 61)]
    verdicts = [opinion(content) for content in contents]
    for content, expected in zip(contents, verdicts, strict=True):
        counts = reconciled(pipeline, content)
        assert (counts["read"], counts["blank"], counts["rejected"], counts["dead"]) == (
            len(expected), expected.count("blank"), expected.count("rejected"), 0,
        )  # fmt: skip
    found = pipeline.database.ask("SELECT value, (extract(epoch FROM timestamp) * 1000000)::bigint FROM telemetry")
    usable = [verdict for expected in verdicts for verdict in expected if isinstance(verdict, tuple)]
    assert sorted(found) == sorted(usable)


@pytest.mark.slow
def test_garbage_among_good_rows_costs_its_own_rows_only(pipeline: Pipeline) -> None:
    header, good = export(*[row(pod="good")] * 500).split(b"\n", 1)
    bodies = [garbage(seed).split(b"\n", 1)[1] for seed in range(10)]
    counts = reconciled(pipeline, b"\n".join([header, good, *bodies, b"x" * (1 << 20), good]))
    assert counts["dead"] == 0
    assert counts["rejected"] > 1_000
    assert pipeline.database.one("SELECT count(*) FROM telemetry WHERE pod = 'good'") == 1_000


def reconciled(pipeline: Pipeline, content: bytes) -> dict[str, int]:
    """The counts of one run over a file; they add up, and nothing was said but what must be."""
    path = pipeline.folder / "hostile.csv"
    path.write_bytes(content)
    done = pipeline.run.end(pipeline.up("--once", "--csv", path, "--time", "source"))
    assert done.code == 0, done.err
    counts = done.counts
    assert counts["read"] == counts["stored"] + counts["blank"] + counts["rejected"] + counts["dead"]
    assert done.result["reconciles"]
    return counts


def test_a_refused_password_ends_every_command_without_showing_it(pipeline: Pipeline) -> None:
    server = pipeline.database.server
    place = server.url(server.writer, pipeline.database.name).rpartition("@")[2]
    database = {"TELEMETRY_DATABASE_URL": f"postgresql://{server.writer}:{SECRET}@{place}"}
    words = ("--csv", SAMPLE, "--log-level", "error")
    begun = [
        pipeline.begin("verify", **database),
        pipeline.begin("migrate", **database),
        pipeline.begin("collect", "--log-level", "error", **database),
        pipeline.begin("stream", *words, **database),
        pipeline.begin("up", "--once", *words, **database),
    ]
    for done in map(pipeline.run.end, begun):
        assert (done.code, done.out) == (2, "")
        assert "password authentication failed" in done.err
        assert SECRET not in done.err


def test_a_refused_password_of_the_queue_ends_every_command_without_showing_it(pipeline: Pipeline) -> None:
    with pipeline.redis.client() as client:
        client.config_set("requirepass", "another")
    queue = {"TELEMETRY_REDIS_URL": pipeline.redis.url.replace("redis://", f"redis://:{SECRET}@")}
    owner = {"TELEMETRY_DATABASE_URL": pipeline.database.owner}
    begun = [
        pipeline.begin("queue", "stats", **queue),
        pipeline.begin("collect", "--log-level", "error", **queue),
        pipeline.begin("stream", "--csv", SAMPLE, "--log-level", "error", **queue),
        pipeline.begin("up", "--once", "--csv", SAMPLE, **queue, **owner),
    ]
    for done in map(pipeline.run.end, begun):
        assert (done.code, done.out) == (2, "")
        assert "password" in done.err
        assert SECRET not in done.err
    assert pipeline.settled() == 0


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address that refuses everybody: its port is taken, so that no server can come there, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_servers_that_are_not_there_end_a_command_and_are_waited_for_by_a_role(
    pipeline: Pipeline, nowhere: str
) -> None:
    database = {"TELEMETRY_DATABASE_URL": f"postgresql://me:{SECRET}@{nowhere}/x"}
    queue = {"TELEMETRY_REDIS_URL": f"redis://:{SECRET}@{nowhere}/0"}
    role = pipeline.begin("collect", "--health-port", 0, **database)
    asked = [
        pipeline.begin("verify", **database),
        pipeline.begin("queue", "peek", **queue),
        pipeline.begin("queue", "dead", "list", **database),
        pipeline.begin("up", "--once", "--csv", SAMPLE, **database),
        pipeline.begin("up", "--once", "--csv", SAMPLE, **queue, TELEMETRY_DATABASE_URL=pipeline.database.owner),
    ]
    for done in map(pipeline.run.end, asked):
        assert (done.code, done.out) == (3, "")
        assert "refused" in done.err
        assert SECRET not in done.err
    eventually(lambda: "waiting for the database" in role.stderr, "a warning")
    assert role.running
    role.signal(15)
    assert pipeline.run.end(role).code == 0
    assert SECRET not in role.stderr


def test_a_port_in_use_is_told_with_its_flag(run: Run, pipeline: Pipeline, tmp_path: Path) -> None:
    taken = pipeline.redis.port
    up = ("up", "--csv", SAMPLE, "--state", tmp_path / "state")
    begun = [
        ("--api-port", run.begin(*up, "--api-port", taken)),
        ("--health-port", run.begin(*up, "--health-port", taken, "--streamers", 0)),
        ("--health-port", pipeline.begin("collect", "--health-port", taken, "--log-level", "error")),
    ]
    too_high = run.end(run.begin(*up, "--health-port", 65_535))
    assert (too_high.code, "--health-port 65535: 2 processes need a port each" in too_high.err) == (2, True)
    for flag, process in begun:
        done = run.end(process)
        assert done.code == 2
        (line,) = done.err.splitlines()
        assert f"{flag} {taken}" in line
    assert get(f"http://127.0.0.1:{taken}/")[0] == 0


def test_addresses_that_mean_nothing_are_wrong_usage(run: Run) -> None:
    begun = [
        run.begin("verify", "--database-url", "nonsense"),
        run.begin("verify", "--database-url", f"postgresql://u:{SECRET}@host:port/x"),
        run.begin("queue", "stats", "--redis-url", f"http://u:{SECRET}@host"),
        run.begin("queue", "stats", "--redis-url", f"redis://u:{SECRET}@host:port"),
        run.begin("stream", "--csv", ROOT, "--redis-url", "", "--database-url", "postgresql://host/x"),
    ]
    for done in map(run.end, begun):
        assert (done.code, done.out) == (2, "")
        assert "-url" in done.err
        assert SECRET not in done.err
