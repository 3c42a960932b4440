"""Answers per second of the API with more workers, when a few clients ask at once.

What lives here: the clients, what they ask, and the table. What does not: the server (`serving`). Nothing here has a
floor. The clients are threads of this process over bare sockets, so that they leave the cores to the API and
PostgreSQL; how much of the cores they took all the same is told.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tests.bench.filled import Asked, filled, gpus
from tests.bench.machine import cores
from tests.bench.measure import rounded
from tests.bench.proc import Thief, cpu_of_family, postgres_pid
from tests.bench.reads import check_json
from tests.bench.serving import PATIENCE, Client, serving
from tests.bench.stage import BenchFailed, Stage, say

T = TypeVar("T")
WORKERS = (1, 2, 4, 8)
CLIENTS = 8
THREADS = CLIENTS + 4
"""Of a worker, for one may get all clients: with as many threads as clients some would be refused, because a thread is
free only a moment after its client has the whole answer."""
SECONDS, BEFORE = 3.0, 1.0
"""Of each question; and those before that, in which workers connect to the database."""
STAYS = 20
"""Requests on one connection. Connections stay with the worker that took them, and one may have taken all: new ones
come to a worker that has time for them, as they do where clients come and go."""
READINGS = 1_000
QUESTIONS: Mapping[str, Callable[[Asked], str]] = MappingProxyType(
    {
        "GPU list": lambda _: "/gpus",
        f"range of <= {READINGS:,}": lambda asked: f"/gpus/{asked.id}/telemetry?limit={READINGS}",
        "latest": lambda asked: f"/gpus/{asked.id}/latest",
        "steps of 5 min": lambda asked: f"/gpus/{asked.id}/telemetry?step=5m",
    }
)
HEADER = ("tier", "API workers", "of them busy", "clients", "question", "bytes", "requests/s", "p50 ms", "p99 ms",
          "ms CPU of a request in the API", "postgres", "MB of a worker", "its own share",
          "clients' share of the cores", "stolen")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """One question, asked for some seconds. `latencies` in seconds; `cpu` in seconds, by who used it."""

    tier: str
    workers: int
    busy: int
    """Workers that answered."""
    clients: int
    question: str
    bytes: int
    seconds: float
    latencies: NDArray[np.float64]
    cpu: Mapping[str, float]
    worker_mb: float
    """The most that the largest worker ever had resident, what it shares with the others included."""
    share_mb: float
    """What one worker more costs: pages that several have count for each of them only in part."""
    stolen: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds

    @property
    def clients_share(self) -> float:
        """Of all cores' time, what the clients took."""
        return self.cpu["clients"] / self.seconds / cores()

    def ms(self, percentile: float) -> float:
        """A percentile of the latencies, in ms."""
        return float(np.percentile(self.latencies, percentile)) * 1e3

    def cpu_ms(self) -> dict[str, float]:
        """CPU of a request, by who used it."""
        return {name: seconds / len(self.latencies) * 1e3 for name, seconds in self.cpu.items()}

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        names = ("tier", "workers", "busy", "clients", "question", "bytes")
        return {
            **{name: getattr(self, name) for name in names},
            "rate": rounded(self.rate),
            "p50_ms": rounded(self.ms(50)),
            "p99_ms": rounded(self.ms(99)),
            "cpu_ms": {name: rounded(ms) for name, ms in self.cpu_ms().items()},
            "worker_mb": rounded(self.worker_mb),
            "share_mb": rounded(self.share_mb),
            "clients_share": rounded(self.clients_share),
            "stolen": rounded(self.stolen),
        }


