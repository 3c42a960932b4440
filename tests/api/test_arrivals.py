"""Slow clients: heads, bodies and goodbyes that take their time keep neither a thread nor the worker.

What does not live here: those that are waited for (`test_answers`).
"""

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from werkzeug.exceptions import RequestTimeout

from tests.fixtures.api import Answer, Serve, fetch, start_server
from tests.fixtures.process import Processes
from webapi.process.arrivals import BODY_RATE, CONNECTIONS, BodyReader

MANY = 30
"""More connections than the server has threads."""
HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server of one request at a time that waits for nobody longer than a few seconds, over no database."""
    folder = tmp_path_factory.mktemp("arrivals")
    processes = Processes(folder)
    yield start_server(processes, "postgresql://nobody@127.0.0.1:1/nowhere", folder, {"threads": 1, "patience": 3.0})
    processes.end()


@contextmanager
def connections(served: Serve, count: int, said: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that said the same."""
    place = urlsplit(served.url)
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(socket.create_connection((place.hostname, place.port), timeout=30)))
            made[-1].sendall(said)
        yield made


def answer_on(connection: socket.socket) -> Answer:
    with http.client.HTTPResponse(connection) as response:
        response.begin()
        return Answer(response.status, dict(response.headers), response.read())


def refused(connection: socket.socket, status: int) -> bool:
    """Whether a connection is answered with a problem, and closed."""
    answer = answer_on(connection)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert orjson.loads(answer.body)["status"] == status
    return connection.recv(1) == b""


@pytest.mark.parametrize(
    "said",
    [
        HEAD + b"X: ",  # the rest never comes
        b"POST /api/v1/gpus HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nabc",  # nor does this one
        HEAD + b"Connection: close\r\n\r\n",  # answered, but not closed by the client
        b"\r\n" * 20_000,
    ],
    ids=["half a head", "half a body", "no goodbye", "empty lines"],
)
def test_slow_clients_keep_neither_a_thread_nor_the_worker(server: Serve, said: bytes) -> None:
    with connections(server, MANY, said):
        for _ in range(3):
            assert fetch(f"{server.url}/livez").status == 200


def test_a_head_that_does_not_come_in_time_is_refused(server: Serve) -> None:
    with connections(server, 3, HEAD + b"X: ") as made:
        assert all(refused(connection, 408) for connection in made)


def test_clients_that_say_nothing_make_room_for_others(processes: Processes, tmp_path: Path) -> None:
    served = start_server(processes, "postgresql://nobody@127.0.0.1:1/nowhere", tmp_path, {"patience": 600.0})
    with connections(served, CONNECTIONS + 20, b"") as made:
        assert fetch(f"{served.url}/livez").status == 200
        assert made[0].recv(1) == b""  # the first came first, and went first


def test_a_client_that_never_says_anything_is_left_without_a_word(server: Serve) -> None:
    with connections(server, 2, b"") as made:
        assert [connection.recv(1) for connection in made] == [b"", b""]


def test_a_body_may_pause_no_longer_than_it_has_earned() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        body = BodyReader(ours, 2.0)
        theirs.sendall(b"x" * BODY_RATE)
        assert len(body.read(BODY_RATE)) == BODY_RATE  # and a second more for the rest: three from here on
        ours.settimeout(0.01)
        with pytest.raises(TimeoutError):
            body.read(1)
        ours.settimeout(None)
        with pytest.raises(RequestTimeout):
            body.read(1)
        with pytest.raises(RequestTimeout):
            body.read(1)
        assert ours.gettimeout() is None
