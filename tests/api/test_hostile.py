"""Requests that are meant to hurt, over a socket to `telemetry serve`: every operation and parameter of the contract.

What is new in the contract is attacked by itself, without a word here.
"""

import contextlib
import re
import socket
import uuid
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import orjson
import pytest

from tests.fixtures.api import fetch
from tests.fixtures.asked import METRICS, SHOWN, Asked
from tests.fixtures.attacks import Attack, Attacker, Reply, some, wrong
from tests.fixtures.contract import PROBLEM as PROBLEM_TYPE
from tests.fixtures.contract import Contract
from webapi.process.arrivals import LINE_MAX
from webapi.ranges import GPUS_MAX, METRICS_MAX

WARM = 300
"""Requests after which a worker has made what it keeps."""

GROWTH_MAX = 24 << 20
"""Bytes by which a worker may be larger afterwards: some pages and arenas stay, but nothing per request."""


@pytest.mark.parametrize(
    ("number", "seed"), [(700, 1), pytest.param(10_000, 2, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_whatever_is_sent_the_server_answers_tells_nothing_and_does_not_grow(
    asked: Asked, number: int, seed: int
) -> None:
    contract = Contract(orjson.loads(fetch(f"{asked.url}/openapi.json").body))
    before = orjson.loads(fetch(f"{asked.url}/api/v1/gpus").body)
    attacker = Attacker(urlsplit(asked.url).port or 0)
    faults, workers, size = [], asked.workers, 0
    for count, attack in enumerate(some(contract, number, seed)):
        if count == WARM:
            size = sum(map(memory_of, workers))
        faults += [f"{attack.what}: {fault}" for fault in wrong(attack, attacker.send(attack), asked.secrets)]
    attacker.close()
    assert faults == []
    assert asked.workers == workers, "a worker ended"
    assert sum(map(memory_of, workers)) - size < GROWTH_MAX
    assert orjson.loads(fetch(f"{asked.url}/api/v1/gpus").body) == before


def memory_of(pid: int) -> int:
    """Bytes of a process's memory that are its own or shared, now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


PROBLEM = {"type": "t", "title": "t", "status": 422, "detail": "d", "instance": "i", "request_id": "r"}
PLAIN = {"Content-Type": "application/problem+json"}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(None, {}, b""),
        Reply(500, PLAIN, orjson.dumps({**PROBLEM, "status": 500})),
        Reply(503, PLAIN, orjson.dumps({**PROBLEM, "status": 503})),
        Reply(404, {"Content-Type": "text/html"}, b"<h1>not found</h1>"),
        Reply(422, PLAIN, orjson.dumps({**PROBLEM, "detail": 'syntax error at or near "x"'})),
        Reply(422, PLAIN, orjson.dumps({**PROBLEM, "detail": "psycopg.errors.DataError"})),
        Reply(422, PLAIN, orjson.dumps({"title": "t"})),
        Reply(400, PLAIN, orjson.dumps(PROBLEM)),
        Reply(200, {"Content-Type": "text/plain"}, b"it is open-sesame"),
    ],
)
def test_an_answer_that_should_not_be_is_noticed(reply: Reply) -> None:
    attack = Attack("list", "GET", b"GET /api/v1/gpus HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wrong(attack, reply, ["open-sesame"]) != []
    assert wrong(attack, Reply(422, PLAIN, orjson.dumps(PROBLEM)), ["open-sesame"]) == []


def test_the_longest_question_that_the_contract_allows_is_answered(asked: Asked) -> None:
    gpus = [SHOWN.uuid, *(f"GPU-{uuid.UUID(int=number)}" for number in range(GPUS_MAX - 1))]
    metrics = [METRICS[0], *(f"DCGM_FI_{number:052}" for number in range(METRICS_MAX - 1))]
    question = f"/api/v1/telemetry?{urlencode({'gpu': gpus, 'metric': metrics}, doseq=True)}&host="
    room = LINE_MAX - len(f"GET {question} HTTP/1.1\r")
    assert room > 1_024
    answer = fetch(f"{asked.url}{question}{SHOWN.hostname}")
    assert (answer.status, {record["uuid"] for record in orjson.loads(answer.body)}) == (200, {SHOWN.uuid})
    for length, status in ((room, 422), (room + 1, 414)):
        refused = fetch(f"{asked.url}{question}{'x' * length}")
        assert (refused.status, refused.headers["Content-Type"]) == (status, PROBLEM_TYPE)


def test_clients_that_never_finish_a_request_keep_nobody_from_asking(asked: Asked) -> None:
    """Heads and bodies that stay unfinished, more of them than the server has threads."""
    place = ("127.0.0.1", urlsplit(asked.url).port or 0)
    beginnings = (
        b"",
        b"GET /api/v1/gpus HT",
        b"GET /api/v1/gpus HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        b"POST /api/v1/queue/dead/999/replay HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{",
        b"POST /api/v1/queue/dead/999/replay HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    )
    with contextlib.ExitStack() as stack:
        for number in range(60):
            slow = stack.enter_context(socket.create_connection(place, timeout=30))
            slow.sendall(beginnings[number % len(beginnings)])
        for path in ("/livez", "/api/v1/gpus", "/api/v1/queue"):
            assert fetch(f"{asked.url}{path}").status == 200
