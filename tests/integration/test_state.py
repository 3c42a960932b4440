"""The digest behind an ETag: never the same for two states of the past, whatever happens to blocks."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from telemetry.block import Block
from telemetry.store.deadblocks import DeadBlocks
from telemetry.store.gate import Standing
from telemetry.store.ledger import Ledger, Reservation
from telemetry.store.pool import Pool
from telemetry.store.pruning import Pruning
from telemetry.store.questions.state import state_upto
from telemetry.store.writer import Writer
from tests.fixtures.filled import TEMP, Reading, block_of, gpu
from tests.fixtures.ledger import Store

ONE = gpu("n", 0)
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


@pytest.fixture
def pool(store: Store) -> Iterator[Pool]:
    pool = Pool(url=store.database.reader)
    yield pool
    pool.close()


class World:
    """What streamers, collectors and people do to a store, in an order that dice choose.

    Of two sources: readings of the first are stamped when they are reserved, those of the second are of about `end`.
    """

    def __init__(self, store: Store, dice: random.Random) -> None:
        self.store, self.dice = store, dice
        session = store.session()
        self.writer, self.buried = Writer(session=session, lease=15.0), DeadBlocks(session=session)
        self.pruning, self.end = Pruning(session=session, keep=0.0), store.database.one(NOW)
        self.ledgers = [store.ledger("stamped", stamped=True), store.ledger("own")]
        self.open: list[tuple[Ledger, Reservation]] = []
        self.dead: dict[int, Block] = {}

    def past(self) -> list[Any]:
        """Everything that a question about the past may tell."""
        with self.writer.session.use() as connection:
            return connection.execute(
                "SELECT timestamp, uuid, metric_name, value FROM telemetry "
                "WHERE timestamp <= to_timestamp(%s / 1e6) ORDER BY 1, 2, 3, 4",
                [self.end],
            ).fetchall()

    def step(self) -> None:
        """One of the things that can happen now."""
        possible: list[Callable[[], object]] = [self.reserve, self.reserve, self.adopt, self.pruning.step]
        if self.open:
            possible += [self.keep, self.keep, self.keep, self.bury, self.split]
        if self.dead:
            possible += [self.replay, self.replay, self.drop]
        self.dice.choice(possible)()

    def reserve(self) -> None:
        ledger = self.dice.choice(self.ledgers)
        reserved = ledger.reserve(self.dice.randint(1, 3))
        assert reserved is not None
        self.open.append((ledger, reserved))

    def keep(self) -> None:
        assert self.writer.store([self._block(*self._taken())]) == [Standing.STORED]

    def split(self) -> None:
        ledger, reserved = self._taken()
        if reserved.rows > 1:
            rest = ledger.split(reserved, 1)
            assert rest is not None
            time0 = None if reserved.time0 is None else reserved.time0 + 1
            self.open.append((ledger, Reservation(rest, reserved.rows - 1, time0, 0)))
        self.open.append((ledger, Reservation(reserved.first_row, 1, reserved.time0, 0)))

    def bury(self) -> None:
        block = self._block(*self._taken())
        self._dies(block)

    def adopt(self) -> None:
        """Something dies of which no ledger knows; a replay will find that out."""
        block = self._block(self.ledgers[1], Reservation(self.dice.randrange(10**6, 10**9), 1, None, 0), "stranger")
        self._dies(block)

    def replay(self) -> None:
        number = self.dice.choice(sorted(self.dead))
        assert self.writer.store_replayed(self.dead.pop(number), number) is Standing.STORED

    def drop(self) -> None:
        number = self.dice.choice(sorted(self.dead))
        assert self.buried.drop(number)
        del self.dead[number]

    def _taken(self) -> tuple[Ledger, Reservation]:
        return self.open.pop(self.dice.randrange(len(self.open)))

    def _dies(self, block: Block) -> None:
        letter = self.store.letter(block.first_row, block.rows, block.source)
        assert self.buried.bury(letter) is Standing.STORED
        self.dead[self.buried.page(max(self.dead, default=0), 1)[0].id] = block

    def _block(self, ledger: Ledger, reserved: Reservation, source: str = "") -> Block:
        own = self.end + self.dice.randint(-1_000_000, 200_000)
        first = own if reserved.time0 is None else reserved.time0
        readings = [Reading(ONE, first + at, TEMP, self.dice.random()) for at in range(reserved.rows)]
        return block_of(source or ledger.source, reserved.first_row, readings)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.costly) for seed in range(1, 30))])
def test_no_two_states_of_the_past_have_the_same_digest(store: Store, pool: Pool, seed: int) -> None:
    world = World(store, random.Random(seed))
    known: dict[str | None, list[Any]] = {}
    for step in range(150):
        if step in (20, 70):  # what was the future is past from here on; what is reserved is of either
            world.end = store.database.one(NOW)
            known.clear()
        told, past = state_upto(pool, world.end), world.past()
        assert told is not None
        assert known.setdefault(told, past) == past, f"{told} stands for two states at step {step}"
        world.step()
    assert len({str(past) for past in known.values()}) > 5


def test_what_live_sources_bring_changes_nothing_of_the_past(store: Store, pool: Pool) -> None:
    world = World(store, random.Random(1))
    world.ledgers.pop()
    world.reserve()
    world.keep()
    world.end = store.database.one(NOW)
    world.reserve()
    told = state_upto(pool, world.end)
    for _ in range(5):
        world.reserve()
        world.keep()
        assert state_upto(pool, world.end) == told
    assert state_upto(pool, store.database.one(NOW) + 10**9) != told


def test_days_that_are_dropped_change_it(store: Store, pool: Pool) -> None:
    world = World(store, random.Random(2))
    world.reserve()
    world.keep()
    told = state_upto(pool, world.end)
    store.database.ask(
        "DO $$ DECLARE day regclass; BEGIN FOR day IN SELECT inhrelid::regclass FROM pg_inherits WHERE "
        "inhparent = 'samples'::regclass LOOP EXECUTE format('DROP TABLE %s', day); END LOOP; END $$"
    )
    assert state_upto(pool, world.end) != told


def test_names_of_sources_cannot_be_taken_for_others(store: Store, pool: Pool) -> None:
    told = set()
    for name in ("a", 'a", 1], ["b', "b"):
        store.reserve(1, source=name)
        told.add(state_upto(pool, 0))
    assert len(told) == 3
