"""The pieces of a Grafana dashboard, as the JSON that Grafana imports (schema version 39, Grafana 11 and later).

What lives here: panels, variables, the grid. What does not: which of them there are (`*_board`), and what they ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["POSTGRES", "PROMETHEUS", "bars", "dashboard", "datasource", "graph", "link", "stat", "steps", "table"]
__all__ += ["timeline", "variable"]

Json = dict[str, Any]

PROMETHEUS = "prometheus"
POSTGRES = "grafana-postgresql-datasource"
_OURS = "telemetry-postgres"
"""The uid of the data source that the chart gives Grafana; without it Grafana takes the first of the kind."""
_COLOURS = ("green", "orange", "red")
_GRID = 24
_LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_EACH_ROW: Json = {"calcs": [], "fields": "/^value$/", "values": True}


def source(kind: str) -> Json:
    """The data source that the dashboard's variable names."""
    return {"type": kind, "uid": "${datasource}"}


def steps(*limits: float, colours: Sequence[str] = _COLOURS) -> Json:
    """Colours from each limit on, the first below them all."""
    marks = [None, *limits]
    return {"mode": "absolute", "steps": [{"color": c, "value": v} for c, v in zip(colours, marks, strict=False)]}


def link(title: str, url: str) -> Json:
    """A way from a value to another dashboard."""
    return {"title": title, "url": url}


def _panel(kind: str, title: str, targets: Sequence[Json], why: str, size: tuple[int, int], defaults: Json) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": why,
        "gridPos": {"w": size[0], "h": size[1], "x": 0, "y": 0},
        "datasource": targets[0]["datasource"],
        "targets": [{**target, "refId": chr(ord("A") + place)} for place, target in enumerate(targets)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }


def graph(
    title: str,
    *targets: Json,
    unit: str,
    why: str,
    limits: Json | None = None,
    size: tuple[int, int] = (12, 8),
    ends: Mapping[str, float] | None = None,
    links: Sequence[Json] = (),
) -> Json:
    """Lines over time, with a table of names and values below. `limits` are drawn as dashed lines."""
    custom: Json = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 5, "showPoints": "auto", "spanNulls": 300_000}
    custom["thresholdsStyle"] = {"mode": "dashed" if limits else "off"}
    colour = {"mode": "palette-classic"}
    defaults: Json = {"unit": unit, "color": colour, "custom": custom, "links": list(links)} | dict(ends or {"min": 0})
    defaults["thresholds"] = limits or steps()
    panel = _panel("timeseries", title, targets, why, size, defaults)
    legend = {
        "showLegend": True,
        "displayMode": "table",
        "placement": "bottom",
        "calcs": ["mean", "max", "lastNotNull"],
    }
    panel["options"] = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel | {"interval": "15s", "maxDataPoints": 300}


def stat(
    title: str,
    *targets: Json,
    unit: str,
    why: str,
    limits: Json | None = None,
    texts: Mapping[int, str] | None = None,
    size: tuple[int, int] = (4, 4),
) -> Json:
    """Single numbers, coloured by `limits`; `texts` are said in place of whole numbers."""
    said: Json = {
        str(number): {"text": text, "index": place} for place, (number, text) in enumerate((texts or {}).items())
    }
    mappings = [{"type": "value", "options": said}] if said else []
    defaults: Json = {
        "unit": unit,
        "mappings": mappings,
        "thresholds": limits or steps(),
        "color": {"mode": "thresholds"},
    }
    panel = _panel("stat", title, targets, why, size, defaults)
    panel["options"] = {
        "reduceOptions": _LAST,
        "orientation": "auto",
        "textMode": "auto",
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
    }
    return panel


def bars(title: str, target: Json, *, unit: str, why: str, limits: Json | None, size: tuple[int, int] = (8, 8)) -> Json:
    """One bar for each row of a table: its texts are the name, its column `value` the length."""
    defaults: Json = {"unit": unit, "min": 0, "thresholds": limits or steps(), "color": {"mode": "thresholds"}}
    panel = _panel("bargauge", title, [target], why, size, defaults)
    panel["options"] = {"reduceOptions": _EACH_ROW, "orientation": "horizontal", "displayMode": "basic"}
    return panel


