"""Kinds of rows, of which every field is quoted: read once, then recognised.

An export writes the same row again and again but for time and value. Such a row is cut at its `","`, and the bytes that
stay the same are the key to the GPU, the metric and the workload that `readings` made of the first row of its kind.
Columns that nobody reads are no part of the key.
What lives here: cutting, recognising, and handing back every row that is anything else. What does not: what a row
means (`readings`), how CSV is divided (`slices`); whoever is not recognised goes that way.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from telemetry.block import MAX_TEXT, Gpu, Workload
from telemetry.streamer.sources.cells import Cells, numbered_anew, numbers_of, texts_of, times_of
from telemetry.streamer.sources.columns import Layout
from telemetry.streamer.sources.readings import Readings, first_of_each, numbered, readings, sentinels
from telemetry.streamer.sources.records import Records
from telemetry.streamer.sources.slices import Slice, fields_of

REMEMBERED = 64 << 20
"""Bytes of rows that are remembered: some 80,000 series of an export."""
JUDGED_AT = 2 << 20
"""Bytes from which on it must be plausible that rows will be met again."""

COST = 300
"""Bytes that a kind takes beside those of its row: its key, its place in the dictionary, its numbers."""
MOST_UNREAD = 30
"""Columns that nobody reads, up to which cutting them out is worth it."""
ODD = 10_000
"""Rows in a row that cannot be cut after which a file is taken for one that is not quoted."""

_SAMPLE = {"timestamp": b"2001-02-03T04:05:06Z", "value": b"1.5"}
"""What stands in the changing fields when a row of a new kind is read; in one that nobody reads, an x."""
_COMMA, _QUOTE, _RETURN, _MINUS = 44, 34, 13, 45
_DIGITS = (48, 57)

_Item = TypeVar("_Item")
Key = tuple[bytes, ...]


class _Cut(NamedTuple):
    """Records (int64) that are cut in the right number of fields, as the alternating pieces of each."""

    records: NDArray[np.int64]
    same: list[Any]
    changing: list[Any]


class Kinds:
    """The kinds of rows of one file; each has a number."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        unread = {place: "" for place in set(range(len(layout.names))) - set(layout.wanted)}
        fields = {layout.column[name]: name for name in _SAMPLE if name in layout.column} | unread
        self._fields = sorted(fields.items())
        self._numbers: dict[Key, int] = {}
        self._gpus: dict[Gpu, int] = {}
        self._metrics: dict[str, int] = {}
        self._workloads: dict[Workload, int] = {}
        self._parts = np.empty((0, 3), np.int32)  # gpu, metric, workload of each kind; -1: no reading can be usable
        self._bytes = self._seen = self._known = self._odd = 0
        self._limit = JUDGED_AT
        self._leads = bool(self._fields) and self._fields[0][0] == 0  # a row begins with one that changes
        self._useful = not layout.metrics and len(unread) <= MOST_UNREAD

    def readings(self, piece: Slice) -> tuple[Readings | None, NDArray[np.int64]]:
        """(readings of the rows that were recognised, numbered by record; the records that were not)."""
        cut = self._cut(piece) if self._useful and len(piece) else None
        if cut is None:
            return None, np.arange(len(piece))
        number = self._recognise(cut.same)
        fields = {name: array for (_, name), array in zip(self._fields, cut.changing, strict=True)}
        gpu, metric, workload = self._parts[number].T
        time, timed = _times(fields.get("timestamp"), len(number))
        value, numeric, blank = _values(fields["value"])
        usable = (gpu >= 0) & timed & (numeric | blank)
        blank = usable & (blank | sentinels(np.where(usable, value, 0.0), Cells(metric, list(self._metrics), {})))
        kept = np.flatnonzero(usable & ~blank)
        gpus, gpu = _compact(gpu[kept], self._gpus)
        metrics, metric = _compact(metric[kept], self._metrics)
        workloads, workload = _compact(workload[kept], self._workloads)
        got = Readings(
            row=cut.records[kept],
            time=time[kept],
            gpus=gpus,
            metrics=metrics,
            workloads=workloads,
            gpu=gpu,
            metric=metric,
            workload=workload,
            value=value[kept],
            blank=int(blank.sum()),
            faults=[],
        )
        return got, np.delete(np.arange(len(piece)), cut.records[usable])

    def _cut(self, piece: Slice) -> _Cut | None:
        """The rows that may be cut at `","`; None when not one can be, and never again when none of very many could."""
        bytes_, starts = np.frombuffer(piece.data, np.uint8), piece.starts
        ends = piece.ends - (bytes_[piece.ends - 1] == _RETURN)
        comma = np.flatnonzero(bytes_[1:-1] == _COMMA) + 1
        comma = comma[(bytes_[comma - 1] == _QUOTE) & (bytes_[comma + 1] == _QUOTE) & (comma > starts[0])]
        count = np.diff(np.searchsorted(comma, starts), append=len(comma))
        right = ~piece.broken & (count == len(self.layout.names) - 1) & (ends - starts >= 2)
        right &= (bytes_[starts] == _QUOTE) & (bytes_[ends - 1] == _QUOTE)
        self._odd = 0 if right.any() else self._odd + len(piece)
        self._useful = self._odd < ODD
        if self._odd:
            return None
        comma, starts, ends = comma[np.repeat(right, count)], starts[right], ends[right]
        comma = comma.reshape(-1, len(self.layout.names) - 1)
        spans = [_inside(comma, starts, ends, field) for field, _ in self._fields]
        whole = np.logical_and.reduce([opens <= closes for opens, closes in spans])  # not of `","` that overlap
        places = [starts, *(place for span in spans for place in span), ends]
        pieces = _between(piece.data, [place[whole] for place in places], first=int(self._leads))
        return _unquoted(_Cut(np.flatnonzero(right)[whole], pieces[self._leads :: 2], pieces[1 - self._leads :: 2]))

    def _recognise(self, same: Sequence[Any]) -> NDArray[np.int64]:
        """The number of each row's kind; new kinds are read."""
        if self._bytes > self._limit:
            self._judge()
        codes = np.zeros(len(same[0]), np.int32)
        columns = [array.dictionary_encode() for array in same]
        for column in columns:
            if len(column.dictionary) > 1:
                indices = column.indices.to_numpy().astype(np.int64)
                codes, _ = numbered_anew(indices * (int(codes.max(initial=0)) + 1) + codes)
        first = first_of_each(codes)
        texts = (map(one.dictionary.to_pylist().__getitem__, one.indices.to_numpy()[first].tolist()) for one in columns)
        keys: list[Key] = list(zip(*texts, strict=True))
        found = list(map(self._numbers.get, keys))
        self._seen, self._known = self._seen + len(keys), self._known + len(keys) - found.count(None)
        if None in found:
            self._learn([key for key, number in zip(keys, found, strict=True) if number is None])
            found = list(map(self._numbers.get, keys))
        return np.array(found, np.int64)[codes]

    def _learn(self, keys: Sequence[Key]) -> None:
        """Read one row of each kind, with samples for the fields that change."""
        samples = [_SAMPLE.get(name, b"x") for _, name in self._fields]
        rows = [_row((b'"', *key) if self._leads else key, samples) for key in keys]
        ends = np.cumsum([len(row) + 1 for row in rows]) - 1
        starts = np.append(0, ends[:-1] + 1)
        piece = Slice([Records(0, b"\n".join(rows), starts, ends, np.zeros(len(rows), np.bool_), joined=True)])
        columns, kept, _ = piece.parse(self.layout.names, self.layout.wanted, np.arange(len(rows)))
        got = readings(self.layout, columns, len(kept))
        parts = np.full((len(keys), 3), -1, np.int32)
        numbers = [numbered(got.gpus, self._gpus), numbered(got.metrics, self._metrics)]
        numbers.append(numbered(got.workloads, self._workloads))
        for column, (number, index) in enumerate(zip(numbers, (got.gpu, got.metric, got.workload), strict=True)):
            parts[kept[got.row], column] = number[index]
        parts[[at for at, row in enumerate(rows) if not self._is_cut_right(row)]] = -1
        first = len(self._parts)
        self._parts = np.concatenate((self._parts, parts))
        self._numbers |= {key: first + at for at, key in enumerate(keys)}
        self._bytes += int(ends[-1]) + COST * len(keys)

    def _is_cut_right(self, row: bytes) -> bool:
        """Whether the samples are whole fields: then so is whatever holds no quote in their place.

        A `","` within a field, written `"",""`, may have been taken for an end of one.
        """
        fields = fields_of(row)
        return (
            fields is not None
            and len(fields) == len(self.layout.names)
            and all(fields[position].encode() == _SAMPLE.get(name, b"x") for position, name in self._fields)
        )

    def _judge(self) -> None:
        """Remember more when kinds were met again, or are many metrics of few GPUs and workloads; else give up.

        Otherwise a file of which every row has a label of its own would fill the memory with them.
        """
        again = 2 * self._known > self._seen
        parts = len(self._gpus) + len(self._metrics) + len(self._workloads)
        fleet = 3 * parts < len(self._numbers)
        if self._limit < REMEMBERED and (again or fleet):
            self._limit = REMEMBERED
            return
        self._useful = again
        for known in (self._numbers, self._gpus, self._metrics, self._workloads):
            known.clear()
        self._parts = self._parts[:0]
        self._bytes = self._seen = self._known = 0


