"""The fleet's newest values in Prometheus' text format, named and labelled as dcgm-exporter has them.

What lives here: names, labels, lines. What does not: which values (`telemetry.store.questions.current`), who asks
(`gpus`).
A line is made of three texts that are made once: the metric's, the GPU's with its workload's, the number's.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry.runtime.measures import GPUS, Measure
from telemetry.store.questions.current import APART, Fleetwide, Values, Workload
from telemetry.store.questions.fleet import MetricRow
from telemetry.store.questions.reader import GpuRow

_NO_NAME = re.compile(r"[^a-zA-Z0-9_:]")
_TAKEN = re.compile(r"up$|ALERTS|scrape_|telemetry_")
"""Names that Prometheus gives, or the server: by a source's metric of that name an alert could be forged."""
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)

OWN = frozenset(
    (
        *("gpu", "UUID", "uuid", "device", "modelName", "model_name", "Hostname", "hostname"),
        *("GPU_I_ID", "GPU_I_PROFILE", "container", "pod", "namespace"),
        *("job", "instance"),
    )
)
"""Labels that are told from columns, or are of the scrape that the reading came by: this one has its own."""

PLACE = ("container", "pod", "namespace")
"""Told where they are empty too: with honor_labels Prometheus else puts those of the API's own pod in their place."""
_NOWHERE = b',container="",pod="",namespace=""'
_NO_CODE = frozenset(("pod_uid", "pod_name", "pod_namespace", "container_name", "hpc_job", "vgpu"))
"""Labels that say who has the GPU, beside those of `OWN`: with the next job a code that was counted is no other one."""
_FIELD = "DCGM_FI_"
"""How labels begin that dcgm-exporter takes from fields, as the driver's version: no codes either."""

_UP, _SEEN, _SERIES, _READ = GPUS


class Labels:
    """The texts of GPUs and workloads, made once; those that a look does not have are forgotten."""

    def __init__(self) -> None:
        self._gpus: dict[int, bytes] = {}
        self._workloads: dict[int, bytes] = {}

    def of(self, look: Fleetwide) -> tuple[Mapping[int, bytes], Mapping[int, bytes]]:
        """By number: those of the GPUs, and those of the workloads."""
        gpus, workloads = self._gpus, self._workloads
        self._gpus = {number: gpus.get(number) or gpu_labels(row) for number, row in look.gpus.items()}
        self._workloads = {
            number: known if (known := workloads.get(number)) is not None else workload_labels(one)
            for number, one in look.workloads.items()
        }
        return self._gpus, self._workloads


def page(look: Fleetwide, labels: Labels, *, timestamps: bool, counters: bool = True) -> Iterator[bytes]:
    """The text, in parts. With `timestamps` each value carries the time of its reading.

    Without `counters` of none: of an old look, beside new ones of other processes, they would seem to begin anew.
    """
    gpus, workloads = labels.of(look)
    known = look.values.chosen(np.isin(look.values.gpu, list(gpus)))
    (by_name, others), boards = _by_name(look.metrics), _boards(look.gpus)
    exported = 0
    for name, metrics in by_name.items():
        if not len((found := known.chosen(np.isin(known.metric, list(metrics)))).time):
            continue
        about = next(iter(metrics.values()))
        if about.kind == "counter" and not counters:
            continue
        values = _of_one(found, metrics, boards, _codes(found, look.workloads) if name.startswith(APART) else None)
        exported += len(values.time)
        yield _head(name, about)
        yield _lines(name.encode(), values, gpus, workloads, timestamps)
    yield from _seen(look, gpus)
    yield from _about(look, exported, int(np.isin(known.metric, others).sum()))


def away() -> bytes:
    """The text while the GPUs cannot be read: none, and that it is so."""
    return b"".join(_family(_UP, [b"0"]))


def gpu_labels(row: GpuRow) -> bytes:
    """What tells a GPU, or MIG instance, from all others."""
    named = {
        "gpu": row.gpu_id,
        "UUID": row.uuid,
        "device": row.device,
        "modelName": row.model_name,
        "Hostname": row.hostname,
        **{name: row.labels[name] for name in ("GPU_I_ID", "GPU_I_PROFILE") if row.labels.get(name)},
    }
    return _labels(named.items())


def workload_labels(workload: Workload) -> bytes:
    """What a reading's source said beside that.

    Empty texts are left out, as Prometheus takes both for the same; but not those of `PLACE`.
    """
    place = zip(PLACE, (workload.container, workload.pod, workload.namespace), strict=True)
    return b"," + _labels([*place, *_own(workload)])


def _own(workload: Workload) -> list[tuple[str, str]]:
    named = workload.labels.items()
    return [(name, text) for name, text in named if text and name not in OWN and _LABEL.fullmatch(name)]


def _by_name(metrics: Mapping[int, MetricRow]) -> tuple[dict[str, dict[int, MetricRow]], list[int]]:
    """All that come under one name: two generations' names of one metric. And those that have no name of their own.

    Metrics whose names differ in odd characters alone are not one: who is called so to the letter has the name.
    """
    found: dict[str, dict[int, MetricRow]] = {}
    whose: dict[str, str] = {}
    others: list[int] = []
    named = [(_name(called := metric.canonical.strip()), called, number) for number, metric in metrics.items()]
    for name, called, number in sorted(named, key=lambda one: (one[0] != one[1], *one)):
        if whose.setdefault(name, called) == called:
            found.setdefault(name, {})[number] = metrics[number]
        else:
            others.append(number)
    return found, others


