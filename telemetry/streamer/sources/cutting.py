"""Rows of which every field is quoted, cut at their `","` into what stays the same and what changes.

What lives here: where a field begins and ends in the bytes. What does not: what the pieces mean (`kinds`).
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from telemetry.streamer.sources.slices import Slice

_COMMA, _QUOTE, _RETURN = 44, 34, 13

Places = NDArray[np.int64]


class Cut(NamedTuple):
    """Records (int64) as the alternating pieces of each: Arrow arrays of bytes, one for each piece of a row."""

    records: NDArray[np.int64]
    same: list[Any]
    changing: list[Any]

    def only(self, rows: NDArray[np.bool_]) -> "Cut":
        """Some of them."""
        if rows.all():
            return self
        kept = pa.array(rows)
        same, changing = ([array.filter(kept) for array in arrays] for arrays in (self.same, self.changing))
        return Cut(self.records[rows], same, changing)


def cut_rows(piece: Slice, columns: int, changing: Sequence[int]) -> Cut | None:
    """The rows that have so many `columns` cut at `","`, the fields `changing` by themselves; None when there are none.

    Where they change they hold no quote: one could end a field.
    """
    bytes_, starts, ends = np.frombuffer(piece.data, np.uint8), piece.starts, trimmed(piece, np.arange(len(piece)))
    comma = np.flatnonzero(bytes_[1:-1] == _COMMA) + 1
    comma = comma[(bytes_[comma - 1] == _QUOTE) & (bytes_[comma + 1] == _QUOTE) & (comma > starts[0])]
    count = np.diff(np.searchsorted(comma, starts), append=len(comma))
    right = ~piece.broken & (count == columns - 1) & (ends - starts >= 2)
    right &= (bytes_[starts] == _QUOTE) & (bytes_[ends - 1] == _QUOTE)
    if not right.any():
        return None
    comma, starts, ends = comma[np.repeat(right, count)].reshape(-1, columns - 1), starts[right], ends[right]
    spans = [_inside(comma, starts, ends, field) for field in changing]
    whole = np.logical_and.reduce([opens <= closes for opens, closes in spans])  # not of `","` that overlap
    places = [starts, *(place for span in spans for place in span), ends]
    leads = changing[0] == 0
    pieces = Pieces(piece.data, [place[whole] for place in places])
    cut = Cut(np.flatnonzero(right)[whole], pieces.all(pieces.same(leads)), pieces.all(pieces.changing(leads)))
    return cut.only(without_quote(cut.changing, len(cut.records)))


def cut_row(row: bytes, columns: int, changing: Sequence[int]) -> tuple[list[bytes], list[bytes]] | None:
    """The same of one row: (what stays the same, what changes); to be compared, as it may be none that can be cut."""
    fields = row.rstrip(b"\r").split(b'","')
    if len(fields) != columns:
        return None
    ends = list(accumulate(len(field) + 3 for field in fields))
    opens = [ends[position - 1] if position else 1 for position in changing]
    closes = [ends[position] - 3 - (position == columns - 1) for position in changing]
    same = zip([0, *closes], [*opens, ends[-1] - 3], strict=True)
    cut = [row[low:high] for low, high in same][changing[0] == 0 :]
    return cut, [row[low:high] for low, high in zip(opens, closes, strict=True)]


class Pieces:
    """Rows of `data`, each cut at `places` (one array for each cut): piece k lies between place k and place k + 1."""

    def __init__(self, data: bytes, places: Sequence[Places]) -> None:
        offsets = np.append(np.stack(places, axis=1).astype(np.int32).ravel(), np.int32(len(data)))
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        self._whole = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
        self._width, self._rows = len(places), len(places[0])

    def all(self, numbers: range) -> list[Any]:
        """Arrow arrays of these pieces of all rows."""
        return [self.some(number, 0, self._rows) for number in numbers]

    def some(self, number: int, low: int, high: int) -> Any:
        """One piece of the rows low .. high - 1."""
        return self._whole.take(pa.array(np.arange(low * self._width + number, high * self._width, self._width)))

    def same(self, leads: bool) -> range:
        """The numbers of those that stay the same. `leads`: a row begins with a quote, not kept, and what changes."""
        return range(2 * leads, self._width - 1, 2)

    def changing(self, leads: bool) -> range:
        """The numbers of those that change."""
        return range(1, self._width - 1, 2)


def without_quote(arrays: Sequence[Any], rows: int) -> NDArray[np.bool_]:
    """Which of the rows hold no quote in any of the arrays."""
    none = np.ones(rows, np.bool_)
    for array in arrays:
        none &= ~pc.match_substring(array, '"').to_numpy(zero_copy_only=False)
    return none


def trimmed(piece: Slice, records: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where records end, without the CR of a CRLF."""
    ends = piece.ends[records]
    without: NDArray[np.int64] = ends - (np.frombuffer(piece.data, np.uint8)[ends - 1] == _RETURN)
    return without


def begins_quoted(piece: Slice, records: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a record's first byte is a quote."""
    found: NDArray[np.bool_] = np.frombuffer(piece.data, np.uint8)[piece.starts[records]] == _QUOTE
    return found


def _inside(comma: Places, starts: Places, ends: Places, field: int) -> tuple[Places, Places]:
    """Where the text of a field begins and ends in each row, without its quotes."""
    opens = comma[:, field - 1] + 2 if field else starts + 1
    closes = comma[:, field] - 1 if field < comma.shape[1] else ends - 1
    return opens, closes
