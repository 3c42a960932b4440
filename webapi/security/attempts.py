"""How many wrong tokens an address may show before it is told to wait, and the log to be spared.

No number of attempts finds a token: it is 256 random bits. What is bounded is what attempts cost others, of which the
worst is a line in the log each. A token that holds is therefore taken however many wrong ones came from its address:
behind a proxy that is everybody's, and whoever could have it refused could lock everybody out.
What does not live here: tokens (`tokens`), whose they are and what is answered (`auth`).
"""

import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

MOST = 60
"""Wrong tokens of one address in a window, per worker process."""

WINDOW = 60.0
"""Seconds."""

ADDRESSES = 1_024
"""That are told apart at a time: some 200 KB. Those beyond share one bound."""

_OTHERS = b""


class Verdict(NamedTuple):
    """Seconds to wait, 0 within the bound; whether this is the first one beyond it."""

    wait: float
    first: bool


class Attempts:
    """Counts wrong tokens in windows of time that begin with an address' first; from any thread."""

    def __init__(
        self,
        *,
        most: int = MOST,
        window: float = WINDOW,
        addresses: int = ADDRESSES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most, self.window, self._addresses, self._clock = most, window, addresses, clock
        self._windows: dict[bytes, tuple[float, int]] = {}
        """When it began and what it counts, in the order in which they began."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._windows)

    def wrong(self, address: str) -> Verdict:
        """Count one more wrong token."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            source = _source(address)
            if source not in self._windows and len(self._windows) >= self._addresses:
                source = _OTHERS
            began, count = self._windows.get(source, (now, 0))
            self._windows[source] = began, count + 1
        over = count + 1 - self.most
        return Verdict(began + self.window - now if over > 0 else 0.0, over == 1)

    def _forget(self, now: float) -> None:
        """Drop the windows that are over: those of the beginning, for all last as long."""
        while self._windows:
            source = next(iter(self._windows))
            if self._windows[source][0] + self.window > now:
                return
            del self._windows[source]


def _source(address: str) -> bytes:
    """Who counts as one: an IPv4 address, or a network of the size that one IPv6 client has to itself."""
    try:
        found = ip_address(address)
    except ValueError:
        return address.encode() or _OTHERS
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return found.packed[:8]
    return (getattr(found, "ipv4_mapped", None) or found).packed
