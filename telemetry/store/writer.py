"""The collector's transaction: the gate, then COPY of exactly what it opened, then the rejected rows.

Once only rests on this: a block that is delivered twice finds its ledger row settled. Nothing here knows of queues;
who calls counts after the commit, and acknowledges after what follows it: of a collector that dies in between, the next
delivery finds the blocks settled and does what is owed.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import psycopg
from psycopg.errors import CheckViolation

from telemetry.block import Block
from telemetry.store.copy import copy_samples, days_of, pack
from telemetry.store.dimensions import Dimensions
from telemetry.store.errors import StoreBusy, StoreError, StoreLocked, StoreRefused, StoreUnavailable
from telemetry.store.gate import Key, Standing, open_gate, standing_of, times_of
from telemetry.store.peers import end_stuck_peers
from telemetry.store.queries import query
from telemetry.store.retention import QUESTIONS as RETENTION
from telemetry.store.seen import Seen
from telemetry.store.session import Connection, Session

MAX_DAYS = 400
"""Days that one block's samples may fall on: each is a partition, or a chunk, to be locked and kept in memory."""

MAX_SOURCES = 10_000
"""Names of sources that are remembered, at most: each client that pushes may be one."""

Result = TypeVar("Result")


class Writer:
    """Stores blocks, for one collector's worker (one thread, one connection)."""

    def __init__(self, *, session: Session, lease: float) -> None:
        self.session, self.lease = session, lease
        self._dimensions = Dimensions(session=session)
        self._seen = Seen(session=session, dimensions=self._dimensions)
        self._generation = -1
        self._days: set[str] = set()
        self._new_days: set[str] = set()
        self._stamped: set[str] = set()
        self._source_days: set[str] = set()
        self._owed: list[Block] = []

    def store(self, blocks: Sequence[Block]) -> list[Standing]:
        """`commit` and `follow_up` in one, for who counts nothing in between."""
        standings = self.commit(blocks)
        self.follow_up()
        return standings

    def commit(self, blocks: Sequence[Block]) -> list[Standing]:
        """Store blocks of different ids in one transaction; what became of each. What follows is owed then.

        Raises StoreError: then none is stored (or, if the connection broke in the commit, all may be: the next
        delivery finds out).
        """
        found = self._ask(blocks)
        wanted = [block for block in blocks if found[_key(block)] is Standing.OPEN]
        if wanted:
            found |= self._prepared(wanted, lambda: self._store(wanted))
        # Those that were settled before, too: their collector may have died right after the commit.
        self._owed += [block for block in blocks if found[_key(block)] in (Standing.STORED, Standing.SETTLED)]
        return [found[_key(block)] for block in blocks]

    def follow_up(self) -> None:
        """Do what is owed for blocks that are stored: tell when their GPUs were seen, have tomorrow's partition made.

        Raises StoreError. After one that another try may mend all is owed as before; after any other nothing is.
        """
        owed, self._owed = self._owed, []
        try:
            if owed:
                self._dimensions.learn(owed)
                self._forget_if_new()
                self._seen.touch(owed)
            self._look_ahead()
        except (StoreBusy, StoreUnavailable):
            self._owed = owed
            raise

    def _ask(self, blocks: Sequence[Block]) -> dict[Key, Standing]:
        """What the ledger says before anything is written: what nobody reserved must not leave dimensions or days."""
        with self.session.use() as connection:
            return standing_of(connection, [(*_key(block), block.rows) for block in blocks])

    def _store(self, blocks: Sequence[Block]) -> dict[Key, Standing]:
        with self.session.use() as connection:
            with connection.transaction():
                opened = open_gate(connection, blocks)
                self._fill(connection, [block for block in blocks if _key(block) in opened], opened)
            shut = [(*_key(block), block.rows) for block in blocks if _key(block) not in opened]
            return dict.fromkeys(opened, Standing.STORED) | standing_of(connection, shut)

    def store_replayed(self, block: Block, dead_id: int) -> Standing:
        """`commit_replayed` and `follow_up` in one."""
        standing = self.commit_replayed(block, dead_id)
        self.follow_up()
        return standing

    def commit_replayed(self, block: Block, dead_id: int) -> Standing:
        """Store a block that was dead, once. What follows is owed then.

        SETTLED if it is so no more; OTHER if other rows stand in its place, a streamer will come to them by itself,
        or the dead block of this number is another message. Raises StoreError: it is dead as before.
        """
        with self.session.use() as connection:
            dead = connection.execute(query("dead_exists"), {"id": dead_id}).fetchone() is not None
        became = self._prepared([block], lambda: self._store_replayed(block, dead_id)) if dead else Standing.SETTLED
        if became is Standing.STORED or (became is Standing.SETTLED and self._stands(block)):
            self._owed.append(block)
        return became

    def _stands(self, block: Block) -> bool:
        """Whether a block that is dead no more was stored, under its own source or as one of nobody's: not dropped."""
        sources = block.source, f"{block.source}:replayed"
        with self.session.use() as connection:
            found = standing_of(connection, [(source, block.first_row, block.rows) for source in sources])
        return Standing.SETTLED in found.values()

    def _store_replayed(self, block: Block, dead_id: int) -> Standing:
        number: tuple[int, ...] | None = None
        with self.session.use() as connection, connection.transaction() as transaction:
            if connection.execute(query("exhume"), {"id": dead_id, "message_id": block.id}).fetchone() is None:
                exists = connection.execute(query("dead_exists"), {"id": dead_id}).fetchone()
                return Standing.SETTLED if exists is None else Standing.OTHER
            for gate in ("settle_replayed", "adopt"):
                number = number or connection.execute(query(gate), _counts(block)).fetchone()
            if number is None:
                raise psycopg.Rollback(transaction)
            self._fill(connection, [block], {_key(block): number[0]})
        return Standing.STORED if number else Standing.OTHER

    def probe(self) -> None:
        """A small transaction; StoreError when the database does not work."""
        with self.session.use() as connection:
            connection.execute("SELECT FROM stream_progress LIMIT 1")

    def end_stuck_peers(self) -> int:
        """End sessions of our own that hold a transaction for two leases; how many."""
        with self.session.use() as connection:
            return end_stuck_peers(connection, older_than=2 * self.lease)

    def _prepared(self, blocks: Sequence[Block], store: Callable[[], Result]) -> Result:
        """Prepare and store. When a partition was there and is gone (retention dropped it), make it and try again.

        Twice at most; then StoreBusy, as the readings are not to blame.
        """
        for gone in (False, True):
            try:
                self._prepare(blocks)
                return store()
            except StoreError as error:
                self._days.clear()
                if not _partition_gone(error):
                    raise
                if gone:
                    raise StoreBusy(str(error)) from error
        raise AssertionError("unreachable")

    def _prepare(self, blocks: Sequence[Block]) -> None:
        """Dimensions and partitions, each committed by itself before the transaction: it must not wait for them."""
        self._dimensions.learn(blocks)
        self._forget_if_new()
        days: set[str] = set()
        for block in blocks:
            own = days_of(block)
            if len(own) > MAX_DAYS:
                raise StoreRefused(f"readings of {len(own)} different days in one message; {MAX_DAYS} is the most")
            days |= own
        missing = sorted(days - self._days)
        for at in range(0, len(missing), MAX_DAYS):
            with self.session.use() as connection:
                connection.execute(query("ensure_days"), {"days": missing[at : at + MAX_DAYS]})
        self._days.update(missing)
        self._new_days.update(missing)
        self._tell_source_days(blocks)

    def _forget_if_new(self) -> None:
        """Forget what an earlier connection found out: perhaps this is another server, or another state of it."""
        if self._generation != self.session.generation:
            self._generation = self.session.generation
            self._days.clear()
            self._source_days.clear()
            self._seen.forget()

    def _tell_source_days(self, blocks: Sequence[Block]) -> None:
        """Write down days of readings with times of their source before these are stored: retention asks for them.

        A source is stamped or not, as its name says: of each the ledger is asked once.
        """
        unknown = [block for block in blocks if block.source not in self._stamped]
        if not any(days_of(block) - self._source_days for block in unknown):
            return
        sources, first_rows = zip(*map(_key, unknown), strict=True)
        with self.session.use() as connection:
            values = {"sources": list(sources), "first_rows": list(first_rows)}
            stamped = {source for (source,) in connection.execute(query("stamped", file=RETENTION), values)}
            own = [days_of(block) for block in unknown if block.source not in stamped]
            days = set().union(*own) - self._source_days
            if days:
                connection.execute(query("source_days", file=RETENTION), {"days": sorted(days)})
        self._stamped = stamped if len(self._stamped) > MAX_SOURCES else self._stamped | stamped
        self._source_days |= days

    def _look_ahead(self) -> None:
        """Have tomorrow's partition made once today's was needed, behind a commit: at midnight nobody waits for it."""
        days, self._new_days = sorted(self._new_days), set()
        if days:
            # Somebody has locked the table: this day is asked for again when its first reading comes.
            with suppress(StoreLocked), self.session.use() as connection:
                connection.execute(query("ensure_tomorrow"), {"days": days})

    def _fill(self, connection: Connection, blocks: Sequence[Block], numbers: dict[Key, int]) -> None:
        """COPY the blocks' samples and insert their rejected rows, under their numbers in the ledger."""
        if any(block.stored for block in blocks):
            of_block = [numbers[_key(block)] for block in blocks]
            copy_samples(connection, pack(blocks, of_block, self._dimensions))
        rejected = [(numbers[_key(block)], block.source, *item) for block in blocks for item in block.rejected]
        if rejected:
            columns = [list(column) for column in zip(*rejected, strict=True)]
            names = ("blocks", "sources", "rows", "reasons", "raws")
            connection.execute(query("reject"), dict(zip(names, columns, strict=True)))


def _partition_gone(error: StoreError) -> bool:
    """Whether a reading has no partition: PostgreSQL says it like a constraint of the table, but names none."""
    cause = error.__cause__
    return isinstance(cause, CheckViolation) and bool(cause.diag.table_name) and not cause.diag.constraint_name


def _key(block: Block) -> Key:
    return block.source, block.first_row


def _counts(block: Block) -> dict[str, object]:
    first_time, last_time = times_of(block)
    return {
        "source": block.source,
        "first_row": block.first_row,
        "rows": block.rows,
        "stored": block.stored,
        "blank": block.blank,
        "rejected": len(block.rejected),
        "first_time": first_time,
        "last_time": last_time,
    }
