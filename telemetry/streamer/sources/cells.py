"""Bytes of whole records -> dictionary-encoded columns, and what their distinct texts mean.

pyarrow parses; Python looks at each distinct text once. What does not: rows (`readings`), labels (`labels`).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from telemetry.block import MAX_TEXT, MAX_TIME, MIN_TIME
from telemetry.catalog import is_blank_text

_NUMBER = re.compile(r"[+-]?(\d++\.?\d*+|\.\d++)([eE][+-]?\d++)?", re.ASCII)
_DIGITS, _MINUS = (48, 57), 45
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cells:
    """One column: row i holds `texts[codes[i]]`; `faults` maps the codes that are unusable to the reason."""

    codes: NDArray[np.int32]
    texts: Sequence[str]
    faults: dict[int, str]

    @classmethod
    def constant(cls, rows: int) -> "Cells":
        """A column that the file does not have: empty texts."""
        return cls(np.zeros(rows, np.int32), [""], {})


def parse_records(data: bytes, names: Sequence[str], wanted: Sequence[int]) -> tuple[dict[int, Any], dict[int, int]]:
    """(position -> dictionary array, for the positions `wanted`; row left out -> number of its fields).

    `data` is records without a header. A row that has not as many fields as there are names is left out; unless
    all is ASCII it raises pa.ArrowInvalid, because pyarrow decodes such a row before it asks what to do.
    """
    odd: dict[int, int] = {}

    def leave_out(row: Any) -> str:
        odd[row.number - 1] = row.actual_columns
        return "skip"

    if not data:
        nothing = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.binary()))
        return dict.fromkeys(wanted, nothing), odd
    columns = [str(position) for position in range(len(names))]
    kind = pa.dictionary(pa.int32(), pa.binary())
    table = pa.csv.read_csv(
        pa.py_buffer(data),
        read_options=pa.csv.ReadOptions(use_threads=False, column_names=columns, block_size=len(data) + 1),
        parse_options=pa.csv.ParseOptions(
            newlines_in_values=True, invalid_row_handler=leave_out if data.isascii() else None
        ),
        convert_options=pa.csv.ConvertOptions(
            check_utf8=False,
            include_columns=[columns[position] for position in wanted],
            column_types={columns[position]: kind for position in wanted},
            strings_can_be_null=False,
        ),
    )
    return {position: joined(table.column(columns[position]).chunks) for position in wanted}, odd


def joined(arrays: Sequence[Any]) -> Any:
    """One dictionary array of several, one after the other."""
    return arrays[0] if len(arrays) == 1 else pa.chunked_array(arrays).unify_dictionaries().combine_chunks()


def numbered_anew(codes: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """(the number of each integer among the distinct ones, these in order of their first appearance)."""
    array = pa.array(codes).dictionary_encode()
    return array.indices.to_numpy(), array.dictionary.to_numpy()


def combined(columns: Sequence[tuple[NDArray[Any], int]]) -> NDArray[np.int64]:
    """A number for each row's combination of codes; `columns` are those and how many different ones there may be."""
    codes, size = columns[0][0].astype(np.int64), columns[0][1]
    for more, of in columns[1:]:
        if of == 1:  # such as a column that the file does not have
            continue
        if size * of >= 1 << 62:
            codes = numbered_anew(codes)[0].astype(np.int64)
            size = len(codes)
        codes, size = codes * of + more, size * of
    return numbered_anew(codes)[0].astype(np.int64)


def texts_of(array: Any, field: str, limit: int, *, trim: bool = True) -> Cells:
    """The column's distinct texts; too long ones, bad UTF-8 and control characters are faults."""
    codes = array.indices.to_numpy(zero_copy_only=False)
    texts = _harmless(array.dictionary, limit)
    if texts is not None:
        return Cells(codes, [text.strip() for text in texts] if trim else texts, {})
    name = field[:40]  # of a wide file: as long as any text, where a reason must not be
    faults: dict[int, str] = {}
    texts = []
    for code, raw in enumerate(array.dictionary.to_pylist()):
        text = raw.decode("utf-8", "replace")
        if len(text) > limit:
            faults[code] = f"{name} has {len(text)} characters, more than {limit}"
        elif "\0" in text or "\1" in text:
            faults[code] = f"{name} holds a control character"
        elif "\N{REPLACEMENT CHARACTER}" in text and not _is_utf8(raw):
            faults[code] = f"{name} is not UTF-8"
        text = text[:limit]
        texts.append(text.strip() if trim else text)
    return Cells(codes, texts, faults)


