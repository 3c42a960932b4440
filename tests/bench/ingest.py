"""From a file to stored: against `\\copy` into a flat table, against what the machine allows; bytes and memory.

What lives here: which runs are made one after the other, and what is made of them. What does not: a run (`once`), the
floors (`floors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from telemetry.store.tiers import Tier
from tests.bench.floors import Flat, Least, copy_flat, least_cpu
from tests.bench.machine import cores
from tests.bench.measure import Goal, Result, rounded
from tests.bench.once import Once, once
from tests.bench.stage import Stage, say

SMALLER = 10
"""Memory is measured again with a file of that part of the rows."""


@dataclass
class Rounds:
    """What the measurements of this file share: each way once per round, one right after the other."""

    ours: list[Once] = field(default_factory=list)
    flat: list[Flat] = field(default_factory=list)
    least: list[Least] = field(default_factory=list)

    @property
    def typical(self) -> Once:
        """The run of ours with the median rate."""
        return sorted(self.ours, key=lambda run: run.rate)[len(self.ours) // 2]


def ingest_vs_copy_flat(stage: Stage) -> Sequence[Result]:
    """Rows per second from the start of all processes to the last row settled, against one `\\copy`."""
    rounds = _rounds(stage)
    seconds, stolen = (median(getattr(one, name) for one in rounds.flat) for name in ("seconds", "stolen"))
    more = {**_about(stage, rounds), "floor_seconds": rounded(seconds), "floor_stolen": rounded(stolen)}
    return [
        Result(
            "ingest_vs_copy_flat",
            stage.tier.value,
            "rows/s",
            Goal(least=5 if stage.tier is Tier.COMMUNITY else 3),
            [run.rate for run in rounds.ours],
            [one.rows / one.seconds for one in rounds.flat],
            more,
        )
    ]


def ingest_vs_limit(stage: Stage) -> Sequence[Result]:
    """The same against cores / (CPU of parsing a row + CPU of a COPY of it), which nothing can surpass."""
    rounds = _rounds(stage)
    processors = cores()
    typical = sorted(rounds.least, key=lambda one: one.limit(processors))[len(rounds.least) // 2]
    more = {
        "cores": processors,
        "floor_us_per_row": {name: rounded(getattr(typical, name) * 1e6) for name in ("parse", "client", "server")},
        # what the same CPU seconds, the start included, would give on cores that nobody else uses
        "ours_by_cpu": rounded(processors * rounds.typical.rows / sum(rounds.typical.cpu.values())),
        "ours_us_per_row": {name: rounded(cpu / rounds.typical.rows * 1e6) for name, cpu in rounds.typical.cpu.items()},
    }
    return [
        Result(
            "ingest_vs_limit",
            stage.tier.value,
            "rows/s",
            Goal(least=0.6 if stage.tier is Tier.COMMUNITY else 0.7),
            [run.rate for run in rounds.ours],
            [one.limit(processors) for one in rounds.least],
            more,
        )
    ]


def disk_vs_flat(stage: Stage) -> Sequence[Result]:
    """Bytes per reading of all our tables and indexes, right after the last row, against the flat table and its index.

    Blank readings are counted, not kept: ours is divided by the readings that are stored.
    """
    rounds = _rounds(stage)
    return [
        Result(
            "disk_vs_flat",
            stage.tier.value,
            "bytes/reading",
            Goal(most=1 / 50) if stage.tier is Tier.COMMUNITY else Goal(),
            [run.bytes / run.stored for run in rounds.ours],
            [one.bytes / one.rows for one in rounds.flat],
            {"bytes": rounds.ours[0].bytes, "floor_bytes": rounds.flat[0].bytes, "stored": rounds.ours[0].stored},
        )
    ]


def memory_growth(stage: Stage) -> Sequence[Result]:
    """Peak memory of a streamer and of a collector against their own with a tenth of the rows; the larger ratio."""
    rounds = _rounds(stage)
    small = stage.export(max(1, stage.rows // SMALLER))
    fewer = [_once(stage, small.rows, number) for number in range(stage.rounds)]
    peaks = {
        kind: ([run.peak[kind] for run in rounds.ours], [run.peak[kind] for run in fewer])
        for kind in ("streamer", "collector")
    }
    results = [
        Result("memory_growth", stage.tier.value, "MB", Goal(most=1.1), ours, floor) for ours, floor in peaks.values()
    ]
    larger = max(results, key=lambda one: one.ratio)
    larger.more.update({"rows": [stage.rows, small.rows], **{kind: _both(*both) for kind, both in peaks.items()}})
    larger.more["us_per_further_row"] = further(rounds.ours, fewer)
    return [larger]


def further(many: Sequence[Once], few: Sequence[Once]) -> dict[str, float]:
    """CPU of one more row in µs, by who uses it: what starting the processes takes is in both, and drops out."""
    rows = many[0].rows - few[0].rows
    spent = {name: [median(run.cpu[name] for run in runs) for runs in (many, few)] for name in many[0].cpu}
    return {name: rounded((more - less) / rows * 1e6) for name, (more, less) in spent.items()} if rows else {}


def _rounds(stage: Stage) -> Rounds:
    return stage.once("ingest", lambda: _measure(stage))


def _measure(stage: Stage) -> Rounds:
    rounds = Rounds()
    export = stage.export(stage.rows)
    for number in range(stage.rounds):
        ours_first = number % 2 == 0  # nobody is always the first
        if stage.wants("ingest_vs_copy_flat", "disk_vs_flat") and not ours_first:
            rounds.flat.append(_flat(stage, number))
        rounds.ours.append(_once(stage, export.rows, number))
        if stage.wants("ingest_vs_copy_flat", "disk_vs_flat") and ours_first:
            rounds.flat.append(_flat(stage, number))
        if stage.wants("ingest_vs_limit"):
            rounds.least.append(_least(stage, number, rounds.ours[-1].transaction_rows))
    return rounds


def _once(stage: Stage, rows: int, number: int) -> Once:
    run = once(stage, stage.export(rows))
    cpu = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.cpu.items())
    say(
        f"{stage.tier.value} round {number + 1}: the pipeline stored {rows:,} rows in {run.seconds:.2f} s:"
        f" {run.rate:,.0f} rows/s, {run.settled_rate:,.0f} once begun ({run.start:.1f} s); CPU s: {cpu};"
        f" {run.stolen:.0%} stolen"
    )
    return run


def _flat(stage: Stage, number: int) -> Flat:
    one = copy_flat(stage, stage.export(stage.rows))
    say(
        f"{stage.tier.value} round {number + 1}: \\copy took {one.seconds:.2f} s: {one.rows / one.seconds:,.0f} rows/s;"
        f" {one.stolen:.0%} stolen"
    )
    return one


def _least(stage: Stage, number: int, transaction_rows: float) -> Least:
    one = least_cpu(stage, stage.export(stage.rows), transaction_rows)
    parts = ", ".join(f"{name} {getattr(one, name) * 1e6:.2f}" for name in ("parse", "client", "server"))
    say(f"{stage.tier.value} round {number + 1}: the limit is {one.limit(cores()):,.0f} rows/s; µs/row: {parts}")
    return one


def _about(stage: Stage, rounds: Rounds) -> dict[str, object]:
    run = rounds.typical
    return {
        "rows": run.rows,
        "stored": run.stored,
        "streamers": stage.terms.streamers,
        "collectors": stage.terms.collectors,
        "seconds": rounded(run.seconds),
        "start_seconds": rounded(run.start),
        "settled_rate": rounded(run.settled_rate),
        "rows_per_transaction": rounded(run.transaction_rows),
        "cpu_seconds": {name: rounded(seconds) for name, seconds in run.cpu.items()},
        "peak_mb": {name: rounded(peak) for name, peak in run.peak.items()},
        "stolen": rounded(run.stolen),
    }


def _both(ours: Sequence[float], floor: Sequence[float]) -> list[float]:
    return [rounded(median(ours)), rounded(median(floor))]
