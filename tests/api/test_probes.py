"""Probes and metrics, and what happens while the database is away."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.fixtures.api import CALM, Api, port_of, through
from tests.fixtures.filled import fill, fleet
from tests.fixtures.process import eventually
from tests.fixtures.proxy import Proxy
from tests.fixtures.store import Database
from tests.fixtures.wait import PATIENCE

BRISK = {"connection_wait": 0.2, "connect_timeout": PATIENCE}
"""A database that is away refuses at once; one that is there may take its time to let somebody in, or to refuse him."""


def test_with_a_migrated_database_all_probes_are_content(api: Api) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        response = api.client.get(path)
        assert (response.status_code, response.text.splitlines()[-1]) == (200, "ok")


def test_without_a_schema_it_is_not_ready_and_says_what_to_run(
    empty_database: Database, make_api: Callable[..., Api]
) -> None:
    bare = make_api(empty_database.owner)
    response = bare.client.get("/readyz")
    assert (response.status_code, "run: telemetry migrate" in response.text) == (503, True)
    assert bare.client.get("/livez").status_code == 200
    assert bare.client.get("/healthz").status_code == 503


def test_other_dependencies_can_be_asked_too(database: Database, make_api: Callable[..., Api]) -> None:
    def check() -> None:
        raise ConnectionError("redis://u:secret@host refused")

    response = make_api(database.reader, checks={"queue": check}).client.get("/readyz")
    assert response.status_code == 503
    assert "[+] database ok\n[-] queue: redis://u:***@host refused\n" in response.text


def test_it_starts_while_the_database_is_away_and_answers_once_it_is_there(
    database: Database, make_api: Callable[..., Api], proxies: list[Proxy]
) -> None:
    fill(database, fleet(hosts=1, gpus=1, steps=1))
    proxies.append(proxy := Proxy(port_of(database.reader)))
    proxy.cut()
    api = make_api(through(database.reader, proxy.port), **BRISK)
    response = api.get("/gpus")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert response.content_type == "application/problem+json"
    assert api.client.get("/readyz").status_code == 503
    assert api.client.get("/livez").status_code == 200
    proxy.heal()
    eventually(lambda: api.get("/gpus").status_code == 200, "an answer after the database came back")
    eventually(lambda: api.client.get("/readyz").status_code == 200, "readiness")


def test_whoever_asks_first_while_the_database_hangs_is_told_so(
    database: Database, make_api: Callable[..., Api], proxies: list[Proxy]
) -> None:
    proxies.append(proxy := Proxy(port_of(database.reader)))
    api = make_api(through(database.reader, proxy.port), connection_wait=0.1)
    eventually(lambda: api.client.get("/readyz").status_code == 200, "a check in time")
    proxy.stall()
    for path in ("/readyz", "/healthz"):
        response = api.client.get(path)
        assert (response.status_code, "does not answer" in response.text) == (503, True)
    proxy.heal()
    eventually(lambda: api.client.get("/readyz").status_code == 200, "readiness after the database goes on")


def test_a_cut_connection_is_replaced_before_anyone_notices(
    database: Database, make_api: Callable[..., Api], proxies: list[Proxy]
) -> None:
    proxies.append(proxy := Proxy(port_of(database.reader)))
    api = make_api(through(database.reader, proxy.port), **CALM)
    assert api.json("/gpus") == []
    proxy.cut()
    proxy.heal()
    assert api.json("/gpus") == []


@pytest.mark.parametrize(
    ("wrong", "slug"),
    [("password", "database-refuses"), ("database", "database-refuses"), ("port", "database-away")],
)
def test_a_wrong_url_is_told_by_its_kind_and_never_shown(
    database: Database, make_api: Callable[..., Api], wrong: str, slug: str
) -> None:
    parts = urlsplit(database.reader)
    user, _, place = parts.netloc.rpartition("@")
    netloc = {
        "password": f"{parts.username}:wrong-secret@{place}",
        "database": parts.netloc,
        "port": f"{user}@127.0.0.1:1",
    }[wrong]
    url = urlunsplit(parts._replace(netloc=netloc, path="/absent" if wrong == "database" else parts.path))
    api = make_api(url, **BRISK)
    told = api.problem(503, "/gpus")
    assert told["type"] == f"urn:telemetry:problem:{slug}"
    answers = str(told) + api.client.get("/readyz").text
    assert "secret" not in answers
    assert (parts.password or "no password") not in answers


def test_metrics_count_requests_by_route_and_status(api: Api) -> None:
    for path in ("/gpus", "/gpus", "/gpus/a", "/gpus/b", "/gpus?limit=0", "/no/such"):
        api.client.get(f"/api/v1{path}")
    text = api.client.get("/metrics").text
    for labels, count in (
        ('method="GET",route="/api/v1/gpus",status="2xx"', 2),
        ('method="GET",route="/api/v1/gpus",status="4xx"', 1),
        ('method="GET",route="/api/v1/gpus/<gpu>",status="4xx"', 2),
        ('method="none",route="none",status="4xx"', 1),
    ):
        assert f"telemetry_api_requests_total{{{labels}}} {count}.0\n" in text
    assert 'telemetry_api_responses_total{status="404"} 3.0\n' in text
    assert 'telemetry_api_request_duration_seconds_count{group="gpus"} 5.0\n' in text
    took = [float(value) for value in re.findall(r'api_route_seconds_total{route="/api/v1/gpus.*"} (.*)', text)]
    (together,) = re.findall(r'api_request_duration_seconds_sum{group="gpus"} (.*)', text)
    assert (len(took), min(took) > 0) == (2, True)
    assert sum(took) == pytest.approx(float(together))
    assert "telemetry_api_build_info{" in text
    assert "telemetry_api_database_connections_limit 8.0\n" in text
    openmetrics = api.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.text.endswith("# EOF\n")
