"""A block: readings of one source, as columns, and their form on the wire (`block/1`).

What lives here: what a reading is, the block that carries thousands of them, its JSON and whether its parts agree.
What does not: the checks of each part (`parts`), reading files (`streamer`), queues (`broker`), SQL (`store`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry.parts import MAX_LABELS, MAX_TEXT, BlockError, Document, Gpu, Labels, Rejection, Workload, fragments

__all__ = [
    "FORMAT",
    "MAX_LABELS",
    "MAX_ROWS",
    "MAX_TEXT",
    "MAX_TIME",
    "MIN_TIME",
    "Block",
    "BlockError",
    "Gpu",
    "Labels",
    "Rejection",
    "Workload",
    "block_id",
    "parse_block_id",
]

FORMAT = "block/1"
"""The value of the message header `format`; another one is refused."""

MAX_ROWS = 1_000_000
"""Most readings that one block may stand for."""
SORTED = 1_000
"""Items of the largest dictionary that is sorted."""
MIN_TIME, MAX_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 to 9999, in µs since 1970: what RFC 3339 can write and PostgreSQL can store."""

_Item = TypeVar("_Item", Gpu, Workload, str)


def block_id(source: str, first_row: int) -> str:
    """The id of the message that carries the block: `source:first_row`."""
    return f"{source}:{first_row}"


def parse_block_id(text: str) -> tuple[str, int] | None:
    """(source, first_row) of a message id, or None when it is none of ours."""
    source, _, number = text.rpartition(":")
    if not source or "\0" in source or len(number) > 18 or not (number.isascii() and number.isdigit()):
        return None
    return (source, int(number)) if number == str(int(number)) else None


@dataclass(frozen=True, slots=True)
class Block:
    """Readings `first_row .. first_row + rows - 1` of `source`; n of them carry a value.

    `gpu`, `metric` and `workload` (int32, shape (n,)) index the three dictionaries; `dt` (int64, µs after
    `time0`) and `value` (float64) have the same shape. rows = n + blank + len(rejected).
    """

    source: str
    first_row: int
    rows: int
    time0: int
    gpus: Sequence[Gpu]
    metrics: Sequence[str]
    workloads: Sequence[Workload]
    gpu: NDArray[np.int32]
    metric: NDArray[np.int32]
    workload: NDArray[np.int32]
    dt: NDArray[np.int64]
    value: NDArray[np.float64]
    blank: int = 0
    rejected: Sequence[Rejection] = field(default_factory=tuple)

    @property
    def id(self) -> str:
        """The message id, `source:first_row`."""
        return block_id(self.source, self.first_row)

    @property
    def stored(self) -> int:
        """How many readings carry a value."""
        return len(self.value)

    def in_order(self) -> "Block":
        """The same with sorted dictionaries: blocks of the same GPUs and workloads then begin with the same bytes.

        Dictionaries of more than SORTED items stay as they are: nobody keeps those as a whole.
        """
        gpus, gpu = _sorted(self.gpus, self.gpu)
        metrics, metric = _sorted(self.metrics, self.metric)
        workloads, workload = _sorted(self.workloads, self.workload)
        return replace(self, gpus=gpus, metrics=metrics, workloads=workloads, gpu=gpu, metric=metric, workload=workload)

    def encode(self, max_bytes: int = 0) -> bytes:
        """The body as JSON, dictionaries first. Over `max_bytes` the texts of rejected rows are shortened."""
        body = self._dump(self.rejected)
        for keep in (200, 0):
            if not max_bytes or len(body) <= max_bytes or not self.rejected:
                break
            body = self._dump([Rejection(row, reason, raw[:keep]) for row, reason, raw in self.rejected])
        return body

    def _dump(self, rejected: Sequence[Rejection]) -> bytes:
        return orjson.dumps(
            {
                "gpus": fragments(self.gpus),
                "metrics": list(self.metrics),
                "workloads": fragments(self.workloads),
                "time0": self.time0,
                "gpu": self.gpu,
                "metric": self.metric,
                "workload": self.workload,
                "dt": self.dt,
                "value": self.value,
                "blank": self.blank,
                "rejected": [[*rejection] for rejection in rejected],
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )

    @classmethod
    def decode(cls, message_id: str, rows: int, format: str, body: bytes) -> "Block":
        """The block in a message. BlockError says what is wrong with it, in one sentence."""
        if format != FORMAT:
            raise BlockError(f"format is {format[:40]!r}, not {FORMAT!r}")
        identity = parse_block_id(message_id)
        if identity is None:
            raise BlockError(f"id {message_id[:80]!r} is not source:first_row")
        doc = Document(body)
        source, first_row = identity
        block = cls(source, first_row, rows, *_columns(doc))
        _check(block)
        return block


def _sorted(items: Sequence[_Item], column: NDArray[np.int32]) -> tuple[Sequence[_Item], NDArray[np.int32]]:
    """Sorted, and the column pointing to where they are then."""
    if len(items) > SORTED:
        return items, column
    order = sorted(range(len(items)), key=items.__getitem__)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    return [items[number] for number in order], place[column]


def _columns(doc: Document) -> tuple[Any, ...]:
    """The parts of the body in the order of Block's fields, from time0 on."""
    time0 = doc.integer("time0")
    gpus, metrics, workloads = doc.dictionaries()
    return (
        time0,
        gpus,
        metrics,
        workloads,
        doc.indexes("gpu", len(gpus)),
        doc.indexes("metric", len(metrics)),
        doc.indexes("workload", len(workloads)),
        doc.numbers("dt", np.int64, int),
        doc.numbers("value", np.float64, int, float),
        doc.integer("blank"),
        doc.rejections(),
    )


def _check(block: Block) -> None:
    """What no single column can say: that lengths agree, numbers add up and times can be stored."""
    lengths = {len(c) for c in (block.gpu, block.metric, block.workload, block.dt, block.value)}
    if len(lengths) != 1:
        raise BlockError("the columns gpu, metric, workload, dt and value differ in length")
    if not 0 < block.rows <= MAX_ROWS:
        raise BlockError(f"rows is {block.rows}, not 1 to {MAX_ROWS}")
    if block.blank < 0 or block.stored + block.blank + len(block.rejected) != block.rows:
        raise BlockError(
            f"rows is {block.rows}, but {block.stored} values + {block.blank} blank + {len(block.rejected)} rejected"
        )
    last = block.first_row + block.rows
    if any(not block.first_row <= item.row < last for item in block.rejected):
        raise BlockError("an item of 'rejected' names a row outside the block")
    if len({item.row for item in block.rejected}) < len(block.rejected):
        raise BlockError("two items of 'rejected' name the same row")
    if not np.isfinite(block.value).all():
        raise BlockError("a value is not a finite number")
    _check_times(block)


def _check_times(block: Block) -> None:
    low, high = (int(block.dt.min()), int(block.dt.max())) if block.stored else (0, 0)
    if not (MIN_TIME <= block.time0 + low and block.time0 + high <= MAX_TIME):
        raise BlockError("a time lies outside the years 1 to 9999")
