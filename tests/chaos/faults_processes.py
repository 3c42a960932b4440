"""Ends and stops of streamers and collectors, at any moment and at the ones that matter.

What does not live here: servers and networks (`faults_servers`, `faults_network`), and audits (`faults_audits`).
"""

from __future__ import annotations

import random
import signal
import time

from tests.chaos.fault import COPY, PATIENCE, fault, need, running
from tests.chaos.roles import Role
from tests.chaos.world import STREAMER_LEASE, World

OTHERS = (-signal.SIGKILL, -signal.SIGTERM)  # by another fault; before it came to say what SIGTERM means to it
DRAINED = {"streamer": (0, 1, *OTHERS), "collector": (0, *OTHERS)}
"""Exit codes after SIGTERM: a streamer with --once says by 1 that it was cut short."""


@fault("streamer.kill")
def kill_streamer(world: World, dice: random.Random) -> str:
    """SIGKILL at any moment."""
    return _killed(running(world, "streamer", dice))


@fault("collector.kill")
def kill_collector(world: World, dice: random.Random) -> str:
    """SIGKILL at any moment."""
    role = running(world, "collector", dice)
    held = world.topic.stats().consumers
    own = sum(one.pending for one in held if one.name.startswith(role.consumer))
    return f"{_killed(role)} with {own} messages in hand"


@fault("collector.kill_in_copy")
def kill_in_copy(world: World, dice: random.Random) -> str:
    """SIGKILL between the gate and the commit."""
    role = running(world, "collector", dice)
    hold = role.database.hold(COPY)
    try:
        need(hold.wait(PATIENCE), "no COPY began")
        return f"{_killed(role)} in mid-COPY"
    finally:
        hold.release()


@fault("streamer.stop")
def stop_streamer(world: World, dice: random.Random) -> str:
    """SIGSTOP for longer than its reservations last, then SIGCONT."""
    role = running(world, "streamer", dice)
    return _stopped(role, STREAMER_LEASE + dice.uniform(0.3, 1.0))


@fault("collector.stop")
def stop_collector(world: World, dice: random.Random) -> str:
    """SIGSTOP for longer than its lease, then SIGCONT."""
    role = running(world, "collector", dice)
    return _stopped(role, world.terms.lease + dice.uniform(0.3, 1.0))


@fault("collector.stop_in_copy")
def stop_in_copy(world: World, dice: random.Random) -> str:
    """SIGSTOP in mid-COPY, with the ledger's rows locked, until others have ended its session; then SIGCONT."""
    role = running(world, "collector", dice)
    hold = role.database.hold(COPY)
    try:
        need(hold.wait(PATIENCE), "no COPY began")
        busy = world.database.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY samples%%'"
        )
        said = _stopped(role, dice.uniform(1.2, 3.0) * world.terms.lease)
        return f"{said}, {busy[0][0]} sessions in COPY"
    finally:
        hold.release()


@fault("streamer.term")
def end_streamer(world: World, dice: random.Random) -> str:
    """SIGTERM, wherever it is."""
    return _ended(world, running(world, "streamer", dice))


@fault("collector.term")
def end_collector(world: World, dice: random.Random) -> str:
    """SIGTERM in mid-batch: it drains."""
    role = running(world, "collector", dice)
    hold = role.database.hold(COPY)
    try:
        need(hold.wait(PATIENCE), "no COPY began")
        need(role.alive, "it had ended")
        role.ask_to_end()
        time.sleep(dice.uniform(0.05, 0.4))
    finally:
        hold.release()
    return f"in mid-batch: {_drained(world, role)}"


def _killed(role: Role) -> str:
    need(role.alive, f"{role.name} had ended")
    return f"{role.name} ({role.kill()}) is gone"


def _stopped(role: Role, seconds: float) -> str:
    need(role.alive, f"{role.name} had ended")
    pid, child = role.pid, role.child
    assert child is not None
    child.send(signal.SIGSTOP)
    try:
        end = time.monotonic() + seconds
        seen = 0
        while time.monotonic() < end and child.alive:
            seen += role.stopped
            time.sleep(0.05)
    finally:
        child.send(signal.SIGCONT)
    need(seen > 0, f"{role.name} was not seen stopped")
    return f"{role.name} ({pid}) stood still for {seconds:.1f} s"


def _ended(world: World, role: Role) -> str:
    """Ask it to end: once, as a second SIGTERM means at once."""
    need(role.alive, f"{role.name} had ended")
    role.ask_to_end()
    return _drained(world, role)


def _drained(world: World, role: Role) -> str:
    began, pid, child = time.monotonic(), role.pid, role.child
    assert child is not None
    code = child.wait(world.terms.lease + 8.0)
    if code is None:
        world.memory.violations.append(f"{role.name} did not end within {world.terms.lease + 8:g} s of SIGTERM")
        child.kill()
        child.wait(5)
    elif code not in DRAINED[role.kind]:
        world.memory.violations.append(f"{role.name} ended with {code} of SIGTERM: {' | '.join(role.log.tail(3))}")
    return f"{role.name} ({pid}) ended with {code} after {time.monotonic() - began:.1f} s"
