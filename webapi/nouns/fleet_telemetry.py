"""/api/v1/telemetry: the readings of the whole fleet, or of a part of it."""

from dataclasses import asdict
from typing import Any

from flask import Response

from telemetry.store.questions.aggregates import Aggregate, StepQuestion
from telemetry.store.questions.fleet_readings import FleetReadings
from telemetry.store.questions.pages import Position
from telemetry.store.questions.selection import Selection
from webapi import paging, times
from webapi.bodies import exports
from webapi.bodies.answers import asked_format
from webapi.bodies.conditional import IF_NONE_MATCH, TAG_HEADERS, tag_of, tagged, unchanged
from webapi.contract import PAGE_HEADERS, Blueprint
from webapi.nouns import step_answers, steps
from webapi.nouns.steps import STEP_HEADERS, FleetStepQuery, StepRecordSchema
from webapi.nouns.telemetry import PLACE, TelemetryQuery
from webapi.ranges import FleetQuery, asked_range, selection
from webapi.schemas import PAGE_ROWS, RECORD_EXAMPLE, TelemetryRecordSchema
from webapi.services import services

blueprint = Blueprint("fleet-telemetry", __name__, url_prefix="/api/v1", description="Readings of many GPUs")

STEP_EXAMPLE = {
    "timestamp": "2025-07-18T20:40:00.000000Z",
    "metric_name": "DCGM_FI_DEV_POWER_USAGE",
    "unit": "W",
    "hostname": "mtv5-dgx1-hgpu-031",
    "value": 861.5,
}
KINDS = {"readings": (TelemetryRecordSchema, RECORD_EXAMPLE), "steps": (StepRecordSchema, STEP_EXAMPLE)}


class FleetTelemetryQuery(FleetQuery, FleetStepQuery, TelemetryQuery):
    """Parameters of a range of readings of many GPUs."""


@blueprint.route("/telemetry", parameters=[IF_NONE_MATCH])
@blueprint.arguments(FleetTelemetryQuery, location="query")
@blueprint.lists_either(
    KINDS, "Readings, or steps, ascending by time", headers={**PAGE_HEADERS, **STEP_HEADERS, **TAG_HEADERS}
)
@blueprint.alt_response(304, description="The client has this answer already.", headers=TAG_HEADERS, success=True)
@blueprint.refuses(404, 422, 503)
@blueprint.doc(operationId="listTelemetry")
def list_telemetry(query: dict[str, Any]) -> Response:
    """Read the telemetry of the fleet, or of a part of it

    Every reading in a range of time that passes all filters, ascending; readings of one instant in an order that is
    always the same. Pages and formats are those of one GPU's telemetry. A page may hold fewer readings than its limit,
    even none, where little is selected of much: as long as there is a `Link`, there is more to be looked through.

    With `step` or `max_points` no readings but one value for each step, metric and group of `group_by`: `agg` of the
    readings in it, in the unit of the classic metric. All of them in one answer.

    An answer about a range that ended more than a minute ago has an `ETag`, as one GPU's; but not a page that holds
    fewer readings than its limit though there is a `Link`, because another time it might hold more.
    """
    if steps.are_asked(query):
        return _in_steps(query)
    kind, selected = asked_format(query), selection(query)
    start, end = wanted = asked_range(query)
    filters = ["fleet telemetry", *wanted.shown, _shown(selected)]
    place = paging.decode(query.get("cursor"), filters, PLACE)
    now = place[0] if place else wanted.now()
    limit, after = query.get("limit"), Position(*place[1:]) if place else None
    tag = tag_of(wanted, [kind, filters, place, limit])
    if known := unchanged(tag):
        return known
    reader, span = FleetReadings(reader=services().reader), {"start": start.at(now), "end": end.at(now)}
    if exports.is_whole(kind, query):
        return tagged(exports.whole(kind, reader.whole(selected, **span)), tag)
    readings = reader.page(selected, **span, after=after, limit=limit or PAGE_ROWS)
    page = exports.page(kind, readings, readings.after and paging.encode(filters, [now, *readings.after]))
    return tagged(page, None if readings.cut_short else tag)


def _shown(selected: Selection) -> dict[str, object]:
    """What makes it another question; the order of what may be repeated does not."""
    return {name: sorted(part) if isinstance(part, tuple) else part for name, part in asdict(selected).items()}


def _in_steps(query: dict[str, Any]) -> Response:
    now, (start, end) = times.now_micros(), (wanted := asked_range(query))
    question = StepQuestion(None, selection(query), start.at(now), end.at(now), 0, Aggregate.AVG, steps.groups(query))
    return step_answers.answer(query, wanted, question)
