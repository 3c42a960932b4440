"""Which faults a run has, and which of them come together: drawn from the seed alone.

What does not live here: the faults (`faults_*`), and carrying the plan out (`run`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos import faults_audits, faults_network, faults_processes, faults_servers
from tests.chaos.fault import REGISTRY

__all__ = ["KINDS", "Step", "plan"]

SIZES = (1, 2, 3, 4, 5)
"""How many faults come together; one alone, so that the recovery from it can be told."""
ROOMS = (faults_processes, faults_servers, faults_network, faults_audits)  # importing them fills the registry
KINDS = tuple(sorted(REGISTRY))


@dataclass(frozen=True)
class Step:
    """One fault: what it is, how long after the first of its group it begins (seconds), its own random numbers."""

    kind: str
    after: float
    seed: int


def plan(seed: int, faults: int, only: Sequence[str] = ()) -> list[list[Step]]:
    """Groups of faults, each kind as often as any other, give or take one."""
    dice = random.Random(seed)
    kinds = tuple(only) or KINDS
    deck: list[str] = []
    while len(deck) < faults:
        deck += dice.sample(kinds, len(kinds))
    del deck[faults:]
    groups: list[list[Step]] = []
    while deck:
        size = dice.choice(SIZES)
        together = [kind for kind in deck if not REGISTRY[kind].alone][:size]
        chosen = deck[:1] if REGISTRY[deck[0]].alone or not together else together
        for kind in chosen:
            deck.remove(kind)
        groups.append([Step(kind, dice.uniform(0.0, 1.0), dice.getrandbits(48)) for kind in chosen])
    return groups
