"""How the contract is answered: what of it holds there, made once, with a tag, packed for who takes that.

What does not live here: what stands in it (`test_contract`), the file of it (`test_document`).
"""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures.api import Api
from tests.fixtures.contract import Contract
from tests.fixtures.tokens import Keyring
from webapi import contract
from webapi.document import NOWHERE, document


def test_it_is_made_at_the_first_question_and_only_then(alone: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def note(document: dict[str, Any]) -> dict[str, Any]:
        made.append(document)
        return document

    monkeypatch.setattr(contract, "finished", note)
    bodies = {alone.client.get("/openapi.json").data for _ in range(3)}
    assert (len(bodies), len(made)) == (1, 1)
    assert json.loads(bodies.pop())["paths"]


def test_who_has_it_already_is_told_so(alone: Api) -> None:
    first = alone.client.get("/openapi.json")
    tag = first.headers["ETag"]
    again = alone.client.get("/openapi.json", headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert "Accept-Encoding" in again.headers["Vary"]
    other = alone.client.get("/openapi.json", headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.data) == (200, first.data)


def test_it_is_packed_with_a_weak_tag(alone: Api) -> None:
    plain = alone.client.get("/openapi.json")
    packed = alone.client.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.data) == plain.data
    tag = packed.headers["ETag"]
    assert tag == f"W/{plain.headers['ETag']}"
    again = alone.client.get("/openapi.json", headers={"Accept-Encoding": "gzip", "If-None-Match": tag})
    assert (again.status_code, again.headers["ETag"]) == (304, tag)


def test_head_gives_the_size_and_no_body(alone: Api) -> None:
    whole, head = alone.client.get("/openapi.json"), alone.client.head("/openapi.json")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.data))
    assert head.headers["ETag"] == whole.headers["ETag"]


def test_a_server_that_asks_for_no_token_tells_of_none(alone: Api) -> None:
    response = alone.client.get("/openapi.json")
    assert response.content_type == "application/json"
    served, written = Contract(response.get_json()), Contract(document())
    assert "securitySchemes" not in served.document["components"]
    assert [one.name for one in served.operations] == [one.name for one in written.operations]
    statuses = {one.name: set(one.spec["responses"]) for one in served.operations}
    assert not {"401", "403"} & {status for each in statuses.values() for status in each}
    assert [name for name, each in statuses.items() if "429" in each] == ["replayDeadBlock"]  # that of a full queue
    assert all(one.spec["security"] == [] for one in served.operations)


@pytest.mark.parametrize("metrics_auth", [False, True])
def test_a_server_that_asks_for_tokens_says_for_what(
    make_api: Callable[..., Api], keyring: Keyring, metrics_auth: bool
) -> None:
    client = make_api(NOWHERE, tokens=keyring.open(), metrics_auth=metrics_auth).client
    served, written = client.get("/openapi.json").get_json(), document()
    (scrape, either) = (each["paths"]["/metrics"]["get"] for each in (served, written))
    assert either.pop("security") == [{}, {"bearer": ["read"]}]
    assert scrape.pop("security") == ([{"bearer": ["read"]}] if metrics_auth else [])
    assert (scrape["responses"].keys() == either["responses"].keys()) is metrics_auth
    assert scrape.pop("responses").items() <= either.pop("responses").items()
    assert served == written
