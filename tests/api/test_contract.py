"""The OpenAPI document, and the page that shows it."""

from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.fixtures.api import Api


@pytest.fixture
def document(alone: Api) -> dict[str, Any]:
    response = alone.client.get("/openapi.json")
    assert response.content_type == "application/json"
    found: dict[str, Any] = response.get_json()
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {path: item["get"] for path, item in document["paths"].items()}


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_every_route_stands_in_it(alone: Api, document: dict[str, Any]) -> None:
    pages = {"/", "/swagger", "/swagger/start.js", "/swagger/assets/<path:name>", "/openapi.json"}
    routes = {rule.rule for rule in alone.client.application.url_map.iter_rules()} - pages
    assert set(document["paths"]) == {route.replace("<", "{").replace(">", "}") for route in routes}


def test_everything_is_named_and_described(document: dict[str, Any]) -> None:
    found = operations(document)
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    for path, operation in found.items():
        assert operation["summary"], path
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (path, parameter["name"])
    for schema in document["components"]["schemas"].values():
        assert all(field.get("description") for field in schema["properties"].values()), schema


def test_every_problem_is_documented_as_what_is_sent(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            if status.startswith("4"):
                assert list(response["content"]) == ["application/problem+json"]
    (default,) = document["components"]["responses"].values()
    assert list(default["content"]) == ["application/problem+json"]


def test_the_root_leads_to_the_page_and_the_page_loads_nothing_from_elsewhere(alone: Api) -> None:
    assert alone.client.get("/").headers["Location"] == "/swagger"
    page = alone.client.get("/swagger")
    assert page.content_type == "text/html; charset=utf-8"
    assert "//" not in page.text
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        with alone.client.get(f"/swagger/assets/{name}") as file:
            assert (file.status_code, len(file.data) > 500) == (200, True)
    assert alone.client.get("/swagger/assets/../../docs.py").status_code == 404