class Line:
    """A client that asks one thing again and again, and connects anew now and then."""

    def __init__(self, place: tuple[str, int], path: str) -> None:
        self._place = place
        self._request = self._request_for(path)
        self._got = bytearray(1 << 18)
        self._socket: socket.socket | None = None
        self._asked = 0

    def ask(self) -> int:
        """Ask once; the bytes of the answer's body, which are read and not looked at. Raises BenchFailed if refused."""
        head, length = self.answer()
        if not head.startswith(b"HTTP/1.1 200 "):
            raise BenchFailed(f"the API answered {head!r}")
        return length

    def answer(self, path: str | None = None) -> tuple[bytes, int]:
        """Ask once, for another path if one is given; the head of the answer, and the bytes of its body."""
        connection = self._connected()
        connection.sendall(self._request if path is None else self._request_for(path))
        got, end = 0, -1
        while end < 0:
            got += self._more(connection, got)
            end = self._got.find(b"\r\n\r\n", 0, got)
        head, begun = bytes(self._got[:end]), bytes(self._got[end + 4 : got])
        if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.IGNORECASE):
            length = self._in_chunks(connection, bytearray(begun))
        else:
            length = _length(head)
            missing = length - len(begun)
            while missing > 0:
                missing -= self._more(connection, 0)
        if re.search(rb"\r\nconnection: *close", head, re.IGNORECASE):
            self.close()
        return head, length

    def _in_chunks(self, connection: socket.socket, got: bytearray) -> int:
        """Read a body whose length nobody said (RFC 9112, section 7.1), of which this much came; its bytes."""
        length, size = 0, -1
        while size:
            while (end := got.find(b"\r\n")) < 0:
                got += self._got[: self._more(connection, 0)]
            size = int(got[:end], 16)
            while len(got) < end + size + 4:  # both line ends
                got += self._got[: self._more(connection, 0)]
            del got[: end + size + 4]
            length += size
        return length

    def _request_for(self, path: str) -> bytes:
        return f"GET /api/v1{path} HTTP/1.1\r\nHost: {self._place[0]}\r\n\r\n".encode()

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._asked % STAYS == 0:
            self.close()
        self._asked += 1
        if self._socket is None:
            self._socket = socket.create_connection(self._place, PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _more(self, connection: socket.socket, at: int) -> int:
        if not (got := connection.recv_into(memoryview(self._got)[at:])):
            raise BenchFailed("the API hung up in the middle of an answer")
        return got


def crowds(stage: Stage) -> Iterator[Crowd]:
    """Each question with each number of workers."""
    database = filled(stage)
    asked = gpus(database, CLIENTS)
    for workers in WORKERS:
        with serving(stage, database, *_words(workers)) as client:
            for question in QUESTIONS:
                found = _crowd(stage, client, workers, question, asked)
                say(", ".join(f"{name} {cell}" for name, cell in zip(HEADER, _cells(found), strict=True)))
                yield found


def _words(workers: int) -> Sequence[str]:
    return "--api-workers", str(workers), "--api-threads", str(THREADS)


def markdown(found: Sequence[Crowd]) -> str:
    """The table."""
    lines = [HEADER, ["---"] * len(HEADER), *map(_cells, found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _crowd(stage: Stage, client: Client, workers: int, question: str, asked: Sequence[Asked]) -> Crowd:
    paths = [QUESTIONS[question](asked[number % len(asked)]) for number in range(CLIENTS)]
    if question.startswith("range"):
        check_json(client.get(paths[0]), min(asked[0].readings, READINGS))
    postmaster = postgres_pid(stage.admin_url)
    with ExitStack() as stack:
        lines = [stack.enter_context(closing(Line(client.place, path))) for path in paths]
        length = max(_together(lines, Line.ask))
        _together(lines, partial(_asked, end=time.perf_counter() + BEFORE))
        before, of_workers, thief = _cpu(client, postmaster), client.cpu_of_workers(), Thief()
        began = time.perf_counter()
        latencies = np.concatenate(_together(lines, partial(_asked, end=began + SECONDS)))
        seconds, stolen = time.perf_counter() - began, thief.stolen()
        after = _cpu(client, postmaster)
    busy = sum(cpu > of_workers.get(pid, 0.0) for pid, cpu in client.cpu_of_workers().items())
    return Crowd(
        tier=stage.tier.value, workers=workers, busy=busy, clients=CLIENTS, question=question, bytes=length,
        seconds=seconds, latencies=latencies, cpu={name: after[name] - before[name] for name in after},
        worker_mb=client.peak, share_mb=client.share / workers, stolen=stolen,
    )  # fmt: skip


def _together(lines: Sequence[Line], act: Callable[[Line], T]) -> list[T]:
    with ThreadPoolExecutor(len(lines)) as threads:
        return list(threads.map(act, lines))


def _asked(line: Line, end: float) -> list[float]:
    """Seconds of each answer until then."""
    found = []
    while (began := time.perf_counter()) < end:
        line.ask()
        found.append(time.perf_counter() - began)
    return found


def _cpu(client: Client, postmaster: int | None) -> dict[str, float]:
    used = {"api": cpu_of_family(client.pid), "clients": time.process_time()}
    return {**used, "postgres": cpu_of_family(postmaster)} if postmaster else used


def _length(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if not found:
        raise BenchFailed(f"the API answered {head!r}")
    return int(found[1])


def _cells(one: Crowd) -> Sequence[str]:
    cpu = one.cpu_ms()
    return [
        one.tier,
        *(str(count) for count in (one.workers, one.busy, one.clients)),
        one.question,
        f"{one.bytes:,}",
        f"{one.rate:,.0f}",
        *(f"{one.ms(percentile):.1f}" for percentile in (50, 99)),
        *(f"{cpu[name]:.2f}" if name in cpu else "-" for name in ("api", "postgres")),
        *(f"{mb:.0f}" for mb in (one.worker_mb, one.share_mb)),
        *(f"{share:.0%}" for share in (one.clients_share, one.stolen)),
    ]
