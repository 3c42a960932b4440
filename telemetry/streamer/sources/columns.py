"""Which column of a CSV header means what, under the names that exports give it.

Names are compared trimmed and without case. A file is long (a metric name and a value per row) or wide (a
column per metric).
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from telemetry.streamer.errors import SourceError

ALIASES = {
    "timestamp": ("timestamp", "_time", "time"),
    "metric_name": ("metric_name", "_field", "metric", "__name__"),
    "gpu_id": ("gpu_id", "gpu"),
    "device": ("device",),
    "uuid": ("uuid", "gpu_uuid"),
    "model_name": ("model_name", "modelname"),
    "hostname": ("hostname", "host"),
    "container": ("container",),
    "pod": ("pod",),
    "namespace": ("namespace",),
    "value": ("value", "_value"),
    "labels_raw": ("labels_raw", "labels"),
}
"""Field of a reading -> names of its column, the first found wins."""

KnowsMetric = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Layout:
    """`column` maps a field to its position; `metrics` maps, in a wide file, positions to metric names."""

    names: Sequence[str]
    column: dict[str, int]
    metrics: dict[int, str]

    @property
    def per_record(self) -> int:
        """Readings in a record: the number of metric columns of a wide file, else 1."""
        return len(self.metrics) or 1


def parse_header(line: bytes, knows_metric: KnowsMetric, *, times: bool) -> Layout:
    """The layout that a header line gives. `times`: the file's own times are wanted.

    SourceError names the missing column and what was found.
    """
    try:
        names = [name.strip() for name in next(csv.reader(io.StringIO(line.decode("utf-8"), newline="")))]
    except (UnicodeDecodeError, csv.Error, StopIteration):
        raise SourceError("the first line is no CSV header in UTF-8") from None
    lowered = [name.lower() for name in names]
    if twice := sorted({name for name in lowered if name and lowered.count(name) > 1}):
        raise SourceError(f"the header names {', '.join(twice)} more than once; rename one of them")
    column = {
        field: lowered.index(alias)
        for field, aliases in ALIASES.items()
        if (alias := next((a for a in aliases if a in lowered), None)) is not None
    }
    metrics = {} if "metric_name" in column else {i: n for i, n in enumerate(names) if knows_metric(n)}
    layout = Layout(names, column, metrics)
    _check(layout, times)
    return layout


def _check(layout: Layout, times: bool) -> None:
    missing = [] if layout.metrics else [name for name in ("metric_name", "value") if name not in layout.column]
    missing += [name for name in ("gpu_id",) if name not in layout.column]
    if not layout.column.keys() & {"uuid", "hostname"}:
        missing.append("uuid (or hostname)")
    if times and "timestamp" not in layout.column:
        missing.append("timestamp (or use --time now)")
    if missing:
        found = ", ".join(layout.names)
        raise SourceError(
            f"the header has no column {', '.join(missing)}; it has: {found[:300] or 'nothing'}. "
            "A comma-separated DCGM export with a header line is needed"
        )
