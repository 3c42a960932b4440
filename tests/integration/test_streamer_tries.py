"""What no streamer can publish is tried some times, then dead-lettered as raw rows, and can be read again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.block import Block
from telemetry.runtime.clock import SystemClock
from telemetry.runtime.health import Health
from telemetry.runtime.metrics import StreamerMetrics
from telemetry.runtime.stop import Stop
from telemetry.store.deadblocks import RAW_FORMAT, DeadBlocks
from telemetry.streamer.naming import stream_id
from telemetry.streamer.pace import Pace
from telemetry.streamer.publishing import MAX_TRIES, Publishing
from telemetry.streamer.sources.csvfile import CsvSource
from telemetry.streamer.streamer import Streamer
from tests.fixtures.ledger import Store
from tests.fixtures.pipeline import SAMPLE, TRUTH, Pipeline, has_no_gap

BROKEN = 500
"""The first row of a block that the source of these tests cannot give."""


class BrokenSource(CsvSource):
    """A file with a block that cannot be parsed, as a fault of ours would look."""

    def __init__(self, *, path: Path, times: bool) -> None:
        super().__init__(path=path, times=times)
        self.asked = 0

    def block(self, source: str, first_row: int, rows: int, time0: int | None) -> Block:
        """Fail for one block."""
        if first_row == BROKEN:
            self.asked += 1
            raise RuntimeError("this slice cannot be parsed")
        return super().block(source, first_row, rows, time0)


class HastyClock(SystemClock):
    """A clock that lets every lease of the ledger lapse whenever somebody looks: tries need no waiting."""

    def __init__(self, store: Store, stop: Stop) -> None:
        self.store, self.stop = store, stop

    def monotonic(self) -> float:
        self.store.lapse()
        if self.store.database.one("SELECT count(*) FROM dead_blocks"):
            self.stop.set("the slice is dead")
        return super().monotonic() * 1_000


@pytest.fixture
def store(pipeline: Pipeline) -> Iterator[Store]:
    """The pipeline's own database as a streamer sees it."""
    one = Store(pipeline.database)
    yield one
    one.close()


def test_a_slice_that_cannot_be_read_is_dead_lettered_raw_and_comes_back_by_replay(
    pipeline: Pipeline, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    stop, health = Stop(), Health()
    source = BrokenSource(path=SAMPLE, times=False)
    source.open()
    name = stream_id("csv", source.digest, once=True, times=False)
    ledger = store.ledger(name, length=source.length, stamped=True)
    with pipeline.topic.producer() as producer:
        publishing = Publishing(
            source=source,
            ledger=ledger,
            dead=DeadBlocks(session=ledger.session),
            producer=producer,
            max_bytes=1 << 20,
            metrics=StreamerMetrics(),
            health=health,
            stop=stop,
        )
        clock = HastyClock(store, stop)
        pace = Pace(rate=0, block_rows=250, clock=SystemClock())
        streamer = Streamer(
            ledger=ledger, publishing=publishing, pace=pace, per_record=1, health=health, stop=stop, clock=clock
        )
        assert streamer.run() is False
    assert source.asked == MAX_TRIES
    told = [record.__dict__["fields"] for record in caplog.records if record.message == "could not publish a block"]
    assert told == [{"id": f"{name}:{BROKEN}"}] * MAX_TRIES
    ((number, first, rows, form, attempts, payload),) = pipeline.database.ask(
        "SELECT id, first_row, rows, format, attempts, payload FROM dead_blocks"
    )
    assert (first, rows, form, attempts) == (BROKEN, 250, RAW_FORMAT, MAX_TRIES)
    lines = SAMPLE.read_bytes().split(b"\n")
    assert bytes(payload).split(b"\n") == [lines[0], *lines[BROKEN + 1 : BROKEN + 251]]
    source.close()

    assert pipeline("queue", "dead", "replay", number, "--json").result == {"replayed": [number], "refused": []}
    collector = pipeline.begin("collect")
    done = pipeline("stream", "--once", "--json", "--csv", SAMPLE)
    assert done.code == 0, done.err
    assert (done.result["stored"], done.result["dead"]) == (TRUTH["stored"], 0)
    assert has_no_gap([(first, rows) for first, rows in pipeline.database.ask("SELECT first_row, rows FROM blocks")])
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0


def test_a_dead_streamers_block_is_published_by_another_in_its_own_size(pipeline: Pipeline, store: Store) -> None:
    source = CsvSource(path=SAMPLE, times=False)
    source.open()
    name = stream_id("csv", source.digest, once=True, times=False)
    source.close()
    store.reserve(321, 1, source=name, length=1_820)  # and this streamer dies
    store.lapse()
    collector = pipeline.begin("collect")
    done = pipeline("stream", "--once", "--json", "--csv", SAMPLE, "--block-rows", 500)
    assert done.code == 0, done.err
    assert (done.result["read"], done.result["stored"]) == (1_820, TRUTH["stored"])
    blocks = [(first, rows) for first, rows in pipeline.database.ask("SELECT first_row, rows FROM blocks")]
    assert has_no_gap(blocks)
    assert sorted(blocks)[:3] == [(0, 321), (321, 1), (322, 500)]
    collector.signal(signal.SIGTERM)
    assert pipeline.run.end(collector).code == 0
