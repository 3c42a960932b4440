"""The API as a user starts it, and a client that keeps its connection.

What does not live here: what is asked (`reads`).
"""

from __future__ import annotations

import http.client
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from telemetry.embedded.children import Child, wait_until_ready
from telemetry.embedded.logfiles import LogFile
from tests.bench.crew import ENDING
from tests.bench.proc import cpu_of, peak_mb, share_mb
from tests.bench.stage import BenchFailed, Stage
from tests.fixtures.pipeline import ROOT, descendants
from tests.fixtures.process import plain_env
from tests.fixtures.store import Database

WORDS = ("serve", "--api-port", "0", "--statement-timeout", "600")
PATIENCE = 60.0
_SERVES = re.compile(r"serving the API url=(\S+)")


class Client:
    """One connection to one server."""

    def __init__(self, child: Child, connection: http.client.HTTPConnection) -> None:
        self._child, self._connection = child, connection
        self.place = connection.host, connection.port
        """Host and port, to connect to once more."""

    def get(self, path: str) -> bytes:
        """The body of an answer."""
        with self._asked(path) as response:
            return response.read()

    def save(self, path: str, to: Path) -> None:
        """The body of an answer, into a file, as it comes."""
        with self._asked(path) as response, to.open("wb") as file:
            shutil.copyfileobj(response, file, 1 << 16)

    @property
    def pid(self) -> int:
        """The server's first process, which starts the workers."""
        return self._child.pid or 0

    @property
    def peak(self) -> float:
        """The most memory that a worker ever took, in MB."""
        return max(peak_mb(pid) for pid in descendants(self.pid))

    @property
    def share(self) -> float:
        """Memory of all workers now, in MB; what processes have in common is divided among them."""
        return sum(share_mb(pid) for pid in descendants(self.pid))

    def cpu_of_workers(self) -> dict[int, float]:
        """CPU seconds of each, by its process id."""
        return {pid: cpu_of(pid) for pid in descendants(self.pid)}

    @contextmanager
    def _asked(self, path: str) -> Iterator[http.client.HTTPResponse]:
        try:
            response = self._ask(path)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            response = self._ask(path)  # the floor took its time, and the server keeps idle connections for 2 s only
        with response:
            if response.status != 200:
                raise BenchFailed(f"{path} was answered with {response.status}: {response.read(500)!r}")
            yield response

    def _ask(self, path: str) -> http.client.HTTPResponse:
        self._connection.request("GET", f"/api/v1{path}")
        return self._connection.getresponse()


@contextmanager
def serving(stage: Stage, database: Database, *words: str) -> Iterator[Client]:
    """`telemetry serve` over a database, with more words perhaps, and a client of it."""
    log = LogFile(stage.folder / f"api-{uuid.uuid4().hex}.log")  # it is read for where this one listens
    env = {**plain_env(), "PYTHONPATH": str(ROOT), "TELEMETRY_DATABASE_URL": database.reader}
    child = Child([sys.executable, "-m", "telemetry", *WORDS, *words], env=env, log=log, cwd=ROOT)
    child.start()
    try:
        wait_until_ready(child, "the API", lambda: bool(_SERVES.search(log.text())), PATIENCE)
        place = urlsplit(_SERVES.findall(log.text())[0])
        with closing(http.client.HTTPConnection(str(place.hostname), place.port, timeout=PATIENCE)) as connection:
            yield Client(child, connection)
    finally:
        child.stop(ENDING)
