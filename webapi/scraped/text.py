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


def page(look: Fleetwide, labels: Labels, *, timestamps: bool) -> Iterator[bytes]:
    """The text, in parts. With `timestamps` each value carries the time of its reading."""
    gpus, workloads = labels.of(look)
    known = look.values.chosen(np.isin(look.values.gpu, list(gpus)))
    by_name, others = _by_name(look.metrics)
    exported = 0
    for name, metrics in by_name.items():
        if not len((found := known.chosen(np.isin(known.metric, list(metrics)))).time):
            continue
        values = _of_one(found, metrics, _told(found, workloads) if name.startswith(APART) else None)
        exported += len(values.time)
        yield _head(name, next(iter(metrics.values())))
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
        **{name: row.labels[name] for name in ("GPU_I_ID", "GPU_I_PROFILE") if name in row.labels},
    }
    return _labels(named.items())


def workload_labels(workload: Workload) -> bytes:
    """What a reading's source said beside that.

    Empty texts are left out, as Prometheus takes both for the same; but not those of `PLACE`.
    """
    own = {name: text for name, text in workload.labels.items() if name not in OWN and _LABEL.fullmatch(name)}
    place = zip(PLACE, (workload.container, workload.pod, workload.namespace), strict=True)
    return b"," + _labels([*place, *((name, text) for name, text in own.items() if text)])


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


def _told(values: Values, workloads: Mapping[int, bytes]) -> NDArray[np.int64]:
    """For each value a number that those have in common whose workloads are told alike: they are one series."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(workloads.get(w, _NOWHERE), w) for w in values.workload.tolist()], np.int64)


def _of_one(values: Values, metrics: Mapping[int, MetricRow], told: NDArray[np.int64] | None = None) -> Values:
    """One name's values in the unit of that name, the newest of each GPU, and of each number that is `told`."""
    told = np.zeros_like(values.gpu) if told is None else told
    factors = np.ones(max(metrics) + 1)
    factors[list(metrics)] = [metric.factor for metric in metrics.values()]
    values = values._replace(value=values.value * factors[values.metric])
    order = np.lexsort((values.time, told, values.gpu))
    gpu, told = values.gpu[order], told[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (gpu[1:] != gpu[:-1]) | (told[1:] != told[:-1])
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
        key, at = (row.id, row.labels.get("GPU_I_ID", "")), (look.seen[number], number)
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
