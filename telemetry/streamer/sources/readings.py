"""Columns of a file -> the columns of a Block, vectorised: identity, blanks, rejections, dictionaries.

What lives here: which reading is usable (DESIGN: every reading is stored, blank or rejected) and how distinct
GPUs, metrics and workloads are numbered. What does not: bytes and offsets (`records`, `csvfile`).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from telemetry.block import MAX_LABELS, MAX_TEXT, Gpu, Workload
from telemetry.catalog import blank_mask, is_blank_text
from telemetry.streamer.sources.cells import Cells, combined, first_fault, numbered_anew, numbers_of, texts_of, times_of
from telemetry.streamer.sources.columns import Layout
from telemetry.streamer.sources.labels import CACHED, GPU_LABELS, freed, is_canonical, parse

PLACE = ("uuid", "gpu_id", "device", "model_name", "hostname")
WORK = ("container", "pod", "namespace")
IDENTITY = ("uuid", "gpu_id", "hostname")
DETERMINES = (*PLACE, *WORK, *GPU_LABELS)
"""Fields that, with labels_raw, say which GPU and which workload."""

_Item = TypeVar("_Item")


class Readings(NamedTuple):
    """n usable readings of `rows`: `row` (int64) is each one's number within the range that was read.

    `time` is the source's own, in µs since 1970. `faults` are the numbers and reasons of rejected readings.
    """

    row: NDArray[np.int64]
    time: NDArray[np.int64]
    gpus: list[Gpu]
    metrics: list[str]
    workloads: list[Workload]
    gpu: NDArray[np.int32]
    metric: NDArray[np.int32]
    workload: NDArray[np.int32]
    value: NDArray[np.float64]
    blank: int
    faults: list[tuple[int, str]]


def readings(layout: Layout, arrays: dict[int, Any], rows: int) -> Readings:
    """The readings of `rows` records; `arrays` are their dictionary columns by position."""

    def cells(field: str, limit: int = MAX_TEXT, *, trim: bool = True) -> Cells:
        if field not in layout.column:
            return Cells.constant(rows)
        return texts_of(arrays[layout.column[field]], field, limit, trim=trim)

    fields = {field: cells(field) for field in (*DETERMINES, "timestamp")}
    fields |= {field: _without_blanks(fields[field]) for field in IDENTITY}
    fields["labels_raw"] = cells("labels_raw", MAX_LABELS, trim=False)
    times, time_faults = times_of(fields["timestamp"]) if "timestamp" in layout.column else (np.zeros(1, np.int64), {})
    (metric, value), per = _values(layout, arrays, rows), layout.per_record
    numbers, blank_texts, value_faults = numbers_of(value, "value")
    bad, reason = first_fault(
        [
            *((_repeat(column, per), column.faults) for column in fields.values()),
            (metric, metric.faults | _empty(metric, "metric_name")),
            (_repeat(fields["gpu_id"], per), _empty(fields["gpu_id"], "gpu_id")),
            (_repeat(_either(fields["uuid"], fields["hostname"]), per), {0: "uuid and hostname are both empty"}),
            (_repeat(fields["timestamp"], per), time_faults),
            (value, value_faults | value.faults),
        ],
        rows * per,
    )
    blank = ~bad & (blank_texts[value.codes] | sentinels(numbers[value.codes], metric))
    row = np.flatnonzero(~bad & ~blank)
    record = row // per
    gpus, workloads, gpu, workload = _dimensions(fields, metric, record, row)
    metrics, metric_of = _metrics(metric, row)
    return Readings(
        row=row,
        time=times[fields["timestamp"].codes[record]],
        gpus=gpus,
        metrics=metrics,
        workloads=workloads,
        gpu=gpu,
        metric=metric_of,
        workload=workload,
        value=numbers[value.codes[row]],
        blank=int(blank.sum()),
        faults=[(int(number), reason(int(number))) for number in np.flatnonzero(bad)],
    )


def merged(parts: Sequence[Readings]) -> Readings:
    """The readings of several ranges as those of one; `row` and `faults` count from the start of all already."""
    if len(parts) == 1:
        return parts[0]
    gpus: dict[Gpu, int] = {}
    metrics: dict[str, int] = {}
    workloads: dict[Workload, int] = {}
    return Readings(
        row=np.concatenate([part.row for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        gpu=np.concatenate([numbered(part.gpus, gpus)[part.gpu] for part in parts]),
        metric=np.concatenate([numbered(part.metrics, metrics)[part.metric] for part in parts]),
        workload=np.concatenate([numbered(part.workloads, workloads)[part.workload] for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        blank=sum(part.blank for part in parts),
        faults=[fault for part in parts for fault in part.faults],
        gpus=list(gpus),
        metrics=list(metrics),
        workloads=list(workloads),
    )


def in_order(got: Readings) -> Readings:
    """The same, ascending by row."""
    order = np.argsort(got.row, kind="stable")
    return got._replace(
        row=got.row[order],
        time=got.time[order],
        gpu=got.gpu[order],
        metric=got.metric[order],
        workload=got.workload[order],
        value=got.value[order],
    )


def numbered(items: Sequence[_Item], numbers: dict[_Item, int]) -> NDArray[np.int32]:
    """The number of each item; new ones are given the next."""
    return np.array([numbers.setdefault(item, len(numbers)) for item in items], np.int32)


def _values(layout: Layout, arrays: dict[int, Any], rows: int) -> tuple[Cells, Cells]:
    """(metric, value) of each reading; the columns of a wide file are laid row by row."""
    if not layout.metrics:
        metric = texts_of(arrays[layout.column["metric_name"]], "metric_name", MAX_TEXT)
        return metric, texts_of(arrays[layout.column["value"]], "value", MAX_TEXT)
    parts = [texts_of(arrays[position], name, MAX_TEXT) for position, name in layout.metrics.items()]
    starts = np.cumsum([0, *(len(part.texts) for part in parts)])
    codes = np.stack([part.codes + start for part, start in zip(parts, starts, strict=False)], axis=1).ravel()
    faults = {int(s) + code: why for part, s in zip(parts, starts, strict=False) for code, why in part.faults.items()}
    value = Cells(codes.astype(np.int32), [text for part in parts for text in part.texts], faults)
    names = list(layout.metrics.values())
    return Cells(np.tile(np.arange(len(names), dtype=np.int32), rows), names, {}), value


def _repeat(cells: Cells, per: int) -> Cells:
    return cells if per == 1 else Cells(np.repeat(cells.codes, per), cells.texts, cells.faults)


def _without_blanks(cells: Cells) -> Cells:
    """DCGM's texts for "no value" are no identity: by them all GPUs that lack one would be the same."""
    return Cells(cells.codes, ["" if is_blank_text(text) else text for text in cells.texts], cells.faults)


