"""Every kind of poison at once, on running processes: each dies alone, and what a fix can mend is stored once.

The processes are `telemetry stream` and `telemetry collect`. Those that die of a block carry a fault that ends them, as
the parser of a C library or the kernel's want of memory would: a module that Python imports at its start.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from telemetry.block import FORMAT, Block
from telemetry.store.deadblocks import RAW_FORMAT
from tests.fixtures.ledger import DAY, Store, a_block
from tests.fixtures.pipeline import ROOT, SAMPLE, TRUTH, Pipeline
from tests.fixtures.process import Spawned, eventually

DEADLY = """
import os, signal
from telemetry.block import Block
decode, encode = Block.decode, Block.encode
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def deadly_decode(id, *rest):
    return die() if id == "hand:4" else decode(id, *rest)
def deadly_encode(self, *rest):
    return die() if self.source.startswith("csv@") and self.first_row == 500 else encode(self, *rest)
Block.decode, Block.encode = staticmethod(deadly_decode), deadly_encode
"""
REFUSED, LABELS = 666.5, b"A" * (50 << 20)
SLICE = 100
"""Readings of a block of the file."""
BY_HAND = {"killer": 4, "refused": 8, "no JSON": 12, "too large": 16, "50 MB of labels": 20, "10,000 days": 24}
"""The poison that is put into Redis by hand, by its first row; the first and the last block there are good."""
LAST = 10_024


@pytest.fixture
def store(pipeline: Pipeline) -> Iterator[Store]:
    """The pipeline's own database as a streamer sees it."""
    one = Store(pipeline.database)
    yield one
    one.close()


class Mortal:
    """A role that is started again whenever it was killed, as Kubernetes would."""

    def __init__(self, pipeline: Pipeline, *words: object, **env: str) -> None:
        self.pipeline, self.words, self.env = pipeline, words, env
        self.deaths = 0
        self.process: Spawned = pipeline.begin(*words, **env)

    def revive(self, store: Store) -> None:
        """Start it again if it was killed; nobody waits for the lease that the dead has in the ledger."""
        if not self.process.running and self.process.wait() == -signal.SIGKILL:
            self.deaths += 1
            store.lapse()
            self.process = self.pipeline.begin(*self.words, **self.env)

    def end(self) -> None:
        """Ask it to stop; it must do so in order."""
        self.process.signal(signal.SIGTERM)
        done = self.pipeline.run.end(self.process)
        assert done.code == 0, done.err


def put(pipeline: Pipeline, first_row: int, body: bytes, rows: int = 4) -> None:
    """Add an entry to the stream as nobody would who knows the limits."""
    fields = {"id": f"hand:{first_row}", "rows": str(rows), "format": FORMAT, "body": body}
    with pipeline.redis.client() as client:
        client.xadd(pipeline.topic.keys.stream, fields)


