"""Faults that look, at the moment that they make, whether a step of the protocol is what it is said to be.

The order of commit and acknowledgement, the fence around leases, and republishing of what is absent only: breaking one
of them does not lose a row by itself, as the others make up for it. So they are looked at one by one.
"""

from __future__ import annotations

import contextlib
import random
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import redis

from telemetry.block import parse_block_id
from telemetry.broker.client import Script
from tests.chaos.fault import COPY, PATIENCE, NoEffect, fault, need, running
from tests.chaos.roles import Role
from tests.chaos.world import STREAMER_LEASE, World

HEARTBEATS = 0.6
"""Part of a lease in which two heartbeats come."""
AGAIN = re.compile(r"published a block.* id=(\S+) .*again=True")


@fault("collector.kill_before_ack")
def kill_before_ack(world: World, dice: random.Random) -> str:
    """SIGKILL between the commit and the acknowledgement, which never arrives."""

    def kill(role: Role) -> str:
        assert role.queue is not None
        need(role.alive, f"{role.name} had ended")
        role.queue.cut()
        pid = role.kill()
        role.queue.heal()
        return f"{role.name} ({pid}) is gone"

    return _before_ack(world, dice, kill)


@fault("postgres.kill_before_ack")
def kill_backend_before_ack(world: World, dice: random.Random) -> str:
    """The server's sessions are ended between the commit and the acknowledgement, which then goes on."""

    def end(_role: Role) -> str:
        ended = world.database.ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name LIKE 'telemetry-collector@%%'"
        )
        return f"{ended[0][0]} sessions of collectors were ended"

    return _before_ack(world, dice, end)


def _before_ack(world: World, dice: random.Random, act: Callable[[Role], str]) -> str:
    """Keep an acknowledgement back, look whether what it says is committed, and act."""
    role = running(world, "collector", dice)
    assert role.queue is not None
    hold = role.queue.hold(Script("settle").sha.encode())
    try:
        need(hold.wait(PATIENCE), "no acknowledgement came")
        ids = _ids_in(hold.piece)
        need(bool(ids), "the acknowledgement named nothing")
        unsettled = [one for one in ids if _is_unsettled(world, one)]
        if unsettled:
            world.memory.violations.append(f"acknowledged before the commit: {' '.join(unsettled)}")
        return f"{act(role)}, {len(ids)} blocks settled and not acknowledged"
    finally:
        hold.release()


