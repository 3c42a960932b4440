"""The dashboard of the GPUs of one host, asked of the database.

What dashboard 12239 shows, with the host in each legend, and what it does not: errors, throttling, energy, links, pods,
MIG instances, identity.
"""

from __future__ import annotations

from telemetry.monitoring import thresholds as limit
from telemetry.monitoring.fleet_board import ask, source_variable, window
from telemetry.monitoring.grafana import (
    POSTGRES,
    Json,
    bars,
    dashboard,
    datasource,
    graph,
    stat,
    steps,
    table,
    timeline,
    variable,
)
from telemetry.monitoring.sql import MEAN, PEAK, fill
from telemetry.monitoring.units import bounds, metric, unit

__all__ = ["gpu_board"]

_DEV, _PROF = "DCGM_FI_DEV_", "DCGM_FI_PROF_"
_HALF = (12, 8)


def gpu_board() -> Json:
    """The dashboard as JSON."""
    variables = [
        datasource(POSTGRES),
        variable("host", "Host", fill("hosts"), kind=POSTGRES, many=False),
        variable("gpu", "GPU", fill("boards_of_host"), kind=POSTGRES),
        window(),
        source_variable(),
    ]
    rows = (
        ("Which", _which()),
        ("How warm, how much power", _heat()),
        ("How busy", _use()),
        ("Errors", _errors()),
        ("Throttling", _throttling()),
        ("Links", _links()),
        ("Pods", _pods()),
    )
    why = "The GPUs of one host, each by itself; MIG instances have lines of their own."
    return dashboard("telemetry-gpu", "Telemetry: GPUs", why, variables, rows, "1h")


def _lines(
    name: str, *, title: str = "", inner: str = MEAN, limits: Json | None = None, size: tuple[int, int] = _HALF
) -> Json:
    """A metric as lines; the catalogue says what it is."""
    entry = metric(name)
    target = ask(fill("board_steps", name, inner=inner), form="time_series")
    ends = bounds(name)
    return graph(title or entry.description, target, unit=unit(name), why=name, limits=limits, ends=ends, size=size)


def _rises(name: str, word: str, *, per: str = "1", limits: Json | None = None) -> Json:
    """By how much a counter rises in a second."""
    target = ask(fill("board_rises", name, per=per), form="time_series")
    return graph(metric(name).description, target, unit=word, why=f"{name}, per second", limits=limits)


def _which() -> list[Json]:
    return [
        table("Identity", ask(fill("board_identity")), size=(24, 6),
              why="The uuid is a board's identity; its number repeats on every host."),
    ]  # fmt: skip


def _heat() -> list[Json]:
    temp, power, hot = _DEV + "GPU_TEMP", _DEV + "POWER_USAGE", steps(*limit.HOT_C)
    return [
        _lines(temp, inner=PEAK, limits=hot, size=(18, 8)),
        stat("Temperature, mean", ask(fill("board_total", temp, outer="avg(value)")), unit=unit(temp), limits=hot,
             why="Of the chosen GPUs, now.", size=(6, 8)),
        _lines(power, size=(18, 8)),
        stat("Power, sum", ask(fill("board_total", power, outer="sum(value)")), unit=unit(power),
             why="Of the chosen GPUs, now.", size=(6, 8)),
        _lines(_DEV + "MEMORY_TEMP", inner=PEAK, limits=steps(*limit.HOT_MEMORY_C)),
        _rises(_DEV + "TOTAL_ENERGY_CONSUMPTION", "watt", per="1e3"),
        _lines(_DEV + "SM_CLOCK"),
        _lines(_DEV + "MEM_CLOCK"),
    ]  # fmt: skip


def _use() -> list[Json]:
    used = _DEV + "FB_USED"
    return [
        _lines(_DEV + "GPU_UTIL"),
        _lines(_DEV + "MEM_COPY_UTIL"),
        _lines(used),
        bars("Memory used, now", ask(fill("board_newest", used)), unit=unit(used), limits=None, size=_HALF,
             why="Each board or MIG instance."),
        _lines(_PROF + "PIPE_TENSOR_ACTIVE", title="Tensor cores"),
        _lines(_PROF + "GR_ENGINE_ACTIVE", title="Engine active"),
        _lines(_PROF + "SM_ACTIVE", title="SMs active"),
        _lines(_PROF + "DRAM_ACTIVE", title="Memory interface active"),
    ]  # fmt: skip


def _errors() -> list[Json]:
    xids = ask(fill("board_steps", _DEV + "XID_ERRORS", inner=PEAK), form="time_series")
    remap = ask(fill("board_steps", _DEV + "ROW_REMAP_FAILURE", inner=PEAK), form="time_series")
    fault = steps(1, colours=("green", "red"))
    return [
        timeline("Last XID", xids, why="The code stays until the driver is loaded anew; 0: none.", limits=fault),
        timeline("Row remapping failed", remap, why="1: the board is to be replaced.", limits=fault),
        _lines(_DEV + "ECC_DBE_VOL_TOTAL", inner=PEAK),
        _lines(_DEV + "ECC_SBE_VOL_TOTAL", inner=PEAK),
        _lines(_DEV + "UNCORRECTABLE_REMAPPED_ROWS", inner=PEAK),
        _rises(_DEV + "PCIE_REPLAY_COUNTER", "cps"),
    ]  # fmt: skip


def _throttling() -> list[Json]:
    reasons = ask(fill("board_reasons", _DEV + "CLOCK_THROTTLE_REASONS"), form="time_series")
    warm, capped = (
        steps(limit.THERMAL_SHARE, colours=("green", "red")),
        steps(limit.POWER_SHARE, colours=("green", "orange")),
    )
    return [
        _rises(_DEV + "THERMAL_VIOLATION", "percentunit", per="1e9", limits=warm),
        _rises(_DEV + "POWER_VIOLATION", "percentunit", per="1e9", limits=capped),
        graph("Why clocks are lowered", reasons, unit="percentunit", ends={"min": 0, "max": 1}, size=(24, 8),
              why="Share of readings at which each reason held. The power cap is daily life at full load."),
    ]  # fmt: skip


def _links() -> list[Json]:
    return [
        _lines(_PROF + "PCIE_TX_BYTES"),
        _lines(_PROF + "PCIE_RX_BYTES"),
        _lines(_PROF + "NVLINK_TX_BYTES"),
        _lines(_PROF + "NVLINK_RX_BYTES"),
        _lines(_DEV + "NVLINK_BANDWIDTH_TOTAL"),
        _rises(_DEV + "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "cps"),
    ]


def _pods() -> list[Json]:
    util = _DEV + "GPU_UTIL"
    return [
        table("What ran here", ask(fill("board_pods", util)), units={"mean utilisation": unit(util)}, size=(24, 8),
              why="Pods and containers, from their first to their last reading in the range."),
    ]  # fmt: skip
