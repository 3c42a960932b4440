"""One text per process of all GPUs' newest values, made anew when it is older than some seconds, and kept packed.

What does not live here: its lines (`text`), which values (`telemetry.store.questions.current`), who gets it (`gpus`).
"""

import threading
import time
import zlib
from collections.abc import Iterable, Iterator

from telemetry.store.questions.current import Current, Fleetwide
from webapi.scraped import text
from webapi.scraped.glance import Glance

KEEP = 5.0
"""Seconds for which a text is good: who scrapes more often, or from several places, costs one look all the same."""
PATIENCE = 8.0
"""Seconds for a look, of the ten that Prometheus gives a scrape."""
LASTS = 60.0
"""Seconds for which the last look is shown when others fail: one slow question is no end of all series."""

_LEVEL, _GZIP = 1, 16 + zlib.MAX_WBITS
_PIECE = 1 << 16


class Page:
    """Texts, packed with gzip: that is a tenth of their size, and how Prometheus takes them."""

    def __init__(self, current: Current, *, keep: float = KEEP, lasts: float = LASTS) -> None:
        self._glance = Glance("GPUs", current.look, patience=PATIENCE, keep=keep)
        self._lasts = lasts
        self._good: tuple[float, Fleetwide] | None = None
        self._lock = threading.Lock()
        self._labels = text.Labels()
        self._made: dict[tuple[bool, bool], tuple[Fleetwide, bytes]] = {}

    def packed(self, *, timestamps: bool) -> bytes:
        """The text; when the database has not answered for a while, one that says so.

        A look that is shown because there is no newer one has no counters: beside those of other processes, which have
        a newer one, they would go back, and a rate would take that for all that was ever counted.
        """
        found = self._glance.ask()()
        with self._lock:  # one text is made at a time
            if (look := self._lately(found)) is None:
                return _packed([text.away()])
            how = timestamps, found is look
            if (made := self._made.get(how)) is None or made[0] is not look:
                parts = text.page(look, self._labels, timestamps=timestamps, counters=found is look)
                made = look, _packed(parts)
                self._made = {how: made, **{other: one for other, one in self._made.items() if one[0] is look}}
            return made[1]

    def _lately(self, look: Fleetwide | None) -> Fleetwide | None:
        """This look, or where there is none the one before, for as long as it lasts."""
        now = time.monotonic()
        if look is not None:
            self._good = now, look
        elif self._good is not None and now - self._good[0] >= self._lasts:
            self._good = None
            self._made.clear()
        return self._good[1] if self._good else None


def unpacked(packed: bytes) -> Iterator[bytes]:
    """Its parts as they were, for who does not take gzip."""
    unpacker = zlib.decompressobj(wbits=_GZIP)
    rest = packed
    while not unpacker.eof:
        yield unpacker.decompress(rest, _PIECE)
        rest = unpacker.unconsumed_tail


def _packed(parts: Iterable[bytes]) -> bytes:
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
    return b"".join([*map(packer.compress, parts), packer.flush()])
