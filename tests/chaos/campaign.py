"""Many seeds, one after another or some at a time; what they came to, added to the table in README.

What lives here: which seeds are still to be run, and the table. A result counts for the code that it was got with.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.chaos.run import say
from tests.fixtures.pipeline import ROOT

RESULTS = ROOT / ".telemetry" / "chaos.jsonl"
README = ROOT / "README.md"
BEGIN, END = "<!-- campaign -->", "<!-- /campaign -->"
SUMS = ("faults", "read", "stored", "blank", "rejected", "dead")
ZEROS = ("missing", "doubled", "over_capacity", "unexplained_deaths", "innocent_dead")
HEAD = (
    "date", "code", "servers", "machine", "seeds", "broken", *SUMS, *(name.replace("_", " ") for name in ZEROS),
    "longest recovery (s) from a killed collector / Redis / PostgreSQL / several faults at once",
)  # fmt: skip
FAMILIES: dict[str, tuple[str, ...]] = {
    "killed collector": ("collector.kill", "collector.kill_in_copy", "collector.kill_before_ack"),
    "Redis": ("redis.kill", "redis.kill_without_persistence", "redis.flushall", "redis.old_snapshot"),
    "PostgreSQL": ("postgres.restart", "postgres.away"),
}


def campaign(seeds: Sequence[int], faults: int, jobs: int) -> bool:
    """Run the seeds that this code has no result of; whether all of them held. The table is written after each."""
    code = _code()
    known = [one for one in _results() if one["code"] == code and one["faults_asked"] == faults]
    have = {one["seed"] for one in known if not is_broken(one)}
    todo = [seed for seed in seeds if seed not in have]
    say(f"{len(seeds)} seeds, {len(seeds) - len(todo)} of them have a result for code {code}")
    with ThreadPoolExecutor(jobs) as pool:
        held = list(pool.map(lambda seed: _run(seed, faults, code), todo))
    return all(held)


def is_broken(result: dict[str, Any]) -> bool:
    """Whether the promise did not hold in this run."""
    return bool(result["wrong"]) or any(result[name] for name in ZEROS)


def _run(seed: int, faults: int, code: str) -> bool:
    argv = [sys.executable, "-m", "tests.chaos", "--seed", str(seed), "--faults", str(faults), "--json"]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = ran.stdout.splitlines()
    if not lines:
        say(f"seed {seed} gave no result: {ran.stderr[-500:]}")
        return False
    result = json.loads(lines[-1])
    line = {"code": code, "faults_asked": faults, "date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": _machine()}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps({**line, **result}) + "\n")
    write_table(_results())
    say(f"seed {seed}: {'held' if ran.returncode == 0 else 'BROKEN: ' + '; '.join(result['wrong'])[:600]}")
    return ran.returncode == 0


def _results() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def write_table(results: Sequence[dict[str, Any]], readme: Path = README) -> None:
    """Replace the rows of the same code and servers in README's table, and keep the others."""
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {_key(line): line for line in table.strip().splitlines()[2:]}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in results:
        groups.setdefault((one["code"], _servers(one)), []).append(one)
    for group in groups.values():
        line = _row(group)
        rows[_key(line)] = line
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD), *rows.values()]
    readme.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}")


def _row(group: Sequence[dict[str, Any]]) -> str:
    first = group[0]
    seeds = sorted({one["seed"] for one in group})
    sums = [sum(one[name] for one in group) for name in (*SUMS, *ZEROS)]
    alone = [(kind, seconds) for one in group for kind, seconds in one["recovery_seconds"].items()]
    longest = [max((s for kind, s in alone if kind in kinds), default=0.0) for kinds in FAMILIES.values()]
    longest.append(max(one["recovery_seconds_together"] for one in group))
    words = [
        max(one["date"] for one in group), first["code"], _servers(first), first["machine"],
        _ranges(seeds), str(sum(map(is_broken, group))),
        *(f"{number:,}" for number in sums), " / ".join(f"{one:.1f}" for one in longest),
    ]  # fmt: skip
    return f"| {' | '.join(words)} |"


def _key(line: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in line.split("|")[2:4])


def _servers(one: dict[str, Any]) -> str:
    return f"{one['database_server']} {one['tier']}, {one['queue_server']}"


def _ranges(seeds: Sequence[int]) -> str:
    """1-4, 6."""
    found: list[list[int]] = []
    for seed in seeds:
        if found and seed == found[-1][1] + 1:
            found[-1][1] = seed
        else:
            found.append([seed, seed])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def _code() -> str:
    """Which code it is: the tree of the package, and whether it was changed since."""
    git = ["git", "-C", str(ROOT)]
    tree = subprocess.run([*git, "rev-parse", "--short", "HEAD:telemetry"], capture_output=True, text=True, check=True)
    changed = subprocess.run([*git, "status", "--porcelain", "telemetry"], capture_output=True, text=True, check=True)
    return f"{version('telemetry-pipeline')} {tree.stdout.strip()}{'+' if changed.stdout else ''}"


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"
