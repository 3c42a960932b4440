"""Rows of which every field is quoted, cut at their `","` into what stays the same and what changes.

What lives here: where a field begins and ends in the bytes. What does not: what the pieces mean (`kinds`).
"""

from collections.abc import Sequence
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
    records, leads = np.flatnonzero(right)[whole], changing[0] == 0
    cut, quoted = divided(piece.data, records, [place[whole] for place in places], leads=leads)
    return cut.only(~quoted)


def divided(
    data: bytes, records: NDArray[np.int64], places: Sequence[Places], *, leads: bool
) -> tuple[Cut, NDArray[np.bool_]]:
    """The records cut at these places of `data`, and which of them hold a quote where they change.

    `leads` says that a row begins with what changes: its first piece is a quote, and not kept.
    """
    pieces = _between(data, places, first=int(leads))
    cut = Cut(records, pieces[leads::2], pieces[1 - leads :: 2])
    quoted = np.zeros(len(records), np.bool_)
    for array in cut.changing:
        quoted |= pc.match_substring(array, '"').to_numpy(zero_copy_only=False)
    return cut, quoted


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


def _between(data: bytes, places: Sequence[Places], first: int) -> list[Any]:
    """For each row the bytes between one place and the next, as an Arrow array for each pair from the `first` on."""
    offsets = np.append(np.stack(places, axis=1).astype(np.int32).ravel(), np.int32(len(data)))
    whole = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    every = np.arange(0, len(offsets) - 1, len(places))
    return [whole.take(pa.array(every + number)) for number in range(first, len(places) - 1)]
