"""Values of steps as bytes: the same in each format, however many there are."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from telemetry.store.questions.aggregates import GroupBy, StepGroup, Steps
from webapi.bodies.steps_format import columns, written

BY = (GroupBy.GPU, GroupBy.POD)
GROUPS = [
    StepGroup("TEMP", "C", ("GPU-a", "one"), ""),
    StepGroup('T"1,\n', "", ("GPU-b", 'pöd, "two"'), "7"),
    StepGroup("UTIL", "%", ("GPU-c", ""), ""),
]


def made(count: int) -> tuple[Steps, list[dict[str, Any]]]:
    """Steps, and the records that they are."""
    places = np.arange(count)
    code, value, time = places % 3, np.sqrt(places) - 0.1, places * 10**6 // 2
    records = [
        {"timestamp": f"{np.datetime64(at, 'us')}Z", "metric_name": group.metric_name, "unit": group.unit,
         "gpu": group.labels[0], "gpu_i_id": group.mig, "pod": group.labels[1], "value": number}
        for at, group, number in zip(time.tolist(), (GROUPS[one] for one in code.tolist()), value.tolist(), strict=True)
    ]  # fmt: skip
    return Steps(time, code, value, GROUPS if count else ()), records


def text(kind: str, steps: Steps, group_by: Sequence[GroupBy] = BY) -> str:
    return b"".join(written(kind, steps, group_by, at_once=3)).decode()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 11])
def test_every_format_holds_every_value(count: int) -> None:
    steps, records = made(count)
    assert json.loads(text("json", steps)) == records
    *lines, trailer = [json.loads(line) for line in text("ndjson", steps).splitlines()]
    assert (lines, trailer) == (records, {"trailer": {"count": count, "next": None}})
    rows = csv.DictReader(io.StringIO(text("csv", steps), newline=""))
    assert [{**row, "value": float(row["value"])} for row in rows] == records


def test_what_is_not_grouped_by_is_no_field() -> None:
    steps = Steps(np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1), [StepGroup("TEMP", "C", ())])
    assert list(json.loads(text("json", steps, ()))[0]) == columns(()) == ["timestamp", "metric_name", "unit", "value"]
    header = "timestamp,metric_name,unit,hostname,model_name,value\n"
    assert text("csv", Steps.none(), (GroupBy.HOST, GroupBy.MODEL)) == header
