"""The flood breaker at work: a fault that refuses everything is waited for; bad messages alone still die."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
import pytest

from telemetry.block import FORMAT
from telemetry.broker import FloodBreaker
from tests.fixtures.clock import ManualClock
from tests.fixtures.collectors import LASTING, Collecting, Running
from tests.fixtures.ledger import a_block
from tests.fixtures.wait import until

RIGHT: LiteralString = """
CREATE OR REPLACE FUNCTION fine(value double precision) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
"""
WRONG = RIGHT.replace("true", "value < 0")
SLOW_AND_WRONG = RIGHT.replace("RETURN true", "PERFORM pg_sleep(0.3); RETURN value < 0")


@contextmanager
def checked(collecting: Collecting) -> Iterator[psycopg.Connection]:
    """A schema with a check that refuses nothing, yet."""
    with psycopg.connect(collecting.store.database.owner, autocommit=True) as owner:
        owner.execute(RIGHT)
        owner.execute("ALTER TABLE samples ADD CONSTRAINT wrong CHECK (fine(value))")
        yield owner


def publish(collecting: Collecting, count: int) -> None:
    """Reserve and publish blocks of four."""
    first = int(collecting.store.database.one("SELECT coalesce(max(first_row + rows), 0) FROM blocks"))
    collecting.reserved(*[4] * count)
    collecting.publish(*(a_block(first_row=first + 4 * n) for n in range(count)))


def add_bad(collecting: Collecting, count: int) -> None:
    for _ in range(count):
        collecting.add(id="", rows="4", format=FORMAT, body="no JSON")


def why(running: Running) -> str:
    """What the probe says of an open breaker; "" while it is closed, or not heard of yet."""
    said = [text for name, ok, text in running.health.readiness().checks if name == "breaker" and not ok]
    return next((text for text in said if "were refused" in text), "")


def tried(running: Running, times: int) -> None:
    """Wait until so many more were refused."""
    before = refusals(running)
    until(lambda: refusals(running) >= before + times)


def more_refusals(running: Running, than: float) -> float:
    """Wait until more than so many were refused; how many by now."""
    until(lambda: refusals(running) > than)
    return refusals(running)


def refusals(running: Running) -> float:
    return running.metrics.snapshot().get("write_errors", 0.0)


def gauge(running: Running) -> float:
    return running.metrics.snapshot()["breaker_open"]


def has_a_backlog(running: Running) -> bool:
    """Messages of four readings each. Both are counted, one after the other: a look in between finds them at odds."""
    now = running.metrics.snapshot()
    return now["backlog_rows"] == 4 * now["backlog_messages"] > 0


def test_a_schema_that_refuses_everything_is_waited_for_and_nothing_is_lost(
    collecting: Collecting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="telemetry.broker.breaker")
    running = collecting.collect(topic=collecting.lasting())
    with checked(collecting) as owner:
        publish(collecting, 40)
        collecting.drained()
        owner.execute(WRONG)
        publish(collecting, 100)
        until(lambda: why(running))
        assert "of the last 20 messages were refused" in why(running)
        assert "wrong" in why(running)
        assert "TELEMETRY_COLLECTOR_BREAKER_SHARE" in why(running)
        assert not running.ready
        assert running.health.liveness().ok
        until(lambda: gauge(running) == 1)
        until(lambda: has_a_backlog(running), "a backlog")
        other = collecting.collect(topic=collecting.lasting())  # would take over what is not held
        until(lambda: why(other))
        collecting.outlive(1.25, LASTING)
        diverted = len(collecting.dead())
        assert 0 < diverted <= 2 * 14
        assert collecting.topic.stats().depth == 100 - diverted
        assert collecting.topic.stats().redelivered == 0
        owner.execute(RIGHT)
    collecting.drained()
    until(lambda: running.ready and other.ready)
    until(lambda: gauge(running) == 0)
    until(lambda: running.metrics.snapshot()["backlog_messages"] == 0)
    assert len(collecting.dead()) == diverted
    dead = sum(one.metrics.snapshot()["rows_dead"] for one in (running, other))
    assert dead == 4 * diverted
    assert len(collecting.store.values()) == 4 * (140 - diverted)
    assert collecting.store.account().reconciles
    levels = [one.levelname for one in caplog.records if one.name == "telemetry.broker.breaker"]
    assert sorted(levels) == ["ERROR", "ERROR", "WARNING", "WARNING"], "each collector says it once, and its end"


def test_a_flood_with_more_messages_behind_it_does_not_end_by_its_age(collecting: Collecting) -> None:
    clock = ManualClock()
    with checked(collecting) as owner:
        owner.execute(WRONG)
        publish(collecting, 100)
        running = collecting.collect(batch=60, breaker=FloodBreaker(clock=clock))
        until(lambda: why(running))
        diverted = len(collecting.dead())
        for _ in range(2):  # each shorter than its memory, both together longer
            clock.pass_(400)
            tried(running, 2)
        assert why(running)
        assert len(collecting.dead()) == diverted
        owner.execute(RIGHT)
    collecting.drained()
    assert len(collecting.dead()) == diverted


def test_bad_messages_in_a_row_hold_nobody_up_when_good_ones_follow(collecting: Collecting) -> None:
    add_bad(collecting, 30)
    publish(collecting, 40)
    running = collecting.collect()
    collecting.drained()
    assert len(collecting.dead()) == 30
    assert len(collecting.store.values()) == 4 * 40
    until(lambda: running.ready)


def test_bad_messages_among_good_ones_never_open_it(collecting: Collecting, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        publish(collecting, 4)
        add_bad(collecting, 1)
    add_bad(collecting, 20)
    publish(collecting, 20)
    running = collecting.collect()
    collecting.drained()
    assert len(collecting.dead()) == 40
    assert len(collecting.store.values()) == 4 * 100
    until(lambda: running.ready)
    assert "too many messages are refused" not in caplog.text


def test_a_few_bad_messages_and_nothing_else_are_buried(collecting: Collecting) -> None:
    add_bad(collecting, 10)
    running = collecting.collect()
    collecting.drained()
    assert len(collecting.dead()) == 10
    until(lambda: running.ready)


def test_more_of_them_wait_for_a_good_message_or_a_person(collecting: Collecting) -> None:
    add_bad(collecting, 16)
    running = collecting.collect()
    until(lambda: why(running))
    diverted = len(collecting.dead())
    assert diverted <= 10
    running.end()
    assert {one.attempts for one in collecting.topic.peek(50)} == {0}, "handed back at no cost"
    collecting.collect(share=1.0)
    collecting.drained()
    assert len(collecting.dead()) == 16


def test_replays_that_die_again_do_not_open_it(collecting: Collecting) -> None:
    collecting.reserved(*[4] * 20)
    for number in range(20):
        collecting.store.bury(4 * number)
        collecting.add(id=f"s:{4 * number}", rows="4", format=FORMAT, dead=str(number + 1), body="no JSON")
    running = collecting.collect()
    collecting.drained()
    assert len(collecting.dead()) == 20
    until(lambda: running.ready)


def test_what_is_stored_is_acknowledged_before_the_rest_is_held(collecting: Collecting) -> None:
    add_bad(collecting, 14)
    publish(collecting, 2)
    running = collecting.collect(batch=16, linger=5)
    until(lambda: why(running))
    until(lambda: collecting.topic.stats().acked == 2)
    assert collecting.dead() == []
    assert len(collecting.store.values()) == 8


def test_trying_many_messages_alone_takes_longer_than_a_stall_and_is_none(
    collecting: Collecting, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    with checked(collecting) as owner:
        owner.execute(SLOW_AND_WRONG)
        publish(collecting, 10)
        running = collecting.collect(topic=collecting.lasting(clock), batch=10, stall_limit=1.0)
        seen = 0.0
        while seen < 1 + 10:  # all together, then each alone
            seen = more_refusals(running, seen)
            clock.pass_(0.4)
        assert running.consumer.status.beating
        collecting.drained()
    assert "consumer loop stands still" not in caplog.text
    assert {attempts for _, attempts, _, _ in collecting.dead()} == {1}
    assert len(collecting.dead()) == 10
    assert collecting.topic.stats().redelivered == 0
