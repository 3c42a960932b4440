"""/api/v1/gpus: which GPUs there are, and what is known of one."""

from collections.abc import Sequence
from typing import Any, NoReturn

import orjson
from flask import Response
from marshmallow import Schema, fields

from telemetry.store.questions.reader import AmbiguousGpu, GpuRow, UnknownGpu
from webapi import paging
from webapi.bodies.answers import FormatQuery, names
from webapi.contract import PAGE_HEADERS, Blueprint
from webapi.links import links
from webapi.problems import Problem, cut
from webapi.schemas import TEXT_MAX, Cursor, Limit, Text
from webapi.services import services
from webapi.times import rfc3339

blueprint = Blueprint("gpus", __name__, url_prefix="/api/v1/gpus", description="GPUs that have telemetry")

GPU_EXAMPLE = "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"

GPU_PARAMETER = {
    "in": "path",
    "name": "gpu",
    "required": True,
    "description": "A uuid; or `hostname:gpu_id`, for the GPU that was last seen there; or a gpu_id alone where only "
    "one host has it.",
    "schema": {"type": "string", "minLength": 1},
    "examples": {
        "uuid": {"value": GPU_EXAMPLE},
        "place": {"value": "mtv5-dgx1-hgpu-031:0"},
    },
}


OF_A_GPU = {
    "getGpu": "What is known of the first one.",
    "getGpuLatest": "The newest values of the first one.",
    "getGpuTelemetry": "The readings of the first one.",
}


class GpusQuery(FormatQuery):
    """Parameters of the list."""

    host = Text("Only GPUs of hosts that match: `*` is any text, `?` one character; case does not matter.", "mtv5-*")
    model = Text("Only GPUs of models that match, likewise.", "*H100*")
    limit = Limit("Page by page, so many ids at a time. Without it: all of them at once.")
    cursor = Cursor()


class MigSchema(Schema):
    """A MIG instance."""

    gpu_i_id = fields.String(required=True, metadata={"description": "Its number on the GPU.", "examples": ["1"]})
    gpu_i_profile = fields.String(required=True, metadata={"description": "Its profile.", "examples": ["1g.10gb"]})


class PlaceSchema(Schema):
    """Where a GPU, or an instance of it, was seen."""

    hostname = fields.String(required=True, metadata={"description": "The host."})
    gpu_id = fields.String(required=True, metadata={"description": "The number there."})
    device = fields.String(required=True, metadata={"description": "The device file."})
    labels = fields.Dict(required=True, metadata={"description": "What tells it apart: a MIG instance's labels."})
    first_seen = fields.String(
        required=True, allow_none=True, metadata={"format": "date-time", "description": "Time of its first reading."}
    )
    last_seen = fields.String(
        required=True,
        allow_none=True,
        metadata={"format": "date-time", "description": "Time of its last reading; up to 10 s behind."},
    )


class GpuSchema(PlaceSchema):
    """A GPU: its identity, its latest place, and every place it was seen at."""

    class Meta:
        """Of marshmallow."""

        title = "Gpu"

    id = fields.String(
        required=True, metadata={"description": "What this API calls it: its uuid, else `hostname:gpu_id`."}
    )
    uuid = fields.String(required=True, metadata={"description": "Its uuid; empty when its source has none."})
    model_name = fields.String(required=True, metadata={"description": "Its model."})
    mig_instances = fields.List(fields.Nested(MigSchema), required=True, metadata={"description": "Its MIG instances."})
    places = fields.List(fields.Nested(PlaceSchema), required=True, metadata={"description": "The latest first."})
    metrics = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "The metrics in at least its newest 10,000 readings (in all, where there are fewer)."},
    )


_PLACE_EXAMPLE = {
    "hostname": "mtv5-dgx1-hgpu-031",
    "gpu_id": "0",
    "device": "nvidia0",
    "labels": {},
    "first_seen": "2025-07-18T20:42:34.000000Z",
    "last_seen": "2025-07-18T21:42:34.000000Z",
}
EXAMPLE = {
    "id": "GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
    "uuid": "GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
    "model_name": "NVIDIA H100 80GB HBM3",
    **_PLACE_EXAMPLE,
    "mig_instances": [],
    "places": [_PLACE_EXAMPLE],
    "metrics": ["DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_POWER_USAGE"],
}


