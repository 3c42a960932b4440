"""/api/v1/gpus/{gpu}/latest: what a GPU shows now."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from flask import Response
from marshmallow import Schema, fields

from telemetry.store.questions.reader import GpuRow, Newest
from webapi import times
from webapi.bodies.answers import FormatQuery, listing
from webapi.contract import Blueprint
from webapi.nouns.gpus import GPU_PARAMETER, find
from webapi.schemas import Whole
from webapi.services import services

blueprint = Blueprint("latest", __name__, url_prefix="/api/v1", description="Newest values")

STALE_AFTER = 300
"""Seconds. Prometheus too takes a value for gone after five minutes (its --query.lookback-delta)."""
YEAR = 31_536_000


class LatestQuery(FormatQuery):
    """Parameters of the newest values."""

    stale_after = Whole(
        "A value older than so many seconds is marked as stale.", most=YEAR, example=60, load_default=STALE_AFTER
    )


class LatestSchema(Schema):
    """The newest value of a metric."""

    class Meta:
        """Of marshmallow."""

        title = "Latest"

    metric_name = fields.String(required=True, metadata={"description": "The metric as the source names it."})
    value = fields.Float(required=True, metadata={"description": "The value."})
    unit = fields.String(required=True, metadata={"description": "Its unit, empty where none is known."})
    timestamp = fields.String(
        required=True,
        metadata={"format": "date-time", "description": "When it was read: RFC 3339, UTC, microseconds."},
    )
    age_seconds = fields.Float(
        required=True, metadata={"description": "How long ago, by this server's clock; below 0: that one is behind."}
    )
    stale = fields.Boolean(required=True, metadata={"description": "Older than `stale_after` seconds."})
    hostname = fields.String(required=True, metadata={"description": "The host that reported it."})
    gpu_id = fields.String(required=True, metadata={"description": "The GPU's number there."})
    labels = fields.Dict(required=True, metadata={"description": "Which MIG instance it is of: that one's labels."})


EXAMPLE = {
    "metric_name": "DCGM_FI_DEV_POWER_USAGE",
    "value": 112.351,
    "unit": "W",
    "timestamp": "2025-07-18T20:42:34.000000Z",
    "age_seconds": 1.25,
    "stale": False,
    "hostname": "mtv5-dgx1-hgpu-031",
    "gpu_id": "0",
    "labels": {},
}


@blueprint.route("/gpus/<gpu>/latest", parameters=[GPU_PARAMETER])
@blueprint.arguments(LatestQuery, location="query")
@blueprint.lists(LatestSchema, "Newest values, by metric", EXAMPLE)
@blueprint.refuses(404, 422, 503)
@blueprint.doc(operationId="getGpuLatest")
def get_gpu_latest(query: dict[str, Any], gpu: str) -> Response:
    """Read the newest value of each metric of one GPU

    Of each MIG instance, where there are some; of a GPU that moved, from wherever it was last. A metric is found if it
    is among the newest 10,000 readings (or all, where there are fewer); one that is reported no more stays until then,
    marked as stale.
    """
    rows = find(gpu)
    newest = _of_instances(rows, services().reader.newest(rows))
    now, after = times.now_micros(), query["stale_after"]
    return listing([_shown(row, value, (now - times.micros(value.time)) / 1e6, after) for row, value in newest], query)


def _of_instances(rows: Sequence[GpuRow], values: Iterable[Newest]) -> list[tuple[GpuRow, Newest]]:
    """The newest of each metric and MIG instance, whatever places it was seen at; in that order."""
    by_number = {row.number: row for row in rows}
    found: dict[tuple[str, str], tuple[GpuRow, Newest]] = {}
    for value in values:
        row = by_number[value.number]
        key = value.metric_name, orjson.dumps(row.labels, option=orjson.OPT_SORT_KEYS).decode()
        if key not in found or found[key][1].time < value.time:
            found[key] = row, value
    return [found[key] for key in sorted(found)]


def _shown(row: GpuRow, newest: Newest, age: float, stale_after: int) -> dict[str, Any]:
    return {
        "metric_name": newest.metric_name,
        "value": newest.value,
        "unit": newest.unit,
        "timestamp": times.rfc3339(newest.time),
        "age_seconds": age,
        "stale": age > stale_after,
        "hostname": row.hostname,
        "gpu_id": row.gpu_id,
        "labels": row.labels,
    }
