"""When each GPU was first and last seen, told to the table gpus after the commit, where it is news.

What lives here: what is known of it, and what is worth an update. What does not: the samples' transaction (`writer`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from telemetry.block import MAX_TIME, MIN_TIME, Block
from telemetry.store.dimensions import Dimensions
from telemetry.store.queries import query
from telemetry.store.session import Session

NEWS = 10_000_000
"""µs by which a GPU's last_seen may lag behind its newest reading."""

Spans = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]
"""(gpu, first time, last time), each GPU once."""


class Seen:
    """For one writer: one session, one thread."""

    def __init__(self, *, session: Session, dimensions: Dimensions) -> None:
        self.session, self._dimensions = session, dimensions
        self._known: dict[int, tuple[int, int]] = {}

    def forget(self) -> None:
        """Another server may stand there now, or another state of it."""
        self._known.clear()

    def touch(self, blocks: Sequence[Block]) -> None:
        """Tell what these stored blocks, whose dimensions are learnt, have that is news."""
        news: dict[int, tuple[int, int]] = {}
        for gpu, first, last in zip(*(column.tolist() for column in self._spans(blocks)), strict=True):
            known = self._known.get(gpu)
            if known is None or first < known[0] or last > known[1] + NEWS:
                news[gpu] = (min(first, known[0]), max(last, known[1])) if known else (first, last)
        if not news:
            return
        firsts, lasts = zip(*news.values(), strict=True)
        values = {"gpus": [*news], "firsts": _moments(firsts), "lasts": _moments(lasts)}
        with self.session.use() as connection:
            connection.execute(query("seen"), values)
        self._known |= news

    def _spans(self, blocks: Sequence[Block]) -> Spans:
        parts = [(self._dimensions.gpus(block), *_span_of_each(block)) for block in blocks]
        none = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64)
        gpus, firsts, lasts = (np.concatenate(column) for column in zip(none, *parts, strict=True))
        used = firsts <= lasts
        distinct, place = np.unique(gpus[used], return_inverse=True)
        first, last = np.full(len(distinct), MAX_TIME), np.full(len(distinct), MIN_TIME)
        np.minimum.at(first, place, firsts[used])
        np.maximum.at(last, place, lasts[used])
        return distinct, first, last


def _span_of_each(block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last time of each GPU in a block's dictionary; of one without a reading the first is the later."""
    first, last = np.full(len(block.gpus), MAX_TIME + 1), np.full(len(block.gpus), MIN_TIME - 1)
    gpu, time = block.gpu.astype(np.intp), block.time0 + block.dt
    np.minimum.at(first, gpu, time)
    np.maximum.at(last, gpu, time)
    return first, last


def _moments(times: Sequence[int]) -> str:
    """An array of timestamps as PostgreSQL writes it: datetimes one by one take six times as long."""
    moments = np.array(times, np.int64).astype("datetime64[us]")
    return f"{{{','.join(np.datetime_as_string(moments, timezone='UTC'))}}}"
