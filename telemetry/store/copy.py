"""Samples as the bytes of PostgreSQL's binary COPY, from columns, without a Python object per row."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from telemetry.block import Block
from telemetry.store.dimensions import Dimensions
from telemetry.store.ordering import order_by
from telemetry.store.session import Connection

EPOCH_2000 = 946_684_800_000_000
"""PostgreSQL counts time in µs from 2000-01-01, here in µs since 1970."""

DAY = 86_400_000_000
"""µs."""

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
"""Signature, flags and extension of the format, and its end (PostgreSQL, COPY, "Binary Format")."""

_COLUMNS = (("time", ">i8"), ("gpu", ">i4"), ("metric", ">i2"), ("workload", ">i4"), ("value", ">f8"), ("block", ">i8"))

ROW = np.dtype(
    [("fields", ">i2"), *(part for name, kind in _COLUMNS for part in ((f"{name}_size", ">i4"), (name, kind)))]
)
"""One tuple on the wire: the number of fields, then each one's size in bytes and its value, big-endian."""

COPY = f"COPY samples ({', '.join(name for name, _ in _COLUMNS)}) FROM STDIN (FORMAT BINARY)"


def pack(blocks: Sequence[Block], numbers: Sequence[int], dimensions: Dimensions) -> NDArray[np.void]:
    """The samples of all blocks (shape (n,), ROW), sorted as the columnstore keeps them: by GPU, metric, time.

    `numbers` are the ledger's block numbers, one for each block.
    """
    gpu, metric, workload = (np.concatenate(parts) for parts in zip(*map(dimensions.numbers, blocks), strict=True))
    time = np.concatenate([block.time0 + block.dt for block in blocks]) - EPOCH_2000
    order = order_by(gpu, metric, time)
    rows = np.empty(len(time), ROW)
    rows["fields"] = len(_COLUMNS)
    for name, kind in _COLUMNS:
        rows[f"{name}_size"] = np.dtype(kind).itemsize
    rows["time"] = time[order]
    rows["gpu"] = gpu[order]
    rows["metric"] = metric[order]
    rows["workload"] = workload[order]
    rows["value"] = np.concatenate([block.value for block in blocks])[order]
    rows["block"] = np.repeat(np.array(numbers, np.int64), [block.stored for block in blocks])[order]
    return rows


def copy_samples(connection: Connection, rows: NDArray[np.void]) -> None:
    """Send packed samples."""
    with connection.cursor().copy(COPY) as copy:
        copy.write(HEADER)
        copy.write(rows.view(np.uint8).data)
        copy.write(TRAILER)


def days_of(block: Block) -> set[str]:
    """The UTC days that a block's samples fall on, as YYYY-MM-DD."""
    if not block.stored:
        return set()
    days = np.array([block.dt.min(), block.dt.max()]) + block.time0
    if len(set((days // DAY).tolist())) > 1:
        days = block.dt + block.time0
    return {str(day) for day in np.unique(days // DAY).astype("datetime64[D]")}
