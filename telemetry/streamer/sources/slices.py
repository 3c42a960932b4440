"""Records that follow each other in reading order, and their bytes in a form that pyarrow divides as we do.

What lives here: which records of a slice are usable as CSV, as Python's csv module reads them. What does not:
where records begin (`records`) and what their fields mean (`readings`).
"""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from telemetry.streamer.sources.cells import joined, parse_records
from telemetry.streamer.sources.records import MAX_RECORD, Records

FEW = 64
"""Records that are rather read one by one than given to pyarrow."""
RAW_KEPT = 2_000
"""Characters of a rejected row's text that are kept."""

_UNBALANCED = "its quotes or line ends do not match"
_UNPRINTABLE = re.compile(r"[^\t\n\x20-\x7e]")


class Parsed(NamedTuple):
    """`columns` (dictionary arrays by position) hold the records `kept` (int64); `bad`: other record -> reason."""

    columns: dict[int, Any]
    kept: NDArray[np.int64]
    bad: dict[int, str]


class Slice:
    """Records that follow each other, of one or more pieces that were cut from a file.

    `starts`, `ends` (int64) index `data`; `broken` (bool) ones are unusable.
    """

    def __init__(self, parts: Sequence[Records]) -> None:
        places = np.cumsum([0, *(len(part.data) + 1 for part in parts)])
        self.data = b"\n".join(part.data for part in parts)
        self.starts = np.concatenate([part.starts + place for part, place in zip(parts, places, strict=False)])
        self.ends = np.concatenate([part.ends + place for part, place in zip(parts, places, strict=False)])
        self._joined = any(part.joined for part in parts)
        self.broken = np.concatenate([part.broken for part in parts])

    def __len__(self) -> int:
        return len(self.broken)

    def some(self, records: NDArray[np.int64]) -> Records:
        """Some of its records, in ascending order; no longer a piece of the file."""
        data, first = self._bytes(records)
        sizes = self.ends[records] - self.starts[records]
        return Records(0, data, first, first + sizes, self.broken[records], self._joined)

    def raw(self, record: int) -> bytes:
        """The bytes of one record."""
        return self.data[int(self.starts[record]) : int(self.ends[record])]

    def text(self, record: int) -> str:
        """For a person: shortened, and what is no UTF-8 or cannot be printed shown as escapes."""
        text = self.raw(record)[: 4 * RAW_KEPT].decode("utf-8", "backslashreplace")
        return _UNPRINTABLE.sub(_shown, text)[:RAW_KEPT]

    def parse(self, names: Sequence[str], wanted: Sequence[int], records: NDArray[np.int64]) -> Parsed:
        """The columns at the positions `wanted` of some records, in ascending order, and what cannot be used."""
        broken = self.broken[records]
        good = records[~broken]
        bad = {record: self._why_broken(record) for record in records[broken].tolist()}
        parts = list(self._parts(good, names, wanted))
        columns = {position: joined([part.columns[position] for part in parts]) for position in wanted}
        kept = np.concatenate([part.kept for part in parts])
        return Parsed(columns, kept, bad | {record: why for part in parts for record, why in part.bad.items()})

    def _parts(self, good: NDArray[np.int64], names: Sequence[str], wanted: Sequence[int]) -> Iterator[Parsed]:
        """The records as they are, but for the few around one that pyarrow would divide otherwise."""
        if len(good) <= FEW:
            yield self._one_by_one(good, wanted, names)
        elif (parsed := self._as_is(good, names, wanted)) is not None:
            yield parsed
        else:
            for half in np.array_split(good, 2):
                yield from self._parts(half, names, wanted)

    def _as_is(self, good: NDArray[np.int64], names: Sequence[str], wanted: Sequence[int]) -> Parsed | None:
        """What pyarrow makes of the unchanged bytes, or None when it may divide them otherwise than `records`.

        pyarrow ends a row at any line end outside quotes. Where each record is one line without a lone CR it can
        only leave quotes open: then it sees too few rows, or the last record does not end.
        """
        data, _ = self._bytes(good)
        if data.startswith(b"\xef\xbb\xbf") or (self._joined and data.count(b"\n") != len(good) - 1):
            return None  # pyarrow would leave out the mark
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n") + data.endswith(b"\r"):
            return None
        if len(good) and fields_of(self.raw(int(good[-1]))) is None:
            return None
        try:
            columns, odd = parse_records(data, names, wanted)
        except pa.ArrowInvalid:  # a row of the wrong length
            return None
        if any(len(column) + len(odd) != len(good) for column in columns.values()):
            return None
        bad = {int(good[row]): _miscounted(fields, names) for row, fields in odd.items()}
        return Parsed(columns, np.delete(good, list(odd)), bad)

    def _one_by_one(self, good: NDArray[np.int64], wanted: Sequence[int], names: Sequence[str]) -> Parsed:
        """The same of any bytes, and sooner of few: Python's csv module reads each record."""
        bad, rows = {}, {}
        for record in good.tolist():
            fields = fields_of(self.raw(record))
            if fields is None:
                bad[record] = _UNBALANCED
            elif len(fields) != len(names):
                bad[record] = _miscounted(len(fields), names)
            else:
                rows[record] = [fields[position].encode("latin-1") for position in wanted]
        texts = zip(*rows.values(), strict=True) if rows else [()] * len(wanted)
        columns = {
            at: pa.array(column, pa.binary()).dictionary_encode() for at, column in zip(wanted, texts, strict=True)
        }
        return Parsed(columns, np.array(list(rows), np.int64), bad)

    def _bytes(self, good: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
        """(the records `good`, one per line, where each begins). Where they follow each other, so do their bytes."""
        first = np.flatnonzero(np.diff(good, prepend=-2) != 1)
        runs = np.append(first, len(good))
        low, high = self.starts[good[first]], self.ends[good[runs[1:] - 1]]
        data = b"\n".join(self.data[start:end] for start, end in zip(low.tolist(), high.tolist(), strict=True))
        moved = low - (np.cumsum(high - low + 1) - (high - low + 1))
        return data, self.starts[good] - np.repeat(moved, np.diff(runs))

    def _why_broken(self, record: int) -> str:
        return f"longer than {MAX_RECORD} bytes" if len(self.raw(record)) > MAX_RECORD else _UNBALANCED


def fields_of(record: bytes) -> list[str] | None:
    """The fields, a character for a byte; None when a quote stays open or a line ends in the record's midst."""
    try:
        rows = list(csv.reader([record.decode("latin-1") + "\n", "\n"]))  # an open quote swallows the second line
    except csv.Error:
        return None
    return rows[0] if len(rows) == 2 else None


def _miscounted(fields: int, names: Sequence[str]) -> str:
    return f"{fields} fields where the header has {len(names)}"


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()
