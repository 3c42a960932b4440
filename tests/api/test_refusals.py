"""Whatever is wrong with a request is a problem that names it and says what would be right."""

import logging
import uuid
from collections.abc import Callable
from urllib.parse import quote

import psycopg
import pytest

from tests.fixtures.api import Api
from tests.fixtures.filled import fill, fleet
from tests.fixtures.store import Database
from webapi.problems import FAULTS_MAX
from webapi.ranges import GPUS_MAX

ONE = "/gpus/GPU-node-0-0/telemetry"


@pytest.mark.parametrize(
    ("path", "name", "value", "remedy"),
    [
        ("/gpus", "limit", "0", "is not a whole number from 1 to 100000, as in limit=500"),
        ("/gpus", "limit", "0" * 5_000 + "1", "is not a whole number from 1 to 100000, as in limit=500"),
        ("/gpus", "limit", "100001", "is not a whole number from 1 to 100000, as in limit=500"),
        ("/gpus", "limit", "-1", "is not a whole number"),
        ("/gpus", "limit", "ten", "is not a whole number"),
        ("/gpus", "limit", "1.0", "is not a whole number"),
        ("/gpus", "limit", "", "is not a whole number"),
        ("/gpus", "limit", "٣", "is not a whole number"),
        ("/gpus", "limit", "9" * 500, "is not a whole number"),
        ("/gpus", "host", "", "has 0 characters; 1 to 1024 are allowed, as in host=mtv5-*"),
        ("/gpus", "host", "x" * 1025, "has 1025 characters"),
        ("/gpus", "model", "a\0b", "holds a NUL character; leave it out, as in model=*H100*"),
        ("/gpus", "hots", "a", "is no parameter here (perhaps host?)"),
        ("/gpus", "start_time", "now", "is no parameter here"),
        ("/gpus", "k", "5", "is no parameter here; there are cursor, format, host, limit, model"),
        ("/fleet/idle", "min_memory", "-1", "is not a number from 0 to 4194304, as in min_memory=500"),
        (ONE, "metrics", "a", "is no parameter here (perhaps metric?)"),
        (ONE, "metric", "", "has 0 characters; 1 to 1024 are allowed, as in metric=DCGM_FI_DEV_GPU_TEMP"),
        (ONE, "metric", "\0", "holds a NUL character"),
        (ONE, "start_time", "2025-07-18T20:42:34", "has no UTC offset"),
        (ONE, "end", "tomorrow", "is no time; write RFC 3339 with an offset (2025-07-18T20:42:34Z)"),
        (ONE, "end_time", "2025-02-30T00:00:00Z", "names a day that does not exist"),
        (ONE, "cursor", "", "has 0 characters"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value_and_the_remedy(
    alone: Api, path: str, name: str, value: str, remedy: str
) -> None:
    told = alone.problem(422, path, **{name: value})
    (fault,) = told["errors"]
    assert (fault["parameter"], fault["value"]) == (name, value if len(value) <= 100 else value[:100] + "…")
    assert remedy in fault["detail"]
    assert remedy in told["detail"]


def test_all_that_is_wrong_is_told_at_once(alone: Api) -> None:
    told = alone.problem(422, ONE, limit="x", start="y", metric=["ok", ""], colour="z")
    assert {fault["parameter"] for fault in told["errors"]} == {"limit", "start", "metric", "colour"}


def test_more_metrics_than_a_question_may_name_are_refused(alone: Api) -> None:
    assert "more than 100 times" in alone.problem(422, ONE, metric=[f"m{number}" for number in range(101)])["detail"]
    gpus = [f"g{number}" for number in range(GPUS_MAX + 1)]
    assert f"more than {GPUS_MAX} times" in alone.problem(422, "/telemetry", gpu=gpus)["detail"]


def test_a_parameter_given_twice_is_ambiguous(alone: Api) -> None:
    assert "give it once" in alone.problem(422, "/gpus", host=["a", "b"])["detail"]


@pytest.mark.parametrize(
    "path", ["/nope", "/api/v1", "/api/v1/gpus/", "/api/v2/gpus", "/api/v1/gpus/a/b", "/api/v1//gpus", "/swagger/x"]
)
def test_a_path_that_is_not_there_is_told_where_paths_are_listed(alone: Api, path: str) -> None:
    response = alone.client.get(path)
    assert (response.status_code, response.content_type) == (404, "application/problem+json")
    assert "/openapi.json" in response.get_json(force=True)["detail"]


@pytest.mark.parametrize("path", ["/api/v1/gpus/", "/api/v1/gpu", "/API/V1/GPUS", "/api/v1//gpus"])
def test_a_path_that_is_nearly_one_is_told_which(alone: Api, path: str) -> None:
    assert "(perhaps /api/v1/gpus?)" in alone.client.get(path).get_json(force=True)["detail"]
    assert "perhaps" not in alone.client.get(path + "x" * 100).get_json(force=True)["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_method_that_is_not_there_is_refused_with_those_that_are(alone: Api, method: str) -> None:
    response = alone.client.open("/api/v1/gpus", method=method)
    assert (response.status_code, response.content_type) == (405, "application/problem+json")
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/gpus", "GET, HEAD, OPTIONS"),
        ("/api/v1/gpus/x/latest", "GET, HEAD, OPTIONS"),
        ("/api/v1/queue/dead/1/replay", "OPTIONS, POST"),
        ("/livez", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_are_the_methods_that_a_path_takes_and_no_page(alone: Api, path: str, allowed: str) -> None:
    answer = alone.client.options(path)
    assert (answer.status_code, answer.data, answer.headers["Allow"]) == (204, b"", allowed)
    assert "Content-Type" not in answer.headers
    assert answer.headers["X-Request-ID"]


def test_of_thousands_of_wrong_parameters_the_first_are_told(alone: Api) -> None:
    for wrong in ({f"x{number}": "1" for number in range(5_000)}, {"metric": [""] * 5_000}):
        told = alone.problem(422, ONE, **wrong)
        assert len(told["errors"]) == FAULTS_MAX
        assert told["detail"].endswith("mend them first.")


def test_a_cursor_that_leads_nowhere_is_named_with_where_to_take_one(fleet_api: Api) -> None:
    paged = ("/gpus", "/inventory", "/telemetry", ONE, "/queue/dead")
    cursors = {path: (fleet_api.get(path, limit=1).headers.get("Link") or "").partition("cursor=")[2] for path in paged}
    of_gpus = cursors["/gpus"].partition(">")[0]
    for path in paged:
        for cursor in ("x", "W10", *([of_gpus] if path != "/gpus" else [])):
            response = fleet_api.get(path, limit=1, cursor=cursor)
            assert response.status_code in (404, 422), path
            (fault,) = response.get_json(force=True)["errors"]
            assert (fault["parameter"], fault["value"]) == ("cursor", cursor)
            assert "take it from the Link header" in fault["detail"]
            assert "as in limit=500" in fault["detail"]
    other = fleet_api.problem(422, "/gpus", limit=1, cursor=of_gpus, host="node-*")
    assert "repeat those of its page" in other["detail"]


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE gpus; --", "%' OR '1'='1", "${7*7}", "../../etc/passwd", "\ud7ff\U0010ffff"]
)
def test_hostile_texts_are_only_texts(fleet_api: Api, text: str) -> None:
    before = fleet_api.json("/gpus")
    assert fleet_api.json("/gpus", host=text) == []
    assert fleet_api.json(ONE, metric=text) == []
    assert fleet_api.client.get("/api/v1/gpus/" + quote(text)).status_code == 404
    assert fleet_api.json("/gpus") == before


def test_every_answer_carries_its_id_and_the_security_headers(alone: Api) -> None:
    for path in ("/api/v1/gpus", "/nope", "/livez", "/swagger", "/openapi.json", "/metrics"):
        headers = alone.client.get(path, headers={"X-Request-ID": "from-a.proxy_1"}).headers
        assert headers["X-Request-ID"] == "from-a.proxy_1"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>"])
def test_a_request_id_that_could_do_harm_is_replaced(alone: Api, given: str) -> None:
    made = alone.client.get("/livez", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert uuid.UUID(made).hex == made


def test_a_question_that_takes_too_long_is_refused_with_when_to_come_back(
    database: Database, make_api: Callable[..., Api], caplog: pytest.LogCaptureFixture
) -> None:
    fill(database, fleet())
    impatient = make_api(database.reader, statement_timeout=0.2)
    with psycopg.connect(database.admin) as blocker, caplog.at_level(logging.WARNING):
        blocker.execute("LOCK TABLE samples IN ACCESS EXCLUSIVE MODE")
        response = impatient.get(ONE)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "ask for less" in response.get_json(force=True)["detail"]
    assert "lock" not in response.text
    assert "a request found no database" in caplog.text


def test_a_fault_of_ours_tells_nothing_but_its_id(alone: Api, caplog: pytest.LogCaptureFixture) -> None:
    @alone.client.application.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError("secret 7")

    response = alone.client.get("/broken")
    assert (response.status_code, response.content_type) == (500, "application/problem+json")
    assert "secret" not in response.text
    assert "a request failed" in caplog.text
