"""The small parts of the broker that need no server: errors, messages, pauses, the heartbeat's patience, scripts."""

from __future__ import annotations

import random
import re
from importlib import resources
from typing import Any

import pytest
from redis import exceptions as driver

from telemetry import broker as api
from telemetry.broker import Backoff, Broker, BrokerDenied, BrokerError, BrokerUnavailable, Topic
from telemetry.broker.client import Client, Script
from telemetry.broker.errors import GroupMissing, OutOfMemory
from telemetry.broker.faults import code, translated
from telemetry.broker.keys import Keys
from telemetry.broker.memory import budget_warnings
from telemetry.broker.message import fold, pairs, read_message
from tests.fixtures.clock import ManualClock, ManualStop


def cluster_error(cause: Exception) -> Exception:
    error = driver.RedisClusterException("cannot be connected")
    error.__cause__ = cause
    return error


def raised(error: Exception) -> BrokerError:
    with pytest.raises(BrokerError) as caught, translated():
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (driver.ConnectionError("refused"), BrokerUnavailable),
        (driver.TimeoutError("too slow"), BrokerUnavailable),
        (driver.BusyLoadingError("loading"), BrokerUnavailable),
        (driver.ReadOnlyError("a replica"), BrokerUnavailable),
        (driver.ResponseError("MISCONF cannot save"), BrokerUnavailable),
        (driver.ResponseError("NOREPLICAS too few"), BrokerUnavailable),
        (driver.AuthenticationError("wrong"), BrokerDenied),
        (driver.ResponseError("NOAUTH Authentication required."), BrokerDenied),
        (cluster_error(driver.AuthenticationError("wrong")), BrokerDenied),
        (driver.ClusterDownError("down"), BrokerUnavailable),
        (OSError("no route"), BrokerUnavailable),
        (driver.ResponseError("NOGROUP No such key"), GroupMissing),
        (driver.ResponseError("UNBLOCKED the stream key no longer exists"), GroupMissing),
        (driver.OutOfMemoryError("over"), OutOfMemory),
        (driver.ResponseError("WRONGTYPE Operation against a key"), BrokerError),
        (driver.NoPermissionError("no"), BrokerError),
        (driver.ResponseError("ERR unknown command"), BrokerError),
    ],
)
def test_the_drivers_errors_become_ours(error: Exception, becomes: type[BrokerError]) -> None:
    assert type(raised(error)) is becomes


def test_an_error_inside_a_script_of_redis_6_is_recognised() -> None:
    text = "Error running script (call to f_ab12): @user_script:7: @user_script: 7: -NOGROUP No such key 'x' or group"
    assert code(driver.ResponseError(text)) == "NOGROUP"
    assert isinstance(raised(driver.ResponseError(text)), GroupMissing)


def test_an_error_with_a_known_cause_says_what_to_do() -> None:
    assert "redis+cluster://" in str(raised(driver.ResponseError("MOVED 1 host:1")))
    assert "another namespace" in str(raised(driver.ResponseError("WRONGTYPE wrong kind")))


def test_every_error_is_a_broker_error_and_says_when_it_is_raised() -> None:
    for name in api.__all__:
        thing = getattr(api, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, BrokerError)
            assert "Raised when" in (thing.__doc__ or "")


def test_all_keys_of_a_topic_share_one_hash_tag() -> None:
    keys = Keys("gpu", "samples")
    made = [keys.stream, keys.ids, keys.rows, keys.capacity, keys.stats, keys.dead, keys.origins]
    assert keys.stream == "gpu:{samples}"
    assert {re.search(r"\{(.*?)\}", key)[1] for key in made} == {"samples"}  # type: ignore[index]  # all match
    assert len(set(made)) == len(made)


def test_every_script_states_its_contract() -> None:
    for file in resources.files("telemetry.broker").joinpath("lua").iterdir():
        source = file.read_text("utf-8")
        head = source.split("\n\n")[0] if "\n\n" in source else source
        for word in ("-- KEYS", "-- ARGV", "-- Returns", "script"):
            assert word in head, f"{file.name}: {word}"


def test_scripts_use_only_the_keys_they_are_given() -> None:
    for file in resources.files("telemetry.broker").joinpath("lua").iterdir():
        source = file.read_text("utf-8")
        declared = set(re.findall(r"\b(\d)\s+[a-z]", source.split("-- ARGV")[0].split("-- KEYS")[1]))
        assert set(re.findall(r"KEYS\[(\d)\]", source)) <= declared, file.name


