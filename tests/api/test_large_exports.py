"""Ten million readings in one answer: in flat memory, in every format, and no harm done when the client goes away."""

import http.client
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import psycopg
import pytest

from tests.fixtures.api import Serve, fetch
from tests.fixtures.filled import POWER, T0, TEMP, UTIL, Reading, fill, gpu
from tests.fixtures.process import eventually
from tests.fixtures.store import Database

pytestmark = [pytest.mark.costly, pytest.mark.timeout(1_200)]

GPUS, EACH = 4, 2_500_000
MOST = 100 << 20
"""Bytes of memory that a worker may take at its peak."""
ONE, FLEET = "/gpus/GPU-all/telemetry", "/telemetry"
"""One id of several rows is one statement; the fleet is read window by window."""
ASKED = [(ONE, "csv", ""), (ONE, "ndjson", "gzip"), (FLEET, "csv", "gzip"), (FLEET, "ndjson", "")]
"""Each way to read and each to write, packed and not: how readings are written does not depend on how they are read."""
PAGES, PAGE = 2, 100_000
"""JSON comes by pages: so many of the largest that there are."""
RUNNING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' "
    "AND application_name LIKE 'telemetry-api%'"
)


@pytest.fixture(scope="module")
def database(shared_database: Database) -> Database:
    """Ten million readings, those of an instant beside each other, as collectors store them."""
    rows = [gpu(f"node-{number}", number, uuid="GPU-all") for number in range(GPUS)]
    fill(shared_database, [Reading(row, T0, metric, 0.0) for row in rows for metric in (TEMP, UTIL, POWER)])
    with psycopg.connect(shared_database.admin, autocommit=True) as connection:
        connection.execute("SELECT set_config('timescaledb.enable_direct_compress_insert', 'on', false)")
        connection.execute(
            "INSERT INTO samples (time, gpu, metric, workload, value, block) "
            "SELECT time + (n / 12) * interval '10 ms', gpus[1 + n %% 4], 1 + n / 4 %% 3, workload,"
            "       round(random() * 500000) / 1000, block "
            "FROM (SELECT time, workload, block FROM samples LIMIT 1) AS first, "
            "     (SELECT array_agg(gpu) AS gpus FROM gpus) AS of, "
            "     (SELECT generate_series(12, %s) AS n) AS each",
            (GPUS * EACH - 1,),
        )
        connection.execute("VACUUM (ANALYZE) samples")
    return shared_database


@pytest.fixture
def served(serve: Callable[..., Serve]) -> Serve:
    return serve(threads=2)


def worker_of(served: Serve) -> Path:
    """/proc of the only worker."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    eventually(lambda: children.read_text(), "the worker")
    return Path(f"/proc/{int(children.read_text())}")


@contextmanager
def bounded(worker: Path) -> Iterator[None]:
    """The worker takes no more than MOST meanwhile: the most that it had since it was told to forget what it had."""
    (worker / "clear_refs").write_text("5")
    yield
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", (worker / "status").read_text())
    peak = int(kilobytes) * 1_024
    print(f"{peak:,} bytes at most")  # shown with -rA, or where it fails
    assert peak < MOST


@contextmanager
def asked(served: Serve, path: str, encoding: str) -> Iterator[http.client.HTTPResponse]:
    place = urlsplit(served.url)
    with closing(http.client.HTTPConnection(str(place.hostname), place.port, timeout=600)) as connection:
        connection.request("GET", path, headers={"Accept-Encoding": encoding})
        with connection.getresponse() as response:
            assert response.status == 200
            assert response.getheader("Content-Encoding", "") == encoding
            yield response


def counted(response: http.client.HTTPResponse, mark: bytes) -> tuple[int, bytes]:
    """How often a byte comes in an answer, and its last bytes, without keeping any."""
    unpacked = zlib.decompressobj(wbits=31) if response.getheader("Content-Encoding") else None
    count, end = 0, b""
    while part := response.read(1 << 18):
        text = unpacked.decompress(part) if unpacked else part
        count, end = count + text.count(mark), (end + text)[-100:]
    assert unpacked is None or unpacked.eof
    return count, end


@pytest.mark.parametrize(("path", "kind", "encoding"), ASKED)
def test_it_takes_little_memory_and_all_of_it_arrives(served: Serve, path: str, kind: str, encoding: str) -> None:
    with bounded(worker_of(served)), asked(served, f"/api/v1{path}?format={kind}", encoding) as answer:
        count, end = counted(answer, b"\n")
    assert count == GPUS * EACH + 1
    assert end.endswith(b'{"trailer":{"count":10000000,"next":null}}\n') == (kind == "ndjson")


@pytest.mark.parametrize("path", [ONE, FLEET])
def test_so_do_the_largest_pages_of_json(served: Serve, path: str) -> None:
    worker, url = worker_of(served), f"/api/v1{path}?limit={PAGE}"
    for encoding in ("", "gzip"):
        for _ in range(PAGES):
            with bounded(worker), asked(served, url, encoding) as answer:
                count, end = counted(answer, b"}")
            assert (count, end[-2:]) == (PAGE, b"}]")
            url = urljoin(url, re.findall(r"<(.*)>", answer.getheader("Link", ""))[0])


@pytest.mark.parametrize(("path", "kind", "encoding"), ASKED)
def test_a_client_that_goes_away_leaves_nothing_behind(
    served: Serve, database: Database, path: str, kind: str, encoding: str
) -> None:
    with bounded(worker_of(served)):
        with asked(served, f"/api/v1{path}?format={kind}", encoding) as answer:
            assert answer.read(1 << 18)
        eventually(lambda: database.one(RUNNING) == 0, "the end of the statement")
        eventually(lambda: fetch(f"{served.url}/api/v1/gpus").status == 200, "room for the next request")
    assert "Traceback" not in served.process.stderr, served.process.stderr
