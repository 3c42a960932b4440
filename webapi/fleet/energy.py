"""What /api/v1/fleet/energy answers: energy in a range, of all or by group.

What does not live here: the operation (`fleet`), what lies between readings (`telemetry.store.questions.integrals`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

from marshmallow import fields

from telemetry.store.questions.aggregates import GroupBy
from telemetry.store.questions.fleet import Fleet, Part
from telemetry.store.questions.integrals import COUNTER, POWER, Integral, Integrator, Quantity, increase, trapezoid
from telemetry.store.questions.reader import GpuRow
from webapi.bodies.answers import FormatQuery
from webapi.fleet.parameters import DAY, PastQuery, max_gap_field, moment, span
from webapi.nouns.steps import GroupField
from webapi.ranges import FleetQuery, selection
from webapi.schemas import Time
from webapi.times import rfc3339

JOULES, MILLIJOULES = 3.6e6, 3.6e9
"""In a kWh."""

_FIELDS = {
    GroupBy.GPU: "gpu",
    GroupBy.HOST: "hostname",
    GroupBy.MODEL: "model_name",
    GroupBy.NAMESPACE: "namespace",
    GroupBy.POD: "pod",
}
"""What an answer calls the groups."""

Key = tuple[str | None, ...]
"""What a group is called, in the order of _FIELDS; None: not grouped by."""


class EnergyQuery(PastQuery, FleetQuery, FormatQuery):
    """Parameters of energy."""

    start_time = Time("From this instant on, inclusive. Without it: from 24 hours before the end.")
    group_by = fields.List(
        GroupField("", [one.value for one in GroupBy]),
        metadata={
            "description": "What has an answer of its own; may be repeated. Without it: one answer for all.",
            "examples": [["host"]],
        },
    )
    max_gap = max_gap_field()


def energy(fleet: Fleet, integrator: Integrator, query: Mapping[str, Any], now: int) -> list[dict[str, Any]]:
    """The answer, by group in byte order; without groups it is always one."""
    start, end = span(query, now, DAY)
    part, asked = fleet.part(selection(query)), frozenset(query.get("group_by", ()))
    known = fleet.metrics()
    quantities = [
        Quantity([one for one in known if one.canonical == name], rule)
        for name, rule in ((POWER, trapezoid(query["max_gap"])), (COUNTER, increase))
    ]
    power, counter = integrator.together(part, quantities, start=start, end=end)
    groups = _Groups(fleet, part, asked, [*power, *counter])
    drawn, counted = groups.gathered(power), groups.gathered(counter)
    keys = sorted(drawn.keys() | counted.keys() if asked else {(None,) * len(_FIELDS)}, key=_bytes)
    when = {"start_time": rfc3339(moment(start)), "end_time": rfc3339(moment(end))}
    return [groups.told(key, when, drawn.get(key, []), counted.get(key, [])) for key in keys]


class _Groups:
    """Which group an integral belongs to."""

    def __init__(self, fleet: Fleet, part: Part, asked: frozenset[str], integrals: Sequence[Integral]) -> None:
        self._rows = {row.number: row for row in part.rows}
        self._asked = asked
        loads = {one.workload for one in integrals} if asked & {GroupBy.NAMESPACE, GroupBy.POD} else set()
        self._places = fleet.places_of(loads) if loads else {}

    def gathered(self, integrals: Sequence[Integral]) -> dict[Key, list[Integral]]:
        """The integrals of each group."""
        found: dict[Key, list[Integral]] = defaultdict(list)
        for one in integrals:
            found[self._key(self._rows[one.gpu], one.workload)].append(one)
        return found

    def _key(self, row: GpuRow, workload: int) -> Key:
        namespace, pod = self._places.get(workload, ("", ""))
        values = (row.id, row.hostname, row.model_name, namespace, pod)
        return tuple(value if name in self._asked else None for name, value in zip(_FIELDS, values, strict=True))

    def told(
        self, key: Key, when: Mapping[str, Any], drawn: Sequence[Integral], counted: Sequence[Integral]
    ) -> dict[str, Any]:
        """One object of the answer."""
        joules, seconds = fsum(one.amount for one in drawn), fsum(one.seconds for one in drawn)
        return {
            **dict(zip(_FIELDS.values(), key, strict=True)),
            **when,
            "kwh": round(joules / JOULES, 9),
            "covered_seconds": round(seconds, 6),
            "mean_watts": round(joules / seconds, 6) if seconds else None,
            "counter_kwh": round(fsum(one.amount for one in counted) / MILLIJOULES, 9) if counted else None,
            "gpus": len({self._rows[one.gpu].id for one in (*drawn, *counted)}),
            "readings": sum(one.readings for one in drawn),
        }


def _bytes(key: Key) -> list[bytes]:
    return [(text or "").encode() for text in key]
