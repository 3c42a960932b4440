"""/api/v1/metrics: the metric names that were read, with what is known of each. Not Prometheus' /metrics (`probes`)."""

from typing import Any

from flask import Response
from marshmallow import Schema, fields

from telemetry.store.questions.fleet import Fleet, MetricRow
from webapi.bodies.answers import FormatQuery, listing
from webapi.contract import Blueprint
from webapi.links import links
from webapi.schemas import Text
from webapi.services import services

blueprint = Blueprint("metrics", __name__, url_prefix="/api/v1", description="The catalogue of metrics")


class MetricsQuery(FormatQuery):
    """Parameters of the catalogue."""

    name = Text(
        "Only metrics whose name, or classic name, matches: `*` is any text, `?` one character; case does not matter.",
        "*TEMP*",
    )


class MetricSchema(Schema):
    """A metric name that was read."""

    class Meta:
        """Of marshmallow."""

        title = "Metric"

    name = fields.String(required=True, metadata={"description": "The name as a source writes it."})
    canonical_name = fields.String(
        required=True, metadata={"description": "DCGM's classic name of it; `name` itself where none is known."}
    )
    unit = fields.String(
        required=True, metadata={"description": "The unit of the classic name; empty where none is known."}
    )
    kind = fields.String(
        required=True,
        metadata={
            "enum": ["gauge", "counter", "code"],
            "description": "gauge; counter: it only rises, but for resets; code: neither summed nor averaged.",
        },
    )
    description = fields.String(required=True, metadata={"description": "What it says; empty where it is not known."})
    factor = fields.Float(
        required=True,
        metadata={"description": "Readings are stored as their source gives them; times this they are in `unit`."},
    )
    range_low = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "The lowest value that hardware can give, in `unit`; null where it is not known."},
    )
    range_high = fields.Float(
        required=True, allow_none=True, metadata={"description": "The highest value, likewise; beyond it is suspect."}
    )


EXAMPLE = {
    "name": "DCGM_FI_DEV_SM_CLOCK_HERTZ",
    "canonical_name": "DCGM_FI_DEV_SM_CLOCK",
    "unit": "MHz",
    "kind": "gauge",
    "description": "SM clock",
    "factor": 1e-6,
    "range_low": 0.0,
    "range_high": 20_000.0,
}


@blueprint.route("/metrics")
@blueprint.arguments(MetricsQuery, location="query")
@blueprint.lists(MetricSchema, "Metrics, by name in byte order", EXAMPLE)
@blueprint.refuses(422, 503)
@blueprint.doc(
    operationId="listMetrics",
    **links(
        "metric",
        "/0/name",
        {"listTelemetry": "Readings of the first one.", "listTop": "Where the first one is highest."},
    ),
)
def list_metrics(query: dict[str, Any]) -> Response:
    """List the metrics that were read

    Every metric name that a source ever gave, and what the catalogue knows of it: what it means, its unit, and what it
    was called before. Answers that aggregate do so by the classic name, in its unit.
    """
    found = Fleet(pool=services().reader.pool).metrics(query.get("name"))
    return listing([_shown(metric) for metric in found], query)


def _shown(metric: MetricRow) -> dict[str, Any]:
    return {
        "name": metric.name,
        "canonical_name": metric.canonical,
        "unit": metric.unit,
        "kind": metric.kind,
        "description": metric.description,
        "factor": metric.factor,
        "range_low": metric.low,
        "range_high": metric.high,
    }
