"""Clients that take their answers slowly, or not at all, keep nobody else's thread, and no thread for ever."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.api.test_arrivals import answer_on, connections
from tests.fixtures.api import Serve, fetch, start_server
from tests.fixtures.process import Processes, eventually
from webapi.process.answers import RATE, AnswerSocket, NotTaken
from webapi.process.arrivals import CONNECTIONS
from webapi.process.crowd import PAGES

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
PAGE = "/swagger/assets/swagger-ui-bundle.js"
THREADS = 40
"""More than such a server has."""
HOW = {"threads": 1, "patience": 600.0, "stalled_after": 600, "streams": 1}
LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server of one request at a time whose patience no test outlives, over no database."""
    folder = tmp_path_factory.mktemp("answers")
    processes = Processes(folder)
    yield start_server(processes, NOWHERE, folder, HOW)
    processes.end()


@contextmanager
def slow(served: Serve, count: int, said: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that asked, and have next to no room for what they are answered."""
    place = urlsplit(served.url)
    with ExitStack() as stack:
        made = [stack.enter_context(socket.socket()) for _ in range(count)]
        for connection in made:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_304)
            connection.connect((place.hostname, place.port))
            connection.sendall(said)
        yield made


def sip(connection: socket.socket) -> None:
    """Take a little, if there is something."""
    connection.setblocking(False)
    try:
        connection.recv(64)
    except (BlockingIOError, ConnectionResetError):
        pass


def test_pages_that_nobody_takes_leave_probes_and_questions_answering(server: Serve) -> None:
    with slow(server, 3 * PAGES, f"GET {PAGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 20):
        eventually(lambda: fetch(f"{server.url}{PAGE}").status == 503, "the places of pages being taken")
        refused = fetch(f"{server.url}/openapi.json")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        for path, status in (("/livez", 200), ("/readyz", 503), ("/metrics", 200), ("/api/v1/gpus", 503)):
            assert fetch(f"{server.url}{path}").status == status
    eventually(lambda: fetch(f"{server.url}/swagger").status == 200, "the places of pages being left")
    assert "Traceback" not in server.process.stderr, server.process.stderr


@pytest.mark.slow
def test_answers_without_a_place_are_not_waited_for(server: Serve) -> None:
    with slow(server, THREADS, LIVE * 1_000):
        eventually(lambda: "does not take its answer" in server.process.stderr, "the end of the first")
        for _ in range(3):
            assert fetch(f"{server.url}/livez").status == 200


def test_a_client_that_takes_a_little_now_and_then_is_left(processes: Processes, tmp_path: Path) -> None:
    served = start_server(processes, NOWHERE, tmp_path, {"threads": 1, "patience": 0.5, "stalled_after": 600})
    with slow(served, PAGES, f"GET {PAGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as made:

        def there_is_room() -> bool:
            for connection in made:
                sip(connection)
            return fetch(f"{served.url}{PAGE}").status == 200

        eventually(lambda: fetch(f"{served.url}{PAGE}").status == 503, "the places of pages being taken")
        eventually(there_is_room, "the end of those who are too slow")


def test_a_client_may_stand_still_no_longer_than_it_has_earned() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_608)
    with AnswerSocket(ours) as sending, theirs:
        whole = b"x" * (8 * RATE)
        taking = threading.Thread(target=lambda: theirs.recv(len(whole), socket.MSG_WAITALL))
        taking.start()
        sending.begin(patience=5.0, stalled_after=1)
        sending.sendall(whole)  # whatever its length, for one that takes it
        taking.join()
        sending.at_any_rate()
        with pytest.raises(NotTaken):  # but not for standing still
            sending.sendall(whole)
        sending.begin(patience=0.05, stalled_after=60)
        with pytest.raises(NotTaken):
            sending.sendall(whole)
        assert sending.gettimeout() is None


def test_connections_that_are_idle_make_room_for_others(server: Serve) -> None:
    with connections(server, CONNECTIONS - 50, LIVE) as idle:
        assert {answer_on(connection).status for connection in idle} == {200}
        with connections(server, 100, b""):
            assert fetch(f"{server.url}/livez").status == 200
            assert idle[0].recv(1) == b""  # idle for longest
            idle[-1].sendall(LIVE)
            assert answer_on(idle[-1]).status == 200


@pytest.mark.parametrize("header", ["SCRIPT_NAME: /foo", "PATH_INFO: /livez"])
def test_no_client_says_where_the_server_stands(server: Serve, header: str) -> None:
    asked = f"GET /foo/livez HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode()
    with connections(server, 1, asked) as (connection,):
        assert answer_on(connection).status == 404


def test_a_body_that_cannot_be_read_is_answered_once(server: Serve) -> None:
    asked = b"POST /no/such HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"
    with connections(server, 1, asked) as (connection,), connection.makefile("rb") as file:
        assert file.read().count(b"HTTP/1.1 ") == 1
