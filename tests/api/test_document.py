"""`telemetry openapi`: the contract as a file."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.fixtures.api import Api
from tests.fixtures.commands import Call
from tests.fixtures.tokens import Keyring
from webapi.document import NOWHERE, written

FILE = Path(__file__).parents[2] / "webapi" / "openapi.json"


def test_the_command_writes_what_a_server_with_tokens_answers(
    make_api: Callable[..., Api], keyring: Keyring, call: Call, tmp_path: Path
) -> None:
    client = make_api(NOWHERE, tokens=keyring.open(), metrics_auth=True).client
    served = client.get("/openapi.json").get_json()
    served["paths"]["/metrics"]["get"]["security"].insert(0, {})  # what may be set stays open in a file
    plain, line = call("openapi"), call("openapi", "--json")
    assert (json.loads(plain.out), json.loads(line.out)) == (served, served)
    assert (plain.out.count("\n") > 100, line.out.count("\n")) == (True, 1)
    told = json.loads(call("openapi", "--out", tmp_path / "a.json", "--json").out)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == plain.out
    assert told == {"wrote": str(tmp_path / "a.json"), "bytes": len(plain.out.encode())}


def test_a_file_that_cannot_be_written_is_told(call: Call, tmp_path: Path) -> None:
    done = call("openapi", "--out", tmp_path / "absent" / "a.json")
    assert (done.code, "name another file with --out" in done.err) == (2, True)


def test_the_committed_contract_is_that_of_the_code() -> None:
    kept = FILE.read_text(encoding="utf-8")
    assert kept == written(), "the contract has changed: run scripts/openapi, and commit webapi/openapi.json with it"