def put_poison(pipeline: Pipeline, store: Store) -> None:
    """Reserve and queue the messages by hand, the good ones first and last."""
    store.reserve(*[4] * 6, 10_000, 4, source="hand")

    def block(first_row: int, rows: int = 4, **more: list[float] | list[int]) -> Block:
        return a_block("hand", first_row, rows, **more)  # type: ignore[arg-type]  # keywords of a block

    bodies = {
        0: block(0).encode(),
        4: block(4).encode(),
        8: block(8, value=[8, 9, REFUSED, 11]).encode(),
        12: b"no JSON \xff",
        16: block(16).encode() + b" " * (2 << 20),
        20: block(20).encode().replace(b'"labels":{}', b'"labels":{"a":"' + LABELS + b'"}', 1),
        24: block(24, 10_000, dt=[day * DAY // 8 for day in range(0, 80_000, 8)]).encode(),
        LAST: block(LAST).encode(),
    }
    assert len(bodies[20]) > len(LABELS)
    for first_row, body in bodies.items():
        put(pipeline, first_row, body, 10_000 if first_row == 24 else 4)


def with_a_giant_row(folder: Path) -> Path:
    """The sample, and a row whose labels have 50 MB."""
    path = folder / "export.csv"
    with path.open("wb") as file:
        file.write(SAMPLE.read_bytes())
        row = SAMPLE.read_bytes().split(b"\n")[1].rpartition(b",")[0]
        file.write(row + b',"' + LABELS + b'"\n')
    return path


def dead(pipeline: Pipeline) -> dict[str, tuple[int, str, int]]:
    """(number, format, attempts) of each dead block by its message id."""
    found = pipeline.database.ask("SELECT message_id, id, format, attempts FROM dead_blocks ORDER BY id")
    return {id: (number, form, attempts) for id, number, form, attempts in found}


@pytest.mark.slow
def test_each_poison_dies_alone_and_what_can_be_mended_is_stored_once(
    pipeline: Pipeline, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    deadly = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    path = with_a_giant_row(tmp_path)
    streaming = ("stream", "--once", "--json", "--csv", path, "--block-rows", SLICE)
    collecting = ("collect", "--batch-messages", 16, "--lease", 0.5, "--max-attempts", 3, "--health-port", 0)
    put_poison(pipeline, store)
    with psycopg.connect(pipeline.database.owner, autocommit=True) as owner:
        owner.execute(f"ALTER TABLE samples ADD CONSTRAINT wrong CHECK (value <> {REFUSED:g})")
        collector, streamer = Mortal(pipeline, *collecting, **deadly), Mortal(pipeline, *streaming, **deadly)

        def deaths() -> int:
            collector.revive(store)
            streamer.revive(store)
            return streamer.deaths

        for number in range(1, 6):
            eventually(partial(lambda least: deaths() >= least, number), f"death {number} of a streamer")
        eventually(lambda: deaths() and len(dead(pipeline)) == len(BY_HAND) + 1, "each poison is dead")
        assert pipeline.run.end(streamer.process).code == 0
        eventually(lambda: pipeline.topic.stats().depth == 0, "an empty queue")
        collector.end()
        owner.execute("ALTER TABLE samples DROP CONSTRAINT wrong")
    (name,) = {id.rpartition(":")[0] for id in dead(pipeline)} - {"hand"}
    found = dead(pipeline)
    assert set(found) == {f"hand:{first}" for first in BY_HAND.values()} | {f"{name}:500"}
    assert (collector.deaths, found["hand:4"][2]) == (3, 3)
    assert (streamer.deaths, found[f"{name}:500"][1:]) == (5, (RAW_FORMAT, 5))
    assert store.account(name).dead == SLICE
    assert store.account("hand").stored == 8

    mended = [found[id][0] for id in ("hand:4", "hand:8", f"{name}:500")]
    hopeless = {id: rest[0] for id, rest in found.items() if rest[0] not in mended}
    replay = pipeline("queue", "dead", "replay", "--all", "--json")
    refused = {found["hand:16"][0], found["hand:20"][0]}
    assert (replay.code, set(replay.result["refused"])) == (1, refused), "more than a message takes"
    collector = Mortal(pipeline, *collecting)
    done = pipeline(*streaming)
    assert done.code == 0, done.err
    eventually(lambda: len(dead(pipeline)) == len(hopeless) and not pipeline.topic.stats().depth, "the replays' end")
    assert {id: number for id, (number, *_) in dead(pipeline).items()} == hopeless
    collector.end()
    counts = ("read", "stored", "blank", "rejected", "dead")
    expected = (TRUTH["rows"] + 1, TRUTH["stored"], TRUTH["blank"], TRUTH["rejected"] + 1, 0)
    assert tuple(done.result[one] for one in counts) == expected
    assert (store.account("hand").stored, store.account("hand").dead) == (16, 10_012)
    assert pipeline("verify").code == 0
    values = "SELECT count(*), count(DISTINCT value) FROM telemetry WHERE uuid = 'GPU-0'"
    assert pipeline.database.ask(values) == [(16, 16)]
