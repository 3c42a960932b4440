"""What an alert is, and the file that Prometheus reads.

What lives here: one alert as data, and writing rules as YAML that plain Prometheus and the chart's PrometheusRule both
take. What does not: the alerts themselves (`pipeline_alerts`, `gpu_alerts`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import dedent, indent
from typing import Literal

__all__ = ["RUNBOOK", "Alert", "rules_yaml"]

RUNBOOK = "helm-chart/RUNBOOK.md"
"""From the root of the repository; the chart can name another place (monitoring.prometheusRule.runbookUrl)."""

_HEAD = """\
# Alerts of the pipeline and of the GPUs that it reads. Made by scripts/dashboards from telemetry/monitoring.
# Plain Prometheus takes this file as it is (rule_files); the chart makes a PrometheusRule of it.
"""


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule. `hold` is how long `expr` must hold.

    `summary` and `action` are Prometheus' templates, a sentence or two each. `action` is the first step; the others are
    in the runbook, in a section of the alert's name.
    """

    name: str
    severity: Literal["critical", "warning", "info"]
    expr: str
    hold: str
    summary: str
    action: str

    @property
    def runbook_url(self) -> str:
        """The alert's section of the runbook, relative to the root of the repository."""
        return f"{RUNBOOK}#{self.name.lower()}"

    @property
    def text(self) -> str:
        """The expression without the indentation of the code around it."""
        return dedent(self.expr).strip()


def rules_yaml(groups: Mapping[str, Sequence[Alert]]) -> str:
    """The rules file: one group for each name, in order."""
    return _HEAD + "groups:\n" + "".join(_group(name, alerts) for name, alerts in groups.items())


def _group(name: str, alerts: Sequence[Alert]) -> str:
    return f"  - name: {name}\n    rules:\n" + "".join(map(_rule, alerts))


def _rule(alert: Alert) -> str:
    annotations = {"summary": alert.summary, "action": alert.action, "runbook_url": alert.runbook_url}
    # JSON's strings are YAML's, too, so nothing in a sentence needs care
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in annotations.items()]
    return (
        f"      - alert: {alert.name}\n"
        f"        expr: |-\n{indent(alert.text, ' ' * 10)}\n"
        f"        for: {alert.hold}\n"
        f"        labels:\n          severity: {alert.severity}\n"
        f"        annotations:\n{indent(chr(10).join(lines), ' ' * 10)}\n"
    )
