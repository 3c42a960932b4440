"""Ten million readings in one answer: in flat memory, in every format, and no harm done when the client goes away."""

import http.client
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fixtures.api import Serve, fetch
from tests.fixtures.filled import POWER, T0, TEMP, UTIL, Reading, fill, gpu
from tests.fixtures.process import eventually
from tests.fixtures.store import Database

pytestmark = [pytest.mark.costly, pytest.mark.timeout(1_200)]

GPUS, EACH = 4, 2_500_000
MOST = 100 << 20
"""Bytes of memory that a worker may take at its peak."""
PATHS = ("/gpus/GPU-all/telemetry", "/telemetry")
"""One id of several rows is one statement; the fleet is read window by window."""


@pytest.fixture
def served(serve: Callable[..., Serve], database: Database) -> Serve:
    rows = [gpu(f"node-{number}", number, uuid="GPU-all") for number in range(GPUS)]
    fill(database, [Reading(row, T0, metric, 0.0) for row in rows for metric in (TEMP, UTIL, POWER)])
    database.ask(
        "INSERT INTO samples (time, gpu, metric, workload, value, block) "
        "SELECT time + (n / 3) * interval '10 ms', gpu, 1 + n %% 3, workload, round(random()::numeric * 500, 3), block "
        "FROM samples, generate_series(1, %s) AS n WHERE metric = 1",
        EACH - 3,
    )
    database.ask("ANALYZE samples")
    return serve(threads=2)


def worker_of(served: Serve) -> Path:
    """/proc of the only worker."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    eventually(lambda: children.read_text(), "the worker")
    return Path(f"/proc/{int(children.read_text())}")


def peak(worker: Path) -> int:
    """Bytes that it had at most since the last time it was told to forget that."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", (worker / "status").read_text())
    return int(kilobytes) << 10


@contextmanager
def asked(served: Serve, path: str, kind: str, encoding: str) -> Iterator[http.client.HTTPResponse]:
    place = urlsplit(served.url)
    with closing(http.client.HTTPConnection(str(place.hostname), place.port, timeout=600)) as connection:
        connection.request("GET", f"/api/v1{path}?format={kind}", headers={"Accept-Encoding": encoding})
        with connection.getresponse() as response:
            assert response.status == 200
            assert response.getheader("Content-Encoding", "") == encoding
            yield response


def lines_of(response: http.client.HTTPResponse) -> tuple[int, bytes]:
    """How many lines, and the end of the last of them, without keeping any."""
    unpacked = zlib.decompressobj(wbits=31) if response.getheader("Content-Encoding") else None
    count, end = 0, b""
    while part := response.read(1 << 18):
        text = unpacked.decompress(part) if unpacked else part
        count, end = count + text.count(b"\n"), (end + text)[-100:]
    assert unpacked is None or unpacked.eof
    return count, end.splitlines()[-1]


@pytest.mark.parametrize("path", PATHS)
def test_it_takes_little_memory_and_all_of_it_arrives(served: Serve, database: Database, path: str) -> None:
    worker = worker_of(served)
    for kind, encoding in (("csv", ""), ("csv", "gzip"), ("ndjson", ""), ("ndjson", "gzip")):
        (worker / "clear_refs").write_text("5")
        with asked(served, path, kind, encoding) as response:
            count, last = lines_of(response)
        assert count == GPUS * EACH + 1
        assert last.endswith(b'{"trailer":{"count":10000000,"next":null}}') == (kind == "ndjson")
        assert peak(worker) < MOST, (kind, encoding)
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' "
        "AND application_name LIKE 'telemetry-api%'"
    )
    for kind, encoding in (("csv", ""), ("ndjson", "gzip")):
        with asked(served, path, kind, encoding) as response:
            assert response.read(1 << 18)
        eventually(lambda: database.one(running) == 0, "the end of the statement")
        eventually(lambda: fetch(f"{served.url}/api/v1/gpus").status == 200, "room for the next request")
    assert peak(worker) < MOST
    assert "Traceback" not in served.process.stderr, served.process.stderr
