"""The chart with nothing set, as it is expected: written to default.yaml by `python -m tests.chart.expected`, so that a
change of the chart is a change that one sees. What chance makes is left out.

What does not live here: the comparison (`test_default`).
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.fixtures.chart import Chart, Manifest, Render

__all__ = ["FILE", "expected", "told"]

FILE = Path(__file__).with_name("default.yaml")


def told(render: Render) -> dict[str, Manifest]:
    """Kind and name -> the object, without what another installation would have otherwise."""
    return {" ".join(place): _steady(manifest) for place, manifest in sorted(render.objects.items())}


def _steady(manifest: Manifest) -> Manifest:
    steady: dict[str, Any] = copy.deepcopy(manifest)
    if steady["kind"] == "Secret":
        steady["data"] = dict.fromkeys(steady["data"], "made by chance")
    if steady["kind"] == "ConfigMap":
        steady["data"] |= {name: "a file of the chart" for name in steady["data"] if name.endswith(".py")}
    text = re.sub(r'("checksum/[a-z]+": )"[0-9a-f]+"', r'\1"follows"', json.dumps(steady))
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "then", text)
    found: Manifest = json.loads(text)
    return found


def expected() -> dict[str, Manifest]:
    """What stands in the file."""
    found: dict[str, Manifest] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    head = "# What the chart gives with nothing set. Written by `python -m tests.chart.expected`; read what changes.\n"
    FILE.write_text(head + yaml.safe_dump(told(Chart()()), width=120, allow_unicode=True), encoding="utf-8")
