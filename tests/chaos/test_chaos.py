"""A short run of the chaos in the suite; that it can fail; and that a seed is a plan.

What does not live here: long runs and many seeds, which are scripts/chaos --campaign and --soak.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.campaign import BEGIN, END, write_table
from tests.chaos.plan import KINDS, plan
from tests.fixtures.pipeline import ROOT
from tests.fixtures.process import Processes

pytestmark = pytest.mark.timeout(330)
RESULT = {
    "code": "0.1.0 abc", "date": "2026-01-02", "machine": "2 cores", "seed": 1, "faults": 60, "read": 9, "stored": 8,
    "blank": 1, "rejected": 0, "dead": 0, "missing": 0, "doubled": 0, "over_capacity": 0, "unexplained_deaths": 0,
    "innocent_dead": 0, "recovery_seconds": {"collector.kill": 2.25, "redis.kill": 1.0}, "tier": "plain",
    "recovery_seconds_together": 3.0, "wrong": [], "queue_server": "redis 7", "database_server": "postgresql 18",
}  # fmt: skip


def chaos(processes: Processes, *words: object) -> tuple[int, dict[str, Any], str]:
    """Run it; (exit code, its object, what it said)."""
    argv = [sys.executable, "-m", "tests.chaos", "--json", *map(str, words)]
    named = {name: os.environ[name] for name in ("TELEMETRY_EMBEDDED_PG_BIN",) if name in os.environ}
    run = processes.spawn(argv, {"PYTHONPATH": str(ROOT), **named}, ROOT)
    code = run.wait(300)  # it has time-outs of its own, of a minute each
    for folder in re.findall(r"the logs are in (\S+)", run.stderr):
        shutil.rmtree(folder)
    assert run.stdout, run.stderr[-3000:]
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return code, result, run.stderr


def test_a_short_seed_loses_and_doubles_nothing(processes: Processes) -> None:
    code, result, said = chaos(processes, "--seed", 11, "--faults", 14, "--rows", 30_000)
    assert (code, result["wrong"]) == (0, []), said[-4000:]
    for name in ("missing", "doubled", "over_capacity", "unexplained_deaths", "innocent_dead"):
        assert result[name] == 0, name
    assert result["read"] == sum(result[name] for name in ("stored", "blank", "rejected", "dead")) > 0
    assert result["faults"] + len(result["without_effect"]) + len(result["not_here"]) == 14


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "kind", "seen"),
    [
        ("ack-before-commit", "collector.kill_before_ack", "acknowledged before the commit"),
        ("gate-always-open", "queue.two_owners", ""),
        ("no-fence", "queue.two_owners", "took back what another has"),
        ("republish-without-asking", "collector.all_stop", "published again although queued"),
    ],
)
def test_a_planted_bug_is_found(bug: str, kind: str, seen: str, processes: Processes) -> None:
    code, result, said = chaos(processes, "--seed", 5, "--faults", 1, "--rows", 20_000, "--only", kind, "--bug", bug)
    assert code == 1, said[-4000:]
    if seen:
        assert any(seen in text for text in result["wrong"]), result["wrong"]
    else:
        assert result["doubled"] > 0, result


def test_a_seed_is_a_plan_and_every_kind_comes_as_often() -> None:
    assert plan(7, 60) == plan(7, 60) != plan(8, 60)
    kinds = Counter(step.kind for group in plan(7, 60) for step in group)
    assert kinds.total() == 60
    assert set(kinds) == set(KINDS)
    assert set(kinds.values()) <= {60 // len(KINDS), 60 // len(KINDS) + 1}


def test_the_table_of_the_campaign_keeps_the_rows_of_other_code_and_replaces_its_own(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    write_table([RESULT, {**RESULT, "seed": 2}], readme)
    write_table([{**RESULT, "code": "0.2.0 def", "seed": 9}], readme)
    write_table([RESULT, {**RESULT, "seed": 2}, {**RESULT, "seed": 4, "doubled": 1}], readme)
    text = readme.read_text()
    rows = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert [row.split(" | ")[4:8] for row in rows] == [["1-2, 4", "1", "180", "27"], ["9", "0", "60", "9"]]
    assert " 1 | 0 | 0 | 0 | 2.2 / 1.0 / 0.0 / 3.0 |" in rows[0]
