"""The dashboard of the fleet, asked of the database: how many, how busy, how hot, what for, and which need a person.

Every line and row says its host; rows and lines lead on to the GPUs of that host (`gpu_board`).
"""

from __future__ import annotations

from telemetry.monitoring import thresholds as limit
from telemetry.monitoring.grafana import (
    POSTGRES,
    Json,
    bars,
    dashboard,
    datasource,
    graph,
    link,
    source,
    stat,
    steps,
    table,
    variable,
)
from telemetry.monitoring.sql import MEAN, PEAK, fill
from telemetry.monitoring.units import bounds, unit

__all__ = ["ask", "fleet_board", "source_variable", "window"]

_DEV, _PROF = "DCGM_FI_DEV_", "DCGM_FI_PROF_"
_CODES = ("XID_ERRORS", "ECC_DBE_VOL_TOTAL", "ROW_REMAP_FAILURE", "ROW_REMAP_PENDING")
_GPUS = "/d/telemetry-gpu/telemetry-gpus?${datasource:queryparam}&${__url_time_range}&var-host="
# of three columns Grafana makes a series that is called what `metric` says, and has no label left
_OF_LINE = link("GPUs of this host", f"{_GPUS}${{__field.name}}")
_OF_ROW = link("This GPU", f"{_GPUS}${{__data.fields.host}}&var-gpu=${{__data.fields.id}}")
_OF_HOST = link("GPUs of this host", f"{_GPUS}${{__data.fields.host}}")
_WAYS = {"host": _OF_HOST, "gpu": _OF_ROW, "id": _OF_ROW}


def ask(statement: str, *, form: str = "table") -> Json:
    """One statement as a table, or as lines over time (`form` time_series)."""
    asked = {"datasource": source(POSTGRES), "editorMode": "code", "format": form}
    return asked | {"rawQuery": True, "rawSql": statement}


def source_variable() -> Json:
    """What reads a long range from rollups, where the database has some."""
    return variable("source", "Source", fill("source"), kind=POSTGRES, many=False, hidden=True)


def window() -> Json:
    """How old a newest reading may be: longer than the source's pace."""
    choices = ["5 minutes", "1 minute", "15 minutes", "1 hour"]
    first = {"text": choices[0], "value": choices[0], "selected": True}
    named = {"name": "window", "label": "Newest within", "type": "custom", "query": ",".join(choices), "hide": 0}
    options = [first, *({"text": one, "value": one, "selected": False} for one in choices[1:])]
    return named | {"multi": False, "includeAll": False, "current": first, "options": options}


def fleet_board() -> Json:
    """The dashboard as JSON."""
    variables = [
        datasource(POSTGRES),
        variable("host", "Host", fill("hosts"), kind=POSTGRES),
        variable("model", "Model", fill("models"), kind=POSTGRES),
        variable("namespace", "Namespace", fill("namespaces"), kind=POSTGRES),
        window(),
        source_variable(),
    ]
    rows = (
        ("Now", _now()),
        ("Who needs a person", _trouble()),
        ("Hosts over time", _hosts()),
        ("What for", _work()),
    )
    why = "All GPUs of the chosen hosts and models. Namespaces are those of the pods that used them."
    return dashboard("telemetry-fleet", "Telemetry: fleet", why, variables, rows, "1h")


def _total(title: str, name: str, how: str, why: str, limits: Json | None = None) -> Json:
    target = ask(fill("newest_total", name, outer=how))
    return stat(title, target, unit=unit(name), why=why, limits=limits)


def _now() -> list[Json]:
    temp, power, util = _DEV + "GPU_TEMP", _DEV + "POWER_USAGE", _DEV + "GPU_UTIL"
    memory = ask(fill("newest_shares", _DEV + "FB_USED", _DEV + "FB_FREE"))
    hottest = ask(fill("newest_highest", temp))
    return [
        stat("GPUs", ask(fill("fleet_counts")), unit="none", size=(6, 4),
             why="GPUs and hosts heard of within the range, and GPUs that were silent in its last five minutes."),
        _total("Power", power, "sum(value)", "Of all boards together."),
        _total("Utilisation", util, "avg(value)", "The mean of all boards."),
        _total("Temperature, mean", temp, "avg(value)", "The mean of all boards.", steps(*limit.HOT_C)),
        stat("Memory used", memory, unit="percentunit", limits=steps(*limit.MEMORY_SHARE), size=(6, 4),
             why="Of the framebuffers of all boards together."),
        bars("Hottest GPUs", hottest, unit=unit(temp), limits=steps(*limit.HOT_C), why="Now."),
        bars("Most power", ask(fill("newest_highest", power)), unit=unit(power), limits=None, why="Now."),
        bars("Busiest GPUs", ask(fill("newest_highest", util)), unit=unit(util), limits=steps(*limit.FULL), why="Now."),
    ]  # fmt: skip


