"""Which column of a CSV header means what, under the names that exports give it.

Names are compared trimmed and without case. A file is long (a metric name and a value per row) or wide (a
column per metric).
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from telemetry.block import MAX_TEXT
from telemetry.streamer.errors import SourceError
from telemetry.streamer.sources.records import MAX_RECORD
from telemetry.streamer.sources.slices import fields_of

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
    "GPU_I_ID": ("gpu_i_id",),
    "GPU_I_PROFILE": ("gpu_i_profile",),
}
"""Field of a reading -> names of its column, the first found wins."""

_MAGIC = {
    b"\xff\xfe": "is UTF-16; convert it with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "is UTF-16; convert it with iconv -f UTF-16 -t UTF-8",
    b"\x1f\x8b": "is compressed; unpack it with gunzip -k",
    b"\x28\xb5\x2f\xfd": "is compressed; unpack it with unzstd",
    b"PK\x03\x04": "is a zip archive; unpack it with unzip",
    b"BZh": "is compressed; unpack it with bunzip2 -k",
    b"\xfd7zXZ\0": "is compressed; unpack it with unxz -k",
    b"PAR1": "is a Parquet file; export it as CSV",
}
_BOM = b"\xef\xbb\xbf"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

KnowsMetric = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Layout:
    """`column` maps a field to its position; `metrics` maps, in a wide file, positions to metric names."""

    names: Sequence[str]
    column: dict[str, int]
    metrics: dict[int, str]

    @property
    def wanted(self) -> list[int]:
        """Positions of the columns that are read, ascending."""
        return sorted({*self.column.values(), *self.metrics})

    @property
    def per_record(self) -> int:
        """Readings in a record: the number of metric columns of a wide file, else 1."""
        return len(self.metrics) or 1


def header_line(head: bytes) -> tuple[bytes, int]:
    """(the first line, offset of the first row) of a file that begins with `head`.

    SourceError says what the file is when it is no text with lines.
    """
    for magic, remedy in _MAGIC.items():
        if head.startswith(magic):
            raise SourceError(remedy)
    line, newline, _ = head.removeprefix(_BOM).partition(b"\n")
    if not line.strip() and not newline:
        raise SourceError("is empty; a CSV export with a header line is needed")
    if b"\0" in line:
        raise SourceError("holds NUL bytes and is no UTF-8 text; export it again as CSV in UTF-8")
    body = len(head) - len(head.removeprefix(_BOM)) + len(line) + len(newline)
    line = line.removesuffix(b"\r")
    if b"\r" in line:
        raise SourceError(r"has lines that end in CR alone; convert it with tr '\r' '\n'")
    if not newline and len(head) >= MAX_RECORD:
        raise SourceError(f"has a first line longer than {MAX_RECORD} bytes; a CSV export with a header line is needed")
    return line, body


def parse_header(line: bytes, knows_metric: KnowsMetric, *, times: bool) -> Layout:
    """The layout that a header line gives. `times`: the file's own times are wanted.

    SourceError names the missing column and what was found.
    """
    try:
        names = [name.strip() for name in next(csv.reader(io.StringIO(line.decode("utf-8"), newline="")))]
    except (UnicodeDecodeError, csv.Error, StopIteration):
        raise SourceError("the first line is no CSV header in UTF-8; a comma-separated DCGM export is needed") from None
    if any(len(name) > MAX_TEXT or _CONTROL.search(name) for name in names):
        raise SourceError(f"the header has a name of more than {MAX_TEXT} characters or with control characters")
    if fields_of(line) is None:
        raise SourceError("the header's quotes do not match; a header of one line is needed")
    lowered = [name.lower() for name in names]
    if twice := sorted(name for name, times in Counter(lowered).items() if name and times > 1):
        raise SourceError(f"the header names {', '.join(twice)[:300]} more than once; rename one of them")
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
