"""/api/v1/inventory: the GPUs as objects, each where it was seen last."""

from typing import Any

from flask import Response
from marshmallow import Schema, fields

from telemetry.store.questions.fleet import Fleet, Item
from webapi import paging
from webapi.bodies.answers import FormatQuery, listing
from webapi.contract import PAGE_HEADERS, Blueprint
from webapi.links import links
from webapi.nouns.gpus import OF_A_GPU
from webapi.schemas import Cursor, Limit, Text
from webapi.services import services
from webapi.times import rfc3339

blueprint = Blueprint("inventory", __name__, url_prefix="/api/v1", description="GPUs as objects")


class InventoryQuery(FormatQuery):
    """Parameters of the inventory."""

    host = Text("Only GPUs that were seen last on a host that matches: `*` is any text, `?` one character.", "mtv5-*")
    model = Text("Only GPUs of models that match, likewise; case does not matter.", "*H100*")
    limit = Limit("Page by page, so many GPUs at a time. Without it: all of them at once.")
    cursor = Cursor()


class InventorySchema(Schema):
    """A GPU and the place where it was seen last."""

    class Meta:
        """Of marshmallow."""

        title = "InventoryItem"

    id = fields.String(
        required=True, metadata={"description": "What this API calls it: its uuid, else `hostname:gpu_id`."}
    )
    uuid = fields.String(required=True, metadata={"description": "Its uuid; empty when its source has none."})
    model_name = fields.String(required=True, metadata={"description": "Its model."})
    hostname = fields.String(required=True, metadata={"description": "The host where it was seen last."})
    gpu_id = fields.String(required=True, metadata={"description": "Its number there."})
    device = fields.String(required=True, metadata={"description": "Its device file there."})
    first_seen = fields.String(
        required=True, metadata={"format": "date-time", "description": "Time of its first reading, anywhere."}
    )
    last_seen = fields.String(
        required=True, metadata={"format": "date-time", "description": "Time of its last reading; up to 10 s behind."}
    )
    mig_instances = fields.Integer(required=True, metadata={"description": "How many MIG instances it has had."})
    places = fields.Integer(required=True, metadata={"description": "How many places (host and number) it has had."})


EXAMPLE = {
    "id": "GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
    "uuid": "GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
    "model_name": "NVIDIA H100 80GB HBM3",
    "hostname": "mtv5-dgx1-hgpu-031",
    "gpu_id": "0",
    "device": "nvidia0",
    "first_seen": "2025-07-18T20:42:34.000000Z",
    "last_seen": "2025-07-18T21:42:34.000000Z",
    "mig_instances": 0,
    "places": 1,
}


@blueprint.route("/inventory")
@blueprint.arguments(InventoryQuery, location="query")
@blueprint.lists(InventorySchema, "GPUs, by id in byte order", EXAMPLE, headers=PAGE_HEADERS)
@blueprint.refuses(404, 422, 503)
@blueprint.doc(operationId="listInventory", **links("gpu", "/0/id", OF_A_GPU))
def list_inventory(query: dict[str, Any]) -> Response:
    """List GPUs with what and where they are

    Every GPU that has telemetry: its model, the place where it was seen last, since when and until when, and how many
    MIG instances and places it has had. `/api/v1/gpus/{gpu}` shows those one by one.
    """
    host, model, limit = query.get("host"), query.get("model"), query.get("limit")
    filters = ["inventory", host, model]
    place = paging.decode(query.get("cursor"), filters, [(str, 1, paging.MAX_TEXT)])
    after = place[0].partition("\0")[0] if place else None  # no id holds a NUL
    more = None if limit is None else limit + 1
    found = Fleet(pool=services().reader.pool).inventory(host=host, model=model, after=after, limit=more)
    cursor = None if limit is None or len(found) <= limit else paging.encode(filters, [found[limit - 1].id])
    return listing([_shown(item) for item in found[:limit]], query, cursor=cursor)


def _shown(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "uuid": item.uuid,
        "model_name": item.model_name,
        "hostname": item.hostname,
        "gpu_id": item.gpu_id,
        "device": item.device,
        "first_seen": rfc3339(item.first_seen),
        "last_seen": rfc3339(item.last_seen),
        "mig_instances": item.instances,
        "places": item.places,
    }
