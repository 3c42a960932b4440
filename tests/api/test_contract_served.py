"""How the contract is answered: made once, with a tag, packed for who takes that.

What does not live here: what stands in it (`test_contract`), the file of it (`test_document`).
"""

import gzip
import json
from typing import Any

import pytest

from tests.fixtures.api import Api
from webapi import contract


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
