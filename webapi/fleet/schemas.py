"""What the summary and the anomalies of /api/v1/fleet look like, with an example of each.

What does not live here: how they come about (`fleetsummary`, `fleetanomalies`), answers that are lists (`fleetrows`).
"""

from marshmallow import Schema, fields


class ModelSchema(Schema):
    """A model of GPUs."""

    model_name = fields.String(required=True, metadata={"description": "The model."})
    gpus = fields.Integer(required=True, metadata={"description": "How many GPUs are of it."})


class PowerSchema(Schema):
    """What the fleet draws."""

    total_watts = fields.Float(required=True, metadata={"description": "The sum over GPUs."})
    gpus = fields.Integer(required=True, metadata={"description": "How many GPUs told it."})


class TemperatureSchema(Schema):
    """How warm GPUs are."""

    mean_celsius = fields.Float(required=True, allow_none=True, metadata={"description": "The mean over GPUs."})
    max_celsius = fields.Float(required=True, allow_none=True, metadata={"description": "That of the hottest GPU."})
    gpus = fields.Integer(required=True, metadata={"description": "How many GPUs told it."})


class UtilizationSchema(Schema):
    """How busy GPUs are."""

    mean_percent = fields.Float(required=True, allow_none=True, metadata={"description": "The mean over GPUs."})
    gpus = fields.Integer(required=True, metadata={"description": "How many GPUs told it."})


class MemorySchema(Schema):
    """How full the framebuffers are."""

    used_mib = fields.Float(required=True, metadata={"description": "In use, the sum over GPUs."})
    total_mib = fields.Float(
        required=True,
        metadata={"description": "There in all: FB_TOTAL, else what is used, free and reserved together."},
    )
    gpus = fields.Integer(required=True, metadata={"description": "How many GPUs told what is in use."})


class XidCodeSchema(Schema):
    """An XID that is some GPU's last one."""

    code = fields.Float(required=True, metadata={"description": "The code."})
    severity = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "critical or warning; null: mostly the application's own fault."},
    )
    text = fields.String(required=True, allow_none=True, metadata={"description": "What it says, where it is known."})
    gpus = fields.Integer(required=True, metadata={"description": "How many GPUs have it."})


class XidSchema(Schema):
    """Faults that drivers reported."""

    gpus = fields.Integer(required=True, metadata={"description": "How many GPUs have a last XID other than 0."})
    codes = fields.List(
        fields.Nested(XidCodeSchema),
        required=True,
        metadata={"description": "Which ones, by code; one GPU may have two."},
    )


class SummarySchema(Schema):
    """A fleet at one look."""

    class Meta:
        """Of marshmallow."""

        title = "FleetSummary"

    as_of = fields.String(
        required=True,
        metadata={
            "format": "date-time",
            "description": "The instant it is about: that of the newest reading, but never later than now.",
        },
    )
    newest_reading = fields.String(
        required=True,
        allow_none=True,
        metadata={"format": "date-time", "description": "Time of the newest reading; up to 10 s behind."},
    )
    age_seconds = fields.Float(
        required=True, allow_none=True, metadata={"description": "How old that is now; below 0: its clock is ahead."}
    )
    stale_after = fields.Integer(required=True, metadata={"description": "As asked."})
    gpus = fields.Integer(required=True, metadata={"description": "GPUs that ever had telemetry."})
    reporting = fields.Integer(required=True, metadata={"description": "GPUs with a reading that is not stale."})
    stale = fields.Integer(required=True, metadata={"description": "The others."})
    hosts = fields.Integer(required=True, metadata={"description": "Hosts on which GPUs were seen last."})
    models = fields.List(
        fields.Nested(ModelSchema), required=True, metadata={"description": "Models, the most frequent first."}
    )
    power = fields.Nested(PowerSchema, required=True, metadata={"description": "What the fleet draws."})
    temperature = fields.Nested(TemperatureSchema, required=True, metadata={"description": "How warm GPUs are."})
    utilization = fields.Nested(UtilizationSchema, required=True, metadata={"description": "How busy GPUs are."})
    memory = fields.Nested(MemorySchema, required=True, metadata={"description": "How full the framebuffers are."})
    xid = fields.Nested(XidSchema, required=True, metadata={"description": "Faults that drivers reported."})


