"""What a collector does with each kind of message: stored, skipped, or dead-lettered with its payload, and alone."""

import orjson
import psycopg

from telemetry.block import FORMAT, Rejection
from telemetry.store.gate import Standing
from tests.fixtures.collectors import MAX_BYTES, Collecting
from tests.fixtures.ledger import DAY, a_block
from tests.fixtures.wait import until

GOOD = a_block().encode()


def changed(**fields: object) -> bytes:
    """The body of a good block, with other fields."""
    return orjson.dumps({**orjson.loads(GOOD), **fields})


def refuse(collecting: Collecting, value: float) -> None:
    """Let the database refuse a value."""
    with psycopg.connect(collecting.store.database.owner, autocommit=True) as owner:
        owner.execute(f"ALTER TABLE samples ADD CONSTRAINT refused CHECK (value <> {value:g})")


def test_the_messages_of_a_batch_are_stored_in_one_transaction(collecting: Collecting) -> None:
    collecting.reserved(*[4] * 6)
    collecting.publish(*(a_block(first_row=4 * n) for n in range(5)))
    collecting.publish(a_block(first_row=20, blank=1, rejected=[Rejection(23, "value 'x' is no number", "x")]))
    running = collecting.collect()
    collecting.drained()
    assert collecting.store.values() == list(range(22))
    assert collecting.store.database.one("SELECT count(DISTINCT xmin::text) FROM blocks") == 1
    until(lambda: running.metrics.snapshot()["backlog_messages"] == 0)
    counted = running.metrics.snapshot()
    expected = {
        **{"messages_received": 6, "messages_stored": 6, "messages_dead": 0, "messages_stale": 0, "backlog_rows": 0},
        **{"rows_received": 24, "rows_stored": 22, "rows_blank": 1, "rows_rejected": 1, "rows_dead": 0},
        **{"transactions": 1, "transaction_seconds_count": 1, "publish_to_stored_seconds_count": 6},
    }
    assert {name: counted[name] for name in expected} == expected
    assert counted["transaction_seconds_sum"] > 0
    assert counted["publish_to_stored_seconds_sum"] >= 6 * counted["transaction_seconds_sum"]  # each message's age
    until(lambda: running.ready)
    assert collecting.store.account().reconciles


def test_more_messages_than_a_batch_takes_are_all_stored(collecting: Collecting) -> None:
    collecting.reserved(*[4] * 30)
    collecting.publish(*(a_block(first_row=4 * n) for n in range(30)))
    collecting.collect(batch=7)
    collecting.collect(batch=3)
    collecting.drained()
    assert collecting.store.values() == list(range(120))
    assert collecting.dead() == []


MALFORMED: list[tuple[dict[str, str | bytes], str, bool]] = [
    ({"body": b"not JSON \xff\0"}, "not JSON", True),
    ({"body": b"[" * 50_000}, "not JSON", True),
    ({"body": b"[]"}, "not a JSON object", True),
    ({"body": b"{}"}, "missing", True),
    ({"body": b""}, "not JSON", True),
    ({"body": changed(value=["1", "2", "3", "4"])}, "not a flat list", True),
    ({"body": changed(gpu=[0, 0, 0, 9])}, "outside its dictionary", True),
    ({"body": changed(gpu=[0, 0, 0, 2**63])}, "too large", True),
    ({"body": changed(dt=[0, 1, 2])}, "differ in length", True),
    ({"body": changed(time0=2**62 - 1)}, "outside the years", True),
    ({"body": changed(blank=1)}, "4 values + 1 blank", True),
    ({"body": changed(metrics=["a\0", "b"])}, "NUL|control", True),
    ({"body": GOOD + b" " * MAX_BYTES}, f"more than {MAX_BYTES}", True),
    ({"format": "block/9"}, "format is 'block/9'", True),
    ({"format": b"\xff\0"}, "format is", True),
    ({"rows": "5"}, "rows is 5", False),
    ({"rows": "many"}, "rows is 0", False),
    ({"rows": str(10**14)}, "rows is", False),
    ({"id": ""}, "not source:first_row", False),
    ({"id": "no number"}, "not source:first_row", False),
    ({"id": "s\0:4"}, "not source:first_row", False),
    ({"id": "unknown:4"}, "not reserved", False),
    ({"id": b"\xff\xfe:4"}, "not reserved", False),
    ({"id": "\U0001f600" * 2_000 + ":4"}, "not reserved", False),
    ({"id": "s:01"}, "not source:first_row", False),
    ({"rows": "3", "body": a_block(rows=3).encode()}, "other rows than 3 at", False),
    ({"dead": "7", "body": b"{}"}, "missing", True),
]
"""(what is unlike in a good message of four rows, a part of the reason, whether its ledger row is settled)."""


