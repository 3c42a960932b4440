"""GET /api/v1/fleet/summary and /anomalies: held against sums and medians over the same readings, made in Python."""

import math
import statistics
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.fixtures.api import Api
from tests.fixtures.busy import A100, END, MEMORY, USED, XID, of, readings
from tests.fixtures.filled import POWER, SECOND, T0, TEMP, UTIL, Reading
from webapi.times import rfc3339

ALL = readings()
NOTHING = {"gpus": 0, "reporting": 0, "stale": 0, "hosts": 0, "models": []}


def newest(found: list[Reading], metric: str, within: int = 300) -> dict[str, Reading]:
    """Of each GPU, the newest reading that is not older than so many seconds before the newest of all."""
    last = max(one.time for one in found)
    kept = [one for one in found if one.metric == metric and one.time >= last - within * SECOND]
    return {one.gpu.uuid: one for one in sorted(kept, key=lambda one: one.time)}


def values(found: list[Reading], metric: str) -> list[float]:
    return [one.value for one in newest(found, metric).values()]


def moment(micros: int) -> str:
    return rfc3339(datetime.fromtimestamp(micros / SECOND, UTC)) or ""


def test_the_summary_adds_up_the_newest_values_of_both_generations_in_the_classic_units(busy_api: Api) -> None:
    found, told = of("rack-", ALL), busy_api.json("/fleet/summary", host="rack-*")
    last = max(one.time for one in found)
    assert (told["as_of"], told["newest_reading"]) == (moment(last), moment(last))
    age = datetime.now(UTC).timestamp() - last / SECOND
    assert told["age_seconds"] == pytest.approx(age, abs=300)
    reporting = {one.gpu.uuid for one in found if one.time >= last - 300 * SECOND}
    assert (told["gpus"], told["reporting"], told["stale"]) == (12, len(reporting), 12 - len(reporting))
    assert (told["hosts"], told["models"]) == (2, [{"model_name": "NVIDIA H100 80GB HBM3", "gpus": 12}])
    power, temperature, busy, used = (values(found, metric) for metric in (POWER, TEMP, UTIL, USED))
    assert told["power"] == {"total_watts": pytest.approx(math.fsum(power), abs=1e-6), "gpus": len(power)}
    assert told["temperature"] == {
        "mean_celsius": pytest.approx(statistics.mean(temperature)),
        "max_celsius": max(temperature),
        "gpus": len(temperature),
    }
    assert told["utilization"] == {"mean_percent": pytest.approx(statistics.mean(busy)), "gpus": len(busy)}
    assert told["memory"] == {
        "used_mib": pytest.approx(sum(used)),
        "total_mib": pytest.approx(MEMORY * len(used)),
        "gpus": len(used),
    }
    assert told["xid"] == {"gpus": 0, "codes": []}


def test_a_board_counts_once_with_its_power_and_the_memory_of_all_its_mig_instances(busy_api: Api) -> None:
    told = busy_api.json("/fleet/summary", host="mig-0")
    (power,) = {one.value for one in of("mig-0", ALL) if one.metric == POWER and one.time == T0 + 59 * 30 * SECOND}
    assert (told["gpus"], told["power"]) == (1, {"total_watts": pytest.approx(power), "gpus": 1})
    assert told["memory"] == {"used_mib": 6_000, "total_mib": 27_000, "gpus": 1}


def test_what_stopped_is_stale_and_its_values_do_not_count(busy_api: Api) -> None:
    counts = ("gpus", "reporting", "stale")
    told = busy_api.json("/fleet/summary", host="quiet-*")
    assert [told[name] for name in counts] == [2, 1, 1]
    assert told["power"] == {"total_watts": 100, "gpus": 1}
    told = busy_api.json("/fleet/summary", host="quiet-*", stale_after=600)
    assert [told[name] for name in counts] == [2, 2, 0]
    assert told["power"] == {"total_watts": 1_100, "gpus": 2}


def test_a_clock_that_is_ahead_makes_it_about_now_and_no_later(busy_api: Api) -> None:
    before = datetime.now(UTC)
    told = busy_api.json("/fleet/summary")
    assert before <= datetime.fromisoformat(told["as_of"]) <= datetime.now(UTC)
    assert told["age_seconds"] < 0
    assert (told["gpus"], told["reporting"], told["power"]["total_watts"]) == (len({one.gpu.uuid for one in ALL}), 1, 7)
    assert [model["gpus"] for model in told["models"]] == [17, 5]


