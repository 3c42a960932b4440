"""Who may do what: tokens, scopes, and what is answered without them."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.fixtures.api import Api, Serve, fetch
from tests.fixtures.tokens import Keyring
from tests.fixtures.wait import until
from webapi.app import NOUNS, close, create_app
from webapi.contract import Blueprint
from webapi.options import ApiOptions
from webapi.security import auth
from webapi.security.tokens import Token, digest_of, find, new_token, to_text

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
OPEN = ("/", "/livez", "/readyz", "/healthz", "/metrics", "/openapi.json", "/swagger", "/swagger/start.js")


@pytest.fixture
def guarded(make_api: Callable[..., Api], keyring: Keyring) -> Api:
    """The app over no database, which asks for tokens."""
    return make_api(NOWHERE, connection_wait=0.1, tokens=keyring.open())


@pytest.fixture
def scoped(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The app with an operation for each scope, which answers with the scope."""
    noun = Blueprint("scoped", __name__, url_prefix="/api/v1/scoped", description="One operation of each scope")
    for scope in ("write", "admin"):
        view = auth.needs(scope)(noun.response(204)(lambda scope=scope: scope))
        noun.add_url_rule(f"/{scope}", scope, noun.doc(operationId=scope)(view), methods=["POST"])
    monkeypatch.setattr("webapi.app.NOUNS", (*NOUNS, noun))
    app = create_app(database_url=NOWHERE, options=ApiOptions(tokens=keyring.open()))
    yield app
    close(app)