def timeline(title: str, target: Json, *, why: str, limits: Json, size: tuple[int, int] = (12, 8)) -> Json:
    """States over time, a lane for each series."""
    defaults: Json = {
        "thresholds": limits,
        "color": {"mode": "thresholds"},
        "custom": {"fillOpacity": 80, "lineWidth": 0},
    }
    panel = _panel("state-timeline", title, [target], why, size, defaults)
    legend = {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []}
    panel["options"] = {"mergeValues": True, "showValue": "auto", "alignValue": "left", "rowHeight": 0.9}
    panel["options"] |= {"legend": legend, "tooltip": {"mode": "single", "sort": "none"}}
    return panel | {"interval": "15s", "maxDataPoints": 300}


def table(
    title: str,
    target: Json,
    *,
    why: str,
    units: Mapping[str, str] | None = None,
    links: Mapping[str, Json] | None = None,
    size: tuple[int, int] = (12, 8),
) -> Json:
    """Rows as they come; `units` and `links` by column."""
    panel = _panel("table", title, [target], why, size, {"custom": {"align": "auto"}})
    told: list[tuple[str, Json]] = [(column, {"id": "unit", "value": word}) for column, word in (units or {}).items()]
    told += [(column, {"id": "links", "value": [way]}) for column, way in (links or {}).items()]
    panel["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": column}, "properties": [property]} for column, property in told
    ]
    panel["options"] = {"showHeader": True, "cellHeight": "sm"}
    return panel


def datasource(kind: str) -> Json:
    """The variable by which a reader chooses where the data come from: the chart's own first, where Grafana has it."""
    named: Json = {"name": "datasource", "label": "Data source", "type": "datasource", "query": kind}
    if kind == POSTGRES:
        named["current"] = {"text": "Telemetry", "value": _OURS}
    return named | {"hide": 0, "refresh": 1, "regex": "", "multi": False, "includeAll": False, "options": []}


def variable(
    name: str,
    label: str,
    query: str | Json,
    *,
    kind: str,
    many: bool = True,
    all_is: str | None = None,
    hidden: bool = False,
) -> Json:
    """A choice that a query gives, asked again when the time range changes; `many` allows several and all."""
    made: Json = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": source(kind),
        "query": query,
        "refresh": 2,
        "regex": "",
        "sort": 0 if hidden else 1,
        "hide": 2 if hidden else 0,
        "multi": many,
        "includeAll": many,
        "options": [],
    }
    if many:
        made["current"] = {"text": ["All"], "value": ["$__all"]}
    if hidden:
        made["skipUrlSync"] = True
    return made | ({"allValue": all_is} if all_is is not None else {})


def dashboard(
    uid: str, title: str, why: str, variables: Sequence[Json], rows: Iterable[tuple[str, Sequence[Json]]], span: str
) -> Json:
    """A dashboard of named rows. `span` is how far it looks back at first."""
    return {
        "uid": uid,
        "title": title,
        "description": why,
        "tags": ["telemetry"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": f"now-{span}", "to": "now"},
        "refresh": "1m",
        "templating": {"list": list(variables)},
        "annotations": {"list": []},
        "links": [_beside()],
        "panels": _laid_out(rows),
    }


def _beside() -> Json:
    """The other dashboards of the pipeline, with the same time range."""
    shown = {
        "title": "Telemetry",
        "type": "dashboards",
        "tags": ["telemetry"],
        "asDropdown": False,
        "icon": "external link",
    }
    return shown | {"includeVars": False, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}


def _laid_out(rows: Iterable[tuple[str, Sequence[Json]]]) -> list[Json]:
    """Panels from left to right and top to bottom, below the title of their row."""
    placed: list[Json] = []
    y = 0
    for title, panels in rows:
        placed.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, y, _GRID, 1)})
        y, x, tallest = y + 1, 0, 0
        for panel in panels:
            width, height = panel["gridPos"]["w"], panel["gridPos"]["h"]
            if x + width > _GRID:
                y, x, tallest = y + tallest, 0, 0
            placed.append({**panel, "gridPos": _at(x, y, width, height)})
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return [{"id": number, **panel} for number, panel in enumerate(placed, 1)]


def _at(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}
