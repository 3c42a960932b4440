"""/api/v1/gpus/{gpu}/telemetry: the readings of one GPU."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flask import Response

from telemetry.block import MAX_TIME, MIN_TIME
from telemetry.store.questions.aggregates import Aggregate, GroupBy, StepQuestion
from telemetry.store.questions.pages import Position
from webapi import paging, times
from webapi.bodies import exports
from webapi.bodies.answers import FormatQuery, asked_format
from webapi.bodies.conditional import IF_NONE_MATCH, TAG_HEADERS, tag_of, tagged, unchanged
from webapi.contract import PAGE_HEADERS, Blueprint
from webapi.nouns import step_answers, steps
from webapi.nouns.gpus import GPU_PARAMETER, find
from webapi.nouns.steps import STEP_EXAMPLE, STEP_HEADERS, StepQuery, StepRecordSchema
from webapi.ranges import RangeQuery, asked_range, metrics_field, selection
from webapi.schemas import PAGE_ROWS, RECORD_EXAMPLE, Cursor, Limit, TelemetryRecordSchema
from webapi.services import services

blueprint = Blueprint("telemetry", __name__, url_prefix="/api/v1", description="Readings")

_TIME = (int, MIN_TIME, MAX_TIME)
PLACE = (_TIME, _TIME, *((int, 0, 2**bits - 1) for bits in (31, 15, 31, 63, 31)))
"""What a cursor holds: what `now` is, then the fields of Position."""


KINDS = {
    "readings": (TelemetryRecordSchema, RECORD_EXAMPLE),
    "steps": (StepRecordSchema, STEP_EXAMPLE),
}
"""What an answer lists: readings, or what became of them in steps."""


class TelemetryQuery(RangeQuery, StepQuery, FormatQuery):
    """Parameters of a range of readings."""

    metric = metrics_field()
    limit = Limit(
        f"How many readings a page has at most. Without it: {PAGE_ROWS}; CSV and NDJSON without it and without a "
        "cursor are the whole range, however long, and have no pages."
    )
    cursor = Cursor()


class Question(NamedTuple):
    """A range of readings: GPUs by number, times in µs since 1970, both inclusive."""

    gpus: list[int]
    start: int
    end: int
    metrics: list[str] | None


@blueprint.route("/gpus/<gpu>/telemetry", parameters=[GPU_PARAMETER, IF_NONE_MATCH])
@blueprint.arguments(TelemetryQuery, location="query")
@blueprint.lists_either(
    KINDS, "Readings, or steps, ascending by time", headers={**PAGE_HEADERS, **STEP_HEADERS, **TAG_HEADERS}
)
@blueprint.alt_response(304, description="The client has this answer already.", headers=TAG_HEADERS, success=True)
@blueprint.refuses(404, 422, 503)
@blueprint.doc(operationId="getGpuTelemetry")
def get_gpu_telemetry(query: dict[str, Any], gpu: str) -> Response:
    """Read the telemetry of one GPU

    Every reading in a range of time, ascending; readings of one instant in an order that is always the same. An id
    that stands for several rows (a GPU that moved, MIG instances that share a uuid) answers with all of them.

    As JSON by pages; as CSV or NDJSON (`format=csv`, or `Accept: text/csv`) the whole range in one answer, unless a
    `limit` is given. An answer that cannot be finished, because the database went away or took too long, is broken off:
    the connection is closed before the end of the chunked body, and NDJSON misses its last line, the trailer.

    An answer about a range that ended more than a minute ago has an `ETag`: sent back as `If-None-Match`, it gets a 304
    and nothing else until something is stored that may belong there.

    With `step` or `max_points` no readings but one value for each step, metric and MIG instance: `agg` of the readings
    in it, in the unit of the classic metric. All of them in one answer.
    """
    if steps.are_asked(query):
        return _in_steps(query, gpu)
    kind = asked_format(query)
    start, end = wanted = asked_range(query)
    names = query.get("metric")
    filters = ["telemetry", gpu, *wanted.shown, sorted(set(names)) if names else None]
    place = paging.decode(query.get("cursor"), filters, PLACE)
    now = place[0] if place else wanted.now()
    question = Question([row.number for row in find(gpu)], start.at(now), end.at(now), names)
    tag = tag_of(wanted, [kind, filters, question.gpus, place, query.get("limit")])
    return unchanged(tag) or tagged(_answered(kind, query, question, filters, now, place), tag)


def _answered(
    kind: str, query: Mapping[str, Any], question: Question, filters: list[Any], now: int, place: list[int] | None
) -> Response:
    if exports.is_whole(kind, query):
        return exports.whole(kind, services().reader.whole_range(**question._asdict()))
    after = Position(*place[1:]) if place else None
    readings = services().reader.readings(**question._asdict(), after=after, limit=query.get("limit", PAGE_ROWS))
    return exports.page(kind, readings, readings.after and paging.encode(filters, [now, *readings.after]))


def _in_steps(query: dict[str, Any], gpu: str) -> Response:
    now, (start, end) = times.now_micros(), (wanted := asked_range(query))
    gpus = [row.number for row in find(gpu)]
    question = StepQuestion(gpus, selection(query), start.at(now), end.at(now), 0, Aggregate.AVG, (GroupBy.GPU,))
    return step_answers.answer(query, wanted, question)
