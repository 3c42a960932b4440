"""Records that follow each other in reading order, and their bytes in a form that pyarrow divides as we do.

What lives here: which records of a slice are usable as CSV, as Python's csv module reads them. What does not:
where records begin (`records`) and what their fields mean (`readings`).
"""

import csv
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from telemetry.streamer.sources.cells import parse_records
from telemetry.streamer.sources.records import MAX_RECORD, Records

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
    """The records low .. high - 1 of each of one or more scanned pieces."""

    def __init__(self, parts: Sequence[tuple[Records, int, int]]) -> None:
        self._parts = parts
        self._lengths = np.cumsum([high - low for _, low, high in parts], dtype=np.int64)
        self.broken = np.concatenate([records.broken[low:high] for records, low, high in parts])

    def __len__(self) -> int:
        return len(self.broken)

    def raw(self, record: int) -> bytes:
        """The bytes of one record."""
        part = int(np.searchsorted(self._lengths, record, side="right"))
        records, _, high = self._parts[part]
        at = record - int(self._lengths[part]) + high
        return records.data[int(records.starts[at]) : int(records.ends[at])]

    def text(self, record: int) -> str:
        """For a person: shortened, and what is no UTF-8 or cannot be printed shown as escapes."""
        text = self.raw(record)[: 4 * RAW_KEPT].decode("utf-8", "backslashreplace")
        return _UNPRINTABLE.sub(_shown, text)[:RAW_KEPT]

    def parse(self, names: Sequence[str], wanted: Sequence[int]) -> Parsed:
        """The columns at the positions `wanted`, and what cannot be used."""
        good = np.flatnonzero(~self.broken)
        bad = {int(record): self._why_broken(int(record)) for record in np.flatnonzero(self.broken)}
        columns = self._as_is(good, names, wanted)
        return self._rewritten(good, bad, names, wanted) if columns is None else Parsed(columns, good, bad)

    def _as_is(self, good: NDArray[np.int64], names: Sequence[str], wanted: Sequence[int]) -> dict[int, Any] | None:
        """What pyarrow makes of the unchanged bytes, or None when it may divide them otherwise than `records`.

        pyarrow ends a row at any line end outside quotes. Where each record is one line without a lone CR it can
        only leave quotes open: then it sees too few rows, or the last record does not end.
        """
        data = self._data(good)
        if any(records.joined for records, _, _ in self._parts) or data.startswith(b"\xef\xbb\xbf"):
            return None  # pyarrow would leave out the mark
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n") + data.endswith(b"\r"):
            return None
        if len(good) and fields_of(self.raw(int(good[-1]))) is None:
            return None
        try:
            columns = parse_records(data, names, wanted)
        except pa.ArrowInvalid:  # a row of the wrong length
            return None
        return columns if all(len(column) == len(good) for column in columns.values()) else None

    def _rewritten(
        self, good: NDArray[np.int64], bad: dict[int, str], names: Sequence[str], wanted: Sequence[int]
    ) -> Parsed:
        """The same, slower, of any bytes: Python's csv module reads each record, pyarrow gets every field quoted."""
        bad, lines = dict(bad), {}
        for record in good.tolist():
            fields = fields_of(self.raw(record))
            if fields is None:
                bad[record] = _UNBALANCED
            elif len(fields) != len(names):
                bad[record] = f"{len(fields)} fields where the header has {len(names)}"
            else:
                lines[record] = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
        columns = parse_records("\n".join(lines.values()).encode("latin-1"), names, wanted)
        return Parsed(columns, np.array(list(lines), np.int64), bad)

    def _data(self, good: NDArray[np.int64]) -> bytes:
        """The bytes of the records `good`, one per line; in one piece where they are so in the file."""
        if len(good) == len(self):
            return b"\n".join(
                records.data[int(records.starts[low]) : int(records.ends[high - 1])]
                for records, low, high in self._parts
            )
        return b"\n".join(self.raw(record) for record in good.tolist())

    def _why_broken(self, record: int) -> str:
        return f"longer than {MAX_RECORD} bytes" if len(self.raw(record)) > MAX_RECORD else _UNBALANCED


def fields_of(record: bytes) -> list[str] | None:
    """The fields, a character for a byte; None when a quote stays open or a line ends in the record's midst."""
    try:
        rows = list(csv.reader([record.decode("latin-1") + "\n", "\n"]))  # an open quote swallows the second line
    except csv.Error:
        return None
    return rows[0] if len(rows) == 2 else None


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()
