"""The queue over HTTP: what stands in it, and what is said while it is not there. Looking changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from telemetry.broker import Topic
from tests.fixtures.api import Api
from tests.fixtures.broker import Loop, publish
from tests.fixtures.proxy import Proxy
from tests.fixtures.servers_redis import Server
from tests.fixtures.wait import PATIENCE, until
from webapi.options import QueuePlace

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
Watch = Callable[..., Api]


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One kind of server: what the kinds differ in is the broker's, and tested there."""
    return redis_server


@pytest.fixture
def watch(topic: Topic, make_api: Callable[..., Api]) -> Watch:
    """Makes apps that look at the topic; without a database, unless one is given."""

    def make(database_url: str = NOWHERE, *, url: str = "", reply_timeout: float = 2.0, **options: Any) -> Api:
        place = QueuePlace(
            url=url or topic.broker.address.url,
            namespace=topic.broker.namespace,
            capacity=7,
            max_bytes=5_000,
            reply_timeout=reply_timeout,
        )
        return make_api(database_url, queue=place, connection_wait=0.1, **options)

    return make


@pytest.fixture
def cut(redis_server: Server, watch: Watch) -> Iterator[tuple[Api, Proxy]]:
    """An app that reaches the topic through a proxy, and gives up soon."""
    with closing(Proxy(redis_server.port)) as proxy:
        yield watch(url=f"redis://127.0.0.1:{proxy.port}/0", reply_timeout=0.5), proxy


def keys(server: Server, topic: Topic) -> list[str]:
    with closing(server.client()) as client:
        return sorted(key.decode() for key in client.scan_iter(f"{topic.broker.namespace}:*"))


def test_a_queue_that_does_not_exist_is_empty_and_looking_does_not_make_it(
    watch: Watch, topic: Topic, server: Server
) -> None:
    api = watch()
    shown = api.json("/queue")
    assert (shown["depth"], shown["waiting"], shown["in_flight"], shown["full"]) == (0, 0, 0, 0.0)
    assert (shown["capacity"], shown["oldest_age_seconds"], shown["consumers"]) == (7, None, [])
    assert api.json("/queue/messages") == []
    assert keys(server, topic) == []


def test_the_queue_is_shown_in_messages_and_rows(watch: Watch, topic: Topic, server: Server) -> None:
    api = watch()
    with topic.producer() as producer:
        for number in range(5):
            producer.publish(f"file:{number}", b"x" * 10, rows=100, timeout=0)
    with topic.consumer(name="pod") as consumer:
        Loop(consumer, max_messages=2).next()
        before = keys(server, topic)
        shown = api.json("/queue")
        assert (shown["stream"], shown["capacity"]) == (topic.keys.stream, 20)
        assert (shown["depth"], shown["waiting"], shown["in_flight"], shown["full"]) == (5, 3, 2, 0.25)
        assert (shown["depth_rows"], shown["waiting_rows"], shown["in_flight_rows"]) == (500, 300, 200)
        assert (shown["published"], shown["published_rows"], shown["acked"], shown["dead"]) == (5, 500, 0, 0)
        assert [(one["name"], one["pending"]) for one in shown["consumers"]] == [(consumer.name, 2)]
        assert shown["oldest_age_seconds"] >= 0
        assert shown["time"].endswith("Z")
        assert (shown["dead_blocks"], shown["dead_blocks_rows"]) == (None, None), "the database is away"
        assert keys(server, topic) == before


def test_the_oldest_messages_are_shown_and_stay(watch: Watch, topic: Topic) -> None:
    api = watch()
    publish(topic, *map(str, range(11)))
    with topic.consumer(name="pod") as consumer:
        Loop(consumer, max_messages=1).next()
        for _ in range(2):
            first, *rest = api.json("/queue/messages", count=9)
            assert (first["id"], first["consumer"], first["attempts"]) == ("0", consumer.name, 1)
            assert [one["id"] for one in rest] == [str(number) for number in range(1, 9)]
            assert {(one["consumer"], one["idle_seconds"], one["attempts"]) for one in rest} == {(None, None, 0)}
            assert (first["bytes"], first["rows"], first["body"], first["body_encoding"]) == (1, 1, None, None)
            assert first["queued_at"].endswith("Z")
        assert len(api.json("/queue/messages")) == 10
        assert [one["id"] for one in api.json("/queue/messages", count=100)] == [str(number) for number in range(11)]
        assert topic.stats().waiting == 10


