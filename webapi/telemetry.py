"""/api/v1/gpus/{gpu}/telemetry: the readings of one GPU."""

import errno
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from flask import Response, g, request

from telemetry.block import MAX_TIME, MIN_TIME
from telemetry.runtime import log_event
from telemetry.store.errors import StoreError
from telemetry.store.pages import Position, Readings
from webapi import formats, paging, times
from webapi.answers import FormatQuery
from webapi.contract import PAGE_HEADERS, Blueprint
from webapi.gpus import GPU_PARAMETER, find
from webapi.ranges import RangeQuery, asked_range, metrics_field
from webapi.schemas import PAGE_ROWS, RECORD_EXAMPLE, Cursor, Limit, TelemetryRecordSchema
from webapi.services import services

blueprint = Blueprint("telemetry", __name__, url_prefix="/api/v1", description="Readings")

log = logging.getLogger(__name__)

_TIME = (int, MIN_TIME, MAX_TIME)
_PLACE = (_TIME, _TIME, *((int, 0, 2**bits - 1) for bits in (31, 15, 31, 63, 31)))
"""What a cursor holds: what `now` is, then the fields of Position."""


CSV_CONTENT = {
    "text/csv": {
        "schema": {"type": "string"},
        "example": ",".join(RECORD_EXAMPLE) + "\n2025-07-18T20:42:34.000000Z,DCGM_FI_DEV_POWER_USAGE,0,nvidia0,"
        'GPU-5fd4f087-86f3-7a43-b711-4771313afc50,NVIDIA H100 80GB HBM3,mtv5-dgx1-hgpu-031,"","","",112.351,'
        '"__name__=""DCGM_FI_DEV_POWER_USAGE"",gpu=""0"""\n',
    }
}
"""How the contract shows the other format: a header, then a line for each reading."""


class TelemetryQuery(RangeQuery, FormatQuery):
    """Parameters of a range of readings."""

    metric = metrics_field()
    limit = Limit(
        f"How many readings a page has at most. Without it: {PAGE_ROWS}; CSV without it and without a cursor is the "
        "whole range, however long, and has no pages."
    )
    cursor = Cursor()


class Question(NamedTuple):
    """A range of readings: GPUs by number, times in µs since 1970, both inclusive."""

    gpus: list[int]
    start: int
    end: int
    metrics: list[str] | None


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
@blueprint.doc(operationId="getGpuTelemetry", responses={200: {"content": CSV_CONTENT}})
def get_gpu_telemetry(query: dict[str, Any], gpu: str) -> Response:
    """Read the telemetry of one GPU

    Every reading in a range of time, ascending; readings of one instant in an order that is always the same. An id
    that stands for several rows (a GPU that moved, MIG instances that share a uuid) answers with all of them.

    As JSON by pages; as CSV (`format=csv`, or `Accept: text/csv`) the whole range in one answer, unless a `limit` is
    given. An answer that cannot be finished, because the database went away or took longer than its statement timeout,
    is broken off: the connection is closed before the end of the chunked body.
    """
    start, end = wanted = asked_range(query)
    names = query.get("metric")
    filters = ["telemetry", gpu, *wanted.shown, sorted(set(names)) if names else None]
    place = paging.decode(query.get("cursor"), filters, _PLACE)
    now = place[0] if place else times.now_micros()
    question = Question([row.number for row in find(gpu)], start.at(now), end.at(now), names)
    kind = formats.asked_for(request, query.get("format"))
    if kind == formats.CSV and not place and "limit" not in query:
        response = _whole(question)
    else:
        after = Position(*place[1:]) if place else None
        readings = services().reader.readings(**question._asdict(), after=after, limit=query.get("limit", PAGE_ROWS))
        response = Response(_written(kind, readings), content_type=formats.MEDIA_TYPES[kind])
        if readings.after:
            response.headers["Link"] = paging.next_link(paging.encode(filters, [now, *readings.after]))
    response.vary.add("Accept")
    return response


def _written(kind: str, readings: Readings) -> bytes:
    """A page."""
    return formats.CSV_HEADER + formats.to_csv(readings) if kind == formats.CSV else formats.to_json(readings)


def _whole(question: Question) -> Response:
    """The whole range as CSV, sent while it is read. What goes wrong before the first reading is still a problem."""
    pieces = services().reader.whole_range(**question._asdict())
    first = next(pieces, None)
    response = Response(_lines(first, pieces, g.request_id), content_type=formats.MEDIA_TYPES[formats.CSV])
    response.call_on_close(pieces.close)  # a client that goes away ends the statement
    return response


def _lines(first: Readings | None, others: Iterator[Readings], request_id: str) -> Iterator[bytes]:
    yield formats.CSV_HEADER
    try:
        if first is not None:
            yield formats.to_csv(first)
        for piece in others:
            yield formats.to_csv(piece)
    except StoreError as error:
        log_event(log, logging.WARNING, "an answer was broken off", reason=error, request_id=request_id)
        # What the server closes the connection at without another word: the client misses the end of the body.
        raise ConnectionResetError(errno.ECONNRESET, "the database did not finish its answer") from error
