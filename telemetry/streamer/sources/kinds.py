"""Kinds of rows, of which every field is quoted: read once, then recognised.

An export writes the same row again and again but for time and value. Such a row is cut at its `","`, and the bytes that
stay the same are the key to the GPU, the metric and the workload that `readings` made of the first row of its kind.
Columns that nobody reads are no part of the key. Kinds come in the same order again, too: where the next one is
foreseen (`order`), a row is only compared with it.
What lives here: recognising, and handing back every row that is anything else. What does not: what a row means
(`readings`), how it is cut (`cutting`), how CSV is divided (`slices`); whoever is not recognised goes that way.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from telemetry.streamer.sources.cells import Cells, numbered_anew, times_in, values_in
from telemetry.streamer.sources.columns import Layout
from telemetry.streamer.sources.cutting import cut_row, cut_rows
from telemetry.streamer.sources.known import Known
from telemetry.streamer.sources.order import Foreseen, Key, compare
from telemetry.streamer.sources.readings import Readings, first_of_each, readings, sentinels
from telemetry.streamer.sources.records import Records
from telemetry.streamer.sources.slices import Slice, fields_of

REMEMBERED = 96 << 20
"""Bytes of rows that are remembered: some 110,000 series of an export. A file whose every series has a GPU and labels
of its own takes three times that in all, for they are objects then."""
UNPROVEN = 8 << 20
"""Bytes up to which they are before half of them came again: some 10,000 series."""

MOST_UNREAD = 30
"""Columns that nobody reads, up to which cutting them out is worth it."""
ODD = 10_000
"""Rows in a row that cannot be cut after which a file is taken for one that is not quoted."""

FEW = 0.05
"""Part of the rows up to which those that are not as foreseen are handed back, and not learnt: most are spoiled."""

PROBE = 8
"""Rows that are looked at to find out which kind comes next."""
PROBES = 8
"""How often in a slice: rows that are missing, or new, put all that follow out of step."""
OUT_OF_STEP = 100
"""Rows that could be recognised in the time that finding out takes."""
WAIT = 64
"""Most slices in which nothing is foreseen after it went wrong."""

_SAMPLE = {"timestamp": b"2001-02-03T04:05:06Z", "value": b"1.5"}
"""What stands in the changing fields when a row of a new kind is read; in one that nobody reads, an x."""

_Item = TypeVar("_Item")


class _Found(NamedTuple):
    """Records (int64) whose kinds are known, and the fields that change of each (Arrow arrays)."""

    records: NDArray[np.int64]
    kinds: NDArray[np.int64]
    changing: list[Any]


class Kinds:
    """The kinds of rows of one file; each has a number."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        unread = {place: "" for place in set(range(len(layout.names))) - set(layout.wanted)}
        fields = {layout.column[name]: name for name in _SAMPLE if name in layout.column} | unread
        self._fields = sorted(fields.items())
        self._positions = [position for position, _ in self._fields]
        self.known = Known()
        self._odd = self._wait = self._pause = 0
        self._limit = UNPROVEN
        self._leads = bool(self._fields) and self._fields[0][0] == 0  # a row begins with one that changes
        self._useful = not layout.metrics and len(unread) <= MOST_UNREAD

    def readings(self, piece: Slice) -> tuple[Readings | None, NDArray[np.int64]]:
        """(readings of the rows that were recognised, numbered by record; the records that were not)."""
        self._remember()
        self.known.passed(len(piece))
        found = list(self._found(piece)) if self._useful and len(piece) else []
        if not found:
            return None, np.arange(len(piece))
        record, kind, time, timed, value, numeric, blank = _joined([self._read(one) for one in found])
        gpu, metric, workload = self.known.parts[kind].T
        usable = (gpu >= 0) & timed & (numeric | blank)
        blank = usable & (blank | sentinels(np.where(usable, value, 0.0), Cells(metric, list(self.known.metrics), {})))
        kept = np.flatnonzero(usable & ~blank)
        gpus, gpu = _compact(gpu[kept], self.known.gpus)
        metrics, metric = _compact(metric[kept], self.known.metrics)
        workloads, workload = _compact(workload[kept], self.known.workloads)
        got = Readings(
            row=record[kept],
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
        return got, np.delete(np.arange(len(piece)), record[usable])

    def _read(self, found: _Found) -> tuple[NDArray[Any], ...]:
        """(record, kind, time, whether it can be read, value, whether it is a number, whether it is a blank)."""
        fields = {name: array for (_, name), array in zip(self._fields, found.changing, strict=True)}
        times = times_in(fields.get("timestamp"), len(found.records))
        return found.records, found.kinds, *times, *values_in(fields["value"])

    def _found(self, piece: Slice) -> Iterator[_Found]:
        """The rows whose kinds are known: those that come as foreseen; where these are too few, others, learnt from."""
        kinds = np.full(len(piece), -1)
        foreseen = list(self._foreseen(piece))
        for one in foreseen:
            kinds[one.records] = one.kinds
        yield from foreseen
        rest = np.flatnonzero(kinds < 0)
        if len(rest) <= FEW * len(piece) and len(foreseen) < 2:
            self._odd = 0
            return
        cut = cut_rows(Slice([piece.some(rest)]), len(self.layout.names), self._positions) if len(rest) else None
        self._odd = 0 if len(rest) < len(piece) or cut is not None else self._odd + len(piece)
        self._useful = self._odd < ODD
        if cut is not None:
            number = self._recognise(cut.same)
            cut, number = cut.only(number >= 0), number[number >= 0]
            kinds[rest[cut.records]] = number
            yield _Found(rest[cut.records], number, cut.changing)
        self.known.order.learn(kinds, len(rest) + OUT_OF_STEP * len(foreseen[1:]))

    def _foreseen(self, piece: Slice) -> Iterator[_Found]:
        """Rows that are what was expected of them; less and less often asked for where they are not."""
        self._pause -= 1
        if self._pause > 0:
            return
        self.known.order.lay_out()
        at, met = 0, 0
        for _ in range(PROBES):
            first = self._probe(piece, at)
            if first is None:
                break
            cut, kinds, at = compare(piece, *first, names=[name for _, name in self._fields], leads=self._leads)
            met += len(kinds)
            self.known.met(kinds)
            yield _Found(cut.records, kinds, cut.changing)
            if at >= len(piece):
                break
        self._wait = 0 if 2 * met > len(piece) else min(2 * self._wait + 1, WAIT)
        self._pause = self._wait

    def _probe(self, piece: Slice, at: int) -> tuple[int, Foreseen, list[int]] | None:
        """(a record, what is foreseen from there on, sizes of its changing fields): the first at `at` or soon after."""
        for record in range(at, min(at + PROBE, len(piece))):
            cut = cut_row(piece.raw(record), len(self.layout.names), self._positions)
            kind = None if cut is None else self.known.numbers([cut[0]])[0]
            foreseen = None if kind is None else self.known.order.foresee(kind, len(piece) - record)
            if cut is not None and foreseen is not None:
                return record, foreseen, [len(field) for field in cut[1]]
        return None

    def _recognise(self, same: Sequence[Any]) -> NDArray[np.int64]:
        """The number of each row's kind; new kinds are learnt, while there is room: else -1."""
        codes = np.zeros(len(same[0]), np.int32)
        columns = [array.dictionary_encode() for array in same]
        for column in columns:
            if len(column.dictionary) > 1:
                indices = column.indices.to_numpy().astype(np.int64)
                codes, _ = numbered_anew(indices * (int(codes.max(initial=0)) + 1) + codes)
        first = first_of_each(codes)
        texts = (map(one.dictionary.to_pylist().__getitem__, one.indices.to_numpy()[first].tolist()) for one in columns)
        keys: list[Key] = list(zip(*texts, strict=True))
        found = self.known.numbers(keys)
        if None in found and self.known.size <= self._limit:
            self._learn([key for key, number in zip(keys, found, strict=True) if number is None])
            found = self.known.numbers(keys)
        kinds = np.array([-1 if number is None else number for number in found], np.int64)[codes]
        self.known.met(kinds[kinds >= 0])
        return kinds

    def _learn(self, keys: Sequence[Key]) -> None:
        """Read one row of each kind, with samples for the fields that change."""
        samples = [_SAMPLE.get(name, b"x") for _, name in self._fields]
        rows = [_row((b'"', *key) if self._leads else key, samples) for key in keys]
        ends = np.cumsum([len(row) + 1 for row in rows]) - 1
        starts = np.append(0, ends[:-1] + 1)
        piece = Slice([Records(0, b"\n".join(rows), starts, ends, np.zeros(len(rows), np.bool_), joined=True)])
        columns, kept, _ = piece.parse(self.layout.names, self.layout.wanted, np.arange(len(rows)))
        got = readings(self.layout, columns, len(kept))
        right = np.array([self._is_cut_right(row) for row in rows])
        self.known.add(keys, got, kept[got.row], right, ends - starts)

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

    def _remember(self) -> None:
        """Forget what came no more. Of a file from whose rows none came again it is all, and it is not tried again.

        A row that has a label of its own would else fill the memory. Until half of the kinds came again few are
        learnt; then as many as a large fleet has.
        """
        if self._limit < REMEMBERED and self.known.came_again:
            self._limit = REMEMBERED
        before, left = len(self.known), self.known.forget()
        self._useful = self._useful and (left > 0 or before == 0 or self._limit == REMEMBERED)


def _row(same: Sequence[bytes], changing: Sequence[bytes]) -> bytes:
    """A row of its pieces."""
    return b"".join(part for pair in zip(same, [*changing, b""], strict=True) for part in pair)


def _joined(parts: Sequence[tuple[NDArray[Any], ...]]) -> tuple[NDArray[Any], ...]:
    """The columns of all parts, ascending by record, which is the first."""
    if len(parts) == 1:
        return parts[0]
    columns = [np.concatenate(of) for of in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return tuple(column[order] for column in columns)


def _compact(numbers: NDArray[np.int32], items: dict[_Item, int]) -> tuple[list[_Item], NDArray[np.int32]]:
    """(those of the items that occur, index of each into them)."""
    codes, distinct = numbered_anew(numbers)
    known = list(items)
    return [known[number] for number in distinct.tolist()], codes
