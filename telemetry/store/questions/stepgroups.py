"""Which group each metric, GPU and workload belongs to, as numbers that add up to a group's key; and back to names.

What lives here: the sides of a group, and what a question's metrics mean. What does not: what a group is called in an
answer (`aggregates`), asking (`steps`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from telemetry.catalog import lookup
from telemetry.store.questions.aggregates import Aggregate, GroupBy, StepGroup, StepQuestion
from telemetry.store.questions.integrals import COUNTER, MOST_PER_SECOND

OF_PLACE = (GroupBy.GPU, GroupBy.HOST, GroupBy.MODEL)
OF_LOAD = (GroupBy.NAMESPACE, GroupBy.POD)


class Side(NamedTuple):
    """Rows of a dimension by number, and the labels that `codes` index; no rows: not asked for."""

    numbers: list[int]
    codes: list[int]
    labels: list[tuple[str, ...]]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, tuple[str, ...]]]) -> "Side":
        """Of (number, labels): those with the same labels get the same code."""
        known: dict[tuple[str, ...], int] = {}
        numbers, codes = [], []
        for number, labels in rows:
            numbers.append(number)
            codes.append(known.setdefault(labels, len(known)))
        return cls(numbers, codes, list(known) or [()])


NOT_ASKED = Side([], [], [()])


def places(rows: Iterable[tuple[int, str, str, str, str]], group_by: Sequence[GroupBy]) -> Side:
    """The GPUs of (number, id, GPU_I_ID, host, model), by what of it is asked for."""
    gpu, host, model = (label in group_by for label in OF_PLACE)
    return Side.of((row[0], (row[1] * gpu, row[2] * gpu, row[3] * host, row[4] * model)) for row in rows)


def loads(rows: Iterable[tuple[int, str, str]], group_by: Sequence[GroupBy]) -> Side:
    """The workloads of (number, namespace, pod), likewise."""
    namespace, pod = (label in group_by for label in OF_LOAD)
    return Side.of((row[0], (row[1] * namespace, row[2] * pod)) for row in rows)


@dataclass(frozen=True, slots=True)
class Names:
    """Metrics by number: `side` says which (canonical, unit) each is; `value * factor` is in that unit."""

    side: Side
    factors: list[float]

    @classmethod
    def of(cls, found: Sequence[tuple[int, str]], *, counters: bool) -> "Names":
        """Those of (number, name); only counters, if that is said."""
        known = [(number, name, lookup(name)) for number, name in found]
        if counters:
            known = [(number, name, metric) for number, name, metric in known if metric and metric.kind == "counter"]
        meant = ((number, (metric.canonical, metric.unit) if metric else (name, "")) for number, name, metric in known)
        return cls(Side.of(meant), [metric.factor if metric else 1.0 for *_, metric in known])

    @property
    def most(self) -> list[float]:
        """What each may rise in a second, in its unit: more is a jump of the source."""
        canonicals = [self.side.labels[code][0] for code in self.side.codes]
        return [MOST_PER_SECOND if canonical == COUNTER else math.inf for canonical in canonicals]


@dataclass(frozen=True, slots=True)
class Grouping:
    """The three sides of a question's groups."""

    names: Names
    places: Side = NOT_ASKED
    loads: Side = NOT_ASKED

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The parameters of a statement, in which a group's key is the sum of its sides' keys."""
        per_place = len(self.loads.labels)
        per_metric = len(self.places.labels) * per_place
        return {
            "metrics": self.names.side.numbers,
            "metric_keys": [code * per_metric for code in self.names.side.codes],
            "factors": self.names.factors,
            "places": self.places.numbers,
            "place_keys": [code * per_place for code in self.places.codes],
            "loads": self.loads.numbers,
            "load_keys": self.loads.codes,
        }

    def group(self, key: int, question: StepQuestion) -> StepGroup:
        """What a key stands for."""
        key, load = divmod(key, len(self.loads.labels))
        code, place = divmod(key, len(self.places.labels))
        metric, unit = self.names.side.labels[code]
        if question.agg is Aggregate.COUNT:
            unit = "readings"
        elif question.agg is Aggregate.RATE:
            unit += "/s"
        gpu, mig, host, model = self.places.labels[place] or ("",) * 4
        namespace, pod = self.loads.labels[load] or ("",) * 2
        values = dict(zip((*OF_PLACE, *OF_LOAD), (gpu, host, model, namespace, pod), strict=True))
        return StepGroup(metric, unit, tuple(values[label] for label in question.group_by), mig)
