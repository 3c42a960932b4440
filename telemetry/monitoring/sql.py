"""The dashboards' SQL: the named statements of queries.sql with metrics, units and limits filled in.

What lives here: filling in, from the catalogue alone. What does not: what Grafana fills in when it asks, and the API's
questions (`telemetry.store`), which take what people type as parameters; nothing that anybody types comes here.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from telemetry.catalog import SPELLINGS
from telemetry.monitoring import thresholds as limit
from telemetry.monitoring.units import metric
from telemetry.xids import XID_TEXT

__all__ = ["MEAN", "PEAK", "fill"]

MEAN, PEAK = "sum(s.sum * n.factor) / sum(s.readings)", "max(s.max * n.factor)"
"""What a step of one board is."""

# DCGM_CLOCKS_EVENT_REASON_* of dcgm_fields.h, those of nvml.h
_REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "heat, by software",
    0x40: "heat, by hardware",
    0x80: "power brake",
}
_PLACE = re.compile(r"\$\{[^}]*\}|(?<!:):([a-z_]+)")
"""A word to fill in; what Grafana fills in is passed over."""

# arrays, as nothing at all is what Grafana puts there for All of a list that has nothing: of an empty database
_FLEET = (
    "g.hostname = ANY (ARRAY[${host:sqlstring}]::text[]) AND g.model_name = ANY (ARRAY[${model:sqlstring}]::text[])"
)
_LOADS = "coalesce(nullif(w.namespace, ''), '(none)') = ANY (ARRAY[${namespace:sqlstring}]::text[])"
_CHOSEN = "g.hostname = ${host:sqlstring} AND g.id = ANY (ARRAY[${gpu:sqlstring}]::text[])"
_SPELLED = r"upper(btrim(name, E' \t\n\r\f\v'))"
_BOARD = "(g.hostname || ' / GPU ' || g.gpu_id || coalesce(' / MIG ' || nullif(g.labels ->> 'GPU_I_ID', ''), ''))"


def fill(name: str, *metrics: str, **words: str) -> str:
    """A statement, for canonical `metrics`; `words` fill in what it has beside the usual.

    Raises KeyError for a statement or a metric that there is not, and for a word that nobody gave.
    """
    usual = {
        "fleet": _FLEET,
        "loads": _LOADS,
        "chosen": _CHOSEN,
        "board": _BOARD,
        "texts": ", ".join(_text(metric(name).name) for name in metrics),
        "factor": _factor(*metrics),
        "first": _text(metrics[0]) if metrics else "",
        "silence": f"{limit.GPU_SILENCE:g}",
        "idle_util": f"{limit.IDLE_UTIL:g}",
        "idle_memory": f"{limit.IDLE_MEMORY:g}",
        "xids": ", ".join(f"({code}, {_grave(xid.severity)}, {_text(xid.text)})" for code, xid in XID_TEXT.items()),
        "reasons": ", ".join(f"({mask}, {_text(reason)})" for mask, reason in _REASONS.items()),
    }
    boards = {"boards": _CHOSEN if name.startswith("board_") else _FLEET}
    usual |= {part: _put(f"{part}_of", **usual) for part in ("names", "only", "placed")}
    read = {part: _put(f"{part}_of", **usual, **boards) for part in ("steps", "whole", "newest")}
    return _put(name, **usual, **read, **words)


def _put(name: str, **given: str) -> str:
    return _PLACE.sub(lambda found: given[found[1]] if found[1] else found[0], _statements()[name])


def _factor(*metrics: str) -> str:
    """To the classic unit of each of these metrics, however its source spells it: as `catalog.lookup` takes it."""
    newer = {name: one.factor for name, one in SPELLINGS.items() if one.canonical in metrics and one.factor != 1}
    cases = "".join(f" WHEN {_text(name)} THEN {factor!r}" for name, factor in newer.items())
    return f"CASE {_SPELLED}{cases} ELSE 1 END" if newer else "1"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _grave(severity: str) -> int:
    return 2 if severity == "critical" else 1


@cache
def _statements() -> dict[str, str]:
    text = (files("telemetry.monitoring") / "queries.sql").read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in text.split("-- name: ")[1:])
    return {name.strip(): _asked(body) for name, _, body in parts}


def _asked(body: str) -> str:
    """Without the remarks, which are for whoever reads the file."""
    return "\n".join(line for line in body.strip().splitlines() if not line.lstrip().startswith("--"))
