"""`python -m tests.chaos`: break the pipeline by a seeded plan, and account for every row."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from tests.chaos.campaign import campaign
from tests.chaos.plan import KINDS, plan
from tests.chaos.planted import BUGS
from tests.chaos.report import report
from tests.chaos.run import carry_out, say
from tests.chaos.soak import soak
from tests.chaos.source import MOST_ROWS
from tests.chaos.watch import Watch
from tests.chaos.world import Terms, World
from tests.fixtures.servers_redis import find_redis, find_valkey

SERVERS = {"redis": find_redis, "valkey": find_valkey}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the plan and of the source.")
@click.option("--faults", type=click.IntRange(1), default=60, show_default=True, help="How many.")
@click.option("--only", multiple=True, type=click.Choice(KINDS), metavar="KIND",
              help="Of this kind alone; may be repeated. --plan shows kinds.")  # fmt: skip
@click.option("--rows", type=click.IntRange(1_000, MOST_ROWS), default=60_000, show_default=True, help="Of each file.")
@click.option("--server", type=click.Choice([*SERVERS]), help="The queue's server. [by the seed, of those there are]")
@click.option("--bug", type=click.Choice([*BUGS]), help="Plant a bug, to see that it is found.")
@click.option("--plan", "plan_only", is_flag=True, help="Print the plan and end.")
@click.option(
    "--soak", "minutes", type=click.FloatRange(0.5), metavar="MINUTES", help="No faults: full speed, and what grows."
)
@click.option("--series", type=click.Path(path_type=Path), help="Write what a soak measured here, as CSV.")
@click.option("--campaign", "seeds", type=click.IntRange(1), is_flag=False, flag_value=20, metavar="[SEEDS]",
              help="Seeds 1 to that (20), those that have no result yet; adds to the table in README.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Seeds of a campaign at a time.")
@click.option("--json", "as_json", is_flag=True, help="End with one object on standard output.")
def main(seeds: int | None, minutes: float | None, plan_only: bool, **values: Any) -> None:
    """Run streamers, collectors, the API, a queue and a database; break them; compare every row.

    Exit code 1: something is missing, doubled, over the capacity, or not explained. The same seed gives the same plan.
    TELEMETRY_EMBEDDED_PG_BIN names another PostgreSQL to run, one with TimescaleDB for instance.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers and the small disk are taken away then too
    if plan_only:
        groups = [[step.kind for step in group] for group in plan(values["seed"], values["faults"], values["only"])]
        print(json.dumps(groups) if values["as_json"] else "\n".join(" + ".join(group) for group in groups))
        return
    if seeds:
        sys.exit(0 if campaign(range(1, seeds + 1), values["faults"], values["jobs"]) else 1)
    if minutes:
        sys.exit(_soak(minutes, values))
    sys.exit(_break(values))


def _break(values: dict[str, Any]) -> int:
    seed, as_json = values["seed"], values["as_json"]
    groups = plan(seed, values["faults"], values["only"])
    binary = _binary(values["server"], seed)
    with World(Terms(seed=seed, bug=values["bug"] or "", binary=binary, pass_rows=values["rows"])) as world:
        servers = f"{world.queue.server.kind}, {world.database.server.kind}, {world.tier.title}"
        say(f"seed {seed}: {values['faults']} faults; {servers}")
        with Watch(world) as watch:
            outcome, found = carry_out(world, groups, watch)
        result = report(world, watch, outcome, found)
        if not result.held:
            _keep_logs(world)
    for line in result.lines:
        print(line, file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(result.result))
    return 0 if result.held else 1


def _soak(minutes: float, values: dict[str, Any]) -> int:
    binary = _binary(values["server"], values["seed"])
    terms = Terms(
        seed=values["seed"], soak=True, binary=binary, pass_rows=values["rows"], collectors=1, block_rows=5_000,
        capacity=8, lease=15.0,
    )  # fmt: skip
    result = soak(terms, minutes, values["series"])
    print(json.dumps(result) if values["as_json"] else "\n".join(f"{name}: {value}" for name, value in result.items()))
    return 1 if result["wrong"] else 0


def _binary(server: str | None, seed: int) -> Path:
    there = {name: path for name, find in SERVERS.items() if (path := find())}
    if not there or (server and server not in there):
        raise click.ClickException(f"{server or 'a queue server'} is not installed")
    return Path(there[server] if server else [*there.values()][seed % len(there)])


def _keep_logs(world: World) -> None:
    folder = Path(tempfile.mkdtemp(prefix=f"telemetry-chaos-seed-{world.terms.seed}-logs-"))
    for log in world.folder.rglob("*.log"):
        shutil.copy(log, folder / f"{log.parent.name}-{log.name}")
    say(f"the logs are in {folder}")


if __name__ == "__main__":
    try:
        main.main(prog_name="scripts/chaos", standalone_mode=False)
    except click.Abort:  # Ctrl-C: no verdict
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
