"""Aggregates over steps of time: choosing a step, refusing it, and the answer.

What lives here: what is said of a range when its steps are asked for. What does not: the parameters (`steps`), the
aggregates themselves (`telemetry.store.questions.steps`), how values are written (`steps_format`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Response

from telemetry.block import MAX_TIME, MIN_TIME
from telemetry.store.questions.aggregates import Aggregate, NotACounter, StepQuestion, TooManyPoints
from telemetry.store.questions.steps import StepReader
from webapi.bodies import answers, steps_format
from webapi.bodies.conditional import tag_of, tagged, unchanged
from webapi.nouns.steps import MOST_STEPS, MOST_VALUES
from webapi.nouns.widths import FRIENDLY, Bounds, named
from webapi.problems import Problem, cut, unsuited
from webapi.ranges import Range
from webapi.services import services

LAG = 10_000_000
"""µs by which the newest reading may be ahead of what is told of it."""


def answer(query: Mapping[str, Any], wanted: Range, question: StepQuestion) -> Response:
    """The steps that the parameters ask for; `question` says of which readings: its step and aggregate do not count.

    The tag of a range in the past is a weak one: sums of the same readings may differ in their last digit, by who of
    the database's workers added what.
    """
    kind, reader = answers.asked_format(query), StepReader(pool=services().reader.pool)
    question = replace(question, agg=Aggregate(query.get("agg", Aggregate.AVG)))
    check(question)
    question = replace(question, step=_chosen(query, question, reader))
    tag = tag_of(wanted, ["steps", kind, question])
    return unchanged(tag) or tagged(_answered(query, kind, question, reader), tag, weak=True)


def _answered(query: Mapping[str, Any], kind: str, question: StepQuestion, reader: StepReader) -> Response:
    try:
        steps = reader.steps(question, MOST_VALUES)
    except TooManyPoints as error:
        raise _too_many_values(query, question, _bounds(question, reader), error) from None
    pieces = steps_format.written(kind, steps, question.group_by)
    whole = len(steps.time) <= steps_format.PIECE
    response = answers.response(kind, b"".join(pieces) if whole else pieces)
    response.headers["X-Step"] = f"{question.step / 1e6:.6f}".rstrip("0").rstrip(".")
    return response


def check(question: StepQuestion) -> None:
    """Refuse a rate of what is no counter."""
    try:
        question.check_counters()
    except NotACounter as error:
        kind = f"a {error.kind}" if error.kind != "unknown" else "of no known kind"
        told = f"is for counters, and {cut(error.metric)} is {kind}: take {', '.join(error.instead)}, as in agg=avg"
        raise unsuited([("agg", question.agg.value, told)]) from None


def _chosen(query: Mapping[str, Any], question: StepQuestion, reader: StepReader) -> int:
    """The width that is asked for, or the one that suits the range; refused where there are too many of it."""
    asked: int | None = query.get("step")
    most: int = query.get("max_points", MOST_STEPS)
    if question.start > question.end:
        return asked or FRIENDLY[0]
    bounds = Bounds(question.start, question.end)
    if bounds.steps(asked) > most if asked else _is_open(question):
        bounds = _bounds(question, reader)
    if asked and bounds.steps(asked) <= most:
        return asked
    fitting = Bounds(bounds.first, min(bounds.last + LAG, question.end)).fitting(most)
    if asked or bounds.steps(fitting) > most:
        raise _too_many_steps(asked, bounds, fitting, most)
    return fitting


def _is_open(question: StepQuestion) -> bool:
    return question.start == MIN_TIME or question.end == MAX_TIME


def _bounds(question: StepQuestion, reader: StepReader) -> Bounds:
    """The part of the range in which there are readings."""
    return Bounds(*(reader.span(question) or (question.start, question.start)))


def _too_many_steps(asked: int | None, bounds: Bounds, fitting: int, most: int) -> Problem:
    if asked is None:
        told = (
            "is less than there are of any step, as the range lies on both sides of 1970; take more, as in max_points=3"
        )
        return unsuited([("max_points", str(most), told)])
    told = (
        f"makes {bounds.steps(asked):,} steps of this range, and at most {MOST_STEPS:,} are answered: take a longer "
        f"step or a shorter range, as in step={named(fitting)}"
    )
    return unsuited([("step", named(asked), told)])


def _too_many_values(query: Mapping[str, Any], question: StepQuestion, bounds: Bounds, error: TooManyPoints) -> Problem:
    """Names a step that would fit, by the groups that were found until there were too many values."""
    longer = next((width for width in FRIENDLY if width > question.step), 2 * question.step)
    fitting = named(max(longer, bounds.fitting(max(2, MOST_VALUES // error.groups))))
    told = (
        f"gives more than {MOST_VALUES:,} values, of {error.groups:,} series and more: take a longer step, group by "
        f"less or select less, as in step={fitting}"
    )
    name = "step" if "step" in query else "max_points"
    return unsuited([(name, named(question.step) if name == "step" else str(query[name]), told)])
