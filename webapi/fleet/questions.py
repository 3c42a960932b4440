"""/api/v1/fleet: questions about all GPUs at once.

What lives here: the operations, as the contract has them. What does not: what they answer (`fleetsummary`,
`fleetenergy`, `fleetidle`, `fleetanomalies`), what the answers look like (`fleetschemas`, `fleetrows`).
"""

from typing import Any

import orjson
from flask import Response

from webapi import times
from webapi.bodies.answers import listing
from webapi.contract import Blueprint
from webapi.fleet.anomalies import AnomaliesQuery, anomalies
from webapi.fleet.energy import EnergyQuery, energy
from webapi.fleet.idle import IdleQuery, idle
from webapi.fleet.parameters import fleet, integrator, moment
from webapi.fleet.rows import ENERGY_EXAMPLE, IDLE_EXAMPLE, EnergySchema, IdleSchema
from webapi.fleet.schemas import ANOMALIES_EXAMPLE, SUMMARY_EXAMPLE, AnomaliesSchema, SummarySchema
from webapi.fleet.summary import SummaryQuery, summary

blueprint = Blueprint("fleet", __name__, url_prefix="/api/v1/fleet", description="Questions about all GPUs at once")


@blueprint.route("/summary")
@blueprint.arguments(SummaryQuery, location="query")
@blueprint.response(200, SummarySchema, description="The fleet", example=SUMMARY_EXAMPLE)
@blueprint.refuses(422, 503)
@blueprint.doc(operationId="getFleetSummary")
def get_fleet_summary(query: dict[str, Any]) -> Response:
    """Show the fleet at one look

    How many GPUs there are and report, and what their newest values add up to, in the units of the classic metrics.

    It is about the instant of the newest reading, not about now: so it has an answer for an export of last year, and
    for a fleet whose pipeline stands still; `age_seconds` tells that. A clock that is ahead does not count.

    A GPU counts once, whatever MIG instances it has: its power is the board's, its memory the sum of theirs. With
    `namespace` or `pod`, only GPUs are counted whose newest values are of such a workload.
    """
    return _object(summary(fleet(), query, moment(times.now_micros())))


@blueprint.route("/energy")
@blueprint.arguments(EnergyQuery, location="query")
@blueprint.lists(EnergySchema, "Energy, by group", ENERGY_EXAMPLE)
@blueprint.refuses(422, 503)
@blueprint.doc(operationId="getFleetEnergy")
def get_fleet_energy(query: dict[str, Any]) -> Response:
    """Add up energy

    In a range, from readings of power: the trapezoidal rule over successive readings of each GPU. Gaps longer than
    `max_gap` are not bridged; `covered_seconds` tells how much time is left. Beside it what the GPUs' own counters rose
    by, where they are read; a counter that starts anew counts from 0, unless no board could draw that much in the time.

    A board's power is one series, whatever MIG instances report it and wherever it is: they are not added up. Each half
    of the time between two readings belongs to the host, namespace and pod of its reading; readings of one instant
    share it. What lies between the ends of the range and the readings next to them is not counted. Nor is what
    retention has dropped: energy of a range that reaches back beyond it grows less.
    """
    return listing(energy(fleet(), integrator(), query, times.now_micros()), query)


@blueprint.route("/idle")
@blueprint.arguments(IdleQuery, location="query")
@blueprint.lists(IdleSchema, "Idle GPUs, those that wasted most first", IDLE_EXAMPLE)
@blueprint.refuses(422, 503)
@blueprint.doc(operationId="listIdleGpus")
def list_idle_gpus(query: dict[str, Any]) -> Response:
    """List GPUs that hold memory and do nothing

    GPUs whose utilisation was never above `max_util` in the range, and whose use of memory never below `min_memory`,
    with what they drew meanwhile. One whose utilisation was not read is not known to be idle. The memory of MIG
    instances is added up, unless the board tells its own. What retention has dropped is not looked at.
    """
    return listing(idle(fleet(), integrator(), query, times.now_micros()), query)


@blueprint.route("/anomalies")
@blueprint.arguments(AnomaliesQuery, location="query")
@blueprint.response(200, AnomaliesSchema, description="What stands out", example=ANOMALIES_EXAMPLE)
@blueprint.refuses(422, 503)
@blueprint.doc(operationId="getFleetAnomalies")
def get_fleet_anomalies(query: dict[str, Any]) -> Response:
    """Find GPUs that differ from their peers

    The modified z-score of Iglewicz and Hoaglin (1993): (value - median) / (1.4826 * median absolute deviation), among
    GPUs of the same model (MIG instances: of the same profile too); told where it is beyond `threshold`. Where that
    deviation is 0, because more than half of the values are the same, 1.2533 * mean absolute deviation stands in.
    Fewer than five peers are not judged. Without `metric`: temperature, power and utilisation.

    Compared are newest values, as `/api/v1/fleet/summary` takes them, or with a range the means of its readings. Of
    readings that retention has dropped the means are of whole minutes, hours and days, where rollups keep them
    (TimescaleDB Community), and of none elsewhere.
    """
    return _object(anomalies(fleet(), query, times.now_micros()))


def _object(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), content_type="application/json")
