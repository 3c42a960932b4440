"""/api/v1/top: the GPUs that stand highest, or lowest, in one metric."""

from collections.abc import Collection, Mapping
from typing import Any

from flask import Response
from marshmallow import Schema, fields

from telemetry.block import MIN_TIME
from telemetry.store.questions.aggregates import Aggregate, GroupBy, StepGroup, StepQuestion, TooManyPoints
from telemetry.store.questions.fleet import Fleet
from telemetry.store.questions.reader import GpuRow
from telemetry.store.questions.selection import Selection
from telemetry.store.questions.steps import StepReader
from webapi import times
from webapi.bodies.answers import FormatQuery, listing
from webapi.contract import Blueprint
from webapi.nouns import step_answers
from webapi.nouns.steps import AggregateField
from webapi.problems import unsuited
from webapi.ranges import FleetQuery, Range, RangeQuery, asked_range, selection
from webapi.schemas import Choice, Text, Time, Whole
from webapi.services import services
from webapi.times import Moment

blueprint = Blueprint("top", __name__, url_prefix="/api/v1", description="GPUs in the order of a metric")

TOP, TOP_MAX = 10, 1_000
MOST = 100_000
"""GPUs among which they are looked for."""
HOUR = 3_600 * 10**6
"""µs that are looked at, where nobody says from when on."""


class TopQuery(FleetQuery, RangeQuery, FormatQuery):
    """Which metric, of whom, and how many."""

    metric = Text(
        "The metric, under any of its names; case does not matter, DCGM_FI_DEV_ may be left out.",
        "DCGM_FI_DEV_GPU_TEMP",
        required=True,
        error_messages={"required": "is missing: say which metric, as in metric=DCGM_FI_DEV_GPU_TEMP"},
    )
    agg = AggregateField("What becomes of a GPU's readings in the range; without it: last.")
    k = Whole(f"So many GPUs at most. Without it: {TOP}.", most=TOP_MAX, example=5, load_default=TOP)
    order = Choice("Which come first. Without it: the highest.", ["highest", "lowest"], load_default="highest")
    start_time = Time("From this instant on, inclusive. Without it: from one hour before the end on.")
    end_time = Time("To this instant, inclusive. Without it: to now. Before the start: an empty answer.")


class TopSchema(Schema):
    """A GPU, or MIG instance, and what stands for it."""

    class Meta:
        """Of marshmallow."""

        title = "Top"

    gpu = fields.String(required=True, metadata={"description": "The GPU's id."})
    gpu_i_id = fields.String(required=True, metadata={"description": "The MIG instance; empty for a whole GPU."})
    hostname = fields.String(required=True, metadata={"description": "The host where it was last seen."})
    gpu_id = fields.String(required=True, metadata={"description": "The GPU's number there."})
    model_name = fields.String(required=True, metadata={"description": "Its model."})
    metric_name = fields.String(required=True, metadata={"description": "The metric under its classic name."})
    unit = fields.String(required=True, metadata={"description": "The unit of the value; empty where it is unknown."})
    value = fields.Float(required=True, metadata={"description": "The aggregate, in this unit."})


EXAMPLE = {
    "gpu": "GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
    "gpu_i_id": "",
    "hostname": "mtv5-dgx1-hgpu-031",
    "gpu_id": "0",
    "model_name": "NVIDIA H100 80GB HBM3",
    "metric_name": "DCGM_FI_DEV_GPU_TEMP",
    "unit": "C",
    "value": 71.0,
}


@blueprint.route("/top")
@blueprint.arguments(TopQuery, location="query")
@blueprint.lists(TopSchema, "GPUs, the highest first (or the lowest)", EXAMPLE)
@blueprint.refuses(422, 503)
@blueprint.doc(operationId="listTop")
def list_top(query: dict[str, Any]) -> Response:
    """List the GPUs that stand highest or lowest in a metric

    By one value of each GPU (MIG instances apart): `agg` of its readings in the range, in the unit of the classic
    metric. GPUs with equal values are in the order of their ids; one without readings in the range is not listed.
    """
    question = _question(query)
    step_answers.check(question)
    ranked = _ranked(query, question)[: query["k"]]
    places = _places({group.labels[0] for group, _ in ranked})
    return listing([_shown(group, value, places) for group, value in ranked], query)


def _question(query: Mapping[str, Any]) -> StepQuestion:
    """Of the whole range as one step."""
    now, (start, end) = times.now_micros(), _range(query)
    agg = Aggregate(query.get("agg", Aggregate.LAST))
    selected = selection({**query, "metric": [query["metric"]]})
    return StepQuestion(None, selected, start.at(now), end.at(now), 0, agg, (GroupBy.GPU,))


def _range(query: Mapping[str, Any]) -> Range:
    """The range that is named; the hour before its end, where it has no beginning."""
    asked = asked_range(query, end=Moment(0, before_now=True))
    before = HOUR if asked.end.before_now else -HOUR
    return asked_range(query, start=Moment(asked.end.micros + before, asked.end.before_now), end=asked.end)


def _places(ids: Collection[str]) -> dict[tuple[str, str], GpuRow]:
    """Where each GPU, or MIG instance of one, was last seen."""
    if not ids:
        return {}
    rows = Fleet(pool=services().reader.pool).part(Selection(gpus=tuple(ids))).rows
    rows = sorted(rows, key=lambda row: (times.micros(row.last_seen) if row.last_seen else MIN_TIME, row.number))
    return {(row.id, row.labels.get("GPU_I_ID", "")): row for row in rows}


def _ranked(query: Mapping[str, Any], question: StepQuestion) -> list[tuple[StepGroup, float]]:
    """All of them in order."""
    try:
        steps = StepReader(pool=services().reader.pool).steps(question, MOST)
    except TooManyPoints as error:
        told = f"has readings of {error.groups:,} GPUs and more; select fewer of them, as in host=mtv5-*"
        raise unsuited([("metric", query["metric"], told)]) from None
    found = [(steps.groups[code], value) for code, value in zip(steps.code.tolist(), steps.value.tolist(), strict=True)]
    sign = 1 if query["order"] == "lowest" else -1
    return sorted(found, key=lambda pair: (sign * pair[1], pair[0].labels, pair[0].mig))


def _shown(group: StepGroup, value: float, places: Mapping[tuple[str, str], GpuRow]) -> dict[str, object]:
    id, place = group.labels[0], places.get((group.labels[0], group.mig))
    return {
        "gpu": id,
        "gpu_i_id": group.mig,
        "hostname": place.hostname if place else "",
        "gpu_id": place.gpu_id if place else "",
        "model_name": place.model_name if place else "",
        "metric_name": group.metric_name,
        "unit": group.unit,
        "value": value,
    }
