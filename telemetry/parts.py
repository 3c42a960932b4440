"""The parts of a block: GPUs, workloads, rejected readings, and how they and the columns are read from JSON.

What lives here: the checks that each part of a message of any origin must pass. What does not: the block itself, and
what only its parts together can say (`block`).
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from sys import getsizeof
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry.remembered import Remembered

MAX_TEXT = 1_024
"""Longest identity text (uuid, hostname, pod, metric name ..), in characters."""
MAX_LABELS = 16_384
"""Longest labels_raw of one reading, in characters."""

REMEMBERED = 12 << 20
"""Bytes of memory for what a process keeps of GPUs, and of workloads: those of some 10,000 GPUs."""
OBJECTS = 300
"""Bytes that the objects of one take beside its texts."""
PARTS, PART_BYTES = 16, 1 << 17
"""Whole dictionaries of each kind that a process keeps, and the longest JSON of one: 6 MB of it at most."""

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


class Dictionaries(NamedTuple):
    """What the columns gpu, metric and workload point into. Blocks share them: they are never changed."""

    gpus: list[Gpu]
    metrics: list[str]
    workloads: list[Workload]


def _fragment(item: Gpu | Workload) -> orjson.Fragment:
    body = orjson.dumps({**item._asdict(), "labels": orjson.Fragment(item.labels)})
    return orjson.Fragment(bytes(memoryview(body)))  # a copy of the right size: dumps leaves room for some KB behind it


_known_fragments = Remembered(
    _fragment, most_bytes=2 * REMEMBERED, weigh=lambda item: OBJECTS + 2 * sum(map(getsizeof, item))
)


def fragments(items: Sequence[Gpu | Workload]) -> list[orjson.Fragment]:
    """The JSON of each item of a dictionary."""
    return _known_fragments.each(items)


class Document:
    """The JSON of a block. Each part is checked when it is asked for: BlockError says what is wrong with it."""

    def __init__(self, body: bytes) -> None:
        self._known, tail = _divided(body)
        self._doc = _object(body) if tail is None else tail[0]
        self._plain = not _may_hold_booleans(body if tail is None else tail[1])

    def dictionaries(self) -> Dictionaries:
        """GPUs, metrics and workloads."""
        return self._known or _dictionaries(self._doc)

    def integer(self, name: str) -> int:
        """A whole number."""
        value = self._doc.get(name)
        if type(value) is not int or not -(2**62) < value < 2**62:
            raise BlockError(f"{name!r} is missing or not a whole number")
        return value

    def numbers(self, name: str, dtype: type[np.generic], *kinds: type) -> NDArray[Any]:
        """A column of numbers of these kinds; read only."""
        items = _list(self._doc, name)
        if self._plain:  # what booleans would pass: all else that is no number is refused here, for the reason below
            try:
                return np.frombuffer(struct.pack(f"{len(items)}{np.dtype(dtype).char}", *items), dtype)
            except struct.error:
                pass
        return _converted(items, name, dtype, *kinds)

    def indexes(self, name: str, length: int) -> NDArray[np.int32]:
        """A column that points into a dictionary of so many items; read only."""
        array = self.numbers(name, np.int32, int)
        if array.size and not (0 <= array.min() and array.max() < length):
            raise BlockError(f"{name!r} points outside its dictionary of {length}")
        return array

    def rejections(self) -> list[Rejection]:
        """The rejected readings."""
        rejected = []
        for item in _list(self._doc, "rejected"):
            if not (isinstance(item, list) and len(item) == 3 and type(item[0]) is int and isinstance(item[2], str)):
                raise BlockError("an item of 'rejected' is not [row, reason, raw]")
            raw = item[2].replace("\0", "\N{REPLACEMENT CHARACTER}")
            rejected.append(Rejection(item[0], _text(item[1], "rejected"), raw))
        return rejected


def _object(body: bytes) -> dict[str, Any]:
    try:
        doc = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BlockError(f"body is not JSON: {error}") from None
    if not isinstance(doc, dict):
        raise BlockError("body is not a JSON object")
    return doc


def _divided(body: bytes) -> tuple[Dictionaries | None, tuple[dict[str, Any], bytes] | None]:
    """The dictionaries that a body begins with, and its other fields with their JSON, where it can be divided so.

    Most items of a fleet's were in the block before, and they are more bytes than the readings. A body is divided at
    the marks that encode() leaves between the parts; rightly so if each part is JSON by itself, which a mark within a
    text or an item would not leave it. Any other body is read as a whole. Of two equal keys the last would hold.
    """
    cut = body.find(b',"time0":')
    known = _head(body[:cut]) if cut > 0 else None
    if known is None:
        return None, None
    rest = b"{" + body[cut + 1 :]
    try:
        doc = orjson.loads(rest)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(doc, dict) or not doc.keys().isdisjoint(Dictionaries._fields):
        return None, None
    return known, (doc, rest)


def _head(head: bytes) -> Dictionaries | None:
    """The dictionaries that this beginning of a body holds and nothing else; None: it does not, or not as it should."""
    start, middle, last = b'{"gpus":[', b'],"metrics":[', b'],"workloads":['
    metrics = head.find(middle)
    workloads = head.find(last, metrics)
    if metrics < 0 or workloads < 0 or not (head.startswith(start) and head.endswith(b"]")):
        return None
    parts = head[len(start) : metrics], head[metrics + len(middle) : workloads], head[workloads + len(last) : -1]
    try:
        return Dictionaries(*(_kept(read, part) for read, part in zip(_READERS, parts, strict=True)))
    except (orjson.JSONDecodeError, BlockError):
        return None


def _kept(read: Any, part: bytes) -> Any:
    return read(part) if len(part) <= PART_BYTES else read.__wrapped__(part)


def _objects(part: bytes, known: Remembered[bytes, Any]) -> list[Any]:
    """The items whose JSON this is, with commas between."""
    if part and not (part.startswith(b"{") and part.endswith(b"}")):
        raise BlockError("not a list of objects")
    return known.each(b"{%b}" % inner for inner in part[1:-1].split(b"},{")) if part else []


def _dictionaries(doc: dict[str, Any]) -> Dictionaries:
    return Dictionaries(
        _items(doc, "gpus", _known_gpu),
        [_metric(item) for item in _list(doc, "metrics")],
        _items(doc, "workloads", _known_workload),
    )


def _may_hold_booleans(body: bytes) -> bool:
    """Whether `true` or `false` stands in a JSON object, if only in a text.

    First two letters of each, that are in no field's name: among numbers bytes look five times as long for the words.
    """
    letters = np.frombuffer(body, np.uint8)
    pairs = ((np.flatnonzero(letters == first) + 1, second) for first, second in (b"ru", b"ls"))
    return any((letters[at] == second).any() for at, second in pairs) and (b"true" in body or b"false" in body)


def _converted(items: list[Any], name: str, dtype: type[np.generic], *kinds: type) -> NDArray[Any]:
    if not set(map(type, items)) <= set(kinds):  # numpy would take booleans, and write numbers out beside a text
        raise BlockError(f"{name!r} is not a flat list of {'whole ' if float not in kinds else ''}numbers")
    try:
        return np.array(items, dtype)
    except OverflowError:
        raise BlockError(f"{name!r} holds a number that is too large") from None


def _list(doc: dict[str, Any], name: str) -> list[Any]:
    if not isinstance(doc.get(name), list):
        raise BlockError(f"{name!r} is missing or not a list")
    return doc[name]  # type: ignore[no-any-return]  # the line above has looked


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


def _weight(raw: bytes) -> int:
    """Of the JSON and the objects made of it: one character beyond Latin-1 makes all of its text four bytes wide."""
    return OBJECTS + (2 if raw.isascii() else 6) * len(raw)


_known_gpu = Remembered(_gpu, most_bytes=REMEMBERED, weigh=_weight)
_known_workload = Remembered(_workload, most_bytes=REMEMBERED, weigh=_weight)


@lru_cache(maxsize=PARTS)
def _gpus(part: bytes) -> list[Gpu]:
    return _objects(part, _known_gpu)


@lru_cache(maxsize=PARTS)
def _metrics(part: bytes) -> list[str]:
    return [_metric(item) for item in orjson.loads(b"[" + part + b"]")]


@lru_cache(maxsize=PARTS)
def _workloads(part: bytes) -> list[Workload]:
    return _objects(part, _known_workload)


_READERS = (_gpus, _metrics, _workloads)


def _items(doc: dict[str, Any], name: str, known: Remembered[bytes, Any]) -> list[Any]:
    """The items of a dictionary, checked: those of one fleet come again in every block."""
    return known.each(map(orjson.dumps, _list(doc, name)))


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
