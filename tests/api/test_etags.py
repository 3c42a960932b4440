"""ETag on ranges that lie in the past: one tag never stands for two answers, and 304 asks nothing of the readings."""

from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest
from werkzeug.test import TestResponse

from telemetry.store.gate import Standing
from telemetry.store.ledger import Ledger
from telemetry.store.questions.fleet_readings import FleetReadings
from telemetry.store.session import Session
from telemetry.store.writer import Writer
from tests.fixtures.api import Api
from tests.fixtures.filled import POWER, T0, TEMP, Reading, block_of, fill, fleet, gpu
from tests.fixtures.store import Database
from webapi.nouns import fleet_telemetry

ONE = "/gpus/GPU-node-0-0/telemetry"
END = "2025-07-18T20:43:00Z"


def get(api: Api, path: str = ONE, tag: str | None = None, encoding: str = "", **asked: Any) -> TestResponse:
    headers = {"If-None-Match": tag} if tag else {}
    if encoding:
        headers["Accept-Encoding"] = encoding
    return api.client.get(f"/api/v1{path}", headers=headers, query_string={"end": END, **asked})


def tag(api: Api, **asked: Any) -> str:
    """The tag of an answer."""
    found = get(api, **asked).headers["ETag"]
    assert found.startswith('"')
    return found


@pytest.mark.parametrize(
    "asked",
    [
        {"end": "now-2m"},
        {"start": "now-1d"},
        {"start": "now-1d", "end": "now-1h"},
        {"end": "9999-12-31T23:59:59Z"},
        {"end": "x"},
    ],
)
def test_a_range_that_moves_or_is_not_over_has_no_tag(fleet_api: Api, asked: dict[str, str]) -> None:
    answer = get(fleet_api, **asked)
    assert ("ETag" in answer.headers, answer.headers["Cache-Control"]) == (False, "no-store")


def test_only_a_range_of_readings_has_one(fleet_api: Api) -> None:
    for path in ("/gpus", "/gpus/GPU-node-0-0/latest"):
        assert "ETag" not in fleet_api.get(path).headers
    assert "ETag" not in get(fleet_api, "/gpus/nobody/telemetry").headers


@pytest.mark.parametrize("kind", ["json", "csv", "ndjson"])
@pytest.mark.parametrize("limit", [100, 7])
def test_who_has_the_answer_is_told_so_and_nothing_else(fleet_api: Api, kind: str, limit: int) -> None:
    answer = get(fleet_api, format=kind, limit=limit)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "private, no-cache")
    for known in (answer.headers["ETag"], f'"other", {answer.headers["ETag"]}', f"W/{answer.headers['ETag']}", "*"):
        again = get(fleet_api, tag=known, format=kind, limit=limit)
        assert (again.status_code, again.data) == (304, b"")
        assert again.get_etag()[0] == answer.get_etag()[0]
        assert again.headers["Cache-Control"] == "private, no-cache"
        assert set(again.headers["Vary"].split(", ")) == {"Accept", "Accept-Encoding"}
        assert "Content-Type" not in again.headers
    other = get(fleet_api, tag='"other"', format=kind, limit=limit)
    assert (other.status_code, other.data) == (200, answer.data)


