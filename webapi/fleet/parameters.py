"""Parameters that several questions about the fleet share, and what they say together.

What does not live here: those of only one question (its own file), those that other nouns share too (`ranges`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from telemetry.store.questions.fleet import Fleet
from telemetry.store.questions.integrals import Integrator
from webapi.nouns.latest import STALE_AFTER, YEAR
from webapi.ranges import RangeQuery
from webapi.schemas import Time, Whole
from webapi.services import services
from webapi.times import Moment

HOUR, DAY = 3_600, 86_400


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PastQuery(RangeQuery):
    """From when to when, where not all of the past is meant. Subclasses say what holds without a start."""

    end_time = Time("To this instant, inclusive. Without it: to now. Before the start: nothing is found.")


def span(query: Mapping[str, Any], now: int, seconds: int) -> tuple[int, int]:
    """Start and end, µs since 1970: those that are asked for, else so many seconds before the end, else now."""
    end = (query.get("end_time") or query.get("end") or Moment(0, before_now=True)).at(now)
    start = query.get("start_time") or query.get("start") or Moment(end - seconds * 10**6)
    return start.at(now), end


def stale_after_field(description: str) -> Whole:
    """The parameter `stale_after`."""
    return Whole(description, most=YEAR, example=60, load_default=STALE_AFTER)


def max_gap_field() -> Whole:
    """The parameter `max_gap`."""
    description = (
        "What lies between two readings of a GPU that are more than so many seconds apart is unknown: left out of "
        "the energy from power, and of the seconds."
    )
    return Whole(description, most=YEAR, example=60, load_default=STALE_AFTER)


def fleet() -> Fleet:
    """Who is asked about the fleet."""
    return Fleet(pool=services().reader.pool)


def integrator() -> Integrator:
    """Who is asked what lies between readings: in parts, each of which may take as long as any statement."""
    pool = services().reader.pool
    return Integrator(pool=pool, patience=pool.patience)


def moment(micros: int) -> datetime:
    """The instant so many µs after 1970."""
    return _EPOCH + timedelta(microseconds=micros)