def test_last_xids_are_told_with_what_they_mean(busy_api: Api) -> None:
    assert busy_api.json("/fleet/summary", host="sick-0")["xid"] == {
        "gpus": 2,
        "codes": [
            {"code": 31, "severity": None, "text": None, "gpus": 1},
            {"code": 79, "severity": "critical", "text": "GPU has fallen off the bus", "gpus": 1},
        ],
    }


@pytest.mark.parametrize("filters", [{"namespace": "web"}, {"pod": "serve-*"}, {"pod": "train-?", "namespace": "m*"}])
def test_only_gpus_whose_newest_values_are_of_such_a_workload_are_summed_up(
    busy_api: Api, filters: dict[str, str]
) -> None:
    told = busy_api.json("/fleet/summary", host="rack-*", **filters)
    pods = {"serve-1"} if "train-?" not in filters.values() else {"train-0"}
    found = newest(of("rack-", ALL), POWER)
    kept = [one.value for one in found.values() if one.workload.pod in pods]
    assert told["power"] == {"total_watts": pytest.approx(math.fsum(kept), abs=1e-6), "gpus": len(kept)}
    assert (told["gpus"], told["stale"]) == (len(kept), 0)


def test_some_gpus_by_their_ids_are_a_fleet_too(busy_api: Api) -> None:
    ids = ["GPU-rack-0-2", "GPU-rack-1-2"]
    assert busy_api.json("/fleet/summary", gpu=ids)["hosts"] == 2
    assert busy_api.json("/fleet/summary", gpu=["GPU-rack-0-2", "nobody"])["gpus"] == 1
    assert busy_api.json("/fleet/summary", model="*a100*")["models"] == [{"model_name": A100, "gpus": 5}]


def scores(found: dict[str, float]) -> dict[str, float]:
    """By the formulas of Iglewicz and Hoaglin, as they are printed: 0.6745 is 1 / 1.4826."""
    middle = statistics.median(found.values())
    away = {id: abs(value - middle) for id, value in found.items()}
    mad, mean = statistics.median(away.values()), statistics.mean(away.values())
    scale = 1.4826 * mad if mad else 1.2533 * mean
    return {id: (value - middle) / scale for id, value in found.items()}


def far(told: dict[str, Any], metric: str) -> dict[str, float]:
    return {one["gpu"]: one["score"] for one in told["anomalies"] if one["metric_name"] == metric}


@pytest.mark.parametrize("threshold", [0.5, 1, 3.5])
@pytest.mark.parametrize("metric", [TEMP, POWER, UTIL, USED])
def test_newest_values_far_from_their_peers_are_told(busy_api: Api, metric: str, threshold: float) -> None:
    told = busy_api.json("/fleet/anomalies", host="rack-*", metric=metric, threshold=threshold)
    found = {id: one.value for id, one in newest(of("rack-", ALL), metric).items()}
    assert told["of"] == "newest"
    expected = {id: score for id, score in scores(found).items() if abs(score) > threshold}
    assert far(told, metric) == pytest.approx(expected, abs=1e-5)
    (judged,) = told["judged"]
    assert (judged["gpus"], judged["median"], judged["anomalies"]) == (
        len(found),
        pytest.approx(statistics.median(found.values())),
        len(expected),
    )


def test_with_a_range_the_means_are_compared(busy_api: Api) -> None:
    start, end = T0 + 600 * SECOND, T0 + 1_800 * SECOND
    told = busy_api.json(
        "/fleet/anomalies", host="rack-*", metric=["GPU_TEMP", "gpu_util"], start=moment(start), end=moment(end)
    )
    assert (told["of"], told["start_time"], told["end_time"]) == ("mean", moment(start), moment(end))
    for metric in (TEMP, UTIL):
        series = defaultdict(list)
        for one in of("rack-", ALL):
            if one.metric == metric and start <= one.time <= end:
                series[one.gpu.uuid].append(one.value)
        expected = scores({id: statistics.mean(each) for id, each in series.items()})
        assert far(told, metric) == pytest.approx({id: z for id, z in expected.items() if abs(z) > 3.5}, abs=1e-5)
    hot = told["anomalies"][0]
    assert (hot["gpu"], hot["hostname"], hot["gpu_id"], hot["value"]) == ("GPU-rack-1-3", "rack-1", "3", 85)


