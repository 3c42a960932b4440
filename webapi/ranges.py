"""Ranges of time and parts of the fleet, as parameters that several nouns share.

What lives here: the parameters, and what they say together. What does not: how one time is written (`times`), what a
question makes of it (the nouns).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from marshmallow import fields, validate

from telemetry.block import MAX_TIME, MIN_TIME
from telemetry.store.questions.selection import Selection
from webapi import times
from webapi.schemas import Query, Text, Time

METRICS_MAX = 100
"""Metrics that one question may name."""
GPUS_MAX = 1_000
"""GPUs that one question may name; the first line of a request has room for so many (`process.arrivals.LINE_MAX`)."""


class RangeQuery(Query):
    """From when to when."""

    start_time = Time("From this instant on, inclusive. Without it: from the first reading.")
    end_time = Time("To this instant, inclusive. Without it: to the newest. Before the start: an empty answer.")
    start = Time("Another name of `start_time`, which counts if both are given.")
    end = Time("Another name of `end_time`, which counts if both are given.")


class Range(NamedTuple):
    """Two moments, both inclusive."""

    start: times.Moment
    end: times.Moment

    @property
    def shown(self) -> list[object]:
        """What makes it another question; `now` itself does not, it stays that of the first page."""
        return [part for moment in self for part in (moment.micros, moment.before_now)]

    @property
    def moves(self) -> bool:
        """Whether it is another range at another time."""
        return any(moment.before_now for moment in self)

    def now(self) -> int:
        """What `now` is while its pages are read. 0 where it does not matter: cursors are then always the same."""
        return times.now_micros() if self.moves else 0


def asked_range(
    query: Mapping[str, Any],
    start: times.Moment = times.Moment(MIN_TIME),  # noqa: B008  # it cannot be changed
    end: times.Moment = times.Moment(MAX_TIME),  # noqa: B008
) -> Range:
    """The range that the parameters name; `start` and `end` are what holds without them."""
    return Range(
        query.get("start_time") or query.get("start") or start,
        query.get("end_time") or query.get("end") or end,
    )


def metrics_field() -> "fields.List[str]":
    """The parameter `metric`, which may be repeated."""
    return fields.List(
        Text("", "DCGM_FI_DEV_GPU_TEMP"),
        metadata={
            "description": "Only these metrics; may be repeated. The classic names and those of DCGM 4.6 and later "
            "both find readings of either; case does not matter, DCGM_FI_DEV_ may be left out. A name that was never "
            "read has no readings: an empty answer.",
            "maxItems": METRICS_MAX,
        },
        validate=validate.Length(max=METRICS_MAX, error=f"is given more than {METRICS_MAX} times; ask in parts"),
    )


class FleetQuery(Query):
    """Which part of the fleet."""

    gpu = fields.List(
        Text("", "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"),
        metadata={
            "description": "Only these GPUs, by their ids as `/api/v1/gpus` lists them; may be repeated. A thousand of "
            "them make a line of 45 KB, which a proxy in between may not take (nginx: large_client_header_buffers).",
            "maxItems": GPUS_MAX,
        },
        validate=validate.Length(max=GPUS_MAX, error=f"is given more than {GPUS_MAX} times; ask in parts"),
    )
    host = Text("Only hosts that match: `*` is any text, `?` one character; case does not matter.", "mtv5-*")
    model = Text("Only models of GPUs that match, likewise.", "*H100*")
    namespace = Text("Only readings of workloads in namespaces that match, likewise.", "ml-*")
    pod = Text("Only readings of pods that match, likewise.", "trainer-*")


def selection(query: Mapping[str, Any]) -> Selection:
    """The part of the fleet, and the metrics, that the parameters name."""
    return Selection(
        gpus=tuple(dict.fromkeys(query.get("gpu") or ())),
        host=query.get("host"),
        model=query.get("model"),
        namespace=query.get("namespace"),
        pod=query.get("pod"),
        metrics=tuple(dict.fromkeys(query.get("metric") or ())),
    )
