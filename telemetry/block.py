"""A block: readings of one source, as columns, and their form on the wire (`block/1`).

What lives here: what a reading is, the block that carries thousands of them, its JSON and the checks that
a message of any origin must pass. What does not: reading files (`streamer`), queues (`broker`), SQL (`store`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

FORMAT = "block/1"
"""The value of the message header `format`; another one is refused."""

MAX_TEXT = 1_024
"""Longest identity text (uuid, hostname, pod, metric name ..), in characters."""
MAX_LABELS = 16_384
"""Longest labels_raw of one reading, in characters."""
MAX_ROWS = 1_000_000
"""Most readings that one block may stand for."""
MIN_TIME, MAX_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Years 1 to 9999, in µs since 1970: what RFC 3339 can write and PostgreSQL can store."""

REMEMBERED, REMEMBERED_BYTES = 8_192, 2_000
"""Checked GPUs, and workloads, that a process keeps, and the longest JSON of one: 32 MB of it at most."""

Labels = str
"""JSON of a label set, keys in byte order: an object whose null values stand for the column of that meaning,
or a string, which is labels_raw verbatim (for texts that are not in Prometheus' canonical form)."""


class BlockError(ValueError):
    """Raised when a message is not a block this version can read."""


class Gpu(NamedTuple):
    """Identity and place of a GPU (or of a MIG instance: `labels` holds GPU_I_ID and GPU_I_PROFILE)."""

    uuid: str
    gpu_id: str
    device: str
    model_name: str
    hostname: str
    labels: Labels = "{}"


class Workload(NamedTuple):
    """What ran on the GPU, and every label that neither the columns nor the GPU determine."""

    container: str
    pod: str
    namespace: str
    labels: Labels = "{}"


class Rejection(NamedTuple):
    """A reading that cannot be used: its number in the source, why, and its text (perhaps shortened)."""

    row: int
    reason: str
    raw: str


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
                "gpus": [{**gpu._asdict(), "labels": orjson.Fragment(gpu.labels)} for gpu in self.gpus],
                "metrics": list(self.metrics),
                "workloads": [{**w._asdict(), "labels": orjson.Fragment(w.labels)} for w in self.workloads],
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
        try:
            doc = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise BlockError(f"body is not JSON: {error}") from None
        if not isinstance(doc, dict):
            raise BlockError("body is not a JSON object")
        source, first_row = identity
        block = cls(source, first_row, rows, *_columns(doc))
        _check(block)
        return block


def _columns(doc: dict[str, Any]) -> tuple[Any, ...]:
    """The parts of the body in the order of Block's fields, from time0 on."""
    return (
        _integer(doc, "time0"),
        _items(doc, "gpus", _known_gpu),
        [_metric(item) for item in _list(doc, "metrics")],
        _items(doc, "workloads", _known_workload),
        _indexes(doc, "gpu", len(doc["gpus"])),
        _indexes(doc, "metric", len(doc["metrics"])),
        _indexes(doc, "workload", len(doc["workloads"])),
        _numbers(doc, "dt", np.int64, int),
        _numbers(doc, "value", np.float64, int, float),
        _integer(doc, "blank"),
        _rejections(doc),
    )


def _rejections(doc: dict[str, Any]) -> list[Rejection]:
    rejected = []
    for item in _list(doc, "rejected"):
        if not (isinstance(item, list) and len(item) == 3 and type(item[0]) is int and isinstance(item[2], str)):
            raise BlockError("an item of 'rejected' is not [row, reason, raw]")
        rejected.append(
            Rejection(item[0], _text(item[1], "rejected"), item[2].replace("\0", "\N{REPLACEMENT CHARACTER}"))
        )
    return rejected


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


def _list(doc: dict[str, Any], name: str) -> list[Any]:
    if not isinstance(doc.get(name), list):
        raise BlockError(f"{name!r} is missing or not a list")
    return doc[name]  # type: ignore[no-any-return]  # the line above has looked


def _integer(doc: dict[str, Any], name: str) -> int:
    value = doc.get(name)
    if type(value) is not int or not -(2**62) < value < 2**62:
        raise BlockError(f"{name!r} is missing or not a whole number")
    return value


def _text(value: object, name: str, limit: int = MAX_TEXT) -> str:
    if not isinstance(value, str) or len(value) > limit or "\0" in value or "\1" in value:
        raise BlockError(f"a text in {name!r} is no text, holds control characters, or is longer than {limit}")
    return value


def _metric(item: object) -> str:
    if not _text(item, "metrics"):
        raise BlockError("a text in 'metrics' is empty")
    return str(item)


def _gpu(raw: bytes) -> Gpu:
    gpu: Gpu = _named(Gpu, orjson.loads(raw), "gpus")
    if not gpu.gpu_id or not (gpu.uuid or gpu.hostname):
        raise BlockError("an item of 'gpus' has no gpu_id, or neither uuid nor hostname")
    return gpu


def _workload(raw: bytes) -> Workload:
    workload: Workload = _named(Workload, orjson.loads(raw), "workloads")
    return workload


_known_gpu = lru_cache(maxsize=REMEMBERED)(_gpu)
_known_workload = lru_cache(maxsize=REMEMBERED)(_workload)


def _items(doc: dict[str, Any], name: str, known: Any) -> list[Any]:
    """The items of a dictionary, checked: those of one fleet come again in every block."""
    raws = map(orjson.dumps, _list(doc, name))
    return [known(raw) if len(raw) <= REMEMBERED_BYTES else known.__wrapped__(raw) for raw in raws]


def _named(kind: Any, item: object, name: str) -> Any:
    if not isinstance(item, dict) or not item.keys() <= set(kind._fields):
        raise BlockError(f"an item of {name!r} is not an object of {', '.join(kind._fields)}")
    texts = [_text(item.get(field, ""), name) for field in kind._fields[:-1]]
    return kind(*texts, _labels(item.get("labels", {}), name))


def _labels(value: object, name: str) -> Labels:
    parts: list[Any] = [*value, *value.values()] if isinstance(value, dict) else [value]
    texts = [part for part in parts if isinstance(part, str)]
    if value is None or any(not isinstance(part, str | None) for part in parts):
        raise BlockError(f"labels in {name!r} are neither an object of texts nor a text")
    if any("\0" in text or "\1" in text for text in texts) or sum(map(len, texts)) > MAX_LABELS:
        raise BlockError(f"labels in {name!r} hold control characters or are longer than {MAX_LABELS} characters")
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _numbers(doc: dict[str, Any], name: str, dtype: type[np.generic], *kinds: type) -> NDArray[Any]:
    items = _list(doc, name)
    if not set(map(type, items)) <= set(kinds):  # numpy would take booleans, and write numbers out beside a text
        raise BlockError(f"{name!r} is not a flat list of {'whole ' if float not in kinds else ''}numbers")
    try:
        return np.array(items, dtype)
    except OverflowError:
        raise BlockError(f"{name!r} holds a number that is too large") from None


def _indexes(doc: dict[str, Any], name: str, length: int) -> NDArray[np.int32]:
    array = _numbers(doc, name, np.int32, int)
    if array.size and not (0 <= array.min() and array.max() < length):
        raise BlockError(f"{name!r} points outside its dictionary of {length}")
    return array
