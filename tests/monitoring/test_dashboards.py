"""The dashboards: as the code makes them, as Grafana reads them, and of metrics that somebody counts."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from telemetry.catalog import METRICS, RENAMED
from telemetry.monitoring.units import unit
from telemetry.monitoring.written import GROUPS, boards, written
from telemetry.runtime.measures import BY_NAME
from tests.fixtures.promtool import Promtool

ROOT = Path(__file__).parents[2]
BOARDS = boards()
ALL = pytest.mark.parametrize("uid", BOARDS)


def panels(uid: str) -> list[dict[str, Any]]:
    return [panel for panel in BOARDS[uid]["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression, with the panel that asks it and what Grafana fills in filled in."""
    for uid in BOARDS:
        for panel, target in ((one, target) for one in panels(uid) for target in one["targets"]):
            if "expr" in target:
                expr = target["expr"].replace("$__rate_interval", "5m").replace("$namespace", ".*")
                yield f"{uid}: {panel['title']}", expr


def test_the_dashboards_are_the_codes() -> None:
    folder = ROOT / "helm-chart"
    found = {path.relative_to(folder).as_posix() for path in (folder / "dashboards").iterdir()}
    made = {name: text for name, text in written().items() if name.startswith("dashboards/")}
    assert found == made.keys()
    assert {name: (folder / name).read_text(encoding="utf-8") for name in made} == made


@ALL
def test_grafanas_own_types_know_every_field(uid: str) -> None:
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(BOARDS[uid]), cls=JSONEncoder))
    assert not list(missing(BOARDS[uid], read))


def missing(wanted: Any, read: Any, place: str = "") -> Iterator[str]:
    """What is not in `read` as it is in `wanted`: a field that Grafana has none for, or reads otherwise."""
    if isinstance(wanted, dict) and isinstance(read, dict):
        for key, value in wanted.items():
            if key in read:
                yield from missing(value, read[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}"
    elif isinstance(wanted, list) and isinstance(read, list) and len(wanted) == len(read):
        for number, (one, other) in enumerate(zip(wanted, read, strict=True)):
            yield from missing(one, other, f"{place}[{number}]")
    elif wanted != read:
        yield f"{place}: {wanted!r}, read as {read!r}"


def test_a_field_that_grafana_has_not_is_seen() -> None:
    register_default_plugins()
    board = json.loads(json.dumps(BOARDS["telemetry-pipeline"]))
    graph = next(panel for panel in board["panels"] if panel["type"] == "timeseries")
    graph["options"]["legend"]["sideways"] = True
    graph["fieldConfig"]["defaults"]["custom"]["linewidth"] = 1
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert [fault.rsplit(".", 1)[1] for fault in missing(board, read)] == ["linewidth", "sideways"]


def test_prometheus_parses_every_expression(promtool: Promtool, tmp_path: Path) -> None:
    asked = list(expressions())
    assert len(asked) > 40
    rules = [{"record": f"panel:{number}", "expr": expr} for number, (_, expr) in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    said = promtool("check", "rules", tmp_path / "rules.yaml")
    assert said.returncode == 0, said.stderr
    assert f"{len(asked)} rules found" in said.stdout


def test_every_metric_that_is_asked_is_one_that_somebody_counts() -> None:
    for place, expr in expressions():
        names = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\btelemetry_\w+", expr)}
        assert names <= BY_NAME.keys(), place
        assert names or "ALERTS" in expr, place


def test_counters_are_asked_for_their_rate_and_gauges_are_not() -> None:
    for place, expr in expressions():
        for name in re.findall(r"\btelemetry_\w+", expr):
            rated = re.search(rf"rate\({name}\{{", expr) is not None
            plain = re.sub("_(bucket|sum|count)$", "", name)
            assert rated == (BY_NAME[plain].kind != "gauge"), (place, name)


@ALL
def test_panels_have_a_reason_a_source_and_a_place_of_their_own(uid: str) -> None:
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in BOARDS[uid]["panels"]}) == len(BOARDS[uid]["panels"])
    for panel in panels(uid):
        at = panel["gridPos"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


@ALL
def test_what_a_query_or_a_link_fills_in_is_a_variable_that_there_is(uid: str) -> None:
    grafanas = {"__rate_interval", "__interval_ms", "__timeFilter", "__timeFrom", "__timeTo", "__from", "__to"}
    grafanas |= {"__url_time_range", "__field", "__data"}
    own = {variable["name"] for variable in BOARDS[uid]["templating"]["list"]}
    text = json.dumps(BOARDS[uid])
    used = {name for found in re.findall(r"\$(\w+)|\$\{(\w+)", text) for name in found if name} - {"__all"}
    assert used <= own | grafanas
    assert own - {"datasource"} <= used


def test_links_lead_to_dashboards_and_variables_that_there_are() -> None:
    urls = set(re.findall(r'"url": "(/d/[^"]+)"', "".join(map(json.dumps, BOARDS.values()))))
    assert urls
    for url in urls:
        uid = url.split("/")[2]
        known = {variable["name"] for variable in BOARDS[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", url)) <= known
        assert "__field.labels" not in url, "lines of the database have a name and no labels"


@ALL
def test_namespace_or_host_can_be_chosen(uid: str) -> None:
    names = [variable["name"] for variable in BOARDS[uid]["templating"]["list"]]
    assert names[0] == "datasource"
    assert {"namespace", "host"} & set(names)


def test_every_unit_of_the_catalogue_has_grafanas_word() -> None:
    assert all(unit(name) for name in METRICS)


def test_the_panels_of_12239_are_there_and_more() -> None:
    asked = {
        name for panel in panels("telemetry-gpu") for name in re.findall(r"DCGM_FI_\w+", json.dumps(panel["targets"]))
    }
    twelve = {"GPU_TEMP", "POWER_USAGE", "SM_CLOCK", "GPU_UTIL", "FB_USED"}
    more = {"XID_ERRORS", "THERMAL_VIOLATION", "CLOCK_THROTTLE_REASONS", "TOTAL_ENERGY_CONSUMPTION"}
    assert {f"DCGM_FI_DEV_{name}" for name in twelve | more} | {"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"} <= asked
    assert asked <= METRICS.keys() | RENAMED.keys()


def test_the_numbers_of_alerts_and_dashboards_are_the_same() -> None:
    full = next(panel for panel in panels("telemetry-pipeline") if panel["title"] == "Queue full")
    alert = next(alert for alert in GROUPS["telemetry-pipeline"] if alert.name == "TelemetryQueueNearlyFull")
    assert f"> {full['fieldConfig']['defaults']['thresholds']['steps'][1]['value']})\n" in alert.text


def test_memory_may_be_warmer_than_the_core_beside_it() -> None:
    marks = {
        name: [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        for name in ("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_MEMORY_TEMP")
        for panel in panels("telemetry-gpu")
        if panel["description"] == name
    }
    assert marks == {"DCGM_FI_DEV_GPU_TEMP": [None, 83, 87], "DCGM_FI_DEV_MEMORY_TEMP": [None, 90, 95]}
