"""What /api/v1/fleet/anomalies answers: GPUs whose values are far from those of GPUs like them.

What does not live here: the operation (`fleet`), the arithmetic (`robust`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import fsum
from typing import Any, NamedTuple

from telemetry.block import MIN_TIME
from telemetry.catalog import lookup
from telemetry.store.questions.boards import Instance, boards, instance_of, newest_of
from telemetry.store.questions.fleet import Extent, Fleet, MetricRow, Part
from telemetry.store.questions.reader import GpuRow
from webapi.fleet.parameters import HOUR, PastQuery, moment, span, stale_after_field
from webapi.fleet.robust import FEWEST, Spread, spread
from webapi.fleet.summary import as_of
from webapi.ranges import FleetQuery, metrics_field, selection
from webapi.schemas import Number, Time
from webapi.times import micros, rfc3339

METRICS = ("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_GPU_UTIL")
THRESHOLD = 3.5
"""What Iglewicz and Hoaglin recommend."""

_FEW = f"fewer than {FEWEST} GPUs to compare"
_SAME = "all values are the same"
_MEAN = "more than half of the values are the same, so the mean absolute deviation stands in for the median one"


class AnomaliesQuery(PastQuery, FleetQuery):
    """Parameters of anomalies."""

    start_time = Time(
        "With a start or an end, the means of this range are compared; without an end it ends now, without a start it "
        "begins one hour before the end. Without both: the newest values."
    )
    end_time = Time("To this instant, inclusive; see `start_time`.")
    metric = metrics_field()
    threshold = Number(
        "How far a value is from the median of its peers, in their (robust) standard deviations, when it is told.",
        low=0.1,
        high=1_000_000,
        example=5,
        load_default=THRESHOLD,
    )
    stale_after = stale_after_field("Newest values that are older than so many seconds do not count.")


class Value(NamedTuple):
    """One value that is compared; `profile` and `instance` are those of a MIG instance, else empty."""

    metric: str
    row: GpuRow
    profile: str
    instance: str
    value: float


def anomalies(fleet: Fleet, query: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The answer."""
    part = fleet.part(selection(query))
    wanted = list(dict.fromkeys(_canonical(name) for name in query.get("metric") or METRICS))
    metrics = [one for one in fleet.metrics() if one.canonical in wanted]
    ranged = any(name in query for name in ("start_time", "start", "end_time", "end"))
    if ranged:
        start, end = span(query, now, HOUR)
        values = _means(fleet, part, metrics, start, end)
    else:
        at = as_of(part, moment(now))
        start, end = max(micros(at) - query["stale_after"] * 10**6, MIN_TIME), micros(at)
        values = _newest(fleet, part, metrics, at, query["stale_after"])
    judged, found = _judged(wanted, metrics, list(values), query["threshold"])
    return {
        "of": "mean" if ranged else "newest",
        "start_time": rfc3339(moment(start)),
        "end_time": rfc3339(moment(end)),
        "threshold": query["threshold"],
        "judged": judged,
        "anomalies": sorted(
            found, key=lambda one: (-abs(one["score"]), one["metric_name"], one["gpu"], one["gpu_i_id"])
        ),
    }


def _canonical(name: str) -> str:
    known = lookup(name)
    return known.canonical if known else name


def _newest(fleet: Fleet, part: Part, metrics: Sequence[MetricRow], at: datetime, within: float) -> Iterator[Value]:
    found = {(one.gpu, one.canonical): one for one in fleet.newest(part, metrics, at=at, within=within)}
    for board in boards(part.rows):
        for metric in dict.fromkeys(one.canonical for one in metrics):
            for instance, newest in newest_of(board.rows, found, metric).items():
                yield _value(metric, board.latest, instance, newest.value)


def _means(fleet: Fleet, part: Part, metrics: Sequence[MetricRow], start: int, end: int) -> Iterator[Value]:
    latest = {row.number: board.latest for board in boards(part.rows) for row in board.rows}
    rows = {row.number: row for row in part.rows}
    sums: dict[tuple[str, str, Instance], list[Extent]] = defaultdict(list)
    for one in fleet.extents(part, metrics, start=start, end=end):
        sums[one.canonical, rows[one.gpu].id, instance_of(rows[one.gpu])].append(one)
    for (metric, _, instance), extents in sums.items():
        mean = fsum(one.total for one in extents) / sum(one.readings for one in extents)
        yield _value(metric, latest[extents[0].gpu], instance, mean)


def _value(metric: str, row: GpuRow, instance: Instance, value: float) -> Value:
    """To 12 digits: the mean of the same values must not differ from another one by its last bit."""
    labels = dict(instance)
    return Value(metric, row, labels.get("GPU_I_PROFILE", ""), labels.get("GPU_I_ID", ""), float(f"{value:.12g}"))


def _judged(
    wanted: Sequence[str], metrics: Sequence[MetricRow], values: Sequence[Value], threshold: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What is said of each group of peers, and of each value that is far from the others."""
    known = {one.canonical: one for one in metrics}
    peers: dict[tuple[str, str], dict[str, list[Value]]] = defaultdict(lambda: defaultdict(list))
    for value in values:
        peers[value.row.model_name, value.profile][value.metric].append(value)
    judged, found = [], []
    for name in wanted:
        metric = known.get(name)
        groups = [(key, by_metric[name]) for key, by_metric in sorted(peers.items()) if by_metric[name]]
        for (model, profile), group in groups:
            told, far = _compared(metric, group, threshold)
            judged.append(_group(name, metric, model, profile, len(group), told, len(far)))
            found += far
        if not groups:
            judged.append(_group(name, metric, None, "", 0, "no GPU has a value", 0))
    return judged, found


def _compared(
    metric: MetricRow | None, group: Sequence[Value], threshold: float
) -> tuple[Spread | str, list[dict[str, Any]]]:
    """How a group was judged, or why it was not; and the values beyond the threshold."""
    if metric is not None and metric.kind == "code":
        return "its values are codes, and no distances lie between codes", []
    if len(group) < FEWEST:
        return _FEW, []
    of = spread([one.value for one in group])
    unit = metric.unit if metric else ""
    return of, [_anomaly(one, unit, of) for one in group if abs(of.score(one.value)) > threshold]


def _group(
    name: str, metric: MetricRow | None, model: str | None, profile: str, gpus: int, told: Spread | str, far: int
) -> dict[str, Any]:
    of = None if isinstance(told, str) else told
    note = told if isinstance(told, str) else "" if told.method.startswith("median") else _MEAN if told.scale else _SAME
    return {
        "metric_name": name,
        "unit": metric.unit if metric else "",
        "model_name": model,
        "mig_profile": profile,
        "gpus": gpus,
        "judged": of is not None,
        "median": of and of.median,
        "scale": of and round(of.scale, 9),
        "method": of and of.method,
        "anomalies": far,
        "note": note,
    }


def _anomaly(one: Value, unit: str, of: Spread) -> dict[str, Any]:
    return {
        "metric_name": one.metric,
        "unit": unit,
        "gpu": one.row.id,
        "gpu_i_id": one.instance,
        "hostname": one.row.hostname,
        "gpu_id": one.row.gpu_id,
        "model_name": one.row.model_name,
        "value": one.value,
        "median": of.median,
        "score": round(of.score(one.value), 6),
    }