def test_without_a_metric_temperature_power_and_utilisation_are_judged(busy_api: Api) -> None:
    told = busy_api.json("/fleet/anomalies", host="rack-*")
    assert [one["metric_name"] for one in told["judged"]] == [TEMP, POWER, UTIL]
    assert far(told, TEMP).keys() == {"GPU-rack-1-3"}


def test_it_is_told_why_nothing_is_judged(busy_api: Api) -> None:
    told = busy_api.json(
        "/fleet/anomalies", host=("sick-*"), metric=[XID, "nothing", POWER], start=moment(T0), end=moment(END)
    )
    assert told["anomalies"] == []
    assert [(one["metric_name"], one["gpus"], one["judged"], one["note"]) for one in told["judged"]] == [
        (XID, 3, False, "its values are codes, and no distances lie between codes"),
        ("nothing", 0, False, "no GPU has a value"),
        (POWER, 0, False, "no GPU has a value"),
    ]
    (few,) = busy_api.json("/fleet/anomalies", host="mig-0", metric=POWER)["judged"]
    assert (few["gpus"], few["judged"], few["mig_profile"]) == (3, False, "1g.10gb")
    assert few["note"] == "fewer than 5 GPUs to compare"


def test_where_most_values_are_the_same_the_mean_deviation_stands_in_and_it_is_said(busy_api: Api) -> None:
    for metric, note in ((USED, "stands in"), (UTIL, "")):
        (judged,) = busy_api.json("/fleet/anomalies", host="rack-*", metric=metric)["judged"]
        assert (judged["method"] == "mean-absolute-deviation", note in judged["note"]) == (bool(note), True)


def test_without_telemetry_there_are_zeros_and_nulls_and_no_errors(api: Api) -> None:
    told = api.json("/fleet/summary")
    assert NOTHING.items() <= told.items()
    assert (told["newest_reading"], told["age_seconds"]) == (None, None)
    assert told["power"] == {"total_watts": 0, "gpus": 0}
    assert told["temperature"] == {"mean_celsius": None, "max_celsius": None, "gpus": 0}
    assert api.json("/fleet/anomalies")["anomalies"] == []
    assert api.json("/fleet/anomalies", start_time="now-1d")["anomalies"] == []
    assert api.json("/fleet/idle") == []
    assert api.json("/fleet/energy", group_by="host") == []
    (energy,) = api.json("/fleet/energy")
    assert (energy["kwh"], energy["counter_kwh"], energy["mean_watts"], energy["gpus"]) == (0, None, None, 0)


@pytest.mark.parametrize(
    ("path", "parameter", "value", "told"),
    [
        ("/fleet/summary", "stale_after", "0", "is not a whole number from 1 to 31536000, as in stale_after=60"),
        ("/fleet/summary", "metric", "GPU_TEMP", "is no parameter here"),
        ("/fleet/anomalies", "threshold", "0", "is not a number from 0.1 to 1000000, as in threshold=5"),
        ("/fleet/anomalies", "threshold", "nan", "is not a number from"),
        ("/fleet/idle", "max_util", "101", "is not a number from 0 to 100, as in max_util=5"),
        ("/fleet/idle", "min_memory", "1_000", "is not a number from 0 to"),
        ("/fleet/energy", "group_by", "rack", "is none of gpu, host, model, namespace, pod"),
        ("/fleet/energy", "max_gap", "5m", "is not a whole number from"),
        ("/fleet/energy", "start", "2025-07-18T20:42:34", "has no UTC offset"),
    ],
)
def test_a_wrong_parameter_is_named_with_one_that_works(
    alone: Api, path: str, parameter: str, value: str, told: str
) -> None:
    (fault,) = alone.problem(422, path, **{parameter: value})["errors"]
    assert (fault["parameter"], fault["value"]) == (parameter, value)
    assert told in fault["detail"]


@pytest.mark.parametrize("path", ["summary", "energy", "idle", "anomalies"])
def test_without_a_database_it_is_said_so(alone: Api, path: str) -> None:
    alone.problem(503, f"/fleet/{path}")