def _harmless(dictionary: Any, limit: int) -> list[str] | None:
    """The texts when a look at the bytes as a whole shows that none has a fault."""
    raws = dictionary.to_pylist()
    joined = b"".join(raws)
    if b"\0" in joined or b"\1" in joined or max(map(len, raws), default=0) > limit:
        return None
    try:
        return [raw.decode() for raw in raws]
    except UnicodeDecodeError:
        return None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def numbers_of(cells: Cells, field: str) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[int, str]]:
    """(value, blank) of each distinct text, and the texts that are no finite number."""
    try:
        values = pc.cast(pa.array(cells.texts, pa.string()), pa.float64()).to_numpy(zero_copy_only=False)
        blank = np.zeros(len(values), np.bool_)
    except pa.ArrowInvalid:
        blank = np.array([text == "" or is_blank_text(text) for text in cells.texts], np.bool_)
        values = np.array([float(t) if _NUMBER.fullmatch(t) else np.nan for t in cells.texts], np.float64)
    wrong = np.flatnonzero(~np.isfinite(values) & ~blank).tolist()
    return values, blank, {c: f"{field} {cells.texts[c][:40]!r} is not a finite number" for c in wrong}


def times_of(cells: Cells) -> tuple[NDArray[np.int64], dict[int, str]]:
    """µs since 1970 of each distinct text, and the texts that are no time."""
    faults: dict[int, str] = {}
    times = _known_times(cells.texts)
    if times is None:
        times = np.zeros(len(cells.texts), np.int64)
        for code, text in enumerate(cells.texts):
            time = parse_time(text)
            if time is None:
                faults[code] = f"timestamp {text[:40]!r} cannot be read; write it as 2025-07-18T20:42:34Z"
            else:
                times[code] = time
    return times, faults


def _known_times(texts: Sequence[str]) -> NDArray[np.int64] | None:
    """All of them at once when all are RFC 3339 with a zone and no one is at the edge of time."""
    if not all(text[-1:] == "Z" and text[:2] in ("19", "20") for text in texts):
        return None
    try:
        stamps = pc.cast(pa.array(texts, pa.string()), pa.timestamp("us", tz="UTC"))
    except pa.ArrowInvalid:
        return None
    return stamps.cast(pa.int64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]  # pyarrow is untyped


def parse_time(text: str) -> int | None:
    """µs since 1970 of an RFC 3339 time (without a zone: UTC) or of unix seconds, ms, µs or ns; None if neither."""
    try:
        if text.replace(".", "", 1).isdigit() and text.isascii():
            return _epoch(float(text))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    time = (moment - _EPOCH) // timedelta(microseconds=1)
    return time if MIN_TIME <= time <= MAX_TIME else None


def _epoch(number: float) -> int | None:
    """Unix time by its size: up to 1e11 seconds (year 5138), 1e14 ms, 1e17 µs, else ns."""
    for bound, factor in ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (1e20, 1e-3)):
        if number < bound:
            return round(number * factor)
    return None


def times_in(array: Any, rows: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(time, whether it can be read) of each row, in µs since 1970."""
    if array is None:
        return np.zeros(rows, np.int64), np.ones(rows, np.bool_)
    cells = texts_of(array.dictionary_encode(), "timestamp", MAX_TEXT)
    times, faults = times_of(cells)
    return times[cells.codes], _unless(cells, faults | cells.faults)


def values_in(array: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """(value, whether it is a finite number, whether it is a text for "no value") of each row."""
    plain = _plain(array)
    try:
        texts = array if plain.all() else array.filter(pa.array(plain))
        numbers = pc.cast(texts.cast(pa.string()), pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        plain[:] = False
    value, numeric, blank = np.zeros(len(array)), np.zeros(len(array), np.bool_), np.zeros(len(array), np.bool_)
    if plain.any():
        value[plain], numeric[plain] = numbers, np.isfinite(numbers)
    if not plain.all():
        cells = texts_of(array.filter(pa.array(~plain)).dictionary_encode(), "value", MAX_TEXT)
        numbers, empty, faults = numbers_of(cells, "value")
        empty[list(cells.faults)] = False
        value[~plain], blank[~plain] = numbers[cells.codes], empty[cells.codes]
        numeric[~plain] = _unless(cells, faults | cells.faults)
    return value, numeric, blank


def _plain(array: Any) -> NDArray[np.bool_]:
    """Which texts begin as a number does, and are no longer than a text may be."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    size = np.diff(ends)
    first = np.frombuffer(data or b"", np.uint8)[np.minimum(ends[:-1], ends[-1] - 1)] if ends[-1] else size
    number: NDArray[np.bool_] = ((first >= _DIGITS[0]) & (first <= _DIGITS[1])) | (first == _MINUS)
    return number & (size > 0) & (size <= MAX_TEXT)


def _unless(cells: Cells, faults: dict[int, str]) -> NDArray[np.bool_]:
    good = np.ones(len(cells.texts), np.bool_)
    good[list(faults)] = False
    return good[cells.codes]


def first_fault(
    faults: Sequence[tuple[Cells, dict[int, str]]], rows: int
) -> tuple[NDArray[np.bool_], Callable[[int], str]]:
    """Which rows have a fault in any of the columns, and what the first of them is for a row."""
    bad = np.zeros(rows, np.bool_)
    for cells, reasons in faults:
        if reasons:
            wrong = np.zeros(len(cells.texts), np.bool_)
            wrong[list(reasons)] = True
            bad |= wrong[cells.codes]

    def reason(row: int) -> str:
        return next(reasons[int(cells.codes[row])] for cells, reasons in faults if int(cells.codes[row]) in reasons)

    return bad, reason
