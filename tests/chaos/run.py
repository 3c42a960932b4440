"""A run: start, break, look how long it takes to recover, break again; settle everything, and compare.

What does not live here: what is broken (`faults_*`), and what is made of it (`report`).
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
import redis

from telemetry.broker import BrokerError
from telemetry.store.errors import StoreError
from tests.chaos.compare import Found, compare
from tests.chaos.fault import REGISTRY, NoEffect, NotHere
from tests.chaos.plan import Step
from tests.chaos.watch import Watch
from tests.chaos.world import World

WARM = 10
"""Blocks that are settled before the first fault."""
LONGEST_RECOVERY = 60.0
MANY_DEATHS = 5
"""Of streamers that find that their account does not add up: no more of them are waited for."""
MET = (NoEffect, redis.RedisError, BrokerError, StoreError, psycopg.Error, OSError)
"""What a fault may meet where another one was there already."""
TRIES = 3
"""How often a fault that found nothing to break is tried."""


@dataclass
class Done:
    """One fault that took effect, and the proof."""

    kind: str
    proof: str


@dataclass
class Outcome:
    """What a run saw. Recoveries in seconds, by kind for faults that came alone."""

    done: list[Done] = field(default_factory=list)
    without_effect: list[Done] = field(default_factory=list)
    not_here: dict[str, str] = field(default_factory=dict)
    recovery: dict[str, float] = field(default_factory=dict)
    recovery_together: float = 0.0
    stuck: list[str] = field(default_factory=list)
    seconds: float = 0.0


def say(text: str) -> None:
    """Progress, for a person."""
    print(text, file=sys.stderr, flush=True)


def carry_out(world: World, groups: Sequence[Sequence[Step]], watch: Watch) -> tuple[Outcome, Found]:
    """The whole run; the world runs already."""
    began = time.monotonic()
    outcome = Outcome()
    _wait(outcome, "the first blocks", lambda: _settled(world) >= WARM)
    todo = [*groups]
    for number, group in enumerate(todo, 1):  # it may grow by some at its end
        _break(world, group, outcome)
        if number == len(groups):  # what found nothing to break among others is tried once more, by itself
            todo += [[Step(one.kind, 0.0, number)] for one in outcome.without_effect]
            outcome.without_effect.clear()
        kinds = "+".join(step.kind for step in group)
        seconds = _recover(world, kinds, outcome)
        if len(group) == 1:
            outcome.recovery[kinds] = max(seconds, outcome.recovery.get(kinds, 0.0))
        else:
            outcome.recovery_together = max(seconds, outcome.recovery_together)
        depth = f"longest queue {watch.highest}/{world.terms.capacity}"
        say(f"{number}/{len(todo)} {kinds}: recovered in {seconds:.1f} s; {depth}")
    _finish(world, outcome)
    found = compare(world, (world.roles.last or 0) + 1)
    outcome.seconds = time.monotonic() - began
    return outcome, found


def _break(world: World, group: Sequence[Step], outcome: Outcome) -> None:
    threads = [threading.Thread(target=_do, args=(world, step, outcome), daemon=True) for step in group]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _do(world: World, step: Step, outcome: Outcome) -> None:
    dice = random.Random(step.seed)
    time.sleep(step.after)
    why = ""
    for _ in range(TRIES):
        try:
            proof = REGISTRY[step.kind].work(world, dice)
        except NotHere as error:
            outcome.not_here[step.kind] = str(error)
            return
        except MET as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            time.sleep(0.5)
        except BaseException as error:
            outcome.stuck.append(f"{step.kind} itself failed: {type(error).__name__}: {error}")
            raise
        else:
            outcome.done.append(Done(step.kind, proof))
            return
    outcome.without_effect.append(Done(step.kind, why))


def _recover(world: World, kinds: str, outcome: Outcome) -> float:
    """Seconds until all that was reserved when the faults ended is settled."""
    began = time.monotonic()
    mark = _ask(world, "SELECT coalesce(max(block), 0) FROM blocks")

    def is_settled() -> bool:
        left = _ask(world, "SELECT count(*) FROM blocks WHERE settled_at IS NULL AND block <= %s", mark)
        return left == 0

    _wait(outcome, f"recovery from {kinds}", is_settled)
    return time.monotonic() - began


def _settled(world: World) -> int:
    return _ask(world, "SELECT count(*) FROM blocks WHERE settled_at IS NOT NULL")


def _ask(world: World, statement: LiteralString, *values: object) -> int:
    """A number from the database, which is there: faults are over."""
    while True:
        try:
            return int(world.database.ask(statement, *values)[0][0])
        except psycopg.OperationalError:
            time.sleep(0.1)


def _finish(world: World, outcome: Outcome) -> None:
    """Let the streamers read the pass that they are at to its end, as fast as they can, and stop."""
    world.heal()
    world.roles.finish()
    streamers = world.roles.of("streamer")
    for role in streamers:
        if role.alive:
            role.ask_to_end()
    given_up = len(world.roles.deaths) + MANY_DEATHS

    def is_over() -> bool:
        return all(role.retired and not role.alive for role in streamers) or len(world.roles.deaths) > given_up

    _wait(outcome, "the end of the last pass", is_over)


def _wait(outcome: Outcome, what: str, is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST_RECOVERY
    while not is_so():
        if time.monotonic() > end:
            outcome.stuck.append(f"{what} did not come within {LONGEST_RECOVERY:g} s")
            return
        time.sleep(0.05)
