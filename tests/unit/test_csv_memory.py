"""Memory stays flat whatever a file is full of: measured in a process of its own, against a tenth of the file."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from telemetry.streamer.sources.records import MAX_RECORD
from tests.fixtures.exports import NAMES, export, quoted, row
from tests.fixtures.process import plain_env

READ = """
import re, sys
from pathlib import Path
from telemetry.streamer.sources.csvfile import CsvSource
source = CsvSource(path=Path(sys.argv[1]), times=False).open()
rows = min(250, source.length)
for first in [*range(0, source.length, rows), 7, source.length - rows // 2]:
    source.block("s", first, rows, 0).encode()
source.raw(7, rows, 1 << 20)
print(source.length, *re.findall(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text()))
"""
"""Prints its peak in KiB. Not ru_maxrss: that begins with what the parent process had."""

COLUMNS = [*NAMES, "note"]
LINE = quoted([*row(uuid="GPU-@", value="#"), ""])
MEGABYTE = 1 << 20
KINDS: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "rows": (10_000, lambda i: LINE.replace(b"@", b"%d" % (i % 500)).replace(b"#", b"%d" % (i % 700)) + b"\n"),
    "rows of their own labels": (13_000, lambda i: quoted([*row(labels_raw=f'job="{i}"'), ""]) + b"\n"),
    "rows of long labels": (300, lambda i: quoted([*row(labels_raw=f'job="{i}{"x" * 16_000}"'), ""]) + b"\n"),
    "rows of great length": (130, lambda i: quoted([*row(), "x" * (MAX_RECORD - 500)]) + b"\n"),
    "broken rows": (10_000, lambda i: LINE[:-1] + b"\n"),
    "rows too long by far": (8, lambda i: LINE + b"x" * MEGABYTE + b"\n"),
    "one giant line": (3, lambda i: b"x" * MEGABYTE),
    "blank lines": (3, lambda i: b"\n" * MEGABYTE),
    "rows between blank lines": (3, lambda i: LINE + b"\n" * MEGABYTE),
    "an open quote": (3, lambda i: b'"' * (i == 0) + (b"x" * 200 + b",\n") * (MEGABYTE // 200)),
}
ONE_ROW = ("one giant line", "blank lines")


@pytest.mark.parametrize(
    "kind", ["rows", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind != "rows")]
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    least, piece = KINDS[kind]

    def peak(count: int) -> tuple[int, int]:
        path = tmp_path / f"{count}.csv"
        with path.open("wb") as file:
            file.writelines([export(LINE, names=COLUMNS), *map(piece, range(count))])
            file.write(b"\n" + LINE)
        command = [sys.executable, "-c", READ, str(path)]
        found = subprocess.run(command, check=True, capture_output=True, text=True, env=plain_env()).stdout.split()
        return int(found[0]), int(found[1])

    (few, small), (many, large) = peak(least), peak(least * 10)
    assert (few == many) == (kind in ONE_ROW)
    assert large <= small * 1.2
