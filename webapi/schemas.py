"""The parameters and objects of the API: how they are read, and what the contract says of them.

What lives here: what several nouns share. What does not: what only one noun knows (its own file).
"""

import re
from collections.abc import Iterable
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields

from webapi import times

PAGE_ROWS, PAGE_ROWS_MAX = 10_000, 100_000
"""Rows of a page when no limit is asked for, and the most: an answer takes some 500 bytes of memory per row, twice."""
TEXT_MAX = 1_024


class Text(fields.String):
    """A text that may be given to SQL: short, not empty, without NUL."""

    def __init__(self, description: str, example: str, *, longest: int = TEXT_MAX, **more: Any) -> None:
        metadata = {
            "description": description,
            "minLength": 1,
            "maxLength": longest,
            "pattern": r"^[^\x00]*$",
            "examples": [example],
        }
        super().__init__(metadata=metadata, **more)
        self.longest, self.example = longest, example

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> str:
        if not 1 <= len(value) <= self.longest:
            raise ValidationError(
                f"has {len(value)} characters; 1 to {self.longest} are allowed, as in {self.name}={self.example}"
            )
        if "\0" in value:
            raise ValidationError(f"holds a NUL character; leave it out, as in {self.name}={self.example}")
        return str(value)


class Whole(fields.Integer):
    """A whole number from 1 to `most`."""

    def __init__(self, description: str, *, most: int, example: int, **more: Any) -> None:
        metadata = {"description": description, "minimum": 1, "maximum": most, "examples": [example]}
        super().__init__(metadata=metadata, **more)
        self.most, self.example = most, example

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> int:
        if not re.fullmatch(r"0{0,9}[1-9]\d{0,8}", value, re.ASCII) or int(value) > self.most:
            raise ValidationError(f"is not a whole number from 1 to {self.most}, as in {attr}={self.example}")
        return int(value)


class Number(fields.Float):
    """A number from `low` to `high`, both inclusive."""

    def __init__(self, description: str, *, low: float, high: float, example: float, **more: Any) -> None:
        metadata = {"description": description, "minimum": low, "maximum": high, "examples": [example]}
        super().__init__(metadata=metadata, **more)
        self.low, self.high, self.example = low, high, example

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> float:
        plain = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value, re.ASCII)
        if not plain or not self.low <= float(value) <= self.high:
            low, high = (f"{end:.12g}" for end in (self.low, self.high))  # 1000000, not 1e+06
            raise ValidationError(f"is not a number from {low} to {high}, as in {attr}={self.example:g}")
        return float(value)


class Limit(Whole):
    """How many rows a page has at most."""

    def __init__(self, description: str) -> None:
        super().__init__(description, most=PAGE_ROWS_MAX, example=500)


