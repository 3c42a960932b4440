"""GET /api/v1/top: the GPUs that stand highest or lowest in a metric."""

from typing import Any

import pytest

from tests.fixtures.api import Api
from tests.fixtures.filled import POWER, SECOND, T0, TEMP, Reading, fill, gpu
from tests.fixtures.store import Database
from webapi.times import now_micros

HOUR = 3_600 * SECOND
SINCE = {"start": "0", "metric": TEMP}


def told(records: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(record["gpu"], record["value"]) for record in records]


def test_the_highest_come_first_with_their_place(fleet_api: Api) -> None:
    found = fleet_api.json("/top", k=2, **SINCE)
    assert found == [
        {"gpu": f"GPU-node-2-{index}", "gpu_i_id": "", "hostname": "node-2", "gpu_id": str(index),
         "model_name": "NVIDIA H100 80GB HBM3", "metric_name": TEMP, "unit": "C", "value": 2004.0 + 100 * index}
        for index in (1, 0)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"order": "lowest", "k": 2}, [("GPU-node-0-0", 4), ("GPU-node-0-1", 104)]),
        ({"order": "lowest", "k": 1, "agg": "avg"}, [("GPU-node-0-0", 2)]),
        ({"agg": "count", "k": 3}, [("GPU-node-0-0", 5), ("GPU-node-0-1", 5), ("GPU-node-1-0", 5)]),
        ({"agg": "count", "k": 2, "order": "lowest"}, [("GPU-node-0-0", 5), ("GPU-node-0-1", 5)]),
        ({"host": "node-0"}, [("GPU-node-0-1", 104), ("GPU-node-0-0", 4)]),
        ({"gpu": ["GPU-node-1-0", "GPU-none"]}, [("GPU-node-1-0", 1004)]),
        ({"end": "2025-07-18T20:42:35Z", "k": 1}, [("GPU-node-2-1", 2101)]),
        ({"end": "2025-07-18T20:42:35Z", "k": 1, "agg": "first"}, [("GPU-node-2-1", 2100)]),
        ({"metric": "gpu_temp_celsius", "k": 1}, [("GPU-node-2-1", 2104)]),
        ({"pod": "?*"}, []),
        ({"metric": "NO_SUCH"}, []),
        ({"start": "now", "end": "1"}, []),
    ],
)
def test_it_is_the_order_of_one_value_of_each_gpu_and_then_of_ids(
    fleet_api: Api, asked: dict[str, Any], expected: list[tuple[str, float]]
) -> None:
    assert told(fleet_api.json("/top", **{**SINCE, **asked})) == expected


def test_ten_are_told_unless_another_number_is_asked_for(api: Api, database: Database) -> None:
    fill(database, [Reading(gpu("n", number), T0, TEMP, number) for number in range(12)])
    assert [value for _, value in told(api.json("/top", **SINCE))] == list(range(11, 1, -1))
    assert len(api.json("/top", k=1000, **SINCE)) == 12
    header = "gpu,gpu_i_id,hostname,gpu_id,model_name,metric_name,unit,value"
    for asked, lines in ((SINCE, 11), ({"metric": "NO_SUCH"}, 1)):
        text = api.get("/top", format="csv", **asked).text.splitlines()
        assert (text[0], len(text)) == (header, lines)


def test_without_a_range_the_hour_before_its_end_counts(api: Api, database: Database) -> None:
    now, one = now_micros(), gpu("n", 0)
    fill(
        database, [Reading(one, now - age, TEMP, age // HOUR) for age in (0, 9 * HOUR // 10, 11 * HOUR // 10, 3 * HOUR)]
    )
    assert told(api.json("/top", metric=TEMP, agg="count")) == [("GPU-n-0", 2)]
    assert told(api.json("/top", metric=TEMP, agg="count", end="now-1h")) == [("GPU-n-0", 1)]
    assert told(api.json("/top", metric=TEMP, agg="count", start="now-2h")) == [("GPU-n-0", 3)]
    assert told(api.json("/top", metric=TEMP, end=str((now - 3 * HOUR) // SECOND + 1))) == [("GPU-n-0", 3)]


def test_a_gpu_that_moved_is_one_and_stands_where_it_was_last_and_instances_are_apart(
    api: Api, database: Database
) -> None:
    old, new = gpu("old", 0, uuid="GPU-m"), gpu("new", 3, uuid="GPU-m")
    mig = [gpu("mig", 1, uuid="GPU-s", mig=number) for number in ("2", "1")]
    fill(
        database,
        [Reading(old, T0, POWER, 1), Reading(new, T0 + HOUR, POWER, 2), *(Reading(one, T0, POWER, 5) for one in mig)],
    )
    found = api.json("/top", start="0", metric="POWER_USAGE", agg="sum")
    assert [(one["gpu"], one["gpu_i_id"], one["hostname"], one["gpu_id"], one["value"]) for one in found] == [
        ("GPU-s", "1", "mig", "1", 5), ("GPU-s", "2", "mig", "1", 5), ("GPU-m", "", "new", "3", 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "name", "remedy"),
    [
        ({"metric": []}, "metric", "is missing: say which metric, as in metric=DCGM_FI_DEV_GPU_TEMP"),
        ({"metric": [TEMP, POWER]}, "metric", "is given more than once; give it once"),
        ({"k": "0"}, "k", "is not a whole number from 1 to 1000, as in k=5"),
        ({"k": "1001"}, "k", "is not a whole number from 1 to 1000, as in k=5"),
        ({"order": "up"}, "order", "is none of highest, lowest, as in order=highest"),
        ({"agg": "newest"}, "agg", "perhaps last, as in agg=last"),
        ({"agg": "rate"}, "agg", "is for counters, and DCGM_FI_DEV_GPU_TEMP is a gauge"),
        ({"step": "1m"}, "step", "is no parameter here"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(
    fleet_api: Api, asked: dict[str, Any], name: str, remedy: str
) -> None:
    (fault,) = fleet_api.problem(422, "/top", **{**SINCE, **asked})["errors"]
    assert fault["parameter"] == name
    assert remedy in fault["detail"]
