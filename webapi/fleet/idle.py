"""What /api/v1/fleet/idle answers: GPUs that do nothing, and keep others from their memory.

What does not live here: the operation (`fleet`), energy (`telemetry.store.questions.integrals`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import fsum, inf
from typing import Any, NamedTuple

from telemetry.store.questions.boards import Board, Instance, boards, instance_of, total
from telemetry.store.questions.fleet import Extent, Fleet, Part
from telemetry.store.questions.integrals import POWER, Integral, Integrator, Quantity, trapezoid
from webapi.bodies.answers import FormatQuery
from webapi.fleet.energy import JOULES
from webapi.fleet.parameters import HOUR, PastQuery, max_gap_field, span
from webapi.ranges import FleetQuery, selection
from webapi.schemas import Number, Time

UTIL, USED = "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"
MEMORY = 1_000.0
"""MiB. Drivers and monitoring take some hundreds themselves."""


class IdleQuery(PastQuery, FleetQuery, FormatQuery):
    """Parameters of what is idle."""

    start_time = Time("From this instant on, inclusive. Without it: from one hour before the end.")
    max_util = Number(
        "A GPU is idle whose utilisation was never above so many percent.", low=0, high=100, example=5, load_default=0.0
    )
    min_memory = Number(
        "Only GPUs whose use of memory was never below so many MiB; 0: whatever they use.",
        low=0,
        high=2**22,
        example=500,
        load_default=MEMORY,
    )
    max_gap = max_gap_field()


def idle(fleet: Fleet, integrator: Integrator, query: Mapping[str, Any], now: int) -> list[dict[str, Any]]:
    """The answer: those that wasted most first."""
    start, end = span(query, now, HOUR)
    part, known = fleet.part(selection(query)), fleet.metrics()
    looked_at = [one for one in known if one.canonical in (UTIL, USED)]
    extents = fleet.extents(part, looked_at, start=start, end=end, dropped=False)  # of the times that energy is of
    found = [one for one in _looked_at(part, extents) if one.is_idle(query["max_util"], query["min_memory"])]
    chosen = Part([row for one in found for row in one.board.rows], part.workloads)
    rule = trapezoid(query["max_gap"])
    quantities = [Quantity([one for one in known if one.canonical == name], rule) for name in (UTIL, POWER)]
    seen, drawn = (_by_gpu(each, chosen) for each in integrator.together(chosen, quantities, start=start, end=end))
    told = [_told(one, seen[one.board.latest.id], drawn[one.board.latest.id]) for one in found]
    return sorted(told, key=lambda one: (-one["wasted_kwh"], -(one["mean_watts"] or 0.0), one["gpu"].encode()))


class _Look(NamedTuple):
    """A board, its highest utilisation in % and the lowest use of its memory in MiB; None: not read."""

    board: Board
    busiest: float | None
    held: float | None

    def is_idle(self, max_util: float, min_memory: float) -> bool:
        """Whether that is as asked."""
        return self.busiest is not None and self.busiest <= max_util and (self.held or 0.0) >= min_memory


def _looked_at(part: Part, extents: Sequence[Extent]) -> Iterator[_Look]:
    by_row: dict[tuple[int, str], list[Extent]] = defaultdict(list)
    for one in extents:
        by_row[one.gpu, one.canonical].append(one)
    for board in boards(part.rows):
        busiest = [one.high for row in board.rows for one in by_row[row.number, UTIL]]
        held: dict[Instance, float] = {}
        for row in board.rows:
            lows = [one.low for one in by_row[row.number, USED]]
            held |= {instance_of(row): min([*lows, held.get(instance_of(row), inf)])} if lows else {}
        yield _Look(board, max(busiest, default=None), total(held))


def _by_gpu(integrals: Sequence[Integral], part: Part) -> dict[str, list[Integral]]:
    ids = {row.number: row.id for row in part.rows}
    found: dict[str, list[Integral]] = defaultdict(list)
    for one in integrals:
        found[ids[one.gpu]].append(one)
    return found


def _told(one: _Look, seen: Sequence[Integral], drawn: Sequence[Integral]) -> dict[str, Any]:
    place, readings = one.board.latest, sum(part.readings for part in drawn)
    return {
        "gpu": place.id,
        "hostname": place.hostname,
        "gpu_id": place.gpu_id,
        "model_name": place.model_name,
        "max_utilization_percent": one.busiest,
        "min_memory_mib": one.held,
        "mean_watts": round(fsum(part.total for part in drawn) / readings, 6) if readings else None,
        "observed_seconds": round(fsum(part.seconds for part in seen), 6),
        "wasted_kwh": round(fsum(part.amount for part in drawn) / JOULES, 9),
    }