def problem_of(response: TestResponse, status: int, slug: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(response.data)
    assert (response.status_code, response.content_type) == (status, "application/problem+json"), response.text
    assert told["type"] == f"urn:telemetry:problem:{slug}"
    assert told["request_id"] == response.headers["X-Request-ID"]
    return told


def test_without_a_token_one_is_asked_for_and_no_error_is_named(guarded: Api) -> None:
    for path in ("/api/v1/gpus", "/api/v1/gpus/x/telemetry?limit=no", "/api/v1/no/such"):
        response = guarded.client.get(path)
        assert "Authorization: Bearer tlm_" in problem_of(response, 401, "no-token")["detail"]
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="telemetry"'


def test_what_is_open_stays_open(guarded: Api) -> None:
    assert [guarded.client.get(path).status_code for path in OPEN] == [302, 200, 503, 503, 200, 200, 200, 200]
    assert guarded.client.get("/no/such").status_code == 404


def test_every_route_that_is_not_open_asks_for_a_token(guarded: Api) -> None:
    rules = [rule for rule in guarded.client.application.url_map.iter_rules() if rule.rule not in OPEN]
    assert len(rules) > 4
    for rule in rules:
        if rule.rule == "/swagger/assets/<path:name>":
            continue
        path = rule.rule.replace("<", "").replace(">", "")
        for method in (rule.methods or set()) | {"TRACE"}:
            assert guarded.client.open(path, method=method).status_code == 401, (method, path)


@pytest.mark.parametrize(
    ("given", "slug"),
    [
        ("Bearer", "invalid-token"),
        ("Bearer ", "invalid-token"),
        ("Bearer x", "invalid-token"),
        ("Bearer {read} {read}", "invalid-token"),
        ("Bearer {read},Bearer {read}", "invalid-token"),
        ("Bearer {read}x", "invalid-token"),
        ("Bearer {cut}", "invalid-token"),
        ("bearer {old}", "invalid-token"),
        ("Bearer é", "invalid-token"),
        ("Bearer " + "x" * 7_000, "invalid-token"),
        ("{read}", "no-token"),
        ("Token {read}", "no-token"),
        ("Basic dXNlcjp0b2tlbg==", "no-token"),
    ],
)
def test_what_is_no_token_that_holds_is_refused_and_not_repeated(
    guarded: Api, keyring: Keyring, caplog: pytest.LogCaptureFixture, given: str, slug: str
) -> None:
    given = given.format(**keyring.texts, cut=keyring.texts["read"][:-1])
    response = guarded.client.get("/api/v1/gpus", headers={"Authorization": given})
    told = problem_of(response, 401, slug)
    assert ('error="invalid_token"' in response.headers["WWW-Authenticate"]) is (slug == "invalid-token")
    assert ("ended at 2" in told["detail"]) is ("old" in given or keyring.texts["old"] in given)
    shown = response.text + str(response.headers) + caplog.text
    assert not any(text[8:] in shown for text in keyring.texts.values())


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER  "])
def test_each_scope_includes_those_before_it(scoped: Flask, keyring: Keyring, scheme: str) -> None:
    client, order = scoped.test_client(), ("read", "write", "admin")
    for has in order:
        header = {"Authorization": f"{scheme} {keyring.texts[has]}"}
        assert client.get("/api/v1/no/such", headers=header).status_code == 404
        for needs in order[1:]:
            response = client.post(f"/api/v1/scoped/{needs}", headers=header)
            if order.index(has) >= order.index(needs):
                assert response.status_code == 204
            else:
                told = problem_of(response, 403, "insufficient-scope")["detail"]
                assert f"needs a token of scope {needs}; '{has}' has {has}" in told
                assert response.headers["WWW-Authenticate"].endswith(f'error="insufficient_scope", scope="{needs}"')


def test_the_contract_says_what_each_operation_needs(scoped: Flask) -> None:
    document = scoped.test_client().get("/openapi.json").get_json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, item in document["paths"].items():
        for method in item.keys() & {"get", "post"}:
            operation = item[method]
            scopes = [scope for way in operation["security"] for scope in way.get("bearer", [])]
            asked = path not in OPEN
            assert len(scopes) == asked, path
            if "/scoped/" in path:
                assert scopes == [path.rpartition("/")[2]]
            elif asked:
                assert scopes[0] in (("read",) if method == "get" else ("read", "write", "admin")), path
            for status in ("401", "403"):
                assert (status in operation["responses"]) is asked, path
                if asked:
                    assert "WWW-Authenticate" in operation["responses"][status]["headers"]


def test_a_token_in_a_url_is_refused_and_not_repeated(
    guarded: Api, keyring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    text = keyring.texts["admin"]
    for header in ({}, keyring.header("read")):
        response = guarded.client.get("/api/v1/gpus", query_string={"access_token": text}, headers=header)
        assert "revoke this one" in problem_of(response, 400, "token-in-url")["detail"]
        assert text not in response.text + caplog.text


@pytest.mark.parametrize(
    "path", ["/gpus?host={0}", "/gpus/{0}", "/gpus?{0}=1", "/gpus?limit={0}", "/{0}", "/gpus?cursor={0}"]
)
def test_a_token_in_the_wrong_place_is_not_repeated(
    fleet_api: Api, keyring: Keyring, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    text = keyring.texts["admin"]
    response = fleet_api.client.get("/api/v1" + path.format(text))
    assert text[8:] not in response.text + str(response.headers) + caplog.text


def test_metrics_ask_for_a_token_where_that_is_said(make_api: Callable[..., Api], keyring: Keyring) -> None:
    client = make_api(NOWHERE, tokens=keyring.open(), metrics_auth=True).client
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=keyring.header("read")).status_code == 200
    assert client.get("/livez").status_code == 200


def test_a_stranger_takes_nobodys_place_and_asks_no_database(
    fleet_api: Api, make_api: Callable[..., Api], keyring: Keyring
) -> None:
    url = fleet_api.client.application.extensions["telemetry"].reader.pool.url
    api = make_api(url, tokens=keyring.open(), requests=1)
    strangers = [api.client.get("/api/v1/gpus", headers={"Authorization": "Bearer x"}) for _ in range(3)]
    with api.client.get("/api/v1/gpus", headers=keyring.header("read")) as response:
        assert response.status_code == 200
        assert [stranger.status_code for stranger in strangers] == [401] * 3
        assert api.client.get("/api/v1/gpus").status_code == 401


def test_tokens_come_into_force_and_out_of_it_without_a_restart(guarded: Api, keyring: Keyring) -> None:
    def status(text: str) -> int:
        return guarded.client.get("/api/v1/no/such", headers={"Authorization": f"Bearer {text}"}).status_code

    text, new = new_token("new", "read", created=datetime.now(UTC))
    assert (status(text), status(keyring.texts["read"])) == (401, 404)
    keyring.path.write_text(to_text([*keyring.kept, new]))
    assert (status(text), status(keyring.texts["read"])) == (404, 404)
    keyring.path.write_text(to_text([new]))
    assert (status(text), status(keyring.texts["read"])) == (404, 401)


def test_a_live_stream_ends_when_its_token_is_revoked(
    fleet_api: Api, make_api: Callable[..., Api], keyring: Keyring
) -> None:
    url = fleet_api.client.application.extensions["telemetry"].reader.pool.url
    client = make_api(url, tokens=keyring.open()).client
    with client.get("/api/v1/stream?heartbeat=1&max_seconds=60", headers=keyring.header("read")) as response:
        events = iter(response.response)
        assert b"retry:" in next(events)
        assert b"heartbeat" in next(events)
        keyring.path.write_text(to_text(keyring.kept[1:]))
        assert list(events) == []
        assert keyring.open().find(keyring.texts["write"])


def test_a_secret_that_kubernetes_turns_over_is_seen(make_api: Callable[..., Api], keyring: Keyring) -> None:
    folder = keyring.path.parent
    for name, kept in (("..1", keyring.kept), ("..2", [])):
        (folder / name).mkdir()
        (folder / name / "tokens").write_text(to_text(kept))
    (folder / "..data").symlink_to("..1")
    keyring.path.unlink()
    keyring.path.symlink_to(Path("..data") / "tokens")
    client = make_api(NOWHERE, tokens=keyring.open()).client
    assert client.get("/api/v1/x", headers=keyring.header("read")).status_code == 404
    (folder / "..tmp").symlink_to("..2")
    (folder / "..tmp").rename(folder / "..data")
    assert client.get("/api/v1/x", headers=keyring.header("read")).status_code == 401


def _remove(path: Path) -> None:
    path.unlink()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def checked(api: Api) -> str:
    """What readiness says of the dependencies, once a check of them was in time."""
    return until(lambda: text if "[+] tokens" in (text := api.client.get("/readyz").text) else "", "a check in time")


@pytest.mark.parametrize(
    "spoil", [_remove, _pipe, _folder, lambda path: path.write_text("tlm_x"), lambda path: path.write_bytes(b"\xff")]
)
def test_a_file_that_cannot_be_used_any_more_leaves_the_last_good_tokens_and_is_told(
    guarded: Api, keyring: Keyring, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    spoil(keyring.path)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert guarded.client.get("/api/v1/x", headers=keyring.header("read")).status_code == 404
            assert guarded.client.get("/api/v1/x").status_code == 401
    assert caplog.text.count("the last good ones stay") == 1
    told = checked(guarded)
    assert "[+] tokens ok, but their file cannot be used" in told
    assert str(keyring.path) not in told
    assert "tlm_x" not in caplog.text
    if keyring.path.is_dir():
        keyring.path.rmdir()
    else:
        keyring.path.unlink(missing_ok=True)
    keyring.path.write_text(to_text(keyring.kept))
    assert "[+] tokens ok\n" in checked(guarded)


def test_tokens_are_compared_by_digest_and_all_of_them_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def note(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("webapi.security.tokens.hmac.compare_digest", note)
    now = datetime.now(UTC)
    made = [new_token(f"t{number}", "read", created=now) for number in range(3)]
    tokens: list[Token] = [token for _, token in made]
    for text, expected in ((made[0][0], tokens[0]), (made[2][0], tokens[2]), ("wrong", None), ("", None)):
        compared.clear()
        assert find(tokens, text) is expected
        assert compared == [(token.digest, digest_of(text)) for token in tokens]


def test_a_server_asks_for_tokens_and_logs_none(serve: Callable[..., Serve], keyring: Keyring) -> None:
    served = serve(tokens=str(keyring.path))
    assert fetch(f"{served.url}/api/v1/gpus").status == 401
    for name, status in (("read", 200), ("old", 401)):
        assert fetch(f"{served.url}/api/v1/gpus", headers=keyring.header(name)).status == status
    assert fetch(f"{served.url}/api/v1/gpus?access_token={keyring.texts['admin']}").status == 400
    said = served.process.stdout + served.process.stderr
    assert "caller=read" in said
    assert not any(text[8:] in said for text in keyring.texts.values())
