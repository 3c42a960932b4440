"""The gate: which of the blocks that were delivered may be stored now, and what the ledger says of the others."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum

from telemetry.block import Block
from telemetry.store.queries import query
from telemetry.store.session import Connection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Key = tuple[str, int]
"""(source, first_row): a block in the ledger."""


class Standing(Enum):
    """What the ledger says of a block that was delivered."""

    STORED = "stored"
    SETTLED = "settled"
    """An earlier delivery was stored: acknowledge."""
    DEAD = "dead"
    """An earlier delivery died: acknowledge."""
    STALE = "stale"
    """The source is known, the block is not: its row was settled and pruned, or its reservation lost. Acknowledge."""
    OPEN = "open"
    """Another collector was at it and gave up in between: try again."""
    OTHER = "other"
    """The ledger has a block of another size there."""
    UNKNOWN = "unknown"
    """Nobody reserved rows of such a source."""


def open_gate(connection: Connection, blocks: Sequence[Block]) -> dict[Key, int]:
    """Settle those of the blocks that are open; the number in the ledger of each. Part of the COPY's transaction."""
    times = [times_of(block) for block in blocks]
    values = {
        "sources": [block.source for block in blocks],
        "first_rows": [block.first_row for block in blocks],
        "rows": [block.rows for block in blocks],
        "stored": [block.stored for block in blocks],
        "blank": [block.blank for block in blocks],
        "rejected": [len(block.rejected) for block in blocks],
        "first_times": [first for first, _ in times],
        "last_times": [last for _, last in times],
    }
    found = connection.execute(query("gate"), values).fetchall()
    return {(source, first_row): number for source, first_row, number in found}


def times_of(block: Block) -> tuple[datetime | None, datetime | None]:
    """When the first and the last of its samples were read: between them they are looked for."""
    if not block.stored:
        return None, None
    first, last = (_EPOCH + timedelta(microseconds=block.time0 + int(dt)) for dt in (block.dt.min(), block.dt.max()))
    return first, last


def standing_of(connection: Connection, keys: Sequence[tuple[str, int, int]]) -> dict[Key, Standing]:
    """What the ledger says of blocks given as (source, first_row, rows)."""
    if not keys:
        return {}
    sources, first_rows, rows = (list(column) for column in zip(*keys, strict=True))
    found = connection.execute(query("standing"), {"sources": sources, "first_rows": first_rows, "rows": rows})
    return {(source, first_row): Standing(text) for source, first_row, text in found.fetchall()}
