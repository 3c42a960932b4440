"""The server as a process: gunicorn, its socket, its workers, its end."""

import http.client
import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import psycopg
import pytest

from tests.fixtures.api import Answer, Serve, fetch, serve_on
from tests.fixtures.filled import fill, fleet
from tests.fixtures.process import Processes, eventually, is_gone
from tests.fixtures.store import Database
from webapi.process.arrivals import LINE_MAX
from webapi.process.folder import PREFIX

Start = Callable[..., Serve]


def test_it_answers_over_a_socket_and_ends_at_sigterm(serve: Start, database: Database) -> None:
    fill(database, fleet(hosts=1, gpus=1, steps=1))
    served = serve()
    answer = fetch(f"{served.url}/api/v1/gpus")
    assert (answer.status, orjson.loads(answer.body)) == (200, ["GPU-node-0-0"])
    assert fetch(f"{served.url}/readyz").status == 200
    served.process.signal(signal.SIGTERM)
    assert served.process.wait() == 0
    assert "Traceback" not in served.process.stderr
    assert "answered method=GET path=/api/v1/gpus status=200" in served.process.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_under_way_is_answered_before_the_end(serve: Start, database: Database, number: int) -> None:
    served = serve()
    answers: list[Answer] = []
    with psycopg.connect(database.admin) as blocker:
        blocker.execute("LOCK TABLE gpus IN ACCESS EXCLUSIVE MODE")
        asking = threading.Thread(target=lambda: answers.append(fetch(f"{served.url}/api/v1/gpus")))
        asking.start()
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        eventually(lambda: database.one(waiting), "the request waiting for the table")
        served.process.signal(number)
        eventually(lambda: refuses(served.url), "no new connections")
        assert served.process.running
    asking.join(timeout=60)
    assert [answer.status for answer in answers] == [200]
    assert served.process.wait() == 0


def refuses(url: str) -> bool:
    """True when nobody listens there."""
    place = urlsplit(url)
    try:
        socket.create_connection((place.hostname, place.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_port_in_use_is_one_line_and_exit_code_2(serve: Start, processes: Processes, database: Database) -> None:
    port = urlsplit(serve().url).port
    second = serve_on(processes, database, port or 0)
    assert second.wait() == 2
    assert second.stderr == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another, or end what has it\n"
    )


def test_metrics_are_those_of_all_workers_and_survive_one(serve: Start, tmp_path: Path) -> None:
    served = serve(workers=2)
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")

    def told() -> list[str]:
        return fetch(f"{served.url}/metrics").body.decode().splitlines()

    def is_replaced(worker: str) -> bool:
        return len(now := children.read_text().split()) == 2 and worker not in now

    for _ in range(20):
        assert fetch(f"{served.url}/livez").status == 200
    eventually(lambda: "telemetry_api_workers 2.0" in told(), "both workers")
    kept = {line for line in told() if "/livez" in line or "_connections_limit " in line}
    assert 'telemetry_api_requests_total{method="GET",route="/livez",status="2xx"} 20.0' in kept
    for number in (signal.SIGTERM, signal.SIGKILL):
        worker = children.read_text().split()[0]
        os.kill(int(worker), number)
        eventually(partial(is_replaced, worker), "a new worker")
        eventually(lambda: "telemetry_api_workers 2.0" in told(), "the new one beside the other, and no third")
        assert kept <= set(told())
    owners = {path.stem.rpartition("_")[2] for path in tmp_path.glob(f"{PREFIX}*/*.db")}
    assert owners <= {str(served.process.pid), "dead", *children.read_text().split()}


@pytest.mark.slow
def test_a_killed_servers_files_are_removed_by_the_next_one_and_a_running_ones_are_not(
    serve: Start, tmp_path: Path
) -> None:
    def folders() -> set[Path]:
        return set(tmp_path.glob(f"{PREFIX}*"))

    killed = serve(workers=2)
    left = folders()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path, target_is_directory=True)
    workers = Path(f"/proc/{killed.process.pid}/task/{killed.process.pid}/children").read_text().split()
    killed.process.kill()
    eventually(lambda: all(is_gone(int(pid)) for pid in workers), "the end of its workers")
    running = serve()
    assert len(left) == 1
    assert not left & folders()
    kept = folders()
    ended = serve()
    assert kept < folders()
    ended.process.signal(signal.SIGTERM)
    assert ended.process.wait() == 0
    assert folders() == kept
    assert fetch(f"{running.url}/metrics").status == 200


def test_what_is_no_request_is_answered_with_a_problem_too(serve: Start) -> None:
    served = serve()
    place = urlsplit(served.url)
    for told, status in (
        (b"GET /livez?" + b"x" * LINE_MAX + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/9.9\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ):
        with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
            connection.sendall(told)
            with http.client.HTTPResponse(connection) as response:
                response.begin()
                assert (response.status, response.headers["Content-Type"]) == (status, "application/problem+json")
                assert orjson.loads(response.read())["status"] == status
                line = f"answered unread status={status} request_id={response.headers['X-Request-ID']}"
                eventually(lambda line=line: line in served.process.stderr, "a line with the id")  # type: ignore[misc]
    counted = fetch(f"{served.url}/metrics").body.decode()
    assert 'telemetry_api_requests_total{method="none",route="none",status="4xx"} 4.0' in counted
    for status, count in ((400, 2), (414, 1), (431, 1)):
        assert f'telemetry_api_responses_total{{status="{status}"}} {count}.0' in counted
