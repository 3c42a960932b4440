"""What answers are written in: which format a request gets, and that all of them say the same."""

import csv
import io
from typing import Any

import orjson
import pytest
from werkzeug.test import TestResponse

from telemetry.block import Workload
from tests.fixtures.api import Api
from tests.fixtures.filled import POWER, SECOND, T0, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.store import Database

ONE = "/gpus/GPU-node-0-0/telemetry"
LISTS = (ONE, "/gpus", "/gpus/GPU-node-0-0/latest")
JSON, CSV, NDJSON = "application/json", "text/csv", "application/x-ndjson"


def lines(answer: TestResponse) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The records of NDJSON, and its trailer."""
    assert answer.content_type == NDJSON, answer.text
    assert answer.data.endswith(b"\n")
    *records, last = (orjson.loads(line) for line in answer.data.splitlines())
    assert list(last) == ["trailer"]
    return records, last["trailer"]


def table(answer: TestResponse) -> list[dict[str, str]]:
    """The rows of CSV, as texts."""
    assert answer.content_type == "text/csv; charset=utf-8; header=present", answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


@pytest.mark.parametrize(
    ("accept", "named", "written"),
    [
        (None, None, JSON),
        ("", None, JSON),
        ("*/*", None, JSON),
        ("application/json, text/csv", None, JSON),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", None, JSON),
        ("application/*", None, JSON),
        ("application/json;charset=utf-8", None, JSON),
        ("text/csv", None, CSV),
        ("TEXT/CSV; header=present", None, CSV),
        ("text/csv;q=0.5, application/json;q=0.4", None, CSV),
        ("text/*", None, CSV),
        ("text/csv, */*", None, CSV),
        ("application/json;q=0, */*;q=0.1", None, CSV),
        ("image/png, application/x-ndjson;q=0.001", None, NDJSON),
        ("application/*, application/json;q=0.1", None, NDJSON),
        ("text/csv", "json", JSON),
        ("application/json", "csv", CSV),
        ("image/png", "ndjson", NDJSON),
    ],
)
def test_accept_is_obeyed_unless_a_format_is_named(
    fleet_api: Api, accept: str | None, named: str | None, written: str
) -> None:
    asked = {} if named is None else {"format": named}
    headers = {} if accept is None else {"Accept": accept}
    for path in LISTS:
        answer = fleet_api.client.get(f"/api/v1{path}", headers=headers, query_string=asked)
        assert answer.content_type.partition(";")[0] == written
        assert "Accept" in answer.headers["Vary"].split(", ")


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "*/*;q=0", "text/*;q=0, text/html", ";;;"])
@pytest.mark.parametrize("path", LISTS)
def test_who_takes_nothing_that_there_is_is_told_what_there_is(alone: Api, path: str, accept: str) -> None:
    answer = alone.client.get(f"/api/v1{path}", headers={"Accept": accept})
    assert (answer.status_code, answer.content_type) == (406, "application/problem+json")
    told = orjson.loads(answer.data)
    (fault,) = told["errors"]
    assert (fault["parameter"], fault["value"]) == ("Accept", accept)
    assert "application/json, text/csv, application/x-ndjson" in told["detail"]
    assert "format=json" in told["detail"]
    assert "Accept" in answer.headers["Vary"]


def test_a_format_that_is_not_there_is_refused_with_those_that_are(alone: Api) -> None:
    for path in LISTS:
        assert "is none of json, csv, ndjson, as in format=json" in alone.problem(422, path, format="xml")["detail"]


def test_other_faults_come_before_a_format_that_cannot_be_given(alone: Api) -> None:
    answer = alone.client.get(f"/api/v1{ONE}?limit=x", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")


def test_ndjson_holds_the_records_of_the_json_and_says_that_nothing_is_missing(api: Api, database: Database) -> None:
    odd = Workload('c"1', "pöd, too", "ns\\", '{"a":"é\\n\\"","pod":null,"__name__":null}')
    fill(database, [*fleet(), Reading(gpu("node-0", 0), T0 + 1, TEMP, -0.1, odd)])
    records, trailer = lines(api.get(ONE, format="ndjson"))
    assert records == api.json(ONE)
    assert trailer == {"count": 16, "next": None}


@pytest.mark.parametrize("asked", [{"metric": "NO_SUCH"}, {"start": "now"}, {"end": "1"}, {"metric": [POWER, TEMP]}])
def test_ndjson_answers_the_same_questions(fleet_api: Api, asked: dict[str, Any]) -> None:
    records, trailer = lines(fleet_api.get(ONE, format="ndjson", **asked))
    assert records == fleet_api.json(ONE, **asked)
    assert trailer == {"count": len(records), "next": None}


def test_with_a_limit_ndjson_has_pages_and_each_trailer_leads_to_the_next(fleet_api: Api) -> None:
    found: list[Any] = []
    asked: dict[str, Any] = {"format": "ndjson", "limit": 7}
    for count in (7, 7, 1):
        answer = fleet_api.get(ONE, **asked)
        records, trailer = lines(answer)
        assert trailer["count"] == len(records) == count
        assert ("Link" in answer.headers) == bool(trailer["next"])
        found, asked = found + records, {**asked, "cursor": trailer["next"]}
    assert asked["cursor"] is None
    assert found == fleet_api.json(ONE)


def test_ids_are_texts_in_json_and_objects_in_lines(fleet_api: Api) -> None:
    ids = fleet_api.json("/gpus")
    assert [row["id"] for row in table(fleet_api.get("/gpus", format="csv"))] == ids
    records, trailer = lines(fleet_api.get("/gpus", format="ndjson", limit=4))
    assert [record["id"] for record in records] == ids[:4]
    assert lines(fleet_api.get("/gpus", format="ndjson", limit=4, cursor=trailer["next"]))[0] == [
        {"id": name} for name in ids[4:]
    ]


def test_a_list_of_objects_is_the_same_in_every_format(api: Api, database: Database) -> None:
    plain, instance = gpu("n", 0), gpu("n", 0, mig="7")
    fill(database, [Reading(plain, T0, UTIL, 0.5), Reading(instance, T0 + SECOND, 'odd "name",\n', 7)])
    path = "/gpus/n:0/latest"
    told = api.json(path)
    records, trailer = lines(api.get(path, format="ndjson"))
    rows = table(api.get(path, format="csv"))
    assert trailer == {"count": 2, "next": None}
    assert [list(one) for one in (*told, *records, *rows)] == [list(told[0])] * 6
    for of_json, record, row in zip(told, records, rows, strict=True):
        assert {**record, "age_seconds": of_json["age_seconds"]} == of_json
        assert row["metric_name"] == of_json["metric_name"]
        assert (float(row["value"]), row["stale"]) == (of_json["value"], "true")
        assert orjson.loads(row["labels"]) == of_json["labels"]


def test_a_list_without_rows_still_has_its_header_and_its_trailer(fleet_api: Api) -> None:
    assert fleet_api.get("/gpus", format="csv", host="nobody").text == "id\n"
    assert lines(fleet_api.get("/gpus", format="ndjson", host="nobody")) == ([], {"count": 0, "next": None})
    header, empty = fleet_api.get(ONE, format="csv", end="1").text.split("\n")
    assert (header.split(",")[0], empty) == ("timestamp", "")
