"""Dead blocks over HTTP: listed while others die, shown as what they are, sent back once and by the right way."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import TestResponse

from telemetry.broker import Topic
from telemetry.store.deadblocks import RAW_FORMAT
from tests.fixtures.api import Api
from tests.fixtures.broker import drain_all
from tests.fixtures.collectors import Collecting
from tests.fixtures.ledger import Store, a_block
from tests.fixtures.servers_redis import Server
from tests.fixtures.tokens import Keyring
from webapi.options import QueuePlace

GOOD = a_block().encode()
Watch = Callable[..., Api]


@pytest.fixture
def queue(store: Store, redis_server: Server) -> Iterator[Collecting]:
    one = Collecting(store, redis_server)
    yield one
    one.close()


@pytest.fixture
def watch(queue: Collecting, make_api: Callable[..., Api]) -> Watch:
    """Makes apps over the store, as its reader, and over the queue."""

    def make(**options: Any) -> Api:
        place = QueuePlace(url=queue.server.url, namespace=queue.space, capacity=9)
        return make_api(queue.store.database.reader, **{"queue": place, **options})

    return make


@pytest.fixture
def api(watch: Watch) -> Api:
    return watch()


def replay(api: Api, dead: object, **headers: str) -> TestResponse:
    return api.client.post(f"/api/v1/queue/dead/{dead}/replay", headers=headers)


def refusal(response: TestResponse) -> tuple[int, str]:
    """The status and the kind of a problem."""
    assert response.content_type == "application/problem+json"
    assert response.json is not None
    return response.status_code, response.json["type"].rpartition(":")[2]


def queued(topic: Topic) -> list[tuple[str, dict[str, str], bytes]]:
    return [(message.id, dict(message.headers), message.body) for message in topic.peek()]


def bury(store: Store, count: int = 1, **fields: Any) -> None:
    for _ in range(count):
        number = store.database.one("SELECT coalesce(max(id), 0) FROM dead_blocks")
        store.bury(None, 4, None, **{"message_id": f"m{number}", "origin": f"o{number}", **fields})


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def test_the_newest_stand_first_with_all_that_is_known_but_the_payload(store: Store, api: Api) -> None:
    assert api.json("/queue/dead") == []
    store.reserve(4)
    store.bury(reason='é, "x"\n', attempts=5, payload=b"abc")
    bury(store)
    newest, first = api.json("/queue/dead")
    assert (newest["id"], newest["message_id"], newest["source"], newest["first_row"]) == (2, "m1", None, None)
    died_at = first.pop("died_at")
    assert died_at.endswith("Z")
    assert first == {
        "id": 1, "message_id": "s:0", "reason": "é, \"x\"\n", "attempts": 5, "rows": 4, "format": "block/1",
        "source": "s", "first_row": 0, "origin": "test@0", "bytes": 3,
    }  # fmt: skip
    _, line = csv.DictReader(api.get("/queue/dead", format="csv").text.splitlines(keepends=True))
    assert line == {**{name: str(value) for name, value in first.items()}, "died_at": died_at}
    assert (api.json("/queue")["dead_blocks"], api.json("/queue")["dead_blocks_rows"]) == (2, 8)


def test_each_is_listed_once_while_others_die_and_are_dropped(store: Store, api: Api) -> None:
    bury(store, 7)
    pages = []
    for page in api.pages("/queue/dead", limit=3):
        pages.append(ids(page))
        bury(store, 2)
        store.dead.drop(page[-1]["id"])
        store.dead.drop(page[-1]["id"] - 1)
    assert pages == [[7, 6, 5], [3, 2, 1]]
    assert ids(api.all("/queue/dead", limit=3)) == [11, 10, 9, 8, 7, 6, 3, 2]
    trailer = json.loads(api.get("/queue/dead", limit=2, format="ndjson").data.splitlines()[-1])["trailer"]
    assert ids(api.json("/queue/dead", cursor=trailer["next"])) == [9, 8, 7, 6, 3, 2]


def test_a_payload_is_shown_as_what_it_is(store: Store, api: Api) -> None:
    big = b"[" + b"1," * (1 << 20) + b"1]"
    for payload in (b'{"n": 1.10}', b"a,b\n1,2\n", b"\xff\0", b"", big):
        bury(store, payload=payload)
    shown = [api.json(f"/queue/dead/{number}") for number in range(1, 6)]
    assert [(one["payload_encoding"], one["payload_cut"]) for one in shown] == [
        ("json", False), ("text", False), ("base64", False), ("text", False), ("text", True)
    ]  # fmt: skip
    assert [one["payload"] for one in shown[:4]] == [{"n": 1.1}, "a,b\n1,2\n", "/wA=", ""]
    assert b'"payload":{"n": 1.10}' in api.get("/queue/dead/1").data
    assert (shown[4]["bytes"], shown[4]["payload"]) == (len(big), big[: 1 << 20].decode())


def test_what_is_no_number_of_a_dead_block_is_not_found(store: Store, api: Api) -> None:
    bury(store)
    hostile = ["0", "-1", "2", "01", "1.0", "1e0", "٣", "x", "%00", "1%00", "' OR 1=1 --", "9" * 4_000, "1;", "%2e"]
    for text in [*hostile, str(2**63 - 1), str(2**63), str(2**64 + 1)]:
        for response in (api.client.get(f"/api/v1/queue/dead/{text}"), replay(api, text)):
            assert refusal(response) == (404, "unknown-dead-block"), text
            assert len(response.data) < 600
    assert api.client.get("/api/v1/queue/dead/1/replay").status_code == 405


def test_a_wrong_parameter_is_named(alone: Api) -> None:
    for wrong in ("limit=0", "limit=1001", "limit=-5", "after=3", "cursor="):
        name, _, value = wrong.partition("=")
        problem = alone.problem(422, "/queue/dead", **{name: value})
        assert [fault["parameter"] for fault in problem["errors"]] == [name], wrong
    assert alone.problem(404, "/queue/dead", cursor="WyJhIl0")["type"].endswith(":unknown-page")


def test_a_replay_goes_through_the_queue_once_and_ends_with_the_dead_block(queue: Collecting, api: Api) -> None:
    queue.store.reserve(4)
    queue.store.bury(payload=GOOD)
    response = replay(api, 1)
    assert (response.status_code, response.json) == (202, {"id": 1, "way": "queue", "message_id": "s:0", "rows": 4})
    assert queued(queue.topic) == [("s:0", {"format": "block/1", "dead": "1"}, GOOD)]
    assert refusal(replay(api, 1)) == (409, "already-queued")
    assert ids(api.json("/queue/dead")) == [1], "it stays until it is stored"
    queue.collect()
    queue.drained()
    assert queue.store.values() == [0, 1, 2, 3]
    assert refusal(replay(api, 1)) == (404, "unknown-dead-block")
    assert queue.store.account().reconciles


def test_of_many_replays_at_once_one_is_taken(queue: Collecting, api: Api) -> None:
    bury(queue.store)
    app = api.client.application
    with ThreadPoolExecutor(6) as pool:
        answers = pool.map(lambda _: replay(Api(app.test_client()), 1).status_code, range(12))
    assert sorted(answers) == [202] + 11 * [409]
    assert queue.topic.stats().depth == 1


def test_a_replay_changes_no_capacity_that_was_agreed_on(queue: Collecting, api: Api) -> None:
    bury(queue.store, 2, payload=b"x")
    queue.publish(a_block())
    assert len(drain_all(queue.topic)) == 1
    assert replay(api, 1).status_code == 202
    assert (queue.topic.stats().depth, api.json("/queue")["capacity"]) == (1, 200)


def test_a_replay_is_refused_while_the_queue_is_full_or_away(queue: Collecting, watch: Watch) -> None:
    bury(queue.store, 2)
    queue.topic.set_capacity(1)
    api = watch()
    assert replay(api, 1).status_code == 202
    full = replay(api, 2)
    assert (refusal(full), full.headers["Retry-After"]) == ((429, "queue-full"), "5")
    away = replay(watch(queue=QueuePlace(url="redis://127.0.0.1:1/0")), 2)
    assert (refusal(away), away.headers["Retry-After"]) == ((503, "queue-away"), "5")
    none = watch(queue=None)
    assert refusal(replay(none, 2)) == (503, "no-queue")
    assert ids(none.json("/queue/dead")) == [2, 1], "looking needs no queue"


def test_more_than_a_message_takes_is_refused(queue: Collecting, watch: Watch) -> None:
    bury(queue.store, payload=b"x" * 5_000)
    place = QueuePlace(url=queue.server.url, namespace=queue.space, max_bytes=4_000)
    refused = replay(watch(queue=place), 1)
    assert refusal(refused) == (409, "not-replayable")
    assert "max_bytes=4000" in refused.text


def test_raw_rows_go_back_to_their_streamers_where_the_api_may_write(queue: Collecting, watch: Watch) -> None:
    queue.store.reserve(4)
    queue.store.bury(format=RAW_FORMAT, payload=b"a\n1\n")
    refused = replay(watch(), 1)
    assert refusal(refused) == (409, "needs-a-writer")
    assert "`telemetry queue dead replay 1 --database-url ...`" in refused.text
    assert queue.store.row()[1] is True
    response = replay(watch(queue=None, writer_url=queue.store.database.writer), 1)
    assert (response.status_code, response.json) == (202, {"id": 1, "way": "streamers", "message_id": None, "rows": 4})
    assert queue.store.row() == (4, False, None, None, None, None)
    assert queue.topic.stats().depth == 0


def test_raw_rows_that_no_ledger_row_knows_stay_as_they_are(queue: Collecting, watch: Watch) -> None:
    bury(queue.store, format=RAW_FORMAT)
    writing = watch(writer_url=queue.store.database.writer)
    assert refusal(replay(writing, 1)) == (409, "not-replayable")
    away = watch(writer_url="postgresql://u:hush@127.0.0.1:1/db")
    response = replay(away, 1)
    assert refusal(response) == (503, "database-away")
    assert "hush" not in response.text
    assert ids(writing.json("/queue/dead")) == [1]


def test_only_an_admin_may_replay(queue: Collecting, watch: Watch, keyring: Keyring) -> None:
    bury(queue.store)
    api = watch(tokens=keyring.open())
    assert replay(api, 1).status_code == 401
    for name, status in (("read", 403), ("write", 403), ("old", 401), ("admin", 202)):
        assert queue.topic.stats().depth == 0
        assert replay(api, 1, **keyring.header(name)).status_code == status, name
    looking = api.client.get("/api/v1/queue/dead/1", headers=keyring.header("read"))
    assert looking.status_code == 200


def test_a_page_of_another_site_cannot_replay(store: Store, api: Api) -> None:
    assert replay(api, 1, Origin="http://localhost").status_code == 404
    assert replay(api, 1, Origin="http://evil.example").status_code == 403
