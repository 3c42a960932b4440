"""`telemetry token`, and what `serve` and `up` do with its file before anything starts."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from telemetry.cli.serving import is_loopback, tokens_of
from telemetry.config import ConfigError
from tests.fixtures.commands import Call
from tests.fixtures.pipeline import Done, Run
from webapi.security.tokenfile import read_tokens
from webapi.security.tokens import digest_of

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
Token = Callable[..., Done]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def token(call: Call, file: Path) -> Token:
    """`telemetry token`, on this test's file."""
    return partial(call, "token", TELEMETRY_API_TOKENS=str(file))


def test_a_token_stands_alone_on_standard_output_and_its_file_holds_only_the_digest(token: Token, file: Path) -> None:
    done = token("create", "grafana")
    assert done.code == 0
    assert re.fullmatch(r"tlm_[A-Za-z0-9_-]{43}\n", done.out)  # 43 characters of base64 are 256 bits
    text = done.out.strip()
    assert text not in done.err
    assert text not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    (kept,) = read_tokens(file)
    assert (kept.name, kept.scope, kept.digest, kept.expires) == ("grafana", "read", digest_of(text), None)


def test_tokens_are_listed_by_name_and_first_characters_and_revoked(token: Token) -> None:
    made = token("create", "ci", "--scope", "admin", "--days", "30", "--json").result
    token("create", "grafana")
    listed = token("list", "--json")
    assert made["token"] not in listed.out
    ci, grafana = json.loads(listed.out)
    assert (ci["name"], ci["scope"], ci["starts"], ci["valid"]) == ("ci", "admin", made["token"][:8], True)
    assert (grafana["scope"], grafana["expires"]) == ("read", None)
    assert ci["expires"] > ci["created"]
    assert token("revoke", "ci").out == "revoked ci, 1 left\n"
    assert "ci " not in token("list").out
    assert token("revoke", "grafana", "--json").result == {"revoked": "grafana", "left": 0}
    assert "token create" in token("list").out


def test_many_who_create_at_once_lose_nothing(file: Path, run: Run) -> None:
    begun = [run.begin("token", "create", f"t{number}", "--file", file, cwd=None) for number in range(3)]
    assert [run.end(one).code for one in begun] == [0] * 3
    assert {one.name for one in read_tokens(file)} == {"t0", "t1", "t2"}
    assert [path.name for path in file.parent.glob("*tokens.json*")] == ["tokens.json"]


def test_a_file_behind_a_link_is_replaced_where_it_is(token: Token, file: Path) -> None:
    place = file.parent / "place"
    place.mkdir()
    file.symlink_to(place / "real.json")
    assert token("create", "a").code == 0
    assert file.is_symlink()
    assert [one.name for one in read_tokens(place / "real.json")] == ["a"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["create", "a"], 1, "there is a token a already; choose another name"),
        (["create", "a b"], 2, "'a b' is no name"),
        (["create", "b", "--days", "0"], 2, "'--days'"),
        (["create", "b", "--days", "nan"], 2, "'--days'"),
        (["create", "b", "--scope", "root"], 2, "'root' is not one of 'read', 'write', 'admin'"),
        (["create", "b", "--file", "/no/such/folder/tokens.json"], 2, "No such file or directory"),
        (["revoke", "b"], 1, "there is no token b in"),
        (["list", "--file", "/no/such/file"], 2, "No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_why(token: Token, words: list[str], code: int, told: str) -> None:
    assert token("create", "a").code == 0
    done = token(*words)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert told in done.err


BROKEN = {
    "no JSON": "tlm_secret",
    "no object": '["tlm_secret"]',
    "no list": '{"tokens": "tlm_secret"}',
    "a token in the clear": '{"tokens": [{"name": "a", "scope": "read", "token": "tlm_secret"}]}',
    "another scope": '{"tokens": [{"name": "tlm_secret", "scope": "all", "sha256": "%064d", "created": "2026-01-01"}]}',
    "a time without offset": '{"tokens": [{"name": "a", "scope": "read", "sha256": "%064d", "created": "2026-01-01"}]}',
    "a misspelt end": '{"tokens": [{"name": "a", "scope": "read", "sha256": "%064d", "created": "2026-01-01T00:00:00Z",'
    ' "expire": "2026-01-02T00:00:00Z"}]}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_is_not_right_stops_a_server_before_it_starts(call: Call, file: Path, content: str) -> None:
    file.write_text(content.replace("%064d", "0" * 64))
    done = call("serve", "--database-url", NOWHERE, "--api-port", 0, "--api-tokens", file)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"--api-tokens (or TELEMETRY_API_TOKENS): {file}: " in done.err
    assert "tlm_secret" not in done.err


@pytest.mark.parametrize("role", ["serve", "up"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_nobody_is_served_from_elsewhere_unless_it_is_said_who_may_ask(
    call: Call, tmp_path: Path, role: str, host: str
) -> None:
    state = tmp_path / "state"
    done = call(role, "--api-host", host, "--database-url", NOWHERE, TELEMETRY_STATE=str(state))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--api-tokens (or TELEMETRY_API_TOKENS" in done.err
    assert "--api-tokens off" in done.err
    assert not state.exists()


def test_it_may_be_said_that_everybody_may_ask(file: Path) -> None:
    assert tokens_of({"api_tokens": "off", "api_host": "0.0.0.0"}) is None
    assert tokens_of({"api_tokens": None, "api_host": "localhost"}) is None
    with pytest.raises(ConfigError, match="token create NAME --file"):
        tokens_of({"api_tokens": str(file), "api_host": "127.0.0.1"})


@pytest.mark.parametrize(
    ("host", "near"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0", False), ("x y", False)],
)
def test_an_address_is_this_machines_alone_only_when_it_is_of_the_loopback(host: str, near: bool) -> None:
    assert is_loopback(host) is near