@blueprint.route("")
@blueprint.arguments(GpusQuery, location="query")
@blueprint.response(
    200,
    {"type": "array", "items": {"type": "string"}},
    description="Ids, in byte order",
    example=[GPU_EXAMPLE],
    headers=PAGE_HEADERS,
)
@blueprint.in_lines([{"id": GPU_EXAMPLE}], "Ids, in byte order", headers=PAGE_HEADERS)
@blueprint.refuses(404, 422, 503)
@blueprint.doc(operationId="listGpus", **links("gpu", "/0", OF_A_GPU))
def list_gpus(query: dict[str, Any]) -> Response:
    """List GPUs

    The ids of all GPUs that have telemetry, as an array of texts. All of them, unless a `limit` is given.
    """
    host, model, limit = query.get("host"), query.get("model"), query.get("limit")
    filters = ["gpus", host, model]
    place = paging.decode(query.get("cursor"), filters, [(str, 1, paging.MAX_TEXT)])
    after = place[0] if place else None
    if after and "\0" in after:
        after = after.partition("\0")[0]  # no id holds one
    ids = services().reader.gpu_ids(host=host, model=model, after=after, limit=None if limit is None else limit + 1)
    cursor = None if limit is None or len(ids) <= limit else paging.encode(filters, [ids[limit - 1]])
    return names("id", ids[:limit], query, cursor=cursor)


@blueprint.route("/<gpu>", parameters=[GPU_PARAMETER])
@blueprint.response(200, GpuSchema, description="The GPU", example=EXAMPLE)
@blueprint.refuses(404, 503)
@blueprint.doc(operationId="getGpu")
def get_gpu(gpu: str) -> Response:
    """Show one GPU

    Its identity, its places, when it was first and last seen, and the metrics that it has.
    """
    rows = find(gpu)
    body = describe(rows) | {"metrics": services().reader.metrics_of(rows)}
    return Response(orjson.dumps(body), content_type="application/json")


def find(text: str) -> list[GpuRow]:
    """The rows of what a path calls a GPU, the latest first; else a 404 that says what would be right."""
    try:
        harmless = "\0" not in text and len(text) <= 2 * TEXT_MAX + 1
        return services().reader.gpus_called(text if harmless else "")  # no GPU is called either
    except UnknownGpu as error:
        _refuse_unknown(text, error)
    except AmbiguousGpu as error:
        examples = list(error.examples)
        detail = (
            f"{error.hosts} hosts have a GPU {cut(text)!r}; say which, for example {examples[0]}, or give its uuid."
        )
        raise Problem(404, "ambiguous-gpu", "Several GPUs have this number", detail, examples=examples) from None


def _refuse_unknown(text: str, error: UnknownGpu) -> NoReturn:
    if error.example is None:
        detail = f"No GPU is called {cut(text)!r}: none has telemetry yet. GET /api/v1/gpus lists them once they have."
    else:
        detail = (
            f"No GPU is called {cut(text)!r}; {error.count} GPUs have telemetry, one is {error.example}. "
            "GET /api/v1/gpus lists them; hostname:gpu_id is taken too."
        )
    examples = [error.example] if error.example else []
    raise Problem(404, "unknown-gpu", "No GPU has this id", detail, examples=examples) from None


def describe(rows: Sequence[GpuRow]) -> dict[str, Any]:
    """A GPU as an object, from its rows."""
    latest = rows[0]
    return {
        "id": latest.id,
        "uuid": latest.uuid,
        "model_name": latest.model_name,
        **_place(latest),
        "first_seen": rfc3339(min((row.first_seen for row in rows if row.first_seen), default=None)),
        "mig_instances": _instances(rows),
        "places": [_place(row) for row in rows],
    }


def _place(row: GpuRow) -> dict[str, Any]:
    return {
        "hostname": row.hostname,
        "gpu_id": row.gpu_id,
        "device": row.device,
        "labels": row.labels,
        "first_seen": rfc3339(row.first_seen),
        "last_seen": rfc3339(row.last_seen),
    }


def _instances(rows: Sequence[GpuRow]) -> list[dict[str, str]]:
    pairs = {(row.labels.get("GPU_I_ID", ""), row.labels.get("GPU_I_PROFILE", "")) for row in rows if row.labels}
    return [{"gpu_i_id": number, "gpu_i_profile": profile} for number, profile in sorted(pairs)]
