"""The chart with nothing set is, object by object, what it is expected to be."""

from __future__ import annotations

import pytest

from tests.chart.expected import expected, told
from tests.fixtures.chart import Chart, Render

pytestmark = pytest.mark.chart


def test_nothing_has_changed_that_nobody_looked_at(rendered: Render) -> None:
    known, now = expected(), told(rendered)
    assert sorted(now) == sorted(known)
    for place, manifest in now.items():
        assert manifest == known[place], f"{place}: if that is right: python -m tests.chart.expected"


def test_what_changes_by_chance_is_left_out_and_nothing_else(rendered: Render) -> None:
    again = Chart()
    assert again().objects != rendered.objects
    assert told(again()) == told(rendered)
    assert told(again({"streamer": {"replicas": 2}})) != told(rendered)
