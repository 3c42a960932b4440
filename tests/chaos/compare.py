"""What stands in the database against what the source gave, row by row.

What does not live here: the source's rows (`source`), and what follows from a difference (`report`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import psycopg

from telemetry.store.accounts import Accounts
from telemetry.store.session import Session
from tests.chaos.world import World
from tests.fixtures.pipeline import EXPORT, Rows


@dataclass
class Found:
    """Readings, over all passes; `foreign` stand in the database and in no file, `wrong` says what else is."""

    read: int = 0
    stored: int = 0
    blank: int = 0
    rejected: int = 0
    dead: int = 0
    dead_poison: int = 0
    """Of the messages that were made to be dead."""
    missing: int = 0
    doubled: int = 0
    foreign: int = 0
    innocent: list[str] = field(default_factory=list)
    """Dead blocks that nobody made to be dead."""
    wrong: list[str] = field(default_factory=list)


def compare(world: World, passes: int) -> Found:
    """Compare the first so many passes, all of which are done."""
    found = Found()
    for number in range(passes):
        _compare_rows(world, number, found)
    total = world.database.ask("SELECT count(*) FROM samples")[0][0]
    found.foreign += total - found.stored
    _compare_accounts(world, passes, found)
    _compare_dead(world, found)
    return found


def _compare_rows(world: World, number: int, found: Found) -> None:
    wanted = world.source.rows_to_store(number)
    stored = _stored(world, number)
    missing, more = wanted - stored, stored - wanted
    found.stored += stored.total()
    found.missing += missing.total()
    for row, times in more.items():
        if row in wanted:
            found.doubled += times
        else:
            found.foreign += times
            found.wrong.append(f"no file has {row}"[:300])


def _stored(world: World, number: int) -> Rows:
    """The view's rows of one pass."""
    statement = f"{EXPORT} WHERE timestamp >= %s AND timestamp < %s"
    with psycopg.connect(world.database.admin) as connection, connection.cursor("rows") as cursor:
        cursor.execute(statement, world.source.window(number))
        return Counter(iter(cursor))


def _compare_accounts(world: World, passes: int, found: Found) -> None:
    """The ledger, the rejected rows and the truth of each file."""
    with Session(url=world.database.url("telemetry_writer"), name="telemetry-verify@chaos") as session:
        accounts = {one.source: one for one in Accounts(session=session).of()}
        orphans = Accounts(session=session).orphans()
    if orphans:
        found.wrong.append(f"{orphans} samples that no block explains")
    for number in range(passes):
        source, truth = world.source.stream(number), world.source.truth(number)
        account = accounts.get(source)
        if account is None:
            found.wrong.append(f"pass {number} has no account")
            continue
        found.read += account.read
        found.blank += account.blank
        found.rejected += account.rejected
        found.dead += account.dead
        if not (account.complete and account.reconciles):
            found.wrong.append(f"pass {number} does not reconcile: {account}")
        counts = (account.read, account.blank, account.rejected)
        if account.dead == 0 and counts != (truth["rows"], truth["blank"], truth["rejected"]):
            found.wrong.append(f"pass {number}: read, blank, rejected are {counts}, not those of {truth}")
        rows = world.database.ask("SELECT count(*), count(DISTINCT row) FROM rejected_rows WHERE source = %s", source)
        if rows != [(account.rejected, account.rejected)]:
            found.wrong.append(f"pass {number}: rejected_rows has {rows[0]}, the ledger {account.rejected}")


def _compare_dead(world: World, found: Found) -> None:
    """Exactly the poison is dead, each with its payload."""
    dead = world.database.ask("SELECT message_id, payload, reason FROM dead_blocks")
    poison = world.memory.poison
    found.innocent = [f"{id}: {reason}" for id, _, reason in dead if id not in poison]
    # A queue that is lost takes a message of no source with it: nobody can publish that again.
    kept = Counter(id for id, payload, _ in dead if poison.get(id) == bytes(payload))
    found.wrong += [f"{id} is dead {times} times" for id, times in kept.items() if times > 1]
    found.dead_poison = kept.total()
