"""What was made of keys that were met lately, bounded by bytes.

What lives here: keeping it. What does not: what is made of a key, and how much that takes (whoever asks).
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Like functools.lru_cache, but what is kept is bounded by bytes, and keys that come in turns are not lost.

    An LRU of n places forgets each of n + 1 keys that come in turns just before it comes again. This one forgets all
    when it is full: what comes often is back at once. Safe from any number of threads.
    """

    def __init__(self, make: Callable[[K], V], *, most_bytes: int, weigh: Callable[[K], int]) -> None:
        self._make, self._most, self._weigh = make, most_bytes, weigh
        self._known: dict[K, V] = {}
        self._bytes = 0

    def each(self, keys: Iterable[K]) -> list[V]:
        """What is made of each key; whatever `make` raises is raised, and not kept."""
        known = self._known
        return [self._made(key) if (found := known.get(key)) is None else found for key in keys]

    def _made(self, key: K) -> V:
        made, weight = self._make(key), self._weigh(key)
        if weight > self._most:
            return made
        if self._bytes + weight > self._most:
            self._known, self._bytes = {}, 0
        self._known[key] = made
        self._bytes += weight
        return made
