"""What browsers and hostile clients are kept from: foreign pages, bodies without end, headers that say too much."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, request

from telemetry.cli.serving import options_of
from telemetry.config import SETTINGS, ConfigError
from tests.fixtures.api import Api
from tests.fixtures.tokens import Keyring
from webapi.app import close, create_app
from webapi.options import ApiOptions
from webapi.process.worker import answer
from webapi.requests import SECURITY
from webapi.security.auth import needs

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
GRAFANA = "https://grafana.example.org"
CHUNKED = {
    "data": b"x" * 1_001,
    "headers": {"Transfer-Encoding": "chunked"},
    "environ_overrides": {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
}
"""How gunicorn hands on a body that does not say its size."""
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest.fixture
def make(keyring: Keyring) -> Iterator[Callable[..., Flask]]:
    """Makes apps over no database with an operation that reads a body and changes something."""
    made = []

    def make(**options: Any) -> Flask:
        app = create_app(database_url=NOWHERE, options=ApiOptions(connection_wait=0.1, **options))
        app.add_url_rule(
            "/api/v1/change", "change", needs("write")(lambda: str(len(request.get_data()))), methods=["POST"]
        )
        made.append(app)
        return app

    yield make
    for app in made:
        close(app)


def test_other_origins_are_told_nothing_unless_they_are_named(make: Callable[..., Flask], keyring: Keyring) -> None:
    client = make(tokens=keyring.open()).test_client()
    for path in ("/api/v1/gpus", "/livez"):
        headers = client.options(path, headers={"Origin": GRAFANA, **ASKS}).headers
        assert not any(name.startswith("Access-Control") for name in headers.keys())
    assert client.options("/api/v1/gpus", headers={"Origin": GRAFANA, **ASKS}).status_code == 401


@pytest.mark.parametrize(("origins", "told"), [((GRAFANA, "http://localhost:3000"), GRAFANA), (("*",), "*")])
def test_a_named_origin_is_answered_its_preflight_and_may_read(
    make: Callable[..., Flask], keyring: Keyring, origins: tuple[str, ...], told: str
) -> None:
    client = make(tokens=keyring.open(), cors_origins=origins, requests=1).test_client()
    preflight = client.options("/api/v1/change", headers={"Origin": GRAFANA, **ASKS})
    assert (preflight.status_code, preflight.data, preflight.headers.get("Content-Type")) == (204, b"", None)
    assert preflight.headers["Access-Control-Allow-Origin"] == told
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    for header, status in (({}, 401), (keyring.header("read"), 403), (keyring.header("write"), 200)):
        answered = client.post("/api/v1/change", headers={"Origin": GRAFANA, **header})
        assert answered.status_code == status
        assert answered.headers["Access-Control-Allow-Origin"] == told
        assert "Link" in answered.headers["Access-Control-Expose-Headers"]
        assert "Origin" in answered.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answered.headers
        answered.close()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", GRAFANA + ".evil.example", GRAFANA + ":444", ""])
def test_an_origin_that_is_not_named_is_not_taken_for_one_that_is(
    make: Callable[..., Flask], keyring: Keyring, origin: str
) -> None:
    client = make(tokens=keyring.open(), cors_origins=(GRAFANA,)).test_client()
    answered = client.get("/livez", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answered.headers
    assert "Origin" in answered.headers["Vary"]  # a cache must not hand this one to another origin


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("127.0.0.1:8080", 200),
        ("127.8.8.8", 200),
        ("[::1]:8080", 200),
        ("gpu.localhost", 200),
        ("box.lan:8080", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.0.2.1", 403),
        ("[::1", 403),
        ("a b", 403),
    ],
)
def test_where_nobody_needs_a_token_a_page_cannot_lead_its_name_here(
    make: Callable[..., Flask], host: str, status: int
) -> None:
    client = make(local_names=frozenset({"box.lan"})).test_client()
    answered = client.get("/metrics", headers={"Host": host})
    assert answered.status_code == status
    if status == 403:
        told = json.loads(answered.data)
        assert told["type"] == "urn:telemetry:problem:foreign-host"
        assert "--api-tokens off" in told["detail"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 200), ("http://localhost", 200), (GRAFANA, 200), ("https://evil.example", 403), ("null", 403)],
)
def test_where_nobody_needs_a_token_a_page_of_another_origin_changes_nothing(
    make: Callable[..., Flask], origin: str | None, status: int
) -> None:
    client = make(cors_origins=(GRAFANA,)).test_client()
    headers = {} if origin is None else {"Origin": origin}
    assert client.post("/api/v1/change", headers=headers).status_code == status
    assert client.get("/livez", headers=headers).status_code == 200


@pytest.mark.parametrize("how", [{"data": b"x" * 1_001}, CHUNKED], ids=["announced", "chunked"])
def test_a_body_that_is_too_large_is_refused(make: Callable[..., Flask], keyring: Keyring, how: dict[str, Any]) -> None:
    client = make(body_max=1_000, tokens=keyring.open()).test_client()
    how = {**how, "headers": {**how.get("headers", {}), **keyring.header("write")}}
    refused = client.post("/api/v1/change", **how)
    assert (refused.status_code, refused.content_type) == (413, "application/problem+json")
    assert "larger than 1000 bytes" in refused.text
    for fits in (b"", b"x" * 1_000):
        assert client.post("/api/v1/change", **{**how, "data": fits}).text == str(len(fits))
    assert client.post("/api/v1/change", data=b"x" * 1_001).status_code == 401


def test_every_answer_carries_the_security_headers_and_transport_security_only_where_said(
    make: Callable[..., Flask], keyring: Keyring
) -> None:
    for behind_tls in (False, True):
        client = make(tokens=keyring.open(), behind_tls=behind_tls).test_client()
        for path in ("/api/v1/gpus", "/livez", "/openapi.json", "/swagger", "/swagger/start.js", "/no/such", "/"):
            headers = client.get(path).headers
            assert set(SECURITY) <= {name for name, _ in headers}, path
            assert ("Strict-Transport-Security" in headers) is behind_tls
            assert "Server" not in headers or "Python" not in headers["Server"]
    head = answer(431, "x", "id").partition(b"\r\n\r\n")[0].decode()
    assert all(f"{name}: {value}" in head for name, value in SECURITY.items())


def defaults(**values: Any) -> dict[str, Any]:
    return {setting.flag.replace("-", "_"): setting.default for setting in SETTINGS} | values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("grafana.example.org", "'grafana.example.org' is no origin; write scheme, host and port"),
        ("https://a.example/path", "is no origin"),
        ("https://a.example, javascript:", "'javascript:' is no origin"),
        ("*", "name the origins, or a file of tokens"),
    ],
)
def test_an_origin_that_is_none_or_opens_the_server_to_every_page_is_told_at_the_start(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match="--api-cors-origin") as refused:
        options_of(defaults(api_cors_origin=text))
    assert told in str(refused.value)


def test_options_come_from_the_settings(keyring: Keyring) -> None:
    plain = options_of(defaults())
    assert (plain.tokens, plain.cors_origins, plain.local_names) == (None, (), frozenset({"127.0.0.1"}))
    assert options_of(defaults(api_tokens="off", api_host="0.0.0.0")).local_names is None
    named = defaults(
        api_tokens=str(keyring.path), api_cors_origin=f"{GRAFANA}, HTTP://Localhost:3000,", metrics_auth="on"
    )
    full = options_of({**named, "api_behind_tls": "on", "api_body_max": 5_000})
    assert full.cors_origins == (GRAFANA, "http://localhost:3000")
    assert (full.metrics_auth, full.behind_tls, full.body_max, full.local_names) == (True, True, 5_000, None)
    assert full.tokens is not None
    assert options_of({**named, "api_cors_origin": "*"}).cors_origins == ("*",)


def test_nothing_of_a_request_changes_what_is_cached_for_others(alone: Api) -> None:
    assert alone.client.get("/livez", headers={"Origin": GRAFANA}).headers["Cache-Control"] == "no-store"
