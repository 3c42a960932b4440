"""Readings written down. A row never becomes an object: four columns of bytes are laid side by side and joined.

What lives here: JSON, CSV and NDJSON of readings. What does not: which readings (`telemetry.store`), which format is
asked for (`answers`), small lists of objects (`tables`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry.store.pages import Readings, Series
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


def to_json(readings: Readings, remembered: Remembered | None = None) -> bytes:
    """A JSON array of telemetry records, their fields in the order of the view telemetry."""
    if not len(readings.time):
        return b"[]"
    between, after = (remembered.between, remembered.after) if remembered else (_json_between, _json_after)
    parts = _laid(readings, between, after)
    parts[-1] = parts[-1].removesuffix(_NEXT) + b"}]"
    return b"[" + _FIRST + b"".join(parts)


def to_csv(readings: Readings) -> bytes:
    """Telemetry records as lines of CSV (RFC 4180, but lines end as in Unix); CSV_HEADER is not among them.

    Texts are written as PostgreSQL's COPY writes them: one without a character is "", which is not NULL.
    """
    return b"".join(_laid(readings, _csv_between, _csv_after)) if len(readings.time) else b""


def to_ndjson(readings: Readings) -> bytes:
    """Telemetry records as lines of JSON; the trailer is not among them."""
    if not len(readings.time):
        return b""
    parts = _laid(readings, _json_between, _line_after)
    parts[-1] = parts[-1].removesuffix(_FIRST)
    return _FIRST + b"".join(parts)


def _laid(readings: Readings, between: Text, after: Text) -> list[bytes]:
    """Time, what stands between, value, what stands after, of the first record, then of the second, .."""
    parts: list[bytes] = [b""] * (4 * len(readings.time))
    parts[0::4] = times(readings.time)
    parts[1::4] = pick([between(series) for series in readings.series], readings.code)
    parts[2::4] = values(readings.value)
    parts[3::4] = pick([after(series) for series in readings.series], readings.code)
    return parts


_FIRST = b'{"timestamp":"'
_NEXT, _NEXT_LINE = b"}," + _FIRST, b"}\n" + _FIRST


def _json_between(series: Series) -> bytes:
    fields = series._asdict()
    del fields["labels_raw"]
    return b'",' + orjson.dumps(fields)[1:-1] + b',"value":'


def _json_after(series: Series) -> bytes:
    """To the next record's time."""
    return b',"labels_raw":' + orjson.dumps(series.labels_raw) + _NEXT


def _line_after(series: Series) -> bytes:
    return _json_after(series).removesuffix(_NEXT) + _NEXT_LINE


def _csv_between(series: Series) -> bytes:
    return ",".join(["", *map(quoted, series[:-1]), ""]).encode()


def _csv_after(series: Series) -> bytes:
    return f",{quoted(series.labels_raw)}\n".encode()


def times(time: NDArray[np.int64]) -> list[bytes]:
    """Times in µs since 1970, shape (n,), as answers show them: RFC 3339, UTC, microseconds."""
    texts = np.datetime_as_string(time.view("datetime64[us]"), unit="us", timezone="UTC")
    return texts.astype("S").tolist()  # type: ignore[no-any-return]  # bytes, all of one length


def values(value: NDArray[np.float64]) -> list[bytes]:
    """Finite numbers, shape (n,), with every digit that they need and no other."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def pick(texts: Sequence[bytes], code: NDArray[np.int64]) -> list[bytes]:
    """The text at each code, shape (n,): the same objects, not copies of them."""
    return np.array(texts, dtype=object)[code].tolist()  # type: ignore[no-any-return]  # the same bytes objects