class Choice(fields.String):
    """One of a few names."""

    def __init__(self, description: str, choices: Iterable[str], **more: Any) -> None:
        self.choices = list(choices)
        super().__init__(metadata={"description": description, "enum": self.choices}, **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> str:
        if value not in self.choices:
            raise ValidationError(f"is none of {', '.join(self.choices)}, as in {attr}={self.choices[0]}")
        return str(value)


class Time(fields.Field[times.Moment]):
    """An instant in any of the forms of `times`."""

    def __init__(self, description: str, **more: Any) -> None:
        forms = [
            {"type": "string", "format": "date-time", "description": "RFC 3339; the offset is not optional."},
            {"type": "string", "pattern": times.UNIX, "description": "Unix seconds; from 1e11 on milliseconds."},
            {"type": "string", "pattern": times.NOW, "description": "So long before now: ms, s, m, h, d, w."},
        ]
        examples = [times.EXAMPLE, "2025-07-18T22:42:34.5+02:00", "1752871354", "now-15m"]
        super().__init__(metadata={"description": description, "anyOf": forms, "examples": examples}, **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **more: Any) -> times.Moment:
        try:
            return times.parse(value)
        except times.BadTime as error:
            raise ValidationError(str(error)) from None


class Cursor(Text):
    """Where the next page begins."""

    def __init__(self) -> None:
        description = "From the `Link` header of the page before; the other parameters stay as they were there."
        super().__init__(description, "WyJhIl0", longest=4_096)


class Query(Schema):
    """Base of all query parameters: an unknown one is refused, because it would silently do nothing."""

    class Meta:
        """Of marshmallow."""

        unknown = RAISE


class FaultSchema(Schema):
    """One wrong parameter."""

    parameter = fields.String(required=True, metadata={"description": "Its name.", "examples": ["limit"]})
    value = fields.String(metadata={"description": "Its value, shortened.", "examples": ["abc"]})
    detail = fields.String(
        required=True,
        metadata={
            "description": "What is wrong, and what would be right.",
            "examples": ["is not a whole number from 1 to 100000, as in limit=500"],
        },
    )


class ProblemSchema(Schema):
    """Problem details (RFC 9457): what went wrong, and what to do about it."""

    class Meta:
        """Of marshmallow."""

        title = "Problem"

    type = fields.String(required=True, metadata={"description": "Which kind of problem: a URN that never changes."})
    title = fields.String(required=True, metadata={"description": "The kind in words."})
    status = fields.Integer(required=True, metadata={"description": "The HTTP status."})
    detail = fields.String(required=True, metadata={"description": "What is wrong here, and what would be right."})
    instance = fields.String(required=True, metadata={"description": "This very request, as a URN."})
    request_id = fields.String(required=True, metadata={"description": "The id under which the server logs it."})
    errors = fields.List(
        fields.Nested(FaultSchema),
        metadata={
            "description": "Every parameter that is wrong; the first 20, where there are more.",
            "examples": [[{"parameter": "limit", "value": "abc", "detail": "is not a whole number from 1 to 100000"}]],
        },
    )
    examples = fields.List(
        fields.String(metadata={"examples": ["GPU-5fd4f087-86f3-7a43-b711-4771313afc50"]}),
        metadata={"description": "Ids that would be right."},
    )


class TelemetryRecordSchema(Schema):
    """One reading, as its source gave it: the fields of the view `telemetry`."""

    class Meta:
        """Of marshmallow."""

        title = "TelemetryRecord"

    timestamp = fields.String(
        required=True,
        metadata={"format": "date-time", "description": "When it was read: RFC 3339, UTC, microseconds."},
    )
    metric_name = fields.String(required=True, metadata={"description": "The metric as the source names it."})
    gpu_id = fields.String(required=True, metadata={"description": "The GPU's number on its host; not unique."})
    device = fields.String(required=True, metadata={"description": "The device file, for example nvidia0."})
    uuid = fields.String(required=True, metadata={"description": "The GPU's identity; empty when the source has none."})
    model_name = fields.String(required=True, metadata={"description": "The GPU's model."})
    hostname = fields.String(required=True, metadata={"description": "The host that reported it."})
    container = fields.String(required=True, metadata={"description": "The container that used the GPU, or empty."})
    pod = fields.String(required=True, metadata={"description": "Its pod, or empty."})
    namespace = fields.String(required=True, metadata={"description": "Its namespace, or empty."})
    value = fields.Float(required=True, metadata={"description": "The value, in the unit of the source's metric."})
    labels_raw = fields.String(
        required=True, metadata={"description": "All labels, byte for byte as the source wrote them."}
    )


RECORD_EXAMPLE = {
    "timestamp": "2025-07-18T20:42:34.000000Z",
    "metric_name": "DCGM_FI_DEV_POWER_USAGE",
    "gpu_id": "0",
    "device": "nvidia0",
    "uuid": "GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
    "model_name": "NVIDIA H100 80GB HBM3",
    "hostname": "mtv5-dgx1-hgpu-031",
    "container": "",
    "pod": "",
    "namespace": "",
    "value": 112.351,
    "labels_raw": 'DCGM_FI_DRIVER_VERSION="535.129.03",__name__="DCGM_FI_DEV_POWER_USAGE",gpu="0"',
}