def _unquoted(cut: _Cut) -> _Cut:
    """Those of the rows that hold no quote where they change: one could end a field, whatever `_is_cut_right` found."""
    quoted = np.zeros(len(cut.records), np.bool_)
    for array in cut.changing:
        quoted |= pc.match_substring(array, '"').to_numpy(zero_copy_only=False)
    if not quoted.any():
        return cut
    kept = pa.array(~quoted)
    same, changing = ([array.filter(kept) for array in arrays] for arrays in (cut.same, cut.changing))
    return _Cut(cut.records[~quoted], same, changing)


def _row(same: Sequence[bytes], changing: Sequence[bytes]) -> bytes:
    """A row of its pieces."""
    return b"".join(part for pair in zip(same, [*changing, b""], strict=True) for part in pair)


def _inside(
    comma: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64], field: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the text of a field begins and ends in each row, without its quotes."""
    opens = comma[:, field - 1] + 2 if field else starts + 1
    closes = comma[:, field] - 1 if field < comma.shape[1] else ends - 1
    return opens, closes


def _between(data: bytes, places: Sequence[NDArray[np.int64]], first: int) -> list[Any]:
    """For each row the bytes between one place and the next, as an Arrow array for each pair from the `first` on."""
    offsets = np.append(np.stack(places, axis=1).astype(np.int32).ravel(), np.int32(len(data)))
    whole = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    every = np.arange(0, len(offsets) - 1, len(places))
    return [whole.take(pa.array(every + number)) for number in range(first, len(places) - 1)]


def _times(array: Any, rows: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(time, whether it can be read) of each row, in µs since 1970."""
    if array is None:
        return np.zeros(rows, np.int64), np.ones(rows, np.bool_)
    cells = texts_of(array.dictionary_encode(), "timestamp", MAX_TEXT)
    times, faults = times_of(cells)
    return times[cells.codes], _unless(cells, faults | cells.faults)


def _values(array: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
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


def _compact(numbers: NDArray[np.int32], items: dict[_Item, int]) -> tuple[list[_Item], NDArray[np.int32]]:
    """(those of the items that occur, index of each into them)."""
    codes, distinct = numbered_anew(numbers)
    known = list(items)
    return [known[number] for number in distinct.tolist()], codes
