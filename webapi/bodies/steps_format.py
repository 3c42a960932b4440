"""Values of steps written down. A value never becomes an object: columns of bytes are laid side by side and joined.

What lives here: JSON, CSV and NDJSON of steps. What does not: readings (`formats`), which steps (`telemetry.store`).
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import orjson

from telemetry.store.questions.aggregates import GroupBy, StepGroup, Steps
from webapi.bodies import formats
from webapi.bodies.tables import quoted, trailer

COLUMNS = {
    GroupBy.GPU: ("gpu", "gpu_i_id"),
    GroupBy.HOST: ("hostname",),
    GroupBy.MODEL: ("model_name",),
    GroupBy.NAMESPACE: ("namespace",),
    GroupBy.POD: ("pod",),
}
"""The fields that stand for each group. Instances of a GPU are told apart where GPUs are."""

PIECE = 20_000
"""Values that are written at a time: each takes some 200 bytes, for a moment several times."""

_FIRST = b'{"timestamp":"'


def columns(group_by: Sequence[GroupBy]) -> list[str]:
    """The fields of a record, in order."""
    return ["timestamp", "metric_name", "unit", *(name for one in group_by for name in COLUMNS[one]), "value"]


def written(kind: str, steps: Steps, group_by: Sequence[GroupBy], at_once: int = PIECE) -> Iterator[bytes]:
    """The answer in a format of `formats`, piece by piece, each of so many values."""
    if kind == formats.CSV:
        return chain([",".join(columns(group_by)).encode() + b"\n"], _csv(steps, group_by, at_once))
    if kind == formats.NDJSON:
        end = (b"\n" if len(steps.time) else b"") + trailer(len(steps.time))
        return chain(_objects(steps, group_by, b"\n", at_once), [end])
    return chain([b"["], _objects(steps, group_by, b",", at_once), [b"]"])


def _csv(steps: Steps, group_by: Sequence[GroupBy], at_once: int) -> Iterator[bytes]:
    between = [",".join(["", *map(quoted, _texts(group, group_by)), ""]).encode() for group in steps.groups]
    return map(b"".join, _pieces(steps, between, b"\n", at_once))


def _objects(steps: Steps, group_by: Sequence[GroupBy], separator: bytes, at_once: int) -> Iterator[bytes]:
    """JSON objects with separators between them, none after the last one."""
    names = columns(group_by)[1:-1]
    pairs = [orjson.dumps(dict(zip(names, _texts(group, group_by), strict=True))) for group in steps.groups]
    between = [b'",' + pair[1:-1] + b',"value":' for pair in pairs]
    before = _FIRST
    for piece in _pieces(steps, between, b"}" + separator + _FIRST, at_once):
        piece[-1] = b"}"
        yield before + b"".join(piece)
        before = separator + _FIRST


def _texts(group: StepGroup, group_by: Sequence[GroupBy]) -> list[str]:
    """What stands in a record between its time and its value, as `columns` names it."""
    texts = [group.metric_name, group.unit]
    for one, label in zip(group_by, group.labels, strict=True):
        texts += [label, group.mig] if one is GroupBy.GPU else [label]
    return texts


def _pieces(steps: Steps, between: Sequence[bytes], after: bytes, at_once: int) -> Iterator[list[bytes]]:
    """Time, what stands between, value, what stands after, of the first record, then of the second, .."""
    for first in range(0, len(steps.time), at_once):
        part = slice(first, first + at_once)
        times = formats.times(steps.time[part])
        laid = [after] * (4 * len(times))
        laid[0::4] = times
        laid[1::4] = formats.pick(between, steps.code[part])
        laid[2::4] = formats.values(steps.value[part])
        yield laid
