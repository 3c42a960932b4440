"""GET /api/v1/metrics: the names that were read, and what is known of each."""

import pytest

from telemetry.catalog import lookup
from tests.fixtures.api import Api
from tests.fixtures.filled import POWER, T0, TEMP, UTIL, Reading, fill, gpu
from tests.fixtures.store import Database

CLOCK, OWN = "DCGM_FI_DEV_SM_CLOCK_HERTZ", "my_own_metric"


def test_each_name_is_told_with_what_the_catalogue_knows_in_the_classic_unit(api: Api, database: Database) -> None:
    assert api.json("/metrics") == []
    fill(database, [Reading(gpu("n", 0), T0, name, 1) for name in (TEMP, CLOCK, OWN, "DEC_UTIL ")])
    found = {one["name"]: one for one in api.json("/metrics")}
    assert list(found) == sorted(found)
    assert set(found) == {TEMP, CLOCK, OWN, "DEC_UTIL "}
    for name in found.keys() - {OWN}:
        known = lookup(name)
        assert known is not None
        assert found[name] == {
            "name": name,
            "canonical_name": known.canonical,
            "unit": known.unit,
            "kind": known.kind,
            "description": known.description,
            "factor": known.factor,
            "range_low": known.low,
            "range_high": known.high,
        }
    assert (found[CLOCK]["canonical_name"], found[CLOCK]["unit"]) == ("DCGM_FI_DEV_SM_CLOCK", "MHz")
    assert list(found[OWN].values()) == [OWN, OWN, "", "gauge", "", 1.0, None, None]
    assert [one["name"] for one in api.json("/metrics", name="*sm_clock")] == [CLOCK]


@pytest.mark.parametrize(
    ("name", "found"),
    [("*", [TEMP, UTIL, POWER]), ("*gpu_*", [TEMP, UTIL]), ("DCGM?FI*USAGE", [POWER]), ("GPU", []), ("%", [])],
)
def test_names_are_found_by_globs(fleet_api: Api, name: str, found: list[str]) -> None:
    assert [one["name"] for one in fleet_api.json("/metrics", name=name)] == sorted(found)


def test_a_name_that_cannot_be_is_refused(alone: Api) -> None:
    assert "name=*TEMP*" in alone.problem(422, "/metrics", name="")["detail"]
    alone.problem(503, "/metrics")
