"""Aggregates over steps of time: how they are asked for.

What lives here: the parameters, and the record of an answer. What does not: answering (`step_answers`), widths
(`widths`), how values are written (`steps_format`), the nouns that take these parameters.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields

from telemetry.store.questions.aggregates import Aggregate, GroupBy
from webapi.nouns.widths import Width
from webapi.problems import near, unsuited
from webapi.schemas import Choice, Query, Whole

MOST_STEPS, MOST_VALUES = 11_000, 1_000_000
"""In a range, as Prometheus has it; and in an answer, all groups together."""

STEP_HEADERS: Mapping[str, Any] = {
    "X-Step": {
        "description": "The width of a step in seconds, where steps were asked for.",
        "schema": {"type": "string", "examples": ["300"]},
    }
}

_MEANT = {
    "mean": "avg", "average": "avg", "median": "p50", "minimum": "min", "maximum": "max", "total": "sum", "n": "count",
    "increase": "rate", "irate": "rate", "delta": "rate", "derivative": "rate", "newest": "last", "latest": "last",
    "p90": "p95", "p999": "p99", "q50": "p50", "q95": "p95", "q99": "p99",
}  # fmt: skip


class AggregateField(Choice):
    """One of the aggregates."""

    def __init__(self, description: str, **more: Any) -> None:
        super().__init__(
            f"{description} `first` and `last` are those by time; `rate`, for counters only, is the increase per "
            "second, resets of the counter reckoned with, added up over the series of a group; what a counter rose "
            "between two readings counts for the host and pod of the later one. Percentiles are exact: computed from "
            "all readings, interpolated between the two nearest.",
            [one.value for one in Aggregate],
            **more,
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> str:
        if value in self.choices:
            return str(value)
        meant = _MEANT.get(value.lower()) or near(value, self.choices).partition(",")[0]
        raise ValidationError(f"is none of {', '.join(self.choices)}; perhaps {meant}, as in {attr}={meant}")


class GroupField(Choice):
    """One of the groups."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> str:
        if value not in self.choices:
            several = "group_by=host&group_by=model"
            raise ValidationError(f"is none of {', '.join(self.choices)}; for several repeat it, as in {several}")
        return str(value)


class StepQuery(Query):
    """Asks for aggregates over steps."""

    step = Width(
        "Instead of readings, a value for each step of this width: a whole number with ms, s, m, h, d or w, or one of "
        f"seconds. Steps are counted from 1970 (UTC); those without readings are left out. At most {MOST_STEPS:,} in "
        f"the range and {MOST_VALUES:,} values in all."
    )
    max_points = Whole(
        "The same, of the smallest of the usual widths (1s 5s 10s 15s 30s 1m 5m 10m 15m 30m 1h 3h 6h 12h 1d 7d 30d) of "
        "which the range has at most so many; the header `X-Step` tells which.",
        most=MOST_STEPS,
        example=300,
    )
    agg = AggregateField("What becomes of the readings of a step; without it: avg.")


class FleetStepQuery(StepQuery):
    """The same of many GPUs."""

    group_by = fields.List(
        GroupField("", [one.value for one in GroupBy]),
        metadata={
            "description": "What has values of its own, beside each metric; may be repeated. Without it a value is of "
            "all readings that are selected. MIG instances are told apart by `gpu`.",
            "examples": [["host"]],
        },
    )


def _group(name: str, example: str) -> fields.String:
    return fields.String(metadata={"description": f"The {name}, when grouped by it.", "examples": [example]})


class StepRecordSchema(Schema):
    """What became of the readings of a step: of one metric, and of one group where there are groups."""

    class Meta:
        """Of marshmallow."""

        title = "StepRecord"

    timestamp = fields.String(
        required=True,
        metadata={"format": "date-time", "description": "Where the step begins: RFC 3339, UTC, microseconds."},
    )
    metric_name = fields.String(
        required=True, metadata={"description": "The metric under its classic name, whatever its source called it."}
    )
    unit = fields.String(required=True, metadata={"description": "The unit of the value; empty where it is unknown."})
    gpu = fields.String(metadata={"description": "The GPU's id, when grouped by gpu; always so of one GPU."})
    gpu_i_id = fields.String(metadata={"description": "The MIG instance, beside `gpu`; empty for a whole GPU."})
    hostname = _group("host", "mtv5-dgx1-hgpu-031")
    model_name = _group("model", "NVIDIA H100 80GB HBM3")
    namespace = _group("namespace", "ml-research")
    pod = _group("pod", "trainer-0")
    value = fields.Float(required=True, metadata={"description": "The aggregate, in this unit."})


STEP_EXAMPLE = {
    "timestamp": "2025-07-18T20:40:00.000000Z",
    "metric_name": "DCGM_FI_DEV_POWER_USAGE",
    "unit": "W",
    "gpu": "GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
    "gpu_i_id": "",
    "value": 112.351,
}


def are_asked(query: Mapping[str, Any]) -> bool:
    """Whether steps are asked for, and not readings; a 422 problem where the parameters contradict each other."""
    widths = [name for name in ("step", "max_points") if name in query]
    if len(widths) > 1:
        raise unsuited([("max_points", str(query["max_points"]), "chooses a step; give it or a step, as in step=5m")])
    told = "is for pages of readings, which steps have not: leave it out, as in step=5m&agg=max"
    strangers = ("limit", "cursor")
    if not widths:
        told, strangers = "is for steps: say how wide they are, as in step=5m&agg=max", ("agg", "group_by")
    if faults := [(name, _shown(query[name]), told) for name in strangers if name in query]:
        raise unsuited(faults)
    return bool(widths)


def groups(query: Mapping[str, Any]) -> tuple[GroupBy, ...]:
    """What is grouped by, each once, in an order of its own: that of the fields in an answer."""
    return tuple(one for one in GroupBy if one.value in query.get("group_by", ()))


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
