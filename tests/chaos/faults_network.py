"""What lies between: cut, stalled, slowed, and replies that are lost after the server did the work.

What does not live here: the proxy (`tests.fixtures.proxy`).
"""

from __future__ import annotations

import random
import time

from tests.chaos.fault import fault, need, running
from tests.chaos.world import World
from tests.fixtures.proxy import Proxy


@fault("network.cut")
def cut(world: World, dice: random.Random) -> str:
    """Connections are closed, and new ones refused."""
    name, proxy = _between(world, dice)
    before = proxy.broken
    proxy.cut()
    time.sleep(dice.uniform(0.3, world.terms.lease + 1.0))
    proxy.heal()
    need(proxy.broken > before, f"nobody used {name}")
    return f"{name}: {proxy.broken - before} connections were cut or refused"


@fault("network.stall")
def stall(world: World, dice: random.Random) -> str:
    """Connections stay open, and nothing passes."""
    name, proxy = _between(world, dice)
    before = proxy.delayed
    proxy.stall()
    seconds = dice.uniform(0.5, world.terms.lease + 1.0)
    time.sleep(seconds)
    proxy.heal()
    need(proxy.delayed > before, f"nobody used {name}")
    return f"{name}: {proxy.delayed - before} pieces were kept for up to {seconds:.1f} s"


@fault("network.slow")
def slow(world: World, dice: random.Random) -> str:
    """Each piece takes its time."""
    name, proxy = _between(world, dice)
    before, late = proxy.delayed, dice.uniform(0.01, 0.08)
    proxy.slow(late)
    time.sleep(dice.uniform(1.0, 2.5))
    proxy.heal()
    need(proxy.delayed > before, f"nobody used {name}")
    return f"{name}: {proxy.delayed - before} pieces came {late * 1000:.0f} ms late"


@fault("network.lost_replies")
def lose_replies(world: World, dice: random.Random) -> str:
    """The server does the work, and the reply is lost with its connection."""
    name, proxy = _between(world, dice)
    before = proxy.lost
    proxy.lose_replies(dice.uniform(0.05, 0.5), dice.getrandbits(32))
    time.sleep(dice.uniform(1.0, 2.0))
    proxy.heal()
    need(proxy.lost > before, f"no reply came on {name}")
    return f"{name}: {proxy.lost - before} replies were lost"


def _between(world: World, dice: random.Random) -> tuple[str, Proxy]:
    """One of the ways that there are: each role to each of its servers."""
    kind = dice.choice(["streamer", "streamer", "collector", "collector", "api"])
    to_queue = dice.random() < 0.5
    role = running(world, kind, dice)
    if to_queue and role.queue is not None:
        return f"{role.name} to the queue", role.queue
    return f"{role.name} to the database", role.database
