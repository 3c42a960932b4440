"""`python -m tests.bench`: each figure beside its floor, in one run on one machine.

Instead of that, `--scale` gives tables of what has no floor (more processes, rows, series and API workers), and
`--explain` the server's plan of each statement of the reads that are measured, so that a slow one can be looked at.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import click

from telemetry.embedded import EmbeddedError
from telemetry.store.tiers import Tier
from tests.bench import beside, broker, crowd, ingest, latency, plans, reads, scale, scrapes
from tests.bench.exports import Exports
from tests.bench.machine import machine, servers
from tests.bench.measure import Result
from tests.bench.report import Report
from tests.bench.stage import Stage, Terms, say, tiers_there_are
from tests.fixtures.servers_postgres import open_folder

MEASUREMENTS: Mapping[str, Callable[[Stage], Sequence[Result]]] = MappingProxyType(
    {
        "ingest_vs_copy_flat": ingest.ingest_vs_copy_flat,
        "ingest_vs_limit": ingest.ingest_vs_limit,
        "disk_vs_flat": ingest.disk_vs_flat,
        "broker_vs_redis": broker.broker_vs_redis,
        "latency_vs_floor": latency.latency_vs_floor,
        "range_json_vs_sql": reads.range_json_vs_sql,
        "export_csv_vs_copy": reads.export_csv_vs_copy,
        "gpu_list_growth": reads.gpu_list_growth,
        "latest_growth": reads.latest_growth,
        "memory_growth": ingest.memory_growth,
    }
)

BY_NAME: Mapping[str, Callable[[Stage], Sequence[Result]]] = MappingProxyType(
    {**MEASUREMENTS, "api": beside.api, "metrics_gpus": scrapes.metrics_gpus}
)
"""With those that are only made when they are asked for."""


@dataclass(frozen=True)
class Part:
    """What is found without a floor: the name of its list in --json, how it is found, and its table."""

    name: str
    find: Callable[[Stage], Iterable[Any]]
    """On each tier; what it gives has `as_dict()`."""
    table: Callable[[Sequence[Any]], str]


SCALE = (Part("scale", scale.scale, scale.markdown), Part("api", crowd.crowds, crowd.markdown))
EXPLAIN = (Part("plans", plans.plans, plans.text),)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rows", type=click.IntRange(100), default=1_000_000, show_default=True, help="Of the file.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Of ours and the floor in turns.")
@click.option("--only", multiple=True, type=click.Choice([*BY_NAME]), metavar="NAME", help="May be repeated.")
@click.option("--tier", "tiers", multiple=True, type=click.Choice([tier.value for tier in Tier]),
              help="May be repeated. [all that the server can be]")  # fmt: skip
@click.option("--streamers", type=click.IntRange(1, 16), default=2, show_default=True, help="Processes.")
@click.option("--collectors", type=click.IntRange(1, 16), default=1, show_default=True, help="Processes.")
@click.option("--linger", type=click.FloatRange(0, 10), default=0.2, show_default=True, help="Of collectors, for the"
              " latency.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Of each rate, for the"
              " latency; of each crowd, for the API.")  # fmt: skip
@click.option("--database-url", help="A superuser's, of a server to use instead of an embedded one; it gets databases"
              " and perhaps roles of this run.")  # fmt: skip
@click.option("--redis-url", help="Of a queue to use instead of an embedded one; its keys are removed in the end.")
@click.option("--scale", "sizes", is_flag=True, help="What a row costs with more processes, rows and series, and"
              " what the API answers with more workers, instead.")  # fmt: skip
@click.option("--explain", is_flag=True, help="EXPLAIN (ANALYZE, BUFFERS) of the reads' statements on the filled table,"
              " instead.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="End with one object on standard output.")
@click.option("--markdown", is_flag=True, help="Print the table of the README.")
def main(only: Sequence[str], tiers: Sequence[str], markdown: bool, **values: Any) -> None:
    """Measure the project beside floors that are honest: the same data, machine and durability, in turns.

    Exit code 1: something could not be measured, or a run lost or doubled a row. A goal that is missed is no failure.
    TELEMETRY_EMBEDDED_PG_BIN names another PostgreSQL to run, one with TimescaleDB for instance.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers are taken away then too
    as_json, parts = values.pop("as_json"), _instead(values.pop("sizes"), values.pop("explain"))
    names = [] if parts else [name for name in BY_NAME if (name in only if only else name in MEASUREMENTS)]
    terms = Terms(wanted=frozenset(names), **values)
    report = Report({**machine(), "servers": {}})
    found: dict[str, list[Any]] = {part.name: [] for part in parts}
    folder = open_folder()
    try:
        for tier in [Tier(name) for name in tiers] or tiers_there_are(terms):
            with _failing(report, tier.value if tier else "the server"), Stage(terms, Exports(folder), tier) as stage:
                _tell_servers(report, stage)
                for part in parts:
                    with _failing(report, f"{part.name} on {stage.tier.value}"):
                        found[part.name].extend(part.find(stage))
                for name in names:
                    with _failing(report, f"{name} on {stage.tier.value}"):
                        report.results += BY_NAME[name](stage)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if parts:
        print(_whole(report, found) if as_json else "\n\n".join(part.table(found[part.name]) for part in parts))
    else:
        print(json.dumps(report.as_dict()) if as_json else report.markdown() if markdown else report.table())
    for failure in report.failures:
        say(f"FAILED {failure}")
    sys.exit(1 if report.failures else 0)


def _instead(sizes: bool, explain: bool) -> Sequence[Part]:
    return (*(SCALE if sizes else ()), *(EXPLAIN if explain else ()))


def _whole(report: Report, found: Mapping[str, Sequence[Any]]) -> str:
    """The object of --json for what has no floor."""
    lists = {name: [one.as_dict() for one in those] for name, those in found.items()}
    whole = {"machine": report.machine, **lists}
    return json.dumps({**whole, "failures": report.failures} if report.failures else whole)


def _tell_servers(report: Report, stage: Stage) -> None:
    about = report.machine["servers"][stage.tier.value] = servers(stage)
    say(f"{stage.tier.title}: PostgreSQL {about['postgresql']}, {about['queue']}, in {stage.folder}")


@contextmanager
def _failing(report: Report, what: str) -> Iterator[None]:
    """What fails is told in the end, and does not take with it what can still be measured."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        report.failures.append(f"{what}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    try:
        main.main(prog_name="scripts/bench", standalone_mode=False)
    except EmbeddedError as error:
        say(f"scripts/bench: {error}")
        sys.exit(1)
    except click.Abort:  # Ctrl-C
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