@pytest.mark.parametrize(
    ("rows", "is_read_as"), [(b"7", 7), (b"", 0), (b"-1", 0), (b"x", 0), (b"1.5", 0), (b"9" * 30, 0), (b"\xff", 0)]
)
def test_rows_that_are_no_number_are_none(rows: bytes, is_read_as: int) -> None:
    assert read_message(b"1-0", {b"rows": rows}, attempts=1).rows == is_read_as


def test_copies_are_folded_into_the_first_and_the_nameless_stay_apart() -> None:
    entries = [(b"1-0", b"a"), (b"2-0", b"b"), (b"3-0", b"a"), (b"4-0", b""), (b"5-0", b""), (b"6-0", b"a")]
    messages = [read_message(entry, {b"id": id}, attempts=1) for entry, id in entries]
    assert [(m.id, m.entries) for m in fold(messages)] == [
        ("a", ("1-0", "3-0", "6-0")),
        ("b", ("2-0",)),
        ("", ("4-0",)),
        ("", ("5-0",)),
    ]


def test_pairs_are_pairs() -> None:
    assert pairs([b"a", b"1", b"b", b"2"]) == {b"a": b"1", b"b": b"2"}


def test_pauses_grow_with_jitter_up_to_a_limit_and_start_over() -> None:
    clock = ManualClock(0.0)
    stop = ManualStop(clock)
    backoff = Backoff(first=1.0, longest=4.0)
    random.seed(1)
    taken = []
    for _ in range(5):
        before = clock.now
        backoff.pause(stop)
        taken.append(clock.now - before)
    for seconds, most in zip(taken, [1, 2, 4, 4, 4], strict=True):
        assert most / 2 <= seconds <= most
    backoff.reset()
    before = clock.now
    backoff.pause(stop, at_most=0.25)
    assert clock.now - before == 0.25


def test_the_age_of_a_connection_starts_over_with_each_failure() -> None:
    clock = ManualClock()
    answers: list[Any] = [b"PONG", driver.ConnectionError("cut"), b"PONG"]

    class Fake:
        def execute_command(self, *_args: object) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    client = Client(make=lambda _connected: Fake(), clock=clock)
    assert client.unbroken() == 0.0
    client.command("PING")
    clock.pass_(10)
    assert client.unbroken() == 10.0
    with pytest.raises(BrokerUnavailable):
        client.command("PING")
    client.command("PING")
    clock.pass_(3)
    assert client.unbroken() == 3.0


def test_a_script_is_known_by_the_digest_of_its_source() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", Script("publish").sha)


def test_the_budget_is_checked_only_against_a_limit() -> None:
    def info(memory: str) -> list[str]:
        return budget_warnings(lambda *_args: memory.encode(), capacity=500, max_bytes=1 << 20)

    assert info("maxmemory:0\r\nmaxmemory_policy:noeviction\r\n") == []
    assert info(f"maxmemory:{1 << 30}\r\nmaxmemory_policy:noeviction\r\n") == []
    (small,) = info(f"maxmemory:{100 << 20}\r\nmaxmemory_policy:noeviction\r\n")
    assert "625.0 MiB" in small
    assert "lower the capacity to 80" in small
    letters = budget_warnings(
        lambda *_args: f"maxmemory:{1 << 30}\r\n".encode(), capacity=500, max_bytes=1 << 20, dead_capacity=1000
    )
    assert "500 messages and 1000 dead letters" in letters[0]
    assert "lower the capacity to 273 and that of dead letters to 546" in letters[0]
    (policy,) = info("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n")
    assert "CONFIG SET maxmemory-policy noeviction" in policy


def test_a_server_that_hides_its_settings_gets_no_warnings() -> None:
    def refuse(*_args: object) -> None:
        raise BrokerError("NOPERM")

    assert budget_warnings(refuse, capacity=1, max_bytes=1) == []


def test_nothing_connects_before_it_is_used() -> None:
    broker = Broker("redis://nowhere.invalid:1")
    topic = Topic(broker, "samples")
    topic.producer().close()
    topic.consumer().close()
    broker.close()


@pytest.mark.parametrize("name", ["", "a{b", "a}b"])
@pytest.mark.parametrize("which", ["topic", "namespace", "group"])
def test_a_name_that_would_break_the_hash_tag_is_refused(which: str, name: str) -> None:
    names = {"topic": "samples", "namespace": "gpu", "group": "collectors", which: name}
    with pytest.raises(BrokerError, match=f"{which} '{name}'"):
        Topic(Broker("redis://h", namespace=names["namespace"]), names["topic"], group=names["group"])


@pytest.mark.parametrize("terms", [{"capacity": 0}, {"max_bytes": 0}, {"lease": 0}, {"max_attempts": 0}])
def test_a_topic_that_makes_no_sense_is_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(BrokerError, match="must be positive"):
        Topic(Broker("redis://h"), "samples", **terms)
