"""Blocks too large for a message: cut in the ledger first, and published in the sizes that the ledger has."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from telemetry.broker import Topic
from telemetry.runtime.health import Health
from telemetry.runtime.metrics import StreamerMetrics
from telemetry.runtime.stop import Stop
from telemetry.store import ledger as module
from telemetry.store.deadblocks import DeadBlocks
from telemetry.store.gate import Standing
from telemetry.store.ledger import Ledger, Reservation
from telemetry.streamer.publishing import ENVELOPE, MAX_TRIES, Publishing
from telemetry.streamer.sources.csvfile import CsvSource
from tests.fixtures.collectors import Collecting
from tests.fixtures.ledger import a_block
from tests.fixtures.pipeline import SAMPLE
from tests.fixtures.wait import until

ROWS = 400
COUNTED = "rows_read", "rows_blank", "rows_rejected", "rows_published", "blocks_published", "blocks_republished"


@pytest.fixture
def source() -> Iterator[CsvSource]:
    """The sample, open."""
    with_own_times = CsvSource(path=SAMPLE, times=True)
    with_own_times.open()
    yield with_own_times
    with_own_times.close()


@contextmanager
def publishing(
    collecting: Collecting, source: CsvSource, ledger: Ledger, topic: Topic | None = None
) -> Iterator[Publishing]:
    """A streamer's, whose messages hold more than half of ROWS readings and not all of them."""
    size = len(source.block("s", 0, ROWS * 5 // 8, None).encode(1 << 20))
    with (topic or collecting.topic).producer() as producer:
        yield Publishing(
            source=source,
            ledger=ledger,
            dead=DeadBlocks(session=ledger.session),
            producer=producer,
            max_bytes=size + ENVELOPE,
            metrics=StreamerMetrics(),
            health=Health(),
            stop=Stop(),
        )


def queued(collecting: Collecting) -> list[tuple[str, int]]:
    return [(one.id, one.rows) for one in collecting.topic.peek(20)]


def test_a_block_that_is_too_large_is_published_in_the_halves_of_the_ledger(
    collecting: Collecting, source: CsvSource
) -> None:
    ledger = collecting.store.ledger()
    reserved = ledger.reserve(ROWS)
    assert reserved is not None
    with publishing(collecting, source, ledger) as streamer:
        streamer.publish(reserved)
        counted = streamer.metrics.snapshot()
    assert queued(collecting) == [("s:0", 200), ("s:200", 200)]
    names = ("blocks_split", "blocks_published", "blocks_republished", "block_rows_sum", "rows_read", "pending_rows")
    assert [counted[name] for name in names] == [1, 2, 0, ROWS, ROWS, 0]
    sizes = sum(len(one.body) for one in collecting.topic.peek(20))
    assert counted["block_bytes_sum"] == sizes
    assert collecting.store.database.ask("SELECT first_row, rows FROM blocks ORDER BY 1") == [(0, 200), (200, 200)]


def test_what_a_streamer_read_and_was_stopped_with_is_counted_by_the_one_that_publishes_it(
    collecting: Collecting, source: CsvSource
) -> None:
    ledger = collecting.store.ledger()
    collecting.publish(*(a_block("full", 4 * n) for n in range(collecting.topic.capacity)))
    reserved = ledger.reserve(250)
    assert reserved is not None
    with publishing(collecting, source, ledger) as streamer:
        streamer.stop.set("a rolling update")
        streamer.publish(reserved)
        counted = streamer.metrics.snapshot()
        assert sum(counted[name] for name in COUNTED) == 0
    collecting.redis.delete(collecting.topic.keys.stream, collecting.topic.keys.ids)
    collecting.store.lapse()
    taken_over = ledger.claim([0])
    assert taken_over is not None
    with publishing(collecting, source, ledger) as streamer:
        streamer.publish(taken_over)
        counted = streamer.metrics.snapshot()
    assert [counted[name] for name in COUNTED] == [250, 24, 1, 250, 1, 1]


def test_a_queue_that_goes_away_counts_once_for_the_streamer_that_holds_its_block(
    collecting: Collecting, source: CsvSource
) -> None:
    ledger = collecting.store.ledger()
    reserved = ledger.reserve(200)
    assert reserved is not None
    topic, proxy = collecting.proxied()
    with publishing(collecting, source, ledger, topic) as streamer:
        proxy.cut()
        holding = threading.Thread(target=streamer.publish, args=(reserved,))
        holding.start()
        until(lambda: streamer.metrics.snapshot()["queue_disconnects"] == 1)
        proxy.heal()
        holding.join()
        counted = streamer.metrics.snapshot()
    assert [counted[name] for name in ("queue_disconnects", "rows_published", "pending_rows")] == [1, 200, 0]


def test_the_block_after_one_that_was_too_large_is_planned_to_fit(collecting: Collecting, source: CsvSource) -> None:
    ledger = collecting.store.ledger()
    first = ledger.reserve(ROWS)
    assert first is not None
    with publishing(collecting, source, ledger) as streamer:
        assert streamer.fitting > ROWS
        streamer.publish(first)
        assert ROWS // 2 < streamer.fitting < ROWS
        second = ledger.reserve(streamer.fitting)
        assert second is not None
        streamer.publish(second)
    assert queued(collecting) == [("s:0", 200), ("s:200", 200), ("s:400", second.rows)]


def test_a_block_that_another_streamer_cut_first_is_left_to_it(
    collecting: Collecting, source: CsvSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PUBLISH_LEASE", 3_600.0)
    ledger = collecting.store.ledger()
    reserved = ledger.reserve(ROWS)
    assert reserved is not None
    assert collecting.store.ledger().split(reserved, 100) == 100
    with publishing(collecting, source, ledger) as streamer:
        streamer.publish(reserved)
    assert queued(collecting) == []
    assert ledger.due(-1, 10) == [100]  # in the other's hands, or due: nothing is lost


def test_rows_that_were_settled_meanwhile_are_not_called_dead(
    collecting: Collecting, source: CsvSource, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = collecting.store.ledger()
    ledger.reserve(ROWS)
    with publishing(collecting, source, ledger) as streamer:
        assert collecting.store.bury(0, ROWS) is Standing.STORED  # by a collector
        streamer.publish(Reservation(0, ROWS, None, MAX_TRIES))
        assert [record.message for record in caplog.records if "dead-lettered" in record.message] == []
        assert ledger.reserve(ROWS) == Reservation(ROWS, ROWS, None, 0)
        streamer.publish(Reservation(ROWS, ROWS, None, MAX_TRIES))
        counted = streamer.metrics.snapshot()
        assert (counted["rows_read"], counted["rows_dead"]) == (ROWS, ROWS)
        assert len([record for record in caplog.records if "dead-lettered" in record.message]) == 1
