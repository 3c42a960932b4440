"""The gate: which of the blocks that were delivered may be stored now, and what the ledger says of the others."""

from collections.abc import Sequence
from enum import Enum

from telemetry.block import Block
from telemetry.store.queries import query
from telemetry.store.session import Connection

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
    values = {
        "sources": [block.source for block in blocks],
        "first_rows": [block.first_row for block in blocks],
        "rows": [block.rows for block in blocks],
        "stored": [block.stored for block in blocks],
        "blank": [block.blank for block in blocks],
        "rejected": [len(block.rejected) for block in blocks],
    }
    found = connection.execute(query("gate"), values).fetchall()
    return {(source, first_row): number for source, first_row, number in found}


def standing_of(connection: Connection, keys: Sequence[tuple[str, int, int]]) -> dict[Key, Standing]:
    """What the ledger says of blocks given as (source, first_row, rows)."""
    if not keys:
        return {}
    sources, first_rows, rows = (list(column) for column in zip(*keys, strict=True))
    found = connection.execute(query("standing"), {"sources": sources, "first_rows": first_rows, "rows": rows})
    return {(source, first_row): Standing(text) for source, first_row, text in found.fetchall()}
