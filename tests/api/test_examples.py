"""The contract's examples are true: each is asked, and what comes back is what the contract says, field by field.

The database holds the GPU that the examples name, at the time that they name (`asked`).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from telemetry.broker import Topic
from tests.fixtures.api import CALM
from tests.fixtures.contract import Contract, Operation, examples_of
from tests.fixtures.store import Database
from tests.fixtures.wait import PATIENCE
from webapi.app import close, create_app
from webapi.document import NOWHERE, document
from webapi.options import ApiOptions, QueuePlace

CONTRACT = Contract(document())
NAMES = [operation.name for operation in CONTRACT.operations]
OPERATIONS = dict(zip(NAMES, CONTRACT.operations, strict=True))
BOUND = {"cursor", "last_event_id"}
"""Parameters whose examples show a form only: what is right comes from the answer before."""

BESIDE: Mapping[str, Mapping[str, str]] = {
    "agg": {"step": "5m", "metric": "TOTAL_ENERGY_CONSUMPTION"},
    "group_by": {"step": "5m"},
}
"""What must stand beside a parameter that says nothing alone: a rate is one of a counter."""

WIDELY: Mapping[str, Mapping[str, Any]] = {"listIdleGpus": {"max_util": 100, "min_memory": 0}}
"""How what there is is found, where an answer is about what is odd."""


@pytest.fixture(scope="module")
def client(asked_database: Database, asked_queue: Topic) -> Iterator[FlaskClient]:
    broker = asked_queue.broker
    place = QueuePlace(url=broker.address.url, namespace=broker.namespace, reply_timeout=PATIENCE)
    app = create_app(database_url=asked_database.reader, options=ApiOptions(queue=place, **CALM))
    yield app.test_client()
    close(app)


def ask(client: FlaskClient, operation: Operation, query: Mapping[str, Any], **more: Any) -> TestResponse:
    values = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
    path = more.pop("path", None)
    return client.open(operation.url(path), method=operation.method.upper(), query_string=values, **more)


def faults(operation: Operation, response: TestResponse) -> list[str]:
    if response.mimetype == "text/event-stream":  # it has no end
        response.close()
        return CONTRACT.faults(operation, response.status_code, dict(response.headers), b"")
    return CONTRACT.faults(operation, response.status_code, dict(response.headers), response.data)


def requests(operation: Operation) -> Iterator[dict[str, Any]]:
    """What must be given; then each other parameter beside it, in each of its examples."""
    yield operation.needed
    known = {parameter["name"] for parameter in operation.takes("query")}
    for parameter in operation.takes("query"):
        name = parameter["name"]
        if name not in BOUND:
            more = {other: value for other, value in BESIDE.get(name, {}).items() if other in known}
            beside = {**operation.needed, **more}
            yield from ({**beside, name: example} for example in examples_of(parameter))


@pytest.mark.parametrize("name", [name for name in NAMES if OPERATIONS[name].method == "get"])
def test_every_example_is_answered_as_the_contract_says(client: FlaskClient, name: str) -> None:
    operation = OPERATIONS[name]
    for query in requests(operation):
        response = ask(client, operation, query)
        assert response.status_code == 200, f"{query}: {response.text}"
        assert faults(operation, response) == [], f"{query}: {response.text[:500]}"


@pytest.mark.parametrize("name", NAMES)
def test_what_an_example_shows_is_found(client: FlaskClient, name: str) -> None:
    """An answer is no empty list where the example is none, looked for at the time of the examples."""
    operation = OPERATIONS[name]
    content = operation.spec["responses"].get("200", {}).get("content", {}).get("application/json", {})
    if operation.method == "get" and content:
        since = {"start_time": "0"} if "start_time" in {one["name"] for one in operation.takes("query")} else {}
        widely = {**operation.needed, **since, **WIDELY.get(name, {})}
        body = ask(client, operation, widely).get_json()
        for example in examples_of(content):
            assert bool(body) == bool(example)


PROVOKED: Mapping[str, Callable[[FlaskClient, Operation], TestResponse]] = {
    "404": lambda client, operation: ask(client, operation, {}, path=dict.fromkeys(paths_of(operation), "nobody")),
    "405": lambda client, operation: client.open(operation.url(), method="PUT"),
    "406": lambda client, operation: ask(client, operation, operation.needed, headers={"Accept": "image/png"}),
    "422": lambda client, operation: ask(client, operation, {**operation.needed, "no_such_parameter": "1"}),
}
"""How each refusal is had from any operation that documents it."""


def paths_of(operation: Operation) -> list[str]:
    return [parameter["name"] for parameter in operation.takes("path")]


@pytest.mark.parametrize("name", NAMES)
def test_every_documented_refusal_that_can_be_had_is_as_documented(client: FlaskClient, name: str) -> None:
    operation = OPERATIONS[name]
    for status, provoke in PROVOKED.items():
        if status == "404" and not paths_of(operation):
            continue
        if status in operation.spec["responses"] or status == "405":
            response = provoke(client, operation)
            assert response.status_code == int(status), response.text
            assert CONTRACT.faults(operation, int(status), dict(response.headers), response.data, listed=False) == []


SCRAPES = {"getServerMetrics", "getGpuMetrics"}
"""Answered without a database too, and say so in their text; refused in a crowd alone."""


def test_without_a_database_each_says_so_as_documented() -> None:
    app = create_app(database_url=NOWHERE, options=ApiOptions(connection_wait=0.05))
    for name, operation in OPERATIONS.items():
        if "503" in operation.spec["responses"] and name not in SCRAPES:
            response = ask(app.test_client(), operation, operation.needed)
            assert response.status_code == 503, name
            assert faults(operation, response) == [], name
    close(app)


def test_a_wrong_answer_is_a_fault(client: FlaskClient) -> None:
    operation = OPERATIONS["getGpu"]
    response = ask(client, operation, {})
    whole = response.data
    assert CONTRACT.faults(operation, 200, dict(response.headers), whole) == []
    assert (
        CONTRACT.faults(operation, 200, dict(response.headers), whole.replace(b'"uuid":"GPU-', b'"uuid":5,"x":"')) != []
    )
    assert CONTRACT.faults(operation, 200, dict(response.headers), b"{}") != []
    assert CONTRACT.faults(operation, 418, dict(response.headers), whole) == ["418 is not documented"]
    assert CONTRACT.faults(operation, 200, {"Content-Type": "text/html"}, whole) != []