def test_bodies_are_shown_as_what_they_are(watch: Watch, topic: Topic) -> None:
    api = watch()
    bodies = [
        b'{"gpus": [],\n "big": 123456789012345678901234567890}',
        "a line\nof é".encode(),
        b"\xff\x00",
        b"null",
        b"",
        b"[" * 2_000,
    ]
    with topic.producer() as producer:
        for number, body in enumerate(bodies):
            producer.publish(str(number), body, timeout=0)
    response = api.get("/queue/messages", body="true")
    assert b"123456789012345678901234567890" in response.data, "not a digit is lost"
    shown = json.loads(response.data)
    assert [one["body_encoding"] for one in shown] == ["json", "text", "base64", "json", "text", "text"]
    assert [one["body"] for one in shown[:5]] == [json.loads(bodies[0]), "a line\nof é", "/wA=", None, ""]
    assert {one["body_cut"] for one in shown} == {False}
    lines = api.get("/queue/messages", body="true", format="ndjson").data.splitlines()
    assert [json.loads(line).get("id") for line in lines] == [*map(str, range(6)), None]


def test_bodies_are_cut_to_their_share_at_a_whole_character(watch: Watch, topic: Topic) -> None:
    api = watch()
    with topic.producer() as producer:
        producer.publish("a", b"x" + "é".encode() * 8_000, timeout=0)
        producer.publish("b", b"[" + b"1," * 8_000 + b"1]", timeout=0)
    texts, numbers = api.json("/queue/messages", body="true", count=100)
    share = (1 << 20) // 100
    assert (texts["body_encoding"], texts["body_cut"], texts["bytes"]) == ("text", True, 16_001)
    assert texts["body"] == "x" + "é" * ((share - 1) // 2)
    assert (numbers["body_encoding"], len(numbers["body"])) == ("text", share)


def test_entries_that_somebody_put_in_by_hand_are_shown_too(watch: Watch, topic: Topic, server: Server) -> None:
    api = watch()
    last = f"{2**64 - 1}-{2**64 - 1}"
    with closing(server.client()) as client:
        client.xadd(topic.keys.stream, {b"\xff": b"\xfe", "rows": "many", "id": b"\xff" * 5_000}, id="0-1")
        client.xadd(topic.keys.stream, {"body": "x"}, id=last)
        client.set(topic.keys.capacity, "many")
        client.hset(topic.keys.stats, "unknown", 5)
    first, second = api.json("/queue/messages", count=2, body="true")
    assert (first["queued_at"], first["rows"], len(first["id"])) == ("1970-01-01T00:00:00.000000Z", 0, 2_000)
    assert (second["entry"], second["queued_at"], second["id"], second["body"]) == (last, None, "", "x")
    shown = api.json("/queue")
    assert (shown["depth"], shown["capacity"], shown["depth_rows"]) == (2, 7, 0)


def test_a_wrong_parameter_is_named(alone: Api) -> None:
    for wrong in ("count=0", "count=101", "count=x", "count=-1", "body=yes", "body=", "bodies=true", "format=xml"):
        name, _, value = wrong.partition("=")
        problem = alone.problem(422, "/queue/messages", **{name: value})
        assert [fault["parameter"] for fault in problem["errors"]] == [name], wrong


def test_without_a_queue_what_to_set_is_said(alone: Api) -> None:
    for path in ("/queue", "/queue/messages"):
        problem = alone.problem(503, path)
        assert problem["type"].endswith(":no-queue")
        assert "TELEMETRY_REDIS_URL" in problem["detail"]


def test_what_lies_in_place_of_the_queue_is_no_fault_of_the_api(watch: Watch, topic: Topic, server: Server) -> None:
    with closing(server.client()) as client:
        client.set(topic.keys.stream, "mine")
    problem = watch().problem(503, "/queue")
    assert problem["type"].endswith(":queue-refuses")
    assert "WRONGTYPE" not in problem["detail"]


@pytest.mark.parametrize("trouble", [Proxy.cut, Proxy.stall])
def test_a_queue_that_is_away_is_said_and_found_again(
    cut: tuple[Api, Proxy], topic: Topic, trouble: Callable[[Proxy], None]
) -> None:
    api, proxy = cut
    publish(topic, "a")

    def is_there() -> bool:
        return bool(api.get("/queue").status_code == 200)

    until(is_there, "an answer in time")
    assert api.json("/queue")["depth"] == 1
    trouble(proxy)
    for path in ("/queue", "/queue/messages"):
        response = api.get(path)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert response.json is not None
        assert response.json["type"].endswith(":queue-away")
        assert str(proxy.port) not in response.text
    proxy.heal()
    until(is_there, "an answer after the queue came back")
    assert api.json("/queue")["depth"] == 1


def test_after_an_outage_one_request_at_a_time_tries_again(redis_server: Server, watch: Watch) -> None:
    with closing(Proxy(redis_server.port)) as proxy, ThreadPoolExecutor(1) as pool:
        api = watch(url=f"redis://127.0.0.1:{proxy.port}/0", reply_timeout=60.0)
        proxy.cut()
        api.problem(503, "/queue")
        proxy.heal()
        hold = proxy.hold(b"EVALSHA")
        trying = pool.submit(Api(api.client.application.test_client()).get, "/queue")
        assert hold.wait(PATIENCE)
        api.problem(503, "/queue")
        hold.release()
        assert trying.result().status_code == 200
        api.json("/queue")