def test_the_tag_of_a_packed_answer_is_weak_and_known_again(fleet_api: Api) -> None:
    plain, packed = get(fleet_api), get(fleet_api, encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["ETag"] == f"W/{plain.headers['ETag']}"
    again = get(fleet_api, tag=packed.headers["ETag"], encoding="gzip")
    assert (again.status_code, again.headers["ETag"]) == (304, packed.headers["ETag"])
    assert get(fleet_api, tag=plain.headers["ETag"], encoding="gzip").headers["ETag"] == plain.headers["ETag"]


def test_every_question_has_a_tag_of_its_own(fleet_api: Api) -> None:
    second = fleet_api.get(ONE, limit=2, end=END).headers["Link"].partition("cursor=")[2].partition(">")[0]
    asked: list[dict[str, Any]] = [
        *({}, {"limit": 2}, {"limit": 3}, {"limit": 2, "cursor": second}, {"metric": TEMP}, {"metric": POWER}),
        *({"format": "csv"}, {"format": "ndjson"}, {"format": "csv", "limit": 2}),
        *({"end": "2025-07-18T20:42:36Z"}, {"start": "2025-07-18T20:42:36Z"}),
        {"path": "/gpus/GPU-node-0-1/telemetry"},
    ]
    assert len({tag(fleet_api, **one) for one in asked}) == len(asked)


def test_a_range_of_the_fleet_has_one_whole_and_page_by_page(fleet_api: Api) -> None:
    second = fleet_api.get("/telemetry", limit=7, end=END).headers["Link"].partition("cursor=")[2].partition(">")[0]
    asked: list[dict[str, Any]] = [
        *({"format": "csv"}, {}, {"limit": 7}, {"limit": 7, "cursor": second}, {"limit": 8}, {"host": "node-0"}),
        *({"format": "csv", "limit": 7}, {"format": "csv", "host": "node-0"}, {"metric": TEMP}),
    ]
    tags = [get(fleet_api, "/telemetry", **one).headers["ETag"] for one in asked]
    assert len(set(tags)) == len(asked)
    for one, known in zip(asked, tags, strict=True):
        again = get(fleet_api, "/telemetry", tag=known, **one)
        assert (again.status_code, again.data) == (304, b"")


def test_a_page_that_was_cut_short_for_time_has_none(fleet_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it lacks it may hold another time; the page at which the readings end is whole again."""
    monkeypatch.setattr(fleet_telemetry, "FleetReadings", partial(FleetReadings, patience=0.0))
    parameters: dict[str, Any] = {"start": "2025-07-18T20:40:00Z", "end": END, "limit": 50}  # it looks minute by minute
    told, tagged = 0, list[bool]()
    while len(tagged) < 9:
        answer = fleet_api.get("/telemetry", **parameters)
        told += len(answer.get_json())
        tagged.append("ETag" in answer.headers)
        if not (link := answer.headers.get("Link")):
            break
        parameters["cursor"] = link.partition("cursor=")[2].partition(">")[0]
    assert (told, tagged) == (90, [False, False, True, False, True])


def test_nothing_is_asked_of_the_readings_for_it(database: Database, make_api: Callable[..., Api]) -> None:
    fill(database, fleet())
    api = make_api(database.reader, lock_wait=0.2)
    known = tag(api)
    with psycopg.connect(database.admin) as blocker:
        blocker.execute("LOCK TABLE samples IN ACCESS EXCLUSIVE MODE")
        assert get(api, tag=known).status_code == 304
        assert get(api, tag='"other"').status_code == 503


def test_what_is_stored_later_and_belongs_there_makes_it_another_answer(api: Api, database: Database) -> None:
    fill(database, fleet())
    known, before = tag(api), api.json(ONE, end=END)
    fill(database, [Reading(gpu("node-0", 0), T0 + 7, TEMP, 7)])
    answer = get(api, tag=known)
    assert (answer.status_code, len(answer.get_json())) == (200, len(before) + 1)
    assert answer.headers["ETag"] != known
    assert get(api, tag=answer.headers["ETag"]).status_code == 304


def test_a_tag_outlives_what_live_sources_bring(api: Api, database: Database) -> None:
    fill(database, fleet())
    with Session(url=database.writer, name="telemetry-test") as session:
        ledger, writer = (
            Ledger(session=session, source="live", length=None, stamped=True),
            Writer(session=session, lease=15),
        )

        def bring() -> None:
            one = ledger.reserve(1)
            assert one is not None
            assert one.time0 is not None
            readings = [Reading(gpu("node-0", 0), one.time0, TEMP, 1)]
            assert writer.store([block_of("live", one.first_row, readings)]) == [Standing.STORED]

        bring()  # the day's partition is there then
        known = tag(api)
        for _ in range(3):
            bring()
            assert get(api, tag=known).status_code == 304
