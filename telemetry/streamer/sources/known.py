"""What the kinds of rows of one file mean, each by its number, and when each was met last.

What lives here: remembering and forgetting. What does not: recognising a row (`kinds`), what comes next (`order`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from telemetry.block import Gpu, Workload
from telemetry.streamer.sources.order import Key, Order
from telemetry.streamer.sources.readings import Readings, numbered

COST = 300
"""Bytes that a kind takes beside those of its row: its digest, its place in the dictionary, its numbers."""
TURNS = 16
"""A kind is forgotten when so many times as many rows passed since as there are kinds: a tick of the fleet has each
of them once, and of some streamers that share a file each meets a part of them."""

_Item = TypeVar("_Item")


class Known:
    """The kinds, numbered from 0, with their GPU, metric and workload.

    `parts` has the numbers of these three for each kind (int32, shape (n, 3)); -1: no reading of it can be usable.
    """

    def __init__(self) -> None:
        self.gpus: dict[Gpu, int] = {}
        self.metrics: dict[str, int] = {}
        self.workloads: dict[Workload, int] = {}
        self.parts = np.empty((0, 3), np.int32)
        self.order = Order()
        self._numbers: dict[bytes, int] = {}  # by a digest: the order keeps the bytes
        self._sizes = np.empty(0, np.int64)
        self._new = self._met = np.empty(0, np.int64)  # how many rows had passed when each was met first, and last
        self._rows = 0

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def size(self) -> int:
        """Bytes of memory that they take."""
        return int(self._sizes.sum())

    @property
    def came_again(self) -> bool:
        """Whether at least half of them did."""
        return 2 * int((self._met > self._new).sum()) >= len(self) > 0

    def passed(self, rows: int) -> None:
        """So many rows are looked at now, of whatever kinds."""
        self._rows += rows

    def numbers(self, keys: Iterable[Sequence[bytes]]) -> list[int | None]:
        """The number of each key, by the pieces that stay the same of a row; None: it is not known."""
        return [self._numbers.get(_digest(key)) for key in keys]

    def add(
        self,
        keys: Sequence[Key],
        got: Readings,
        of: NDArray[np.int64],
        right: NDArray[np.bool_],
        sizes: NDArray[np.int64],
    ) -> None:
        """New kinds, one for each key: `got` are readings, `of` says which key each is of; only of `right` keys are
        they usable. `sizes` are the bytes of a row."""
        parts = np.full((len(keys), 3), -1, np.int32)
        numbers = [numbered(got.gpus, self.gpus), numbered(got.metrics, self.metrics)]
        numbers.append(numbered(got.workloads, self.workloads))
        for column, (number, index) in enumerate(zip(numbers, (got.gpu, got.metric, got.workload), strict=True)):
            parts[of, column] = number[index]
        parts[~right] = -1
        first = len(self.parts)
        self.parts = np.concatenate((self.parts, parts))
        self._numbers |= {_digest(key): first + at for at, key in enumerate(keys)}
        self._sizes = np.append(self._sizes, sizes + COST)
        self._new, self._met = (np.append(of, np.full(len(keys), self._rows)) for of in (self._new, self._met))
        self.order.add(keys)

    def met(self, kinds: NDArray[np.int64]) -> None:
        """Rows of these kinds came."""
        self._met[kinds] = self._rows

    def forget(self, turns: int = TURNS) -> int:
        """Forget what did not come for long, once it is half as much as what is left, which is returned.

        The others get new numbers. A job that ended never comes again, and what follows it never follows it again: a
        file of weeks would fill the memory with them, and what is foreseen with gaps.
        """
        stay = self._met > self._rows - turns * len(self)
        if 3 * int(stay.sum()) >= 2 * len(self):
            return len(self)
        place = np.cumsum(stay) - 1
        self._numbers = {key: int(place[number]) for key, number in self._numbers.items() if stay[number]}
        self.order.keep(stay)
        self._sizes, self._new, self._met = self._sizes[stay], self._new[stay], self._met[stay]
        columns = self.parts[stay].T
        self.gpus, gpu = _kept(self.gpus, columns[0])
        self.metrics, metric = _kept(self.metrics, columns[1])
        self.workloads, workload = _kept(self.workloads, columns[2])
        self.parts = np.column_stack((gpu, metric, workload))
        return len(self)


def _kept(items: dict[_Item, int], numbers: NDArray[np.int32]) -> tuple[dict[_Item, int], NDArray[np.int32]]:
    """(the items that are used, numbered anew; these numbers)."""
    used = np.zeros(len(items) + 1, np.bool_)  # with a place for -1, which stays as it is
    used[numbers] = True
    used[-1] = False
    place = np.append(np.cumsum(used[:-1]) - 1, -1).astype(np.int32)
    return {item: int(place[number]) for item, number in items.items() if used[number]}, place[numbers]


def _digest(key: Sequence[bytes]) -> bytes:
    """128 bits, so that two keys never share one, whoever wrote them."""
    return hashlib.blake2b(
        b"\n".join(b"%d" % len(part) for part in key) + b"\n" + b"".join(key), digest_size=16
    ).digest()
