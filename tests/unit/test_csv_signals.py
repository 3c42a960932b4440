"""A signal belongs to the role that streams, not to the library that parses."""

import sys
from pathlib import Path

from tests.fixtures.process import Processes

SAMPLE = Path(__file__).parents[2] / "data" / "sample.csv"
PARSE_UNDER_FIRE = """
import os, pathlib, signal, sys, threading
from telemetry.streamer.sources.csvfile import CsvSource

caught, done = [], threading.Event()
signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
source = CsvSource(path=pathlib.Path(sys.argv[1]), times=False).open()

def fire():
    while not done.wait(0.001):
        os.kill(os.getpid(), signal.SIGTERM)

thread = threading.Thread(target=fire)
thread.start()
try:
    while len(caught) < 200:
        block = source.block("s", 0, 20_000, 0)
        assert block.rows == 20_000
finally:
    done.set()
    thread.join()
print("all blocks read")
"""


def test_a_signal_in_the_midst_of_a_parse_reaches_the_role_and_costs_no_block(processes: Processes) -> None:
    parser = processes.spawn([sys.executable, "-c", PARSE_UNDER_FIRE, str(SAMPLE)])
    assert parser.wait() == 0, parser.stderr
    assert "all blocks read" in parser.stdout
