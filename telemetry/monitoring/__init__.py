"""Alerts for Prometheus and dashboards for Grafana, made from the same code that names the metrics.

What lives here: the rules, the dashboards, the thresholds that both share, and writing them to `helm-chart/rules` and
`helm-chart/dashboards` (`scripts/dashboards`), where a test compares them. What does not: counting (`runtime.metrics`),
the names of metrics (`runtime.measures`), what DCGM's names mean (`catalog`), the runbook (`helm-chart/RUNBOOK.md`).
"""