def test_malformed_messages_die_with_their_payload_and_alone(collecting: Collecting) -> None:
    collecting.reserved(*[4] * (2 * len(MALFORMED)))
    origins, payloads = [], []
    for number, (fields, _, _) in enumerate(MALFORMED):
        first_row = 8 * number
        collecting.publish(a_block(first_row=first_row))
        good: dict[str, str | bytes] = {"id": f"s:{first_row + 4}", "rows": "4", "format": FORMAT, "body": GOOD}
        origins.append(collecting.add(**(good | fields)))
        payloads.append((good | fields)["body"])
    collecting.collect()
    collecting.drained()
    found = collecting.store.database.ask(
        "SELECT split_part(origin, '@', 2), attempts, reason, payload FROM dead_blocks"
    )
    dead = {origin: rest for origin, *rest in found}
    assert len(dead) == len(found) == len(MALFORMED)
    for number, (fields, why, settles) in enumerate(MALFORMED):
        attempts, reason, payload = dead[origins[number]]
        assert any(part in reason for part in why.split("|")), fields
        assert (attempts, payload) == (1, payloads[number])
        row = collecting.store.row(8 * number + 4)
        assert row == ((4, True, 0, 0, 0, 4) if settles else (4, False, None, None, None, None)), fields
    assert collecting.store.values() == [8 * number + n for number in range(len(MALFORMED)) for n in range(4)]
    assert collecting.store.account().reconciles


def test_a_malformed_message_of_a_settled_block_is_skipped_and_not_called_dead(collecting: Collecting) -> None:
    collecting.reserved(4)
    collecting.store.stored(a_block())
    collecting.add(id="s:0", rows="4", format=FORMAT, body="no JSON")
    running = collecting.collect()
    collecting.drained()
    assert collecting.dead() == []
    until(lambda: running.metrics.messages_stale._value.get() == 1)
    assert running.metrics.messages_dead._value.get() == 0


def test_an_entry_without_any_known_field_dies(collecting: Collecting) -> None:
    collecting.reserved(4)
    collecting.publish(a_block())
    collecting.add(other="field")
    collecting.add(other="another")
    collecting.collect()
    collecting.drained()
    assert [(id, payload) for id, _, _, payload in collecting.dead()] == [("", b""), ("", b"")]
    assert collecting.store.values() == [0, 1, 2, 3]


def test_of_messages_that_are_stored_together_only_the_one_that_copy_refuses_dies(collecting: Collecting) -> None:
    refuse(collecting, 9)
    collecting.reserved(*[4] * 6)
    collecting.publish(*(a_block(first_row=4 * n) for n in range(6)))
    running = collecting.collect()
    collecting.drained()
    ((id, attempts, reason, payload),) = collecting.dead()
    assert (id, attempts, payload) == ("s:8", 1, a_block(first_row=8).encode())
    assert "refused" in reason
    until(lambda: running.metrics.snapshot()["backlog_messages"] == 0)
    counted = running.metrics.snapshot()
    assert [counted[name] for name in ("messages_dead", "rows_dead", "rows_stored", "write_errors")] == [1, 4, 20, 2]
    assert collecting.store.values() == [n for n in range(24) if n not in range(8, 12)]
    assert collecting.store.account().reconciles


def test_a_message_of_too_many_days_dies_alone(collecting: Collecting) -> None:
    collecting.reserved(4, 500, 4)
    collecting.publish(
        a_block(), a_block(first_row=4, rows=500, dt=[n * DAY for n in range(500)]), a_block(first_row=504)
    )
    collecting.collect()
    collecting.drained()
    assert [id for id, *_ in collecting.dead()] == ["s:4"]
    assert collecting.store.values() == [0, 1, 2, 3, 504, 505, 506, 507]


def test_a_message_that_nobody_came_to_store_dies_with_the_count_of_its_attempts(collecting: Collecting) -> None:
    collecting.reserved(4, 4)
    collecting.publish(a_block())
    stream, group = collecting.topic.keys.stream, collecting.topic.group
    ((_, entries),) = collecting.redis.xreadgroup(group, "ghost", {stream: ">"})
    collecting.redis.xclaim(stream, group, "ghost", 0, [entries[0][0]], retrycount=5, justid=True)
    collecting.publish(a_block(first_row=4))
    collecting.collect()
    collecting.drained()
    ((id, attempts, reason, payload),) = collecting.dead()
    assert (id, payload) == ("s:0", GOOD)
    assert attempts >= 5
    assert "nobody came" in reason
    assert collecting.store.values() == [4, 5, 6, 7]
    assert collecting.store.account().reconciles


def test_copies_and_late_deliveries_are_stored_once(collecting: Collecting) -> None:
    collecting.reserved(4, 4)
    assert collecting.store.stored(a_block(first_row=4)) == [Standing.STORED]
    for id, first_row in (("s:0", 0), ("s:0", 0), ("s:4", 4), ("s:8", 8)):
        collecting.add(id=id, rows="4", format=FORMAT, body=a_block(first_row=first_row).encode())
    running = collecting.collect()
    collecting.drained()
    collecting.publish(a_block())
    collecting.drained()
    running.end()
    assert collecting.store.values() == list(range(8))
    assert collecting.dead() == []


def test_a_replay_is_stored_and_one_that_dies_again_stays_dead(collecting: Collecting) -> None:
    refuse(collecting, 9)
    collecting.reserved(*[4] * 3)
    collecting.store.bury(4)
    collecting.store.bury(8)
    for number, first_row in ((1, 4), (2, 8), (1, 4), (2, 8)):
        collecting.add(
            id=f"s:{first_row}", rows="4", format=FORMAT, dead=str(number), body=a_block(first_row=first_row).encode()
        )
    collecting.publish(a_block())
    collecting.collect()
    collecting.drained()
    ((id, _, reason, payload),) = collecting.dead()
    assert (id, payload) == ("s:8", b"\0 any bytes \xff")
    assert "refused" in reason
    assert collecting.store.values() == list(range(8))
    assert collecting.store.account().reconciles