SUMMARY_EXAMPLE = {
    "as_of": "2025-07-18T20:42:37.000000Z",
    "newest_reading": "2025-07-18T20:42:37.000000Z",
    "age_seconds": 1.5,
    "stale_after": 300,
    "gpus": 247,
    "reporting": 247,
    "stale": 0,
    "hosts": 31,
    "models": [{"model_name": "NVIDIA H100 80GB HBM3", "gpus": 247}],
    "power": {"total_watts": 64_997.681, "gpus": 247},
    "temperature": {"mean_celsius": 38.5, "max_celsius": 66.0, "gpus": 247},
    "utilization": {"mean_percent": 43.2, "gpus": 247},
    "memory": {"used_mib": 9_437_184.0, "total_mib": 20_008_729.0, "gpus": 247},
    "xid": {
        "gpus": 1,
        "codes": [{"code": 79, "severity": "critical", "text": "GPU has fallen off the bus", "gpus": 1}],
    },
}


class JudgedSchema(Schema):
    """One metric of GPUs that are alike: of one model, or MIG instances of one model and profile."""

    metric_name = fields.String(required=True, metadata={"description": "The metric under its classic name."})
    unit = fields.String(required=True, metadata={"description": "Its unit."})
    model_name = fields.String(
        required=True, allow_none=True, metadata={"description": "Their model; null: no GPU has a value."}
    )
    mig_profile = fields.String(
        required=True, metadata={"description": "The profile of MIG instances; empty for whole GPUs."}
    )
    gpus = fields.Integer(required=True, metadata={"description": "How many have a value."})
    judged = fields.Boolean(required=True, metadata={"description": "Whether they were compared."})
    median = fields.Float(required=True, allow_none=True, metadata={"description": "The median of their values."})
    scale = fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "How far from it a score of 1 is; 0: all are the same."},
    )
    method = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "pattern": "^(median|mean)-absolute-deviation$",
            "description": "What `scale` was made of. The mean one stands in where the median one is 0.",
        },
    )
    anomalies = fields.Integer(required=True, metadata={"description": "How many are beyond the threshold."})
    note = fields.String(required=True, metadata={"description": "Why nothing was judged, or how; else empty."})


class AnomalySchema(Schema):
    """A value that is far from those of its peers."""

    metric_name = fields.String(required=True, metadata={"description": "The metric under its classic name."})
    unit = fields.String(required=True, metadata={"description": "Its unit."})
    gpu = fields.String(required=True, metadata={"description": "The GPU's id."})
    gpu_i_id = fields.String(required=True, metadata={"description": "The MIG instance; empty for a whole GPU."})
    hostname = fields.String(required=True, metadata={"description": "The host where it was seen last."})
    gpu_id = fields.String(required=True, metadata={"description": "The GPU's number there."})
    model_name = fields.String(required=True, metadata={"description": "The GPU's model."})
    value = fields.Float(required=True, metadata={"description": "Its value."})
    median = fields.Float(required=True, metadata={"description": "The median of its peers, itself among them."})
    score = fields.Float(required=True, metadata={"description": "(value - median) / scale: below 0 it is lower."})


class AnomaliesSchema(Schema):
    """What stands out in a fleet, and what was looked at."""

    class Meta:
        """Of marshmallow."""

        title = "FleetAnomalies"

    of = fields.String(
        required=True,
        metadata={"enum": ["newest", "mean"], "description": "What was compared: newest values, or means of a range."},
    )
    start_time = fields.String(
        required=True, metadata={"format": "date-time", "description": "No reading before this instant was looked at."}
    )
    end_time = fields.String(
        required=True,
        metadata={"format": "date-time", "description": "The end of the range, or what the newest values are about."},
    )
    threshold = fields.Float(required=True, metadata={"description": "As asked."})
    judged = fields.List(
        fields.Nested(JudgedSchema), required=True, metadata={"description": "By metric, model and profile."}
    )
    anomalies = fields.List(
        fields.Nested(AnomalySchema), required=True, metadata={"description": "The farthest first."}
    )


ANOMALIES_EXAMPLE = {
    "of": "newest",
    "start_time": "2025-07-18T20:37:37.000000Z",
    "end_time": "2025-07-18T20:42:37.000000Z",
    "threshold": 3.5,
    "judged": [
        {
            "metric_name": "DCGM_FI_DEV_GPU_TEMP",
            "unit": "C",
            "model_name": "NVIDIA H100 80GB HBM3",
            "mig_profile": "",
            "gpus": 247,
            "judged": True,
            "median": 36.0,
            "scale": 8.8956,
            "method": "median-absolute-deviation",
            "anomalies": 1,
            "note": "",
        }
    ],
    "anomalies": [
        {
            "metric_name": "DCGM_FI_DEV_GPU_TEMP",
            "unit": "C",
            "gpu": "GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
            "gpu_i_id": "",
            "hostname": "mtv5-dgx1-hgpu-031",
            "gpu_id": "0",
            "model_name": "NVIDIA H100 80GB HBM3",
            "value": 87.0,
            "median": 36.0,
            "score": 5.733,
        }
    ],
}
