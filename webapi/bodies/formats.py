"""Readings written down. A row never becomes an object: four columns of bytes are laid side by side and joined.

What lives here: JSON, CSV and NDJSON of readings. What does not: which readings (`telemetry.store`), which format is
asked for (`answers`), small lists of objects (`tables`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry.store.questions.pages import Readings, Series
from webapi.bodies.tables import quoted

JSON, CSV, NDJSON = "json", "csv", "ndjson"
MEDIA_TYPES = {
    JSON: "application/json",
    CSV: "text/csv; charset=utf-8; header=present",
    NDJSON: "application/x-ndjson",
}
"""Of the formats, by the names that the parameter `format` takes."""

COLUMNS = ("timestamp", *Series._fields[:-1], "value", Series._fields[-1])
"""The fields of a record: the columns of the view telemetry, in its order."""

CSV_HEADER = ",".join(COLUMNS).encode() + b"\n"

AT_ONCE = 2_000
"""Readings that are written at a time: some 1.2 MB, a few copies of which fit into a core's cache."""

REMEMBERED = 20_000
"""Series whose texts are kept, some 500 bytes of each."""

Text = Callable[[Series], bytes]
"""What stands at one place of all records of a series."""


class Remembered:
    """What stands in JSON around the value of each series, for who writes the same series again and again.

    Safe from any number of threads.
    """

    def __init__(self) -> None:
        self._between: dict[Series, bytes] = {}
        self._after: dict[Series, bytes] = {}

    def between(self, series: Series) -> bytes:
        """From the time to the value."""
        return self._between.get(series) or self._kept(self._between, series, _json_between(series))

    def after(self, series: Series) -> bytes:
        """From the value to the next record's time."""
        return self._after.get(series) or self._kept(self._after, series, _json_after(series))

    def _kept(self, texts: dict[Series, bytes], series: Series, text: bytes) -> bytes:
        if len(texts) >= REMEMBERED:
            texts.clear()
        texts[series] = text
        return text


def written(kind: str, readings: Readings, at_once: int = AT_ONCE) -> Iterator[bytes]:
    """Telemetry records in a format: those of JSON altogether an array, else lines; so many of them in each piece.

    Neither the header of CSV nor the trailer of NDJSON is among them.
    """
    if kind == JSON:
        return _array(readings, _json_between, _json_after, at_once)
    return map(b"".join, _laid(readings, *_LINES[kind], at_once))


def to_json(readings: Readings, remembered: Remembered) -> bytes:
    """A JSON array of telemetry records, their fields in the order of the view telemetry."""
    return b"".join(_array(readings, remembered.between, remembered.after, AT_ONCE))


def _array(readings: Readings, between: Text, after: Text, at_once: int) -> Iterator[bytes]:
    before = b"["
    for parts in _laid(readings, _RECORD, between, after, at_once):
        parts[0] = before + parts[0]
        parts[-1] = parts[-1][:-1]
        yield b"".join(parts)
        before = b","
    yield b"]" if len(readings.time) else b"[]"


def _laid(readings: Readings, before: bytes, between: Text, after: Text, at_once: int) -> Iterator[list[bytes]]:
    """Time, what stands between, value, what stands after, of the first record, then of the second, .."""
    betweens, afters = ([text(series) for series in readings.series] for text in (between, after))
    for first in range(0, len(readings.time), at_once):
        part = slice(first, first + at_once)
        code = readings.code[part]
        parts: list[bytes] = [b""] * (4 * len(code))
        parts[0::4] = times(readings.time[part], before)
        parts[1::4] = pick(betweens, code)
        parts[2::4] = values(readings.value[part])
        parts[3::4] = pick(afters, code)
        yield parts


_RECORD = b'{"timestamp":"'


def _json_between(series: Series) -> bytes:
    fields = series._asdict()
    del fields["labels_raw"]
    return b'",' + orjson.dumps(fields)[1:-1] + b',"value":'


def _json_after(series: Series) -> bytes:
    """To the next record of an array."""
    return b',"labels_raw":' + orjson.dumps(series.labels_raw) + b"},"


def _line_after(series: Series) -> bytes:
    return _json_after(series)[:-1] + b"\n"


def _csv_between(series: Series) -> bytes:
    return ",".join(["", *map(quoted, series[:-1]), ""]).encode()


def _csv_after(series: Series) -> bytes:
    """Texts are written as PostgreSQL's COPY writes them: one without a character is "", which is not NULL."""
    return f",{quoted(series.labels_raw)}\n".encode()


_LINES: Mapping[str, tuple[bytes, Text, Text]] = MappingProxyType(
    {CSV: (b"", _csv_between, _csv_after), NDJSON: (_RECORD, _json_between, _line_after)}
)
"""What stands before a record's time, from there to its value, and from there to the next record."""


def times(time: NDArray[np.int64], before: bytes = b"") -> list[bytes]:
    """Times in µs since 1970, shape (n,), as answers show them: RFC 3339, UTC, microseconds; after `before`, each.

    Digit by digit, side by side: five times as fast as numpy's own texts, of which only one is made of each second.
    """
    second, micro = np.divmod(time, 1_000_000)
    known, place = np.unique(second, return_inverse=True)
    texts = np.datetime_as_string(known.view("datetime64[s]")).astype("S19")
    start = len(before)
    rows = np.empty((len(time), start + 27), np.uint8)
    rows[:, :start] = np.frombuffer(before, np.uint8)
    rows[:, start : start + 19] = texts.view(np.uint8).reshape(-1, 19)[place]
    rows[:, start + 19], rows[:, start + 26] = ord("."), ord("Z")
    for column in range(start + 25, start + 19, -1):
        micro, digit = np.divmod(micro, 10)
        rows[:, column] = digit + ord("0")
    return rows.view(f"S{start + 27}")[:, 0].tolist()  # type: ignore[no-any-return]  # bytes, all of one length


def values(value: NDArray[np.float64]) -> list[bytes]:
    """Finite numbers, shape (n,), with every digit that they need and no other."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def pick(texts: Sequence[bytes], code: NDArray[np.int64]) -> list[bytes]:
    """The text at each code, shape (n,): the same objects, not copies of them."""
    return np.array(texts, dtype=object)[code].tolist()  # type: ignore[no-any-return]  # the same bytes objects
