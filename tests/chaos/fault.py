"""What a fault is: a name, what it does, and the proof that it took effect.

What does not live here: the faults (`faults_*`), and which of them a run has (`plan`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.roles import Role
from tests.chaos.world import World

Work = Callable[[World, random.Random], str]
"""Breaks something, waits, mends it; returns the proof in words. Raises NoEffect."""

COPY = b"PGCOPY\n\xff\r\n\0"
"""How the data of a binary COPY begin."""
PATIENCE = 6.0
"""Seconds that a fault waits for the moment that it is to hit."""


class NoEffect(Exception):
    """Raised when a fault found nothing to break: something else was broken there already."""


class NotHere(Exception):
    """Raised when this machine has no means for it."""


@dataclass(frozen=True)
class Fault:
    """`alone`: it is an audit too, and others beside it would explain what it looks for."""

    kind: str
    work: Work
    alone: bool


REGISTRY: dict[str, Fault] = {}


def fault(kind: str, *, alone: bool = False) -> Callable[[Work], Work]:
    """Register a fault under `<what>.<how>`."""

    def register(work: Work) -> Work:
        REGISTRY[kind] = Fault(kind, work, alone)
        return work

    return register


def running(world: World, kind: str, dice: random.Random) -> Role:
    """One of the running roles of a kind, waited for."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = [role for role in world.roles.of(kind) if role.alive and not role.excuse]
        if found:
            return dice.choice(found)
        time.sleep(0.05)
    raise NoEffect(f"no {kind} was running")


def need(holds: bool, what: str) -> None:
    """NoEffect unless it holds."""
    if not holds:
        raise NoEffect(what)
