"""What a session of tests starts does not outlive it, however it ends."""

import sys
from pathlib import Path

from tests.fixtures.pipeline import ROOT
from tests.fixtures.process import Processes, eventually, is_gone

SESSION = """
import sys, time
from pathlib import Path
from tests.fixtures.process import Processes
from tests.fixtures.servers_redis import find_redis, start_redis
folder = Path(sys.argv[1])
pids = [Processes(folder).spawn([sys.executable, "-c", "import time; time.sleep(600)"]).pid]
if program := find_redis():
    server = start_redis(program, folder)
    pids.append(server.process.pid)
print(*pids, flush=True)
time.sleep(600)
"""


def test_what_a_session_had_started_ends_with_it_when_it_is_killed(processes: Processes, tmp_path: Path) -> None:
    (folder := tmp_path / "its").mkdir()
    session = processes.spawn([sys.executable, "-c", SESSION, str(folder)], {"PYTHONPATH": str(ROOT)})
    session.wait_for_output("\n")
    pids = [int(word) for word in session.stdout.split()]
    assert not any(is_gone(pid) for pid in pids)
    session.kill()
    eventually(lambda: all(is_gone(pid) for pid in pids), "the end of what it had started")
