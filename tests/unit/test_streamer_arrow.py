"""A streamer does without pandas, though it is installed: asked of processes of their own, as Arrow looks but once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fixtures.pipeline import SAMPLE
from tests.fixtures.process import clean_env

READ = """
import sys
from pathlib import Path
from telemetry.streamer.arrow import keep_pandas_out
from telemetry.streamer.sources.csvfile import CsvSource
if sys.argv[1] == "out":
    keep_pandas_out()
source = CsvSource(path=Path(sys.argv[2]), times=True).open()
for first in range(0, source.length, 500):
    source.block("s", first, min(500, source.length - first), None)
print("pandas" in sys.modules)
import pandas
print(pandas.DataFrame({"a": [1, 2]}).a.sum())
"""
"""Reads a whole file, then says whether that took pandas, and whether pandas can be used all the same."""


@pytest.mark.parametrize(("how", "taken"), [("out", "False"), ("as it is", "True")])
def test_arrow_reads_pandas_at_the_first_block_unless_it_is_kept_out(how: str, taken: str) -> None:
    command = [sys.executable, "-c", READ, how, str(SAMPLE)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=clean_env(), timeout=60)
    assert done.stdout.split() == [taken, "3"]
