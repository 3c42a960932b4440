"""The alerts: each fires and clears at its edges, says what it should, and none fires on a healthy pipeline.

Prometheus' own `promtool test rules` runs all cases in one process.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from telemetry.catalog import METRICS
from telemetry.monitoring.alerts import Alert, rules_yaml
from telemetry.monitoring.written import GROUPS, RULES, written
from telemetry.runtime.measures import BY_NAME
from telemetry.xids import XID_TEXT
from tests.fixtures.promtool import Promtool
from tests.monitoring.alert_cases import CASES as OTHERS
from tests.monitoring.alert_cases import LIVE, Case, board, queue, seen, store
from tests.monitoring.gpu_cases import GPU, XID
from tests.monitoring.presence_cases import GONE_FOR_A_WEEK, PRESENCE, pods

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm-chart"
RULES_FILE = CHART / RULES
ALERTS = {alert.name: alert for group in GROUPS.values() for alert in group}
CASES = [*OTHERS, *GPU, *PRESENCE]
HEALTHY = (
    queue(
        depth_messages="400+0x60",
        capacity_messages="500+0x60",
        oldest_age_seconds="3+0x60",
        consumers="2+0x60",
        acked_messages_total="0+60x60",
        dead_messages_total="0+0x60",
        dead_letters="0+0x60",
    )
    | store(
        dead_blocks="0+0x60",
        oldest_unsettled_age_seconds="0+0x60",
        newest_reading_age_seconds="3+0x60",
        gpus_ahead="0+0x60",
    )
    | pods("api", p="1+0x60")
    | pods("streamer", p="1+0x60")
    | {
        'telemetry_redis_up{instance="a"}': "1+0x60",
        'telemetry_database_up{instance="a"}': "1+0x60",
        'telemetry_collector_breaker_open{instance="c"}': "0+0x60",
        'telemetry_collector_ready{instance="c",check="database"}': "1+0x60",
        'telemetry_streamer_ready{instance="s",check="queue"}': "1+0x60",
        'telemetry_streamer_rows_read_total{instance="s"}': "0+300000x60",
        'telemetry_streamer_rows_rejected_total{instance="s",reason="value"}': "0+3x60",
        'telemetry_collector_rows_stored_total{instance="c"}': "0+299000x60",
        'telemetry_collector_rows_blank_total{instance="c"}': "0+997x60",
        'telemetry_collector_rows_rejected_total{instance="c"}': "0+3x60",
        'telemetry_collector_transaction_seconds_bucket{le="1"}': "0+60x60",
        'telemetry_collector_transaction_seconds_bucket{le="+Inf"}': "0+60x60",
        'telemetry_collector_publish_to_stored_seconds_bucket{le="1"}': "0+60x60",
        'telemetry_collector_publish_to_stored_seconds_bucket{le="+Inf"}': "0+60x60",
        'telemetry_api_requests_total{route="/api/v1/gpus",status="5xx"}': "0+0x60",
        'telemetry_api_requests_total{route="/api/v1/gpus",status="2xx"}': "0+600x60",
        'telemetry_api_database_connection_timeouts_total{instance="a"}': "0+0x60",
        'telemetry_gpus_series{state="cut",instance="a"}': "0+0x60",
        'telemetry_gpus_up{instance="a"}': "1+0x60",
    }
    | LIVE
    | seen("node-7", 3, "0+60x60")
    | board(XID, "0+0x60")
    | board("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "0+0x60")
    | board("DCGM_FI_DEV_THERMAL_VIOLATION", "7+0x60")
    | board("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "4+0x60")
)


def without(*families: str, **values: str) -> dict[str, str]:
    """A healthy pipeline, for 20 minutes; then some of its series end, and those that are named have other values."""
    names = {name: name.partition("{")[0].removeprefix("telemetry_") for name in HEALTHY}
    assert values.keys() <= set(names.values())
    return {
        name: values.get(short) or (told.replace("x60", "x20 stale") if short.startswith(families) else told)
        for (name, told), short in zip(HEALTHY.items(), names.values(), strict=True)
    }


STANDS, WAITS, FAILS = "9+60x20 1209+0x40", "1+0x20 0+0x40", "0+0x20 0+60x40"
AWAY = {
    "streamer_rows_read_total": STANDS,
    "collector_rows_stored_total": STANDS,
    "collector_rows_blank_total": "0+0x60",
    "collector_rows_rejected_total": "0+0x60",
    "streamer_ready": WAITS,
    "collector_ready": WAITS,
    "api_requests_total": FAILS,
    "api_database_connection_timeouts_total": FAILS,
}
DATABASE_AWAY = without(
    "store_",
    **AWAY,
    database_up=WAITS,
    queue_depth_messages="400+0x20 500+0x40",
    queue_oldest_age_seconds="3+0x20 3+60x40",
    queue_acked_messages_total=STANDS,
    gpus_up=WAITS,
)
REDIS_AWAY = without(
    "queue_",
    **AWAY,
    redis_up=WAITS,
    store_newest_reading_age_seconds="3+0x20 3+60x40",
    store_oldest_unsettled_age_seconds="0+0x20 0+60x40",
    gpus_up="1+0x20 stale",
)


def test_the_rules_are_the_codes() -> None:
    assert RULES_FILE.read_text(encoding="utf-8") == written()[RULES]


def test_prometheus_takes_the_rules_as_they_are(promtool: Promtool) -> None:
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES_FILE)
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(ALERTS)} rules found" in said.stdout


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_each_alert_fires_and_clears_and_says_so_and_no_other_does(
    promtool: Promtool, tmp_path: Path, group: str
) -> None:
    # beside the rules of its group: the series of the other fire none of them, and all would take twice as long
    names = {alert.name for alert in GROUPS[group]}
    (rules := tmp_path / "rules.yaml").write_text(rules_yaml({group: GROUPS[group]}), encoding="utf-8")
    asked(promtool, tmp_path, [_group(case) for case in CASES if case.alert in names], rules=rules)


def test_nothing_fires_where_all_is_well_or_nothing_is_there(promtool: Promtool, tmp_path: Path) -> None:
    nothing = _silence("nothing is there", {'up{job="another"}': "1+0x60"})
    asked(promtool, tmp_path, [_silence("healthy", HEALTHY), nothing, _xids()])


def test_while_a_server_is_away_that_alone_is_told(promtool: Promtool, tmp_path: Path) -> None:
    groups = [
        _silence("the database is away", DATABASE_AWAY, "TelemetryDatabaseAway", at=(21, 24, 28, 33, 60)),
        _silence("Redis is away", REDIS_AWAY, "TelemetryRedisAway", at=(21, 24, 28, 33, 60)),
    ]
    asked(promtool, tmp_path, groups)


def test_what_is_gone_is_missed_for_a_week(promtool: Promtool, tmp_path: Path) -> None:
    counts = [
        _count(f'alertname="Telemetry{role}Absent"', hours * 60, told)
        for role in ("Api", "Streamer")
        for hours, told in ((36, 1), (24 * 6, 1), (24 * 7, 1), (24 * 8, 0))
    ]
    group = {"interval": "12h", "input_series": _series(GONE_FOR_A_WEEK), "promql_expr_test": counts}
    asked(promtool, tmp_path, [group], every="12h")


def test_a_case_that_is_wrong_is_seen(promtool: Promtool, tmp_path: Path) -> None:
    late = Case("TelemetryRedisAway", {'telemetry_redis_up{instance="a"}': "0+0x9"}, fires=(1,), says="x")
    with pytest.raises(AssertionError, match="TelemetryRedisAway, time: 1m"):
        asked(promtool, tmp_path, [_group(late)])


def asked(
    promtool: Promtool, folder: Path, groups: list[dict[str, Any]], *, every: str = "1m", rules: Path = RULES_FILE
) -> None:
    """Have Prometheus run these groups of tests on the rules as they are, and look at the rules so often."""
    tests = {"rule_files": [str(rules)], "evaluation_interval": every, "tests": groups}
    (folder / "tests.yaml").write_text(json.dumps(tests), encoding="utf-8")
    said = promtool("test", "rules", folder / "tests.yaml")
    assert said.returncode == 0, said.stdout + said.stderr


def test_each_alert_has_a_case_that_fires_and_one_that_clears() -> None:
    assert {case.alert for case in CASES if case.fires and case.quiet} == ALERTS.keys()
    assert len(ALERTS) == sum(map(len, GROUPS.values()))


def test_each_alert_has_its_section_of_the_runbook_and_each_section_its_alert() -> None:
    text = (CHART / "RUNBOOK.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == list(ALERTS)
    for name, body in sections:
        assert all(f"**{word}**" in body for word in ("Means", "Look", "Do")), name
    for anchor in re.findall(r"\]\(#(\w+)\)", text):
        assert anchor in {name.lower() for name in ALERTS}


def test_every_metric_of_an_alert_is_one_that_somebody_counts() -> None:
    for alert in ALERTS.values():
        names = set(re.findall(r"\b(?:telemetry|DCGM)_\w+", alert.text))
        assert names, alert.name
        assert {re.sub("_(bucket|sum|count)$", "", name) for name in names} <= BY_NAME.keys() | METRICS.keys(), (
            alert.name
        )


def test_every_xid_of_the_catalogue_has_an_alert() -> None:
    for code, xid in XID_TEXT.items():
        alert = ALERTS[f"TelemetryGpuXid{xid.severity.capitalize()}"]
        assert f'"xid", "{code}"' in alert.text
        assert re.search(rf'xid=~"(\d+\|)*{code}[|"]', alert.text)
        assert f'"{code}" }}}}{xid.text}{{{{' in alert.summary


def _group(case: Case) -> dict[str, Any]:
    """One of promtool's groups: when it fires, when not, that no other does, and what it says at first."""
    alert = ALERTS[case.alert]
    counts = [_count(f'alertname="{case.alert}"', at, 1) for at in case.fires]
    counts += [_count(f'alertname="{case.alert}"', at, 0) for at in case.quiet]
    others = "|".join((case.alert, *case.beside))
    counts += [_count(f'alertname!~"{others}"', at, 0) for at in (*case.fires, *case.quiet)]
    says = [_said(alert, case)] if case.fires else []
    name = f"{case.alert} {case.title}".strip()
    return {"name": name, "interval": "1m", "input_series": _series(case.series), "promql_expr_test": counts,
            "alert_rule_test": says}  # fmt: skip


