"""What is written to the chart: each file's name below its folder, and its text."""

from __future__ import annotations

import json

from telemetry.monitoring.alerts import rules_yaml
from telemetry.monitoring.fleet_board import fleet_board
from telemetry.monitoring.gpu_alerts import GPUS
from telemetry.monitoring.gpu_board import gpu_board
from telemetry.monitoring.grafana import Json
from telemetry.monitoring.pipeline_alerts import PIPELINE
from telemetry.monitoring.pipeline_board import pipeline_board

__all__ = ["GROUPS", "RULES", "boards", "written"]

RULES = "rules/telemetry.rules.yaml"
GROUPS = {"telemetry-pipeline": PIPELINE, "telemetry-gpus": GPUS}


def boards() -> dict[str, Json]:
    """The dashboards by their uid."""
    return {board["uid"]: board for board in (pipeline_board(), fleet_board(), gpu_board())}


def written() -> dict[str, str]:
    """Names and texts of all files, the same whenever it is asked."""
    made = {
        f"dashboards/{uid}.json": f"{json.dumps(board, indent=2, ensure_ascii=False)}\n"
        for uid, board in boards().items()
    }
    return {RULES: rules_yaml(GROUPS)} | made
