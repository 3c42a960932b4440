"""What /api/v1/fleet/summary answers: a fleet at one look, by the newest value of each GPU.

What does not live here: the operation (`fleet`), what is a board's value when several rows have one
(`telemetry.store.questions.boards`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import fsum, inf
from typing import Any, NamedTuple

from telemetry.store.questions.boards import Board, Instance, boards, mean, newest_of, total
from telemetry.store.questions.fleet import Fleet, Newest, Part
from telemetry.xids import XID_TEXT
from webapi.fleet.parameters import stale_after_field
from webapi.ranges import FleetQuery, selection
from webapi.times import rfc3339

_POWER, _TEMP, _UTIL = "DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_UTIL"
_USED, _FREE, _RESERVED = "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_RESERVED"
_TOTAL, _XID = "DCGM_FI_DEV_FB_TOTAL", "DCGM_FI_DEV_XID_ERRORS"
_WANTED = {_POWER, _TEMP, _UTIL, _USED, _FREE, _RESERVED, _TOTAL, _XID}


class SummaryQuery(FleetQuery):
    """Parameters of the summary."""

    stale_after = stale_after_field(
        "A GPU whose newest reading is older than so many seconds at `as_of` is stale: its values do not count."
    )


Values = Mapping[tuple[int, str], Newest]


class Shown(NamedTuple):
    """A board, and the newest value of each of its instances by metric."""

    board: Board
    values: Mapping[str, Mapping[Instance, float]]


def summary(fleet: Fleet, query: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The answer."""
    part, stale_after = fleet.part(selection(query)), query["stale_after"]
    at = as_of(part, now)
    metrics = [metric for metric in fleet.metrics() if metric.canonical in _WANTED]
    values = {(one.gpu, one.canonical): one for one in fleet.newest(part, metrics, at=at, within=stale_after)}
    shown = [_shown(board, values) for board in boards(part.rows)]
    if part.workloads is not None:  # whom else those workloads ran on, only all readings could tell
        shown = [one for one in shown if one.values]
    reporting = sum(bool(one.values) or _age(one.board, at) <= stale_after for one in shown)
    return {
        "as_of": rfc3339(at),
        "newest_reading": rfc3339(part.last_seen),
        "age_seconds": (now - part.last_seen).total_seconds() if part.last_seen else None,
        "stale_after": stale_after,
        "gpus": len(shown),
        "reporting": reporting,
        "stale": len(shown) - reporting,
        "hosts": len({one.board.latest.hostname for one in shown}),
        "models": _models(one.board for one in shown),
        **_totals(shown),
        "xid": _xids(shown),
    }


def as_of(part: Part, now: datetime) -> datetime:
    """The instant that the newest values of a part are about.

    That of its newest reading: an export that was read with its own times lies in the past. But never later than now:
    one host whose clock is ahead must not make all others look stale.
    """
    return min(now, part.last_seen or now)


def _age(board: Board, at: datetime) -> float:
    return (at - board.last_seen).total_seconds() if board.last_seen else inf


def _shown(board: Board, values: Values) -> Shown:
    found = {metric: newest_of(board.rows, values, metric) for metric in sorted(_WANTED)}
    return Shown(board, {name: {key: one.value for key, one in of.items()} for name, of in found.items() if of})


def _models(found: Iterable[Board]) -> list[dict[str, Any]]:
    counted = Counter(board.latest.model_name for board in found)
    return [
        {"model_name": name, "gpus": gpus} for name, gpus in sorted(counted.items(), key=lambda of: (-of[1], of[0]))
    ]


def _totals(shown: Sequence[Shown]) -> dict[str, Any]:
    power, temperature, utilization = (
        [value for one in shown if (value := mean(one.values.get(metric, {}))) is not None]
        for metric in (_POWER, _TEMP, _UTIL)
    )
    used = [value for one in shown if (value := total(one.values.get(_USED, {}))) is not None]
    there = [value for one in shown if (value := total(_capacities(one))) is not None]
    return {
        "power": {"total_watts": round(fsum(power), 6), "gpus": len(power)},
        "temperature": {
            "mean_celsius": _mean(temperature),
            "max_celsius": max(temperature, default=None),
            "gpus": len(temperature),
        },
        "utilization": {"mean_percent": _mean(utilization), "gpus": len(utilization)},
        "memory": {"used_mib": round(fsum(used), 6), "total_mib": round(fsum(there), 6), "gpus": len(used)},
    }


def _capacities(one: Shown) -> dict[Instance, float]:
    """Memory in all of each instance that tells it."""
    used, free, reserved = (one.values.get(metric, {}) for metric in (_USED, _FREE, _RESERVED))
    summed = {key: used[key] + free[key] + reserved.get(key, 0.0) for key in used.keys() & free.keys()}
    return summed | dict(one.values.get(_TOTAL, {}))


def _xids(shown: Sequence[Shown]) -> dict[str, Any]:
    found = [{_code(value) for value in one.values.get(_XID, {}).values() if value} for one in shown]
    counted = Counter(code for codes in found for code in codes)
    told = [(code, XID_TEXT.get(code) if isinstance(code, int) else None, gpus) for code, gpus in counted.items()]
    codes = [
        {"code": code, "severity": xid.severity if xid else None, "text": xid.text if xid else None, "gpus": gpus}
        for code, xid, gpus in sorted(told, key=lambda of: of[0])
    ]
    return {"gpus": sum(map(bool, found)), "codes": codes}


def _code(value: float) -> int | float:
    """As it is written: a whole number, if it is one that JSON keeps."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _mean(values: Sequence[float]) -> float | None:
    return round(fsum(values) / len(values), 6) if values else None