def _empty(cells: Cells, field: str) -> dict[int, str]:
    return {code: f"{field} is empty" for code, text in enumerate(cells.texts) if not text}


def _either(a: Cells, b: Cells) -> Cells:
    """Code 0 where both are empty."""
    filled = [np.array([bool(text) for text in cells.texts], np.bool_)[cells.codes] for cells in (a, b)]
    return Cells((filled[0] | filled[1]).astype(np.int32), ["", "filled"], {})


def sentinels(values: NDArray[np.float64], metric: Cells) -> NDArray[np.bool_]:
    """DCGM's "no value" numbers. The catalogue is asked only about metrics with a value as large as one."""
    blank = np.zeros(len(values), np.bool_)
    large = np.flatnonzero(values >= 2**31 - 64)
    for code in np.unique(metric.codes[large]).tolist():
        of_metric = large[metric.codes[large] == code]
        blank[of_metric] = blank_mask(values[of_metric], metric.texts[code])
    return blank


def _metrics(metric: Cells, row: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int32]]:
    """(names, index of each reading's): two spellings that differ in blanks are one name."""
    codes, kept = numbered_anew(metric.codes[row])
    names: dict[str, int] = {}
    number = numbered([metric.texts[int(code)] for code in kept], names)
    return list(names), number[codes]


def _dimensions(
    fields: dict[str, Cells], metric: Cells, record: NDArray[np.int64], row: NDArray[np.int64]
) -> tuple[list[Gpu], list[Workload], NDArray[np.int32], NDArray[np.int32]]:
    """(gpus, workloads, index of each reading's GPU, of its workload)."""
    columns = [fields[name] for name in DETERMINES]
    text_codes, texts = _label_texts(fields["labels_raw"], metric, record, row)
    own = combined([(text_codes, len(texts)), *((column.codes[record], len(column.texts)) for column in columns)])
    first = first_of_each(own)
    gpus: dict[Gpu, int] = {}
    workloads: dict[Workload, int] = {}
    pairs = np.empty((len(first), 2), np.int32)
    for number, position in enumerate(first):
        values = tuple(column.texts[column.codes[record[position]]] for column in columns)
        text = texts[text_codes[position]]
        identify = _identify if len(text) + sum(map(len, values)) <= CACHED else _identify.__wrapped__
        gpu, workload = identify(values, text)
        pairs[number] = gpus.setdefault(gpu, len(gpus)), workloads.setdefault(workload, len(workloads))
    of_reading = pairs[own]
    return list(gpus), list(workloads), np.ascontiguousarray(of_reading[:, 0]), np.ascontiguousarray(of_reading[:, 1])


def first_of_each(codes: NDArray[Any]) -> NDArray[np.int64]:
    """Where each of the codes 0..k-1 appears first."""
    first = np.zeros(int(codes.max(initial=-1)) + 1, np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first


@lru_cache(maxsize=1 << 14)
def _identify(values: tuple[str, ...], text: str) -> tuple[Gpu, Workload]:
    mig, labels = parse(text, dict(zip(DETERMINES, values, strict=True)))
    return Gpu._make((*values[:5], mig)), Workload._make((*values[5:8], labels))


def _label_texts(
    labels: Cells, metric: Cells, record: NDArray[np.int64], row: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Sequence[str]]:
    """labels_raw of each reading, freed of its metric's name where that is the column's: few texts for many rows."""
    if labels.texts == [""]:
        return np.zeros(len(row), np.int64), [""]
    known = {name: code for code, name in enumerate(metric.texts)}
    named = np.empty(len(labels.texts), np.int64)
    short = np.empty(len(labels.texts), np.int64)
    numbers: dict[str, int] = {}
    for code, text in enumerate(labels.texts):
        name, rest = freed(text)
        named[code] = -1 if name is None else known.get(name, -2)
        short[code] = numbers.setdefault(rest, len(numbers))
    texts = [*numbers, *labels.texts]
    canonical = np.array([is_canonical(text) for text in numbers], np.bool_)
    codes = labels.codes[record]
    own = np.array([known[name] for name in metric.texts], np.int64)[metric.codes[row]]
    usable = canonical[short[codes]] & ((named[codes] == -1) | (named[codes] == own))
    return np.where(usable, short[codes], codes + len(numbers)), texts
