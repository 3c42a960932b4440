"""The OpenAPI document, and the page that shows it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.fixtures.api import Api
from tests.fixtures.contract import PROBLEM, Contract, Operation, examples_of
from webapi.document import document


@pytest.fixture(scope="module")
def contract() -> Contract:
    """As it is written; what a server answers of it is told in test_contract_served."""
    return Contract(document())


def test_the_document_is_valid_openapi_3_1(contract: Contract) -> None:
    assert contract.document["openapi"].startswith("3.1")
    validate(contract.document)


def test_every_route_stands_in_it(alone: Api, contract: Contract) -> None:
    pages = {"/", "/swagger", "/swagger/start.js", "/swagger/assets/<path:name>", "/openapi.json"}
    routes = {
        (re.sub("<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule), method.lower())
        for rule in alone.client.application.url_map.iter_rules()
        if rule.rule not in pages
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(operation.path, operation.method) for operation in contract.operations} == routes


def test_every_operation_has_a_name_for_clients_and_says_what_it_does(contract: Contract) -> None:
    names = [operation.name for operation in contract.operations]
    assert len(set(names)) == len(names)
    tags = {tag["name"]: tag["description"] for tag in contract.document["tags"]}
    assert all(tags.values())
    faults = []
    for operation in contract.operations:
        summary, description = operation.spec["summary"], operation.spec.get("description", "")
        faults += [f"{operation.name} is no verb and noun"] * (not re.fullmatch("[a-z]+([A-Z][a-z]+)+", operation.name))
        faults += [f"{operation.name}: {summary} is no summary"] * (not 5 <= len(summary) <= 70)
        faults += [f"{operation.name} says nothing beyond its summary"] * (len(description) < 20)
        faults += [f"{operation.name}: {operation.spec['tags']}"] * (not set(operation.spec["tags"]) < set(tags))
    assert faults == []


def test_every_parameter_is_described_and_has_a_true_example(contract: Contract) -> None:
    faults = []
    for operation in contract.operations:
        for parameter in operation.parameters:
            place = f"{operation.name}: {parameter['name']}"
            faults += [f"{place} has no description"] * (len(parameter.get("description", "")) < 4)
            faults += [f"{place} has no example"] * (not examples_of(parameter))
            for example in examples_of(parameter):
                faults += [f"{place}: {breach}" for breach in contract.breaches(parameter["schema"], example)]
    assert faults == []


def test_every_response_and_header_is_described_and_has_a_true_example(contract: Contract) -> None:
    faults = []
    for place, part in parts(contract):
        faults += [f"{place} has no description"] * (len(part.get("description", "")) < 4)
        for name, header in part.get("headers", {}).items():
            header = contract.resolve(header)
            faults += [f"{place}: {name} has no description"] * (not header.get("description"))
            faults += [f"{place}: {name} has no example"] * (not examples_of(header))
        for kind, content in part.get("content", {}).items():
            faults += [f"{place}: {kind} has no example"] * (not examples_of(content))
            if "json" in kind and "ndjson" not in kind:
                for example in examples_of(content):
                    faults += [f"{place}: {breach}" for breach in contract.breaches(content["schema"], example)]
    assert faults == []


def test_every_field_is_described_and_stands_in_an_example(contract: Contract) -> None:
    shown: dict[str, set[str]] = {}
    for _, part in parts(contract):
        for content in part.get("content", {}).values():
            for example in examples_of(content):
                look(contract, content.get("schema", {}), example, shown)
    faults = []
    for name, schema in contract.document["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            faults += [f"{name}.{field} has no description"] * (not described.get("description"))
            exemplified = examples_of(described) or field in shown.get(name, ())
            faults += [f"{name}.{field} is in no example"] * (not exemplified)
    assert faults == []


def parts(contract: Contract) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every response and every body of a request, with where it stands."""
    for operation in contract.operations:
        for status, response in contract.responses(operation):
            yield f"{operation.name} {status}", response
        if "requestBody" in operation.spec:
            yield f"{operation.name} body", contract.resolve(operation.spec["requestBody"])


def look(contract: Contract, schema: dict[str, Any], instance: Any, shown: dict[str, set[str]]) -> None:
    """Note which fields of which schemas a value holds."""
    found = contract.resolve(schema)
    if isinstance(instance, list):
        for each in instance:
            look(contract, found.get("items", {}), each, shown)
    elif isinstance(instance, dict):
        shown.setdefault(schema.get("$ref", "").rpartition("/")[2], set()).update(instance)
        for branch in found.get("anyOf", found.get("oneOf", ())):
            look(contract, branch, instance, shown)
        for key, value in instance.items():
            look(contract, found.get("properties", {}).get(key, {}), value, shown)


def test_every_problem_is_documented_as_what_is_sent(contract: Contract) -> None:
    for operation in contract.operations:
        for status, response in contract.responses(operation):
            if status.startswith("4") or status == "default":
                assert list(response["content"]) == [PROBLEM], f"{operation.name} {status}"
            if status in ("429", "503") and PROBLEM in response["content"]:
                assert "Retry-After" in response["headers"], f"{operation.name} {status}"


def test_whoever_may_ask_is_told_what_may_go_wrong(contract: Contract) -> None:
    for operation in contract.operations:
        if operation.path.startswith("/api/"):
            assert statuses_of(operation) >= {"503", "default"}, operation.name
        if operation.takes("query"):
            assert "422" in statuses_of(operation), operation.name
        if operation.takes("path"):
            assert "404" in statuses_of(operation), operation.name


def statuses_of(operation: Operation) -> set[str]:
    return set(map(str, operation.spec["responses"]))


def test_the_root_leads_to_the_page_and_the_page_loads_nothing_from_elsewhere(alone: Api) -> None:
    assert alone.client.get("/").headers["Location"] == "/swagger"
    page = alone.client.get("/swagger")
    assert page.content_type == "text/html; charset=utf-8"
    assert "//" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        with alone.client.get(f"/swagger/assets/{name}") as file:
            assert (file.status_code, len(file.data) > 500) == (200, True)
    assert alone.client.get("/swagger/assets/../../docs.py").status_code == 404