def _ids_in(piece: bytes) -> list[str]:
    """Message ids in a request of the script `settle`: the second half of its arguments after the total's name."""
    words = re.findall(rb"\$\d+\r\n([^\r]*)\r\n", piece)
    at = next((n for n, word in enumerate(words) if word in (b"acked", b"dead")), len(words))
    rest = words[at + 1 :]
    return [word.decode() for word in rest[len(rest) // 2 :]]


def _is_unsettled(world: World, id: str) -> bool:
    identity = parse_block_id(id)
    if identity is None:
        return False
    found = world.database.ask("SELECT settled_at FROM blocks WHERE source = %s AND first_row = %s", *identity)
    return bool(found) and found[0][0] is None


@fault("queue.two_owners", alone=True)
def two_owners(world: World, dice: random.Random) -> str:
    """Another takes a collector's messages over while it is in mid-COPY: both are at the same blocks."""
    role = running(world, "collector", dice)
    hold = role.database.hold(COPY)
    stream, group = world.topic.keys.stream, world.topic.group
    entries: list[str] = []
    with contextlib.closing(world.queue.client()) as client:
        try:
            need(hold.wait(PATIENCE), "no COPY began")
            entries = [entry for entry, owner in _pending(client, world) if owner.startswith(role.consumer)]
            need(bool(entries), f"{role.name} had nothing in hand")
            client.xclaim(stream, group, "chaos", 0, entries, justid=True)  # type: ignore[arg-type]  # they are texts
            time.sleep(world.terms.lease * HEARTBEATS)
            owners = dict(_pending(client, world))
            stolen = [entry for entry in entries if owners.get(entry, "chaos").startswith(role.consumer)]
            if stolen:
                world.memory.violations.append(f"{role.name} took back what another has: {' '.join(stolen)}")
            _hand_back(client, world, entries)
            waiting = _wait_for_second(world)
        finally:
            hold.release()
            _hand_back(client, world, entries)
    return f"{len(entries)} messages of {role.name} had two owners, {waiting} sessions waited for its rows"


def _wait_for_second(world: World) -> int:
    """Wait until another session stands at the gate of the same rows; how many do."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        waiting: int = world.database.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name LIKE 'telemetry-collector@%%'"
        )[0][0]
        if waiting:
            return waiting
        time.sleep(0.02)
    raise NoEffect("nobody else came to the gate")


def _pending(client: redis.Redis, world: World) -> list[tuple[str, str]]:
    found: Any = client.xpending_range(world.topic.keys.stream, world.topic.group, "-", "+", 10_000)
    return [(one["message_id"].decode(), one["consumer"].decode()) for one in found]


def _hand_back(client: redis.Redis, world: World, entries: list[str]) -> None:
    left = [entry for entry, owner in _pending(client, world) if owner == "chaos" and entry in entries]
    lease = round(world.terms.lease * 1000)
    for entry in left:
        client.xclaim(world.topic.keys.stream, world.topic.group, "chaos", 0, [entry], idle=lease, justid=True)


@fault("collector.all_stop", alone=True)
def all_stop(world: World, _dice: random.Random) -> str:
    """No collector moves for longer than reservations last: what is queued stays so, and is not published again."""
    with world.roomy():  # streamers that wait for room do not look for what is due
        time.sleep(world.terms.lease)  # what was due before is published
        stopped = [role for role in world.roles.of("collector") if role.alive and role.child]
        _signal(stopped, signal.SIGSTOP)
        try:
            twice, both = _published_twice(world, STREAMER_LEASE + 8.0)  # busy streamers look late
        finally:
            _signal(stopped, signal.SIGCONT)
    need(bool(stopped) and both > 0, "nothing that waited was queued all the while")
    if twice:
        world.memory.violations.append(f"published again although queued: {' '.join(twice[:3])}")
    return f"{len(stopped)} collectors stood still, {both} waiting messages were queued all the while"


def _signal(roles: list[Role], number: signal.Signals) -> None:
    for role in roles:
        assert role.child is not None
        role.child.send(number)


def _published_twice(world: World, seconds: float) -> tuple[list[str], int]:
    """(ids that a streamer published again although they waited in the queue all the while, how many did).

    Not those that a collector has in hand: it may hold their ledger rows locked, and who claims passes these by.
    """
    streamers = world.roles.of("streamer")
    with contextlib.closing(world.queue.client()) as client:
        end = time.monotonic() + PATIENCE
        while not (before := _waiting(client, world)) and time.monotonic() < end:
            time.sleep(0.1)
        need(bool(before), "no message waited")
        marks = {role.name: len(role.log.text()) for role in streamers}
        time.sleep(seconds)
        both = before & _waiting(client, world)
    said = "".join(role.log.text()[marks[role.name] :] for role in streamers)
    return sorted(set(AGAIN.findall(said)) & both), len(both)


def _waiting(client: redis.Redis, world: World) -> set[str]:
    """Ids of messages that are queued and in nobody's hand."""
    held = {entry for entry, _ in _pending(client, world)}
    found: Any = client.hgetall(world.topic.keys.ids)
    return {id.decode() for id, entry in found.items() if entry.decode() not in held}


@fault("queue.poison")
def poison(world: World, dice: random.Random) -> str:
    """A message that nobody can store: it alone is to be dead."""
    id = f"poison:{dice.getrandbits(40)}"
    body = bytes(dice.choices(range(256), k=64))
    with world.topic.producer() as producer:
        producer.publish(id, body, rows=1, headers={"format": "block/1"}, timeout=PATIENCE)
    world.memory.poison[id] = body
    return f"{id} was queued"
