"""Looking into the queue, at what died in it, and whether everything reconciles."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from tests.fixtures.commands import Call
from tests.fixtures.pipeline import SAMPLE, TRUTH, Pipeline
from tests.fixtures.process import eventually

SIZES = {"rows", "bytes", "attempts", "consumer", "idle", "entry", "id"}


@pytest.fixture
def collected(pipeline: Pipeline) -> Iterator[Pipeline]:
    """A pipeline whose collector runs."""
    collector = pipeline.begin("collect", "--json")
    yield pipeline
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0
    assert all(json.loads(line)["event"] for line in collector.stderr.splitlines())


@pytest.fixture
def ask(call: Call, pipeline: Pipeline) -> Call:
    """Runs a command with the URLs of the pipeline."""
    return partial(call, **pipeline.variables)


def test_the_queue_is_shown_in_messages_and_rows(pipeline: Pipeline, ask: Call) -> None:
    assert ask("queue", "peek").out == "the queue is empty\n"
    streamer = pipeline.begin("stream", "--csv", SAMPLE, "--block-rows", 300, "--rate", 0, "--capacity", 3)
    eventually(lambda: pipeline.topic.stats().depth == 3, "a full queue")
    stats = ask("queue", "stats", "--json").result
    assert (stats["depth"], stats["waiting"], stats["in_flight"]) == (3, 3, 0)
    assert stats["capacity"] == 3
    assert stats["stream"] == "gpu:{samples}"
    first_three = "SELECT sum(rows) FROM (SELECT rows FROM blocks ORDER BY first_row LIMIT 3) AS queued"
    assert stats["depth_rows"] == pipeline.database.one(first_three)
    shown = json.loads(ask("queue", "peek", "--count", 2, "--json").out)
    assert [set(message) for message in shown] == [SIZES, SIZES]
    assert shown[0]["id"].endswith(":0")
    assert shown[0]["rows"] == 300
    text, table = ask("queue", "stats").out, ask("queue", "peek").out
    assert "gpu:{samples}" in text
    assert re.search(r"^time +\d{4}-\d\d-\d\d ", text, re.MULTILINE)
    assert re.search(r"^oldest_age +\d+\.\d s$", text, re.MULTILINE)
    assert len(table.splitlines()) == 4
    assert ":loop:now:0" in table
    assert pipeline.topic.stats().depth == 3
    streamer.kill()


def test_dead_letters_are_listed_shown_replayed_and_dropped(collected: Pipeline, ask: Call) -> None:
    pipeline = collected
    with pipeline.topic.producer() as producer:
        producer.publish("nobody:0", b'{"not": "a block"}', rows=3, headers={"format": "block/1"})
        producer.publish("nobody:3", b"\x1b[31mno json", rows=2, headers={"format": "block/1"})
    eventually(lambda: pipeline.database.one("SELECT count(*) FROM dead_blocks") == 2, "two dead blocks")
    stats = ask("queue", "stats", "--json").result
    assert (stats["dead_blocks"], stats["dead_blocks_rows"], stats.get("dead_letters")) == (2, 5, None)
    listed = json.loads(ask("queue", "dead", "list", "--json").out)
    assert [(block["message_id"], block["rows"]) for block in listed] == [("nobody:0", 3), ("nobody:3", 2)]
    assert all(block["reason"] for block in listed)
    first, second = (str(block["id"]) for block in listed)
    assert "2 dead blocks, 5 readings" in ask("queue", "dead", "list").out
    assert "showing 1" in ask("queue", "dead", "list", "--after", first).out
    assert json.loads(ask("queue", "dead", "show", first, "--json").out)["payload"] == '{"not": "a block"}'
    text = ask("queue", "dead", "show", second).out
    assert "no json" in text
    assert "\x1b" not in text, "a payload may not steer the terminal"

    assert ask("queue", "dead", "replay", "--all", "--json").result == {
        "replayed": [int(first), int(second)],
        "refused": [],
    }
    eventually(lambda: pipeline.topic.stats().depth == 0, "the end of the replay")
    assert pipeline.database.one("SELECT count(*) FROM dead_blocks") == 2

    refused = ask("queue", "dead", "drop", first)
    assert refused.code == 1
    assert "not confirmed" in refused.err
    assert ask("queue", "dead", "drop", first, "--yes", "--json").result == {"dropped": [int(first)]}
    gone = ask("queue", "dead", "show", first)
    assert (gone.code, gone.out) == (1, "")
    assert f"no dead block {first}" in gone.err
    assert ask("queue", "dead", "replay", first).code == 1
    assert ask("queue", "dead", "drop").code == 2
    assert ask("queue", "dead", "drop", "--all", "--yes").out == "dropped 1 dead block\n"


def test_the_queue_is_shown_without_a_database_and_while_it_is_away(pipeline: Pipeline, call: Call) -> None:
    queue = {"TELEMETRY_REDIS_URL": pipeline.redis.url}
    alone = call("queue", "stats", "--json", **queue)
    assert (alone.code, alone.err, alone.result["depth"]) == (0, "", 0)
    assert not {"dead_blocks", "dead_letters"} & set(alone.result)
    away = call("queue", "stats", "--json", "--database-url", "postgresql://u:hush@127.0.0.1:1/db", **queue)
    assert (away.code, away.result["depth"], away.result["dead_blocks"]) == (0, 0, None)
    assert "telemetry: database:" in away.err
    assert "hush" not in away.err


def test_raw_rows_without_a_ledger_row_are_not_told_to_be_replayed(pipeline: Pipeline, ask: Call) -> None:
    pipeline.database.ask("""
        INSERT INTO dead_blocks (message_id, source, first_row, rows, format, reason, attempts, origin, payload)
        VALUES ('gone:0', 'gone', 0, 2, 'csv', 'x', 5, 'test', 'a'),
               ('nobody:0', 'nobody', 0, 1, 'block/1', 'x', 5, 'test', 'b')
    """)
    raw, other = (block["id"] for block in json.loads(ask("queue", "dead", "list", "--json").out))
    told = ask("queue", "dead", "replay", raw)
    assert (told.code, told.err) == (1, "")
    assert "replayed 0 dead blocks" in told.out
    assert f"refused dead block {raw}: no ledger row of these rows to give back" in told.out
    both = ask("queue", "dead", "replay", "--all", "--json")
    assert (both.code, both.result) == (1, {"replayed": [other], "refused": [raw]})
    assert pipeline.database.one("SELECT count(*) FROM dead_blocks") == 2


def test_verify_finds_a_sample_that_is_gone_and_one_that_belongs_to_nothing(collected: Pipeline, ask: Call) -> None:
    pipeline = collected
    assert pipeline("stream", "--once", "--csv", SAMPLE, "--block-rows", 500).code == 0
    sound = ask("verify", "--json")
    assert sound.code == 0
    (account,) = sound.result["streams"]
    assert (account["read"], account["stored"], account["reconciles"]) == (1_820, TRUTH["stored"], True)
    assert "everything reconciles" in ask("verify").out
    pipeline.database.ask(
        "DELETE FROM samples WHERE (block, time) IN (SELECT block, min(time) FROM samples GROUP BY 1 LIMIT 1)"
    )
    short = ask("verify", "--json", "--stream", account["stream"])
    assert short.code == 1
    assert (short.result["streams"][0]["stored"], short.result["reconciles"]) == (TRUTH["stored"] - 1, False)
    assert short.result["streams"][0]["differing"] == 1
    assert "DOES NOT RECONCILE" in ask("verify").out
    pipeline.database.ask("UPDATE samples SET block = 999999 WHERE block = (SELECT max(block) FROM samples)")
    orphaned = ask("verify", "--json")
    assert orphaned.code == 1
    assert orphaned.result["orphans"] > 0
    assert "orphans" not in ask("verify", "--json", "--stream", account["stream"]).result
    assert "without a block" not in ask("verify", "--stream", account["stream"]).out
    unknown = ask("verify", "--stream", "nobody")
    assert (unknown.code, unknown.out) == (1, "")
    assert "no stream nobody" in unknown.err


def test_verify_shows_how_many_reserved_readings_stand_in_no_block(pipeline: Pipeline, ask: Call) -> None:
    pipeline.database.ask("""
        INSERT INTO stream_progress (stream_id, next_row, length, next_time)
        VALUES ('gone', 300, 1000, now()), ('new', 0, 1000, now())
    """)
    found = ask("verify", "--json")
    assert found.code == 1
    accounts = [(one["stream"], one["lost"], one["reconciles"]) for one in found.result["streams"]]
    assert accounts == [("gone", 300, False), ("new", 0, True)]
    (name, row) = (ask("verify", "--stream", "gone").out.splitlines())[:2]
    assert row.split()[name.split().index("lost")] == "300"
    assert ask("verify", "--stream", "new").code == 0
