"""Clients that take their answers slowly, or not at all, keep nobody else's thread, and no thread for ever.

And requests in pieces, to a server that waits for all of them. What does not live here: those that come too late
(`test_arrivals`).
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.api.test_arrivals import HEAD, MANY, answer_on, connections, refused
from tests.fixtures.api import Serve, fetch, start_server
from tests.fixtures.process import Processes, eventually
from webapi.process.answers import RATE, AnswerSocket, NotTaken
from webapi.process.arrivals import CONNECTIONS, HEAD_MAX
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


def have_begun(made: list[socket.socket]) -> int:
    """How many were answered 200, as far as that has come; it stays to be taken."""
    count = 0
    for connection in made:
        try:
            count += connection.recv(12, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"HTTP/1.1 200"
        except (BlockingIOError, ConnectionResetError):
            pass
    return count


def test_pages_that_nobody_takes_leave_probes_and_questions_answering(server: Serve) -> None:
    with slow(server, 3 * PAGES, f"GET {PAGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 20) as made:
        eventually(lambda: have_begun(made) == PAGES, "the places of pages being taken")
        beyond = fetch(f"{server.url}/openapi.json")
        assert (beyond.status, beyond.headers["Retry-After"]) == (503, "5")
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

        eventually(lambda: have_begun(made) == PAGES, "the places of pages being taken")
        eventually(there_is_room, "the end of those who are too slow")


def test_a_client_may_stand_still_no_longer_than_it_has_earned() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_608)
    with AnswerSocket(ours) as sending, theirs:
        whole = b"x" * (8 * RATE)
        taking = threading.Thread(target=lambda: theirs.recv(len(whole), socket.MSG_WAITALL))
        taking.start()
        sending.begin(patience=60.0, stalled_after=60)
        sending.sendall(whole)  # whatever its length, for one that takes it
        taking.join()
        sending.begin(patience=60.0, stalled_after=1)
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


@pytest.mark.parametrize(
    ("said", "status"), [(b"GET /" + b"x" * HEAD_MAX, 414), (HEAD + b"X: 1\r\n" * (HEAD_MAX // 6), 431)]
)
def test_a_head_without_end_is_refused_while_it_comes(server: Serve, said: bytes, status: int) -> None:
    with connections(server, 1, said) as (connection,):
        assert refused(connection, status)


def test_a_request_may_come_in_pieces_and_several_on_one_connection(server: Serve) -> None:
    whole = HEAD + b"\r\n"
    with connections(server, 1, b"\r\n" + whole[:9]) as (connection,):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(9, len(whole), 7):
            connection.sendall(whole[place : place + 7])
        assert answer_on(connection).status == 200
        connection.sendall(whole + b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + whole)
        with connection.makefile("rb") as file:
            said = b""
            while said.count(b"HTTP/1.1 ") < 3 or not said.endswith(b"ok\n"):
                line = file.readline()
                assert line, said
                said += line
        assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"405", b"200"]


def test_a_client_that_closes_half_way_is_forgotten(server: Serve) -> None:
    with connections(server, MANY, HEAD) as made:
        for connection in made:
            connection.shutdown(socket.SHUT_WR)
        assert {connection.recv(1) for connection in made} == {b""}
    assert fetch(f"{server.url}/livez").status == 200


@pytest.mark.parametrize("header", ["SCRIPT_NAME: /foo", "PATH_INFO: /livez"])
def test_no_client_says_where_the_server_stands(server: Serve, header: str) -> None:
    asked = f"GET /foo/livez HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode()
    with connections(server, 1, asked) as (connection,):
        assert answer_on(connection).status == 404


def test_a_body_that_cannot_be_read_is_answered_once(server: Serve) -> None:
    asked = b"POST /no/such HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"
    with connections(server, 1, asked) as (connection,), connection.makefile("rb") as file:
        assert file.read().count(b"HTTP/1.1 ") == 1
