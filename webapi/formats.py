"""Readings written down. A row never becomes an object: four columns of bytes are laid side by side and joined.

What does not live here: which readings (`telemetry.store`), which format was asked for (the nouns).
"""

from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry.store.pages import Readings, Series


def to_json(readings: Readings) -> bytes:
    """A JSON array of telemetry records, their fields in the order of the view telemetry."""
    if not len(readings.time):
        return b"[]"
    parts: list[bytes] = [b""] * (4 * len(readings.time))
    parts[0::4] = _times(readings.time)
    parts[1::4] = _pick([_between(series) for series in readings.series], readings.code)
    parts[2::4] = _values(readings.value)
    parts[3::4] = _pick([_after(series) for series in readings.series], readings.code)
    parts[-1] = parts[-1].removesuffix(_NEXT) + b"}]"
    return b"[" + _FIRST + b"".join(parts)


_FIRST = b'{"timestamp":"'
_NEXT = b"}," + _FIRST


def _between(series: Series) -> bytes:
    """What stands between a record's time and its value."""
    fields = series._asdict()
    del fields["labels_raw"]
    return b'",' + orjson.dumps(fields)[1:-1] + b',"value":'


def _after(series: Series) -> bytes:
    """What stands between a record's value and the next one's time."""
    return b',"labels_raw":' + orjson.dumps(series.labels_raw) + _NEXT


def _times(time: NDArray[np.int64]) -> list[bytes]:
    texts = np.datetime_as_string(time.view("datetime64[us]"), unit="us", timezone="UTC")
    return texts.astype("S").tolist()  # type: ignore[no-any-return]  # bytes, all of one length


def _values(value: NDArray[np.float64]) -> list[bytes]:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _pick(texts: Sequence[bytes], code: NDArray[np.int64]) -> list[bytes]:
    return np.array(texts, dtype=object)[code].tolist()  # type: ignore[no-any-return]  # the same bytes objects
