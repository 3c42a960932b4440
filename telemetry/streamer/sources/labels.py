"""labels_raw, without loss and without parsing it for every row.

A label whose value is that of a column is kept as null, so one label set serves all readings of a GPU. What
cannot be written back byte for byte from such a set is kept verbatim. Parsing happens once per distinct
(GPU, workload, text without its metric), never per row.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

import orjson

from telemetry.block import Labels

METRIC_LABEL = "__name__"
METRIC_MARK = "\x01"
"""Stands for the metric's name in a text that has been freed of it; no label may hold it."""

COLUMN_OF = {
    "UUID": "uuid",
    "uuid": "uuid",
    "gpu": "gpu_id",
    "device": "device",
    "modelName": "model_name",
    "model_name": "model_name",
    "Hostname": "hostname",
    "hostname": "hostname",
    "container": "container",
    "pod": "pod",
    "namespace": "namespace",
}
"""Label -> the field that determines it. The store writes labels_raw back by the same table
(store/sql/idempotent/100_labels.sql)."""

GPU_LABELS = ("GPU_I_ID", "GPU_I_PROFILE")
"""Labels, or columns, that are part of a GPU's identity: its MIG instance. In byte order."""

CACHED = 1_500
"""Longest texts whose parsed form is remembered, in characters: thousands of longer ones would fill the memory."""

_PAIR = re.compile(r'([A-Za-z_][A-Za-z0-9_]*+)="([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_PAIRS = re.compile(rf"{_PAIR.pattern}(?:,{_PAIR.pattern})*+", re.DOTALL)
_METRIC_OPENS = f'{METRIC_LABEL}="'
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse(text: str, columns: Mapping[str, str]) -> tuple[Labels, Labels]:
    """(labels of the GPU, labels of the workload) of one text.

    `text` is labels_raw with METRIC_MARK in the place of the metric's name when it was the column's;
    `columns` are the fields of the row. A MIG instance goes by its columns, else by its labels.
    """
    mig = {name: columns[name] for name in GPU_LABELS if columns.get(name)}
    pairs = _pairs(text) if text else []
    if pairs is None:
        return _dump(mig), _dump(text)
    labels: dict[str, str | None] = {}
    for name, value in pairs:
        if name in GPU_LABELS and _plain(value) and mig.setdefault(name, value) == value:
            labels[name] = None
        elif (name == METRIC_LABEL and value == METRIC_MARK) or (_plain(value) and _determined(name, value, columns)):
            labels[name] = None
        else:
            labels[name] = unescape(value)
    return _dump({name: mig[name] for name in GPU_LABELS if name in mig}), _dump(labels)


def freed(text: str) -> tuple[str | None, str]:
    """(the metric's name, `text` with METRIC_MARK in its place); (None, `text`) when it has none."""
    head, found, tail = text.partition(_METRIC_OPENS)
    name, closed, rest = tail.partition('"')
    if not closed or head[-1:] not in ("", ","):
        return None, text
    return name, f'{head}{found}{METRIC_MARK}"{rest}'


def is_canonical(text: str) -> bool:
    """Whether `text` (with or without METRIC_MARK) is written back byte for byte from its parsed form."""
    return _is_canonical(text) if len(text) <= CACHED else _is_canonical.__wrapped__(text)


def unescape(value: str) -> str:
    r"""A Prometheus label value as it is meant: \\, \" and \n resolved."""
    return _ESCAPED.sub(lambda m: "\n" if m[1] == "n" else m[1], value) if "\\" in value else value


def escape(value: str) -> str:
    r"""The inverse of `unescape`."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@lru_cache(maxsize=1 << 14)
def _is_canonical(text: str) -> bool:
    return not text or _pairs(text) is not None


def _pairs(text: str) -> list[tuple[str, str]] | None:
    """The pairs of a canonical text (names in byte order, once each, minimal escapes), else None."""
    if not _PAIRS.fullmatch(text):  # first, because a search through a text that has no pairs takes time in its square
        return None
    pairs = _PAIR.findall(text)
    names = [name for name, _ in pairs]
    if names != sorted(set(names)) or ",".join(f'{n}="{escape(unescape(v))}"' for n, v in pairs) != text:
        return None
    return pairs


def _plain(value: str) -> bool:
    return "\\" not in value and "\n" not in value


def _determined(name: str, value: str, columns: Mapping[str, str]) -> bool:
    field = COLUMN_OF.get(name)
    return field is not None and columns.get(field, "") == value


def _dump(value: object) -> Labels:
    return orjson.dumps(value).decode()
