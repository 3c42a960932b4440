"""/api/v1/gpus/{gpu}/telemetry: the readings of one GPU."""

from typing import Any

from flask import Response
from marshmallow import fields, validate

from telemetry.block import MAX_TIME, MIN_TIME
from telemetry.store.pages import Position
from webapi import formats, paging, times
from webapi.contract import PAGE_HEADERS, Blueprint
from webapi.gpus import GPU_PARAMETER, find
from webapi.schemas import (
    PAGE_ROWS,
    RECORD_EXAMPLE,
    Cursor,
    Limit,
    Query,
    TelemetryRecordSchema,
    Text,
    Time,
)
from webapi.services import services

blueprint = Blueprint("telemetry", __name__, url_prefix="/api/v1", description="Readings")

METRICS_MAX = 100
"""Metrics that one question may name."""

_TIME = (int, MIN_TIME, MAX_TIME)
_PLACE = (_TIME, _TIME, *((int, 0, 2**bits - 1) for bits in (31, 15, 31, 63, 31)))
"""What a cursor holds: what `now` is, then the fields of Position."""


class TelemetryQuery(Query):
    """Parameters of a range of readings."""

    start_time = Time("From this instant on, inclusive. Without it: from the first reading.")
    end_time = Time("To this instant, inclusive. Without it: to the newest. Before the start: an empty answer.")
    start = Time("Another name of `start_time`, which counts if both are given.")
    end = Time("Another name of `end_time`, which counts if both are given.")
    metric = fields.List(
        Text("", "DCGM_FI_DEV_GPU_TEMP"),
        metadata={
            "description": "Only these metrics; may be repeated. The classic names and those of DCGM 4.6 and later "
            "both find readings of either; case does not matter, DCGM_FI_DEV_ may be left out. A name that was never "
            "read has no readings: an empty answer.",
            "maxItems": METRICS_MAX,
        },
        validate=validate.Length(max=METRICS_MAX, error=f"is given more than {METRICS_MAX} times; ask in parts"),
    )
    limit = Limit("How many readings a page has at most.", load_default=PAGE_ROWS)
    cursor = Cursor()


@blueprint.route("/gpus/<gpu>/telemetry", parameters=[GPU_PARAMETER])
@blueprint.arguments(TelemetryQuery, location="query")
@blueprint.response(
    200,
    TelemetryRecordSchema(many=True),
    description="Readings, ascending by time",
    example=[RECORD_EXAMPLE],
    headers=PAGE_HEADERS,
)
@blueprint.refuses(404, 422, 503)
@blueprint.doc(operationId="getGpuTelemetry")
def get_gpu_telemetry(query: dict[str, Any], gpu: str) -> Response:
    """Read the telemetry of one GPU

    Every reading in a range of time, ascending; readings of one instant in an order that is always the same. An id
    that stands for several rows (a GPU that moved, MIG instances that share a uuid) answers with all of them.
    """
    start = query.get("start_time") or query.get("start") or times.Moment(MIN_TIME)
    end = query.get("end_time") or query.get("end") or times.Moment(MAX_TIME)
    names = query.get("metric")
    filters = ["telemetry", gpu, *_shown(start), *_shown(end), sorted(set(names)) if names else None]
    place = paging.decode(query.get("cursor"), filters, _PLACE)
    now = place[0] if place else times.now_micros()
    readings = services().reader.readings(
        [row.number for row in find(gpu)],
        start=start.at(now),
        end=end.at(now),
        metrics=names,
        after=Position(*place[1:]) if place else None,
        limit=query["limit"],
    )
    response = Response(formats.to_json(readings), content_type="application/json")
    if readings.after:
        response.headers["Link"] = paging.next_link(paging.encode(filters, [now, *readings.after]))
    return response


def _shown(moment: times.Moment) -> tuple[int, bool]:
    """What of a moment makes it another question; `now` itself does not, it stays that of the first page."""
    return moment.micros, moment.before_now
