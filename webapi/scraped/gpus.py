"""/metrics/gpus: the newest value of every series, as dcgm-exporter would give it: for dashboards that exist.

What does not live here: the text (`page`), the server's own metrics (`webapi.probes`).
"""

from typing import Any

from flask import Response

from webapi.bodies.compress import takes_gzip
from webapi.contract import Blueprint
from webapi.process.crowd import BUSY
from webapi.queue.state import Flag
from webapi.schemas import Query
from webapi.scraped.page import unpacked
from webapi.scraped.scrapes import scrapes

blueprint = Blueprint("scraped", __name__, description="Newest values for Prometheus")

TEXT = "text/plain"
MEDIA_TYPE = f"{TEXT}; version=0.0.4; charset=utf-8"

_EXAMPLE = """\
# HELP DCGM_FI_DEV_GPU_TEMP Temperature of the GPU, C
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-5fd4f087-86f3-7a43-b711-4771313afc50",device="nvidia0",\
modelName="NVIDIA H100 80GB HBM3",Hostname="mtv5-dgx1-hgpu-031",container="",pod="",namespace="",\
DCGM_FI_DRIVER_VERSION="535.129.03"} 38.0
"""


class GpusQuery(Query):
    """Parameters of the scrape."""

    timestamps = Flag(
        load_default=False,
        metadata={
            "description": "Give each value the time of its reading; without it Prometheus takes that of the scrape.",
            "examples": [True],
        },
    )


@blueprint.route("/metrics/gpus")
@blueprint.arguments(GpusQuery, location="query")
@blueprint.response(200, {"type": "string"}, content_type=TEXT, description="Prometheus' text format", example=_EXAMPLE)
@blueprint.refuses(422, told={503: BUSY})
@blueprint.doc(operationId="getGpuMetrics")
def gpu_metrics(query: dict[str, Any]) -> Response:
    """Give the newest value of every series to Prometheus

    Named and labelled as dcgm-exporter has them, in the units of the classic names: of each GPU, or MIG instance, and
    metric one series. A value older than 300 s is left out, so that Prometheus takes the series for gone. Values are
    at most 5 s behind the database, or as many as reading them takes, which is waited for 8 s. While that does not
    answer they stay for 60 s, but for counters; from then on no GPU is told of, and `telemetry_gpus_up` is 0.
    """
    taken = takes_gzip()
    packed = scrapes().page.packed(timestamps=query["timestamps"])
    response = Response(packed if taken else unpacked(packed), content_type=MEDIA_TYPE)
    response.vary.add("Accept-Encoding")
    if taken:
        response.headers["Content-Encoding"] = "gzip"
    return response