def _said(alert: Alert, case: Case) -> dict[str, Any]:
    annotations = {"summary": case.says, "action": alert.action, "runbook_url": alert.runbook_url}
    expected = {"exp_labels": {"severity": alert.severity, **case.labels}, "exp_annotations": annotations}
    return {"eval_time": f"{case.fires[0]}m", "alertname": alert.name, "exp_alerts": [expected]}


def _silence(name: str, series: dict[str, str], *but: str, at: tuple[int, ...] = (1, 5, 12, 35)) -> dict[str, Any]:
    counts = [_count(f'alertname!~"{"|".join(but) or "none"}"', minute, 0) for minute in at]
    counts += [_count(f'alertname="{alert}"', at[-1], 1) for alert in but]
    return {"name": name, "interval": "1m", "input_series": _series(series), "promql_expr_test": counts}


def _xids() -> dict[str, Any]:
    """Every code that there is a text for, each on a board of its own."""
    series: dict[str, str] = {}
    for place, code in enumerate(XID_TEXT):
        series |= board(XID, f"{code}+0x5", f'gpu="{place}",UUID="GPU-{place}",modelName="H100",Hostname="node-1"')
    return {"name": "every XID", "interval": "1m", "input_series": _series(series),
            "promql_expr_test": [_count('alertname=~"TelemetryGpuXid.*"', 1, len(XID_TEXT))]}  # fmt: skip


def _count(which: str, at: int, number: int) -> dict[str, Any]:
    expr = f'count(ALERTS{{alertstate="firing", {which}}}) or vector(0)'
    return {"expr": expr, "eval_time": f"{at}m", "exp_samples": [{"labels": "{}", "value": number}]}


def _series(series: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in series.items()]
