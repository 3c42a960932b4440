"""What the lists of /api/v1/fleet look like, energy and idle GPUs, with an example of each.

What does not live here: how they come about (`fleetenergy`, `fleetidle`), answers that are objects (`fleetschemas`).
"""

from marshmallow import Schema, fields


class EnergySchema(Schema):
    """What was used in a range, of all or of one group. What is not grouped by is null."""

    class Meta:
        """Of marshmallow."""

        title = "Energy"

    gpu = fields.String(required=True, allow_none=True, metadata={"description": "The GPU's id, when grouped by gpu."})
    hostname = fields.String(required=True, allow_none=True, metadata={"description": "The host, when grouped by it."})
    model_name = fields.String(
        required=True, allow_none=True, metadata={"description": "The model, when grouped by it."}
    )
    namespace = fields.String(
        required=True, allow_none=True, metadata={"description": "The namespace, when grouped by it."}
    )
    pod = fields.String(required=True, allow_none=True, metadata={"description": "The pod, when grouped by it."})
    start_time = fields.String(
        required=True, metadata={"format": "date-time", "description": "Where the range begins, inclusive."}
    )
    end_time = fields.String(
        required=True, metadata={"format": "date-time", "description": "Where it ends, inclusive."}
    )
    kwh = fields.Float(required=True, metadata={"description": "Energy from readings of power."})
    covered_seconds = fields.Float(
        required=True,
        metadata={"description": "Time between successive readings that `kwh` is about, summed over GPUs."},
    )
    mean_watts = fields.Float(
        required=True, allow_none=True, metadata={"description": "Mean power of a GPU in that time; null without any."}
    )
    counter_kwh = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "What the GPUs' own energy counters rose by; null where there are none."},
    )
    gpus = fields.Integer(required=True, metadata={"description": "GPUs with readings of power or of the counter."})
    readings = fields.Integer(required=True, metadata={"description": "Readings of power."})


ENERGY_EXAMPLE = {
    "gpu": None,
    "hostname": "mtv5-dgx1-hgpu-031",
    "model_name": None,
    "namespace": None,
    "pod": None,
    "start_time": "2025-07-17T20:42:37.000000Z",
    "end_time": "2025-07-18T20:42:37.000000Z",
    "kwh": 50.504,
    "covered_seconds": 691_140.0,
    "mean_watts": 263.064,
    "counter_kwh": 50.511,
    "gpus": 8,
    "readings": 69_128,
}


class IdleSchema(Schema):
    """A GPU that did nothing all the time, and kept memory all the time."""

    class Meta:
        """Of marshmallow."""

        title = "IdleGpu"

    gpu = fields.String(required=True, metadata={"description": "Its id."})
    hostname = fields.String(required=True, metadata={"description": "The host where it was seen last."})
    gpu_id = fields.String(required=True, metadata={"description": "Its number there."})
    model_name = fields.String(required=True, metadata={"description": "Its model."})
    max_utilization_percent = fields.Float(
        required=True, metadata={"description": "The highest utilisation that was read."}
    )
    min_memory_mib = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "The lowest use of memory that was read; null: none was, with `min_memory=0` only."},
    )
    mean_watts = fields.Float(
        required=True, allow_none=True, metadata={"description": "The mean of its readings of power; null without any."}
    )
    observed_seconds = fields.Float(
        required=True,
        metadata={"description": "Time between successive readings of utilisation; 0: it was read once."},
    )
    wasted_kwh = fields.Float(
        required=True, metadata={"description": "Energy from readings of power, as /api/v1/fleet/energy tells it."}
    )


IDLE_EXAMPLE = {
    "gpu": "GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
    "hostname": "mtv5-dgx1-hgpu-031",
    "gpu_id": "0",
    "model_name": "NVIDIA H100 80GB HBM3",
    "max_utilization_percent": 0.0,
    "min_memory_mib": 73_842.0,
    "mean_watts": 112.351,
    "observed_seconds": 3_590.0,
    "wasted_kwh": 0.112,
}
