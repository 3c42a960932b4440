"""What a run came to: one object for a machine, lines for a person, and whether the promise held.

What does not live here: looking (`watch`, `compare`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.chaos.compare import Found
from tests.chaos.run import Outcome
from tests.chaos.watch import Watch
from tests.chaos.world import World


@dataclass
class Report:
    """The result of one run."""

    result: dict[str, Any]

    @property
    def held(self) -> bool:
        """Whether the promise held."""
        return not any(self.result[name] for name in MUST_BE_ZERO) and not self.result["wrong"]

    @property
    def lines(self) -> list[str]:
        """For a person."""
        shown = {name: value for name, value in self.result.items() if not isinstance(value, (list, dict))}
        return [
            *self.result["proofs"],
            *(f"without effect: {text}" for text in self.result["without_effect"]),
            *(f"fault not possible here: {kind}: {why}" for kind, why in self.result["not_here"].items()),
            *(f"recovery from {kind}: {seconds} s" for kind, seconds in self.result["recovery_seconds"].items()),
            *(f"WRONG: {text}" for text in self.result["wrong"]),
            " ".join(f"{name}={value}" for name, value in shown.items()),
            "the promise held" if self.held else "THE PROMISE WAS BROKEN",
        ]


MOST_SHOWN = 20
LEAST_EFFECT = 0.9
"""Part of the faults that must have taken effect, for a run to say something."""
MUST_BE_ZERO = ("missing", "doubled", "over_capacity", "unexplained_deaths", "innocent_dead")


def report(world: World, watch: Watch, outcome: Outcome, found: Found) -> Report:
    """Everything that was seen, as one object."""
    deaths = [f"{one.name} ended: {one.how}: {' | '.join(one.said)}" for one in world.roles.deaths]
    innocent = [f"dead, and nobody made it so: {text}" for text in found.innocent]
    read = found.read + found.dead_poison
    dead = found.dead + found.dead_poison
    adds_up = [] if read == found.stored + found.blank + found.rejected + dead else ["the sum is not what was read"]
    foreign = [f"{found.foreign} readings stand in no file"] if found.foreign else []
    wrong = [
        *_unseen(watch, outcome, read),
        *foreign,
        *outcome.stuck,
        *world.memory.violations,
        *deaths,
        *innocent,
        *found.wrong,
        *adds_up,
    ]
    result = {
        "seed": world.terms.seed,
        "faults": len(outcome.done),
        "read": read,
        "stored": found.stored,
        "blank": found.blank,
        "rejected": found.rejected,
        "dead": dead,
        "missing": found.missing,
        "doubled": found.doubled,
        "over_capacity": watch.over,
        "unexplained_deaths": len(deaths),
        "innocent_dead": len(innocent),
        "recovery_seconds": {kind: round(seconds, 2) for kind, seconds in sorted(outcome.recovery.items())},
        "recovery_seconds_together": round(outcome.recovery_together, 2),
        "faults_by_kind": dict(sorted(Counter(one.kind for one in outcome.done).items())),
        "proofs": [f"{one.kind}: {one.proof}" for one in outcome.done],
        "without_effect": [f"{one.kind}: {one.proof}" for one in outcome.without_effect],
        "not_here": outcome.not_here,
        "highest_queue": watch.highest,
        "capacity": world.terms.capacity,
        "redelivered": watch.redelivered,
        "spent_attempts": watch.spent,
        "api_answers": {str(status): times for status, times in sorted(watch.answers.items())},
        "seconds": round(outcome.seconds, 1),
        "tier": world.tier.value,
        "queue_server": world.queue.server.kind,
        "database_server": world.database.server.kind,
        "wrong": [text[:600] for text in wrong[:MOST_SHOWN]],
    }
    return Report(result)


def _unseen(watch: Watch, outcome: Outcome, read: int) -> list[str]:
    """Why this run shows nothing: what did not look, and what was not there to be seen."""
    possible = len(outcome.done) + len(outcome.without_effect)
    return [
        *([] if read else ["nothing was read"]),
        *([] if watch.looks and watch.lived else ["the queue was not looked at all the while"]),
        *([] if len(outcome.done) >= max(1, LEAST_EFFECT * possible) else ["too few faults took effect"]),
    ]