def _name(called: str) -> str:
    name = _NO_NAME.sub("_", called)
    return f"_{name}" if not name or name[0].isdigit() or _TAKEN.match(name) else name


def _board(row: GpuRow) -> tuple[str, str]:
    """What a GPU, or MIG instance, is known by wherever it is."""
    return row.id, row.labels.get("GPU_I_ID", "")


def _boards(gpus: Mapping[int, GpuRow]) -> dict[int, int]:
    """For each number one that all have in common that are the same board, at another place or by another name."""
    first: dict[tuple[str, str], int] = {}
    return {number: first.setdefault(_board(row), number) for number, row in gpus.items()}


def _codes(values: Values, workloads: Mapping[int, Workload]) -> NDArray[np.int64]:
    """For each value a number that those have in common that count the same code, whoever had the GPU."""
    first: dict[frozenset[tuple[str, str]], int] = {}
    known = {w: first.setdefault(_code(workloads.get(w)), w) for w in np.unique(values.workload).tolist()}
    return np.array([known[w] for w in values.workload.tolist()], np.int64)


def _code(workload: Workload | None) -> frozenset[tuple[str, str]]:
    named = _own(workload) if workload else []
    return frozenset((name, text) for name, text in named if name not in _NO_CODE and not name.startswith(_FIELD))


def _of_one(
    values: Values,
    metrics: Mapping[int, MetricRow],
    boards: Mapping[int, int],
    codes: NDArray[np.int64] | None = None,
) -> Values:
    """One name's values in the unit of that name, the newest of each board, and of each code where there are."""
    codes = np.zeros_like(values.gpu) if codes is None else codes
    factors = np.ones(max(metrics) + 1)
    factors[list(metrics)] = [metric.factor for metric in metrics.values()]
    values = values._replace(value=values.value * factors[values.metric])
    board = np.array([boards[gpu] for gpu in values.gpu.tolist()], np.int64)
    order = np.lexsort((values.time, codes, board))
    board, codes = board[order], codes[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (board[1:] != board[:-1]) | (codes[1:] != codes[:-1])
    return values.chosen(order[last])


def _lines(
    name: bytes, values: Values, gpus: Mapping[int, bytes], workloads: Mapping[int, bytes], timestamps: bool
) -> bytes:
    numbers = orjson.dumps(values.value, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    ends = [b"\n"] * len(numbers)
    if timestamps:
        ends = [b" %d\n" % at for at in (values.time // 1_000).tolist()]
    columns = zip(values.gpu.tolist(), values.workload.tolist(), numbers, ends, strict=True)
    return b"".join(
        [b"%b{%b%b} %b%b" % (name, gpus[g], workloads.get(w, _NOWHERE), n, end) for g, w, n, end in columns]
    )


def _head(name: str, metric: MetricRow) -> bytes:
    kind = metric.kind if metric.kind in ("counter", "gauge") else "gauge"  # a code is one too
    unit = f", {metric.unit}" if metric.unit else ""
    told = b"# HELP %b %b\n" % (name.encode(), _escaped(f"{metric.description}{unit}", quotes=False))
    return b"%b# TYPE %b %b\n" % (told if metric.description else b"", name.encode(), kind.encode())


def _seen(look: Fleetwide, labels: Mapping[int, bytes]) -> Iterator[bytes]:
    """Of each GPU and MIG instance the place where it was last: it is not missing at those before, it moved."""
    latest: dict[tuple[str, str], tuple[float, int]] = {}
    for number, row in look.gpus.items():
        key, at = _board(row), (look.seen[number], number)
        latest[key] = max(at, latest.get(key, at))
    found = [(at, labels[number]) for at, number in latest.values()]
    return _family(_SEEN, [b"%.3f" % at for at, _ in found], [text for _, text in found])


def _about(look: Fleetwide, exported: int, nameless: int) -> Iterator[bytes]:
    yield from _family(_UP, [b"1"])
    counted = {"exported": exported, "cut": look.cut, "nameless": nameless}
    yield from _family(_SERIES, [b"%d" % n for n in counted.values()], [b'state="%b"' % s.encode() for s in counted])
    yield from _family(_READ, [b"%.3f" % (look.at / 1e6)])


def _family(measure: Measure, values: Iterable[bytes], labels: Iterable[bytes] = (b"",)) -> Iterator[bytes]:
    name = measure.name.encode()
    yield b"# HELP %b %b\n# TYPE %b %b\n" % (name, _escaped(measure.why, quotes=False), name, measure.kind.encode())
    for value, text in zip(values, labels, strict=True):
        yield b"%b{%b} %b\n" % (name, text, value) if text else b"%b %b\n" % (name, value)


def _labels(named: Iterable[tuple[str, str]]) -> bytes:
    return b",".join(b'%b="%b"' % (name.encode(), _escaped(text)) for name, text in named)


def _escaped(text: str, *, quotes: bool = True) -> bytes:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return (escaped.replace('"', '\\"') if quotes else escaped).encode("utf-8", "replace")
