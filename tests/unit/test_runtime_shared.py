"""Counts that processes share by files: in the library's form, on a disk that may be full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from telemetry.runtime.shared import bury
from telemetry.runtime.valuefile import ValueFile, read_values, write_values
from tests.fixtures.wait import PATIENCE, until

KEYS = ["", "a", "abcd", "abcde", '["telemetry_api_requests", "ü", {"route": "/"}, "why"]', "x" * 5_000]

FULL = """
import logging, os, resource, sys, time
from pathlib import Path
from telemetry.runtime.exposition import exposition
from telemetry.runtime.metrics import ApiMetrics
from telemetry.runtime.shared import bury, share_values

folder = Path(sys.argv[1])
(_, most) = resource.getrlimit(resource.RLIMIT_FSIZE)

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))

def told():
    return [line for line in exposition(metrics.registry)[0].decode().splitlines() if line.startswith(NAME)]

NAME = "telemetry_api_responses_total"
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
share_values()
metrics = ApiMetrics()
counted = lambda status: metrics.responses.labels(status=status).inc()
counted("200")
room((folder / f"counter_{os.getpid()}.db").stat().st_size + 9)
for _ in range(3):
    counted("500")
    counted("200")
    metrics.request_duration_seconds.labels(group="gpus").observe(0.1)
print(told()[1:])
room(8)
try:
    bury(folder, os.getpid())
except OSError as error:
    print("not buried", error.errno)
print(sorted(file.name.partition("_")[0] for file in folder.iterdir() if not file.name.startswith("gauge")))
room(most)
end = time.monotonic() + float(sys.argv[2])
while len(told()) < 2 and time.monotonic() < end:
    time.sleep(0.01)
    counted("500")
print(len(told()), told()[0])
"""


def test_a_disk_that_is_full_ends_no_process_and_what_it_counted_is_told_when_there_is_room(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", FULL, str(tmp_path), str(PATIENCE)]
    ended = subprocess.run(
        argv, env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=2 * PATIENCE
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [line for line in ended.stdout.splitlines() if "are shared again" not in line]
    assert lines == [
        "counts stay in this process",
        "counts stay in this process",
        "[]",
        "not buried 27",
        "['counter', 'histogram', 'lock']",
        '2 telemetry_api_responses_total{status="200"} 4.0',
    ]
    assert ended.stdout.count("counts are shared again") >= 1


def test_a_file_is_read_as_the_librarys_own_and_goes_on_with_what_stood_in_it(tmp_path: Path) -> None:
    library = MmapedDict(str(tmp_path / "library.db"))  # type: ignore[no-untyped-call]
    ours = ValueFile(str(tmp_path / "ours.db"))
    for file in (library, ours):
        for number, key in enumerate(KEYS):
            assert file.read_value(key) == (0, 0)
            file.write_value(key, number + 0.5, 7.0)
        file.close()
    wanted = {key: (number + 0.5, 7.0) for number, key in enumerate(KEYS)}
    assert read_values(tmp_path / "library.db") == read_values(tmp_path / "ours.db") == wanted
    again = ValueFile(str(tmp_path / "library.db"))
    again.write_value("new", 1, 0)
    again.close()
    assert read_values(tmp_path / "library.db") == {**wanted, "new": (1, 0)}


def test_what_cannot_be_written_is_kept_until_it_can(tmp_path: Path) -> None:
    path = tmp_path / "away" / "counter_1.db"
    file = ValueFile(str(path))
    file.write_value("a", 1, 0)
    assert file.read_value("a") == (1, 0)
    path.parent.mkdir()

    def is_there() -> bool:
        file.write_value("b", 2, 0)
        return path.exists()

    until(is_there, "a try after the pause")
    file.close()
    assert read_values(path) == {"a": (1, 0), "b": (2, 0)}


def test_the_dead_are_added_up_counters_by_sum_and_gauges_by_their_highest(tmp_path: Path) -> None:
    for pid, value in ((1, 3.0), (2, 5.0), (3, 4.0)):
        for kind in ("counter", "gauge_max"):
            write_values(tmp_path / f"{kind}_{pid}.db", {"a": (value, 0.0), f"of {pid}": (value, 0.0)})
        bury(tmp_path, pid)
    assert {file.name for file in tmp_path.iterdir()} == {"counter_dead.db", "gauge_max_dead.db", "lock"}
    assert read_values(tmp_path / "counter_dead.db")["a"] == (12, 0)
    assert read_values(tmp_path / "gauge_max_dead.db") == {"a": (5, 0), "of 1": (3, 0), "of 2": (5, 0), "of 3": (4, 0)}
