"""What befalls the queue's server and the database.

What does not live here: how it is done (`servers`), and what lies between (`faults_network`).
"""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from typing import Any

import psycopg
import redis

from telemetry.store.pruning import Pruning
from telemetry.store.session import Session
from tests.chaos.fault import COPY, PATIENCE, NotHere, fault, need, running
from tests.chaos.world import World


@fault("redis.kill")
def kill_redis(world: World, dice: random.Random) -> str:
    """kill -9 with an append-only file."""
    return _redis_again(world, dice.uniform(0.0, 1.0), lose=False)


@fault("redis.kill_without_persistence")
def lose_redis(world: World, dice: random.Random) -> str:
    """kill -9 with nothing on the disk."""
    return _redis_again(world, dice.uniform(0.0, 1.0), lose=True)


@fault("redis.flushall")
def flush(world: World, _dice: random.Random) -> str:
    """FLUSHALL."""
    with world.queue.lock, contextlib.closing(world.queue.client()) as client:
        before = int(client.xlen(world.topic.keys.stream))
        client.flushall()
    return f"{before} messages are gone"


@fault("redis.old_snapshot")
def restore(world: World, dice: random.Random) -> str:
    """What Redis was a moment ago comes back: acknowledged messages are there again, new ones are not."""
    old = world.folder / f"old-{dice.getrandbits(32):x}"
    with world.queue.lock:
        size = world.queue.copy_saved(old)
        time.sleep(dice.uniform(0.5, 1.5))
        pid = world.queue.kill()
        world.queue.replace_saved(old)
        world.queue.start()
    shutil.rmtree(old, ignore_errors=True)
    return f"process {pid} was replaced by one with {size} bytes of the past"


@fault("redis.maxmemory")
def fill_redis(world: World, dice: random.Random) -> str:
    """No memory for another message."""
    with world.queue.lock, contextlib.closing(world.queue.client()) as client:
        settings: Any = client.config_get("maxmemory")
        before = settings["maxmemory"]
        client.config_set("maxmemory", "1mb")
        try:
            refused = False
            end = time.monotonic() + dice.uniform(1.0, world.terms.lease + 1.0)
            while time.monotonic() < end:
                with contextlib.suppress(redis.ResponseError):
                    client.set("chaos", "x")
                    continue
                refused = True
                time.sleep(0.05)
        finally:
            client.config_set("maxmemory", before)
            client.delete("chaos")
    need(refused, "there was memory all the while")
    return "writes were refused for want of memory"


@fault("postgres.restart")
def restart_postgres(world: World, _dice: random.Random) -> str:
    """Immediate shutdown, and start at once."""
    return _postgres_again(world, 0.0)


@fault("postgres.away")
def postgres_away(world: World, dice: random.Random) -> str:
    """Away for longer than the lease."""
    return _postgres_again(world, world.terms.lease + dice.uniform(0.3, 1.0))


@fault("postgres.disk_full")
def fill_disk(world: World, dice: random.Random) -> str:
    """No room for another page of any table."""
    if world.no_disk:
        raise NotHere(world.no_disk)
    with world.database.lock:
        refused = 0
        try:
            size = world.database.fill_disk()
            end = time.monotonic() + dice.uniform(1.5, world.terms.lease + 1.0)
            while time.monotonic() < end:
                refused += _is_refused_for_room(world)
                time.sleep(0.2)
        finally:
            world.database.empty_disk()
    need(refused > 0, "there was room all the while")
    return f"{size} bytes were taken, {refused} probes were refused for want of room"


@fault("postgres.connections")
def take_connections(world: World, dice: random.Random) -> str:
    """Every connection is taken, and those of the pipeline are ended."""
    with world.database.lock, contextlib.ExitStack() as stack:
        refused = 0
        world.database.ask(_END_ALL)
        while True:
            try:
                url = world.database.url("telemetry_reader")
                stack.enter_context(psycopg.connect(url, autocommit=True, connect_timeout=5))
            except psycopg.OperationalError:
                refused += 1
                break
        end = time.monotonic() + dice.uniform(1.0, world.terms.lease + 1.0)
        while time.monotonic() < end:
            time.sleep(0.1)
    return f"connections were refused after {refused} probe"


@fault("postgres.kill_in_copy")
def kill_backend_in_copy(world: World, dice: random.Random) -> str:
    """The server's process behind a COPY is ended."""
    role = running(world, "collector", dice)
    hold = role.database.hold(COPY)
    try:
        need(hold.wait(PATIENCE), "no COPY began")
        ended = world.database.ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name LIKE 'telemetry-collector@%%' AND query LIKE 'COPY samples%%' AND state = 'active'"
        )[0][0]
    finally:
        hold.release()
    need(ended > 0, "no session was in COPY")
    return f"{ended} sessions were ended in mid-COPY"


@fault("postgres.lost_commit")
def lose_commit(world: World, dice: random.Random) -> str:
    """COMMIT is done, and its reply never comes."""
    role = running(world, "collector", dice)
    before = role.database.lost
    role.database.lose_reply(b"COMMIT")
    end = time.monotonic() + PATIENCE
    while role.database.lost == before and time.monotonic() < end:
        time.sleep(0.02)
    need(role.database.lost > before, "no COMMIT came")
    return f"the reply to a COMMIT of {role.name} was dropped"


@fault("postgres.migrate")
def migrate(world: World, _dice: random.Random) -> str:
    """The schema is applied again while the pipeline runs."""
    return f"applied: {world.migrate().value}"


@fault("ledger.prune")
def prune(world: World, _dice: random.Random) -> str:
    """All that is settled leaves the ledger, while blocks are delivered that it knows no more."""
    pruned, more = 0, True
    with Session(url=world.database.url("telemetry_writer"), name="telemetry-prune@chaos") as session:
        pruning = Pruning(session=session, keep=0.0)
        while more:
            step = pruning.step()
            pruned, more = pruned + step.blocks, step.more
    need(pruned > 0, "nothing was settled")
    return f"{pruned} rows became sums"


_END_ALL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name LIKE 'telemetry-%' AND datname = current_database()"""


def _redis_again(world: World, pause: float, *, lose: bool) -> str:
    with world.queue.lock:
        pid = world.queue.kill()
        if lose:
            world.queue.replace_saved(None)
        time.sleep(pause)
        world.queue.start()
    return f"process {pid} is gone, {'nothing' if lose else 'its file'} was read by {world.queue.server.pid}"


def _postgres_again(world: World, pause: float) -> str:
    with world.database.lock:
        pid = world.database.kill()
        time.sleep(pause)
        world.database.start()
    return f"process {pid} is gone, {world.database.server.pid} runs"


def _is_refused_for_room(world: World) -> bool:
    """Whether a table of a page cannot be written."""
    try:
        world.database.ask("CREATE TABLE chaos AS SELECT 1 AS room")
        world.database.ask("DROP TABLE chaos")
    except psycopg.errors.DiskFull:
        return True
    except psycopg.Error:
        return False
    return False