def _trouble() -> list[Json]:
    idle = ask(fill("idle", _DEV + "GPU_UTIL", _DEV + "FB_USED", _DEV + "POWER_USAGE"))
    units = {"memory held": unit(_DEV + "FB_USED"), "power": unit(_DEV + "POWER_USAGE")}
    return [
        table("Errors", ask(fill("trouble", *(_DEV + code for code in _CODES))), links=_WAYS, size=(24, 8),
              why="The last XID, uncorrectable ECC errors and row remapping, as the boards say now."),
        table("Silent GPUs", ask(fill("silent")), links=_WAYS, why="Heard of within the range, and not in the end."),
        table("Idle, with memory held", idle, units=units, links=_WAYS,
              why="Did nothing in the whole range and kept memory: a process that was forgotten, mostly."),
    ]  # fmt: skip


def _lines(title: str, name: str, inner: str, outer: str, why: str, limits: Json | None = None) -> Json:
    target = ask(fill("host_steps", name, inner=inner, outer=outer), form="time_series")
    ends = bounds(name)
    return graph(title, target, unit=unit(name), why=why, limits=limits, ends=ends, links=[_OF_LINE])


def _shares(title: str, name: str, why: str, limits: Json) -> Json:
    target = ask(fill("host_rises", name), form="time_series")
    return graph(title, target, unit="percentunit", why=why, limits=limits, ends={"min": 0, "max": 1}, links=[_OF_LINE])


def _hosts() -> list[Json]:
    hot = steps(*limit.HOT_C)
    return [
        _lines("Utilisation, mean", _DEV + "GPU_UTIL", MEAN, "avg(value)", "Share of time in which a kernel ran."),
        _lines("Power, sum", _DEV + "POWER_USAGE", MEAN, "sum(value)", "Of all boards of a host."),
        _lines("Temperature, highest", _DEV + "GPU_TEMP", PEAK, "max(value)", "Of the hottest board of a host.", hot),
        _lines("Memory used, sum", _DEV + "FB_USED", MEAN, "sum(value)", "Of all boards of a host."),
        _lines("Tensor cores, mean", _PROF + "PIPE_TENSOR_ACTIVE", MEAN, "avg(value)",
               "What utilisation does not tell: whether the cores that are paid for work."),
        _lines("SM clock, mean", _DEV + "SM_CLOCK", MEAN, "avg(value)", "Low at high utilisation: throttled."),
        _shares("Throttled by heat", _DEV + "THERMAL_VIOLATION", "Share of time, mean of a host's boards.",
                steps(limit.THERMAL_SHARE, colours=("green", "red"))),
        _shares("Throttled by power", _DEV + "POWER_VIOLATION", "Share of time, mean of a host's boards.",
                steps(limit.POWER_SHARE, colours=("green", "orange"))),
    ]  # fmt: skip


def _work() -> list[Json]:
    util, memory, power = _DEV + "GPU_UTIL", _DEV + "FB_USED", _DEV + "POWER_USAGE"
    return [
        table("Energy", ask(fill("energy", power)), units={"energy": "kwatth", "mean power": unit(power)},
              links={"host": _OF_HOST}, why="Mean power by the time between first and last reading; gaps count as the "
              "mean, /api/v1/fleet/energy leaves them out. Namespaces share what a GPU drew by their readings of it."),
        table("Pods", ask(fill("pods", util)), units={"mean utilisation": unit(util)}, links={"host": _OF_HOST},
              why="What ran where, and how busy it kept its GPUs."),
        table("MIG instances", ask(fill("mig", memory)), units={"memory used": unit(memory)}, links=_WAYS,
              why="Boards that are split, and what their instances hold.", size=(24, 7)),
    ]  # fmt: skip
