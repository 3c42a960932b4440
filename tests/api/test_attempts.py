"""Wrong tokens beyond a bound: who shows them is told to wait, the log is spared, and nobody else notices."""

import json
import logging
from collections.abc import Callable

import pytest

from tests.fixtures.api import Api
from tests.fixtures.clock import ManualClock
from tests.fixtures.contract import Contract
from tests.fixtures.tokens import Keyring
from webapi.document import NOWHERE, document
from webapi.security.attempts import ADDRESSES, MOST, WINDOW, Attempts

WRONG = {"Authorization": "Bearer tlm_wrong"}


def test_beyond_the_bound_wrong_tokens_have_to_wait_and_those_that_hold_never(
    make_api: Callable[..., Api], keyring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_api(NOWHERE, connection_wait=0.1, tokens=keyring.open()).client
    with caplog.at_level(logging.WARNING):
        assert {client.get("/api/v1/gpus", headers=WRONG).status_code for _ in range(MOST)} == {401}
        caplog.clear()
        refused = [client.get("/api/v1/gpus", headers=WRONG) for _ in range(3)]
    assert [answer.status_code for answer in refused] == [429] * 3
    assert 1 <= int(refused[0].headers["Retry-After"]) <= WINDOW
    told = json.loads(refused[0].data)
    assert told["type"] == "urn:telemetry:problem:too-many-wrong-tokens"
    assert "is taken at any time" in told["detail"]
    told_of = [record for record in caplog.records if record.name.startswith("webapi")]  # a pool may speak beside it
    assert len(told_of) == 1, "one line for all of them"
    contract = Contract(document())
    listed = next(operation for operation in contract.operations if operation.name == "listGpus")
    assert contract.faults(listed, 429, dict(refused[0].headers), refused[0].data) == []
    assert client.get("/api/v1/no/such", headers=keyring.header("read")).status_code == 404
    assert client.get("/api/v1/gpus").status_code == 401  # no attempt at a token
    elsewhere = client.get("/api/v1/gpus", headers=WRONG, environ_overrides={"REMOTE_ADDR": "198.51.100.7"})
    assert elsewhere.status_code == 401


def test_the_bound_is_for_a_time_that_no_attempt_makes_longer() -> None:
    clock = ManualClock()
    attempts = Attempts(most=2, window=60.0, clock=clock)
    assert [attempts.wrong("192.0.2.1") for _ in range(2)] == [(0.0, False)] * 2
    clock.pass_(50)
    assert [attempts.wrong("192.0.2.1") for _ in range(2)] == [(10.0, True), (10.0, False)]
    assert attempts.wrong("192.0.2.2").wait == 0
    clock.pass_(10)
    assert attempts.wrong("192.0.2.1").wait == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("a socket", "", False),
    ],
)
def test_who_can_choose_among_addresses_counts_as_one(one: str, other: str, same: bool) -> None:
    attempts = Attempts(most=1)
    attempts.wrong(one)
    assert (attempts.wrong(other).wait > 0) is same


def test_more_addresses_than_are_told_apart_share_a_bound_and_take_no_room() -> None:
    clock = ManualClock()
    attempts = Attempts(most=1, clock=clock)
    for number in range(ADDRESSES):
        assert attempts.wrong(f"10.0.{number >> 8}.{number & 255}").wait == 0
    assert [attempts.wrong(f"10.9.0.{number}").wait > 0 for number in range(3)] == [False, True, True]
    assert attempts.wrong("10.0.0.0").wait > 0
    assert len(attempts) == ADDRESSES + 1
    clock.pass_(WINDOW)
    assert attempts.wrong("10.9.0.0").wait == 0
    assert len(attempts) == 1
