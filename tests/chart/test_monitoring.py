"""What the chart gives Prometheus Operator and Grafana: nothing unless asked, then each piece by its own switch."""

import json
from typing import Any

import pytest
import yaml

from telemetry.monitoring.written import GROUPS, RULES, boards
from tests.chart.crds import CRDS
from tests.fixtures.chart import HELM_CHART, Chart, Manifest, Render

pytestmark = pytest.mark.chart

ON: dict[str, Any] = {"monitoring": {"enabled": True}}
PIECES = {
    "serviceMonitor": {("ServiceMonitor", "telemetry-api")},
    "podMonitor": {("PodMonitor", "telemetry-roles")},
    "prometheusRule": {("PrometheusRule", "telemetry-alerts")},
    "dashboards": {("ConfigMap", f"telemetry-dashboard-{name}") for name in ("pipeline", "fleet", "gpu")},
    "datasource": {("Secret", "telemetry-datasource")},
}
GUARDED = {("NetworkPolicy", f"telemetry-{name}") for name in ("streamer", "collector", "postgres")}
"""Objects that change, too, because Prometheus and Grafana are let in."""
MONITORS = "namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}


@pytest.fixture(scope="session")
def monitored(chart: Chart) -> Render:
    """Everything on."""
    return chart(ON)


def monitoring(**values: Any) -> dict[str, Any]:
    return {"monitoring": {"enabled": True, **values}}


def login(render: Render) -> dict[str, Any]:
    (source,) = yaml.safe_load(render.secret("telemetry-datasource", "telemetry-datasource.yaml"))["datasources"]
    found: dict[str, Any] = source
    return found


def test_there_is_none_of_it_unless_it_is_asked_for(rendered: Render, monitored: Render) -> None:
    pieces = set().union(*PIECES.values())
    assert not pieces & rendered.objects.keys()
    assert monitored.objects.keys() - rendered.objects.keys() == pieces
    steady = {place for place in rendered.objects if place[0] in ("Service", "NetworkPolicy", "PodDisruptionBudget")}
    assert {place for place in steady if rendered[place] != monitored[place]} == GUARDED


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES)
def test_each_piece_has_its_switch(chart: Chart, monitored: Render, piece: str) -> None:
    without = chart(monitoring(**{piece: {"enabled": False}}))
    assert monitored.objects.keys() - without.objects.keys() == PIECES[piece]


@pytest.mark.slow
def test_prometheus_and_grafana_find_the_pieces_by_their_labels(chart: Chart) -> None:
    render = chart(
        monitoring(
            labels={"release": "stack"},
            podMonitor={"labels": {"team": "gpu"}},
            dashboards={"label": "board", "labelValue": "yes", "annotations": {"grafana_folder": "GPU"}},
        )
    )
    for place in set().union(*PIECES.values()):
        assert render[place]["metadata"]["labels"]["release"] == "stack"
    assert render["PodMonitor", "telemetry-roles"]["metadata"]["labels"]["team"] == "gpu"
    board = render["ConfigMap", "telemetry-dashboard-fleet"]["metadata"]
    assert board["labels"]["board"] == "yes"
    assert board["annotations"] == {"grafana_folder": "GPU"}
    assert render["Secret", "telemetry-datasource"]["metadata"]["labels"]["grafana_datasource"] == "1"


def test_what_is_scraped_is_a_port_that_pods_and_services_have(monitored: Render) -> None:
    monitor = monitored["ServiceMonitor", "telemetry-api"]["spec"]
    service = monitored["Service", "telemetry-api"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {one["port"] for one in monitor["endpoints"]} == {port["name"] for port in service["spec"]["ports"]}
    roles = monitored["PodMonitor", "telemetry-roles"]["spec"]
    (endpoint,) = roles["podMetricsEndpoints"]
    chosen = {manifest["metadata"]["name"] for manifest, _ in monitored.pods() if _chooses(roles["selector"], manifest)}
    assert chosen == {"telemetry-streamer", "telemetry-collector"}
    for name in chosen:
        (container,) = monitored["Deployment", name]["spec"]["template"]["spec"]["containers"]
        assert endpoint["port"] in {port["name"] for port in container["ports"]}


def _chooses(selector: Manifest, manifest: Manifest) -> bool:
    labels = manifest["spec"].get("template", manifest)["metadata"]["labels"]
    (component,) = selector["matchExpressions"]
    return selector["matchLabels"].items() <= labels.items() and labels[component["key"]] in component["values"]


@pytest.mark.slow
def test_gpus_are_scraped_with_a_token_that_there_is(chart: Chart, monitored: Render) -> None:
    own, gpus = monitored["ServiceMonitor", "telemetry-api"]["spec"]["endpoints"]
    assert (own["path"], gpus["path"], gpus["honorLabels"]) == ("/metrics", "/metrics/gpus", True)
    assert "authorization" not in own
    credentials = gpus["authorization"]["credentials"]
    assert monitored.secret(credentials["name"], credentials["key"]).startswith("tlm_")
    (alone,) = chart(monitoring(serviceMonitor={"gpus": False}))["ServiceMonitor", "telemetry-api"]["spec"]["endpoints"]
    assert alone["path"] == "/metrics"
    closed = chart({**ON, "api": {"metricsAuth": True}})["ServiceMonitor", "telemetry-api"]["spec"]["endpoints"]
    assert all("authorization" in one for one in closed)
    open_to_all = chart({**ON, "api": {"auth": {"enabled": False}}})["ServiceMonitor", "telemetry-api"]["spec"][
        "endpoints"
    ]
    assert not any("authorization" in one for one in open_to_all)


def test_gpus_are_scraped_once_however_many_pods_tell_of_them(monitored: Render) -> None:
    _, gpus = monitored["ServiceMonitor", "telemetry-api"]["spec"]["endpoints"]
    (port,) = monitored["Service", "telemetry-api"]["spec"]["ports"]
    told = {one["targetLabel"]: one for one in gpus["relabelings"] if "targetLabel" in one}
    namespace = monitored["ServiceMonitor", "telemetry-api"]["metadata"]["namespace"]
    assert told["__address__"] == {
        "targetLabel": "__address__",
        "replacement": f"telemetry-api.{namespace}.svc:{port['port']}",
    }
    assert told["instance"]["replacement"] == "telemetry-api"
    assert {"action": "labeldrop", "regex": "pod|container|node"} in gpus["relabelings"]
    assert "__meta_kubernetes_pod_name" not in str(gpus["relabelings"]), "each pod would be a target of its own"


@pytest.mark.slow
def test_tokens_of_ones_own_need_one_for_prometheus(chart: Chart) -> None:
    api = {"auth": {"existingSecret": "digests"}}
    assert "monitoring.serviceMonitor.tokenSecret" in chart.refusal({**ON, "api": api})
    given = chart({**monitoring(serviceMonitor={"tokenSecret": "prometheus", "tokenKey": "t"}), "api": api})
    gpus = given["ServiceMonitor", "telemetry-api"]["spec"]["endpoints"][1]
    assert gpus["authorization"]["credentials"] == {"name": "prometheus", "key": "t"}


def test_prometheus_is_given_no_token_that_may_do_more_than_ask(chart: Chart) -> None:
    strong = {**ON, "api": {"auth": {"tokens": [{"name": "admin", "scope": "admin"}]}}}
    refusal = chart.refusal(strong)
    assert "api.auth.tokens: none is of scope read" in refusal
    assert "monitoring.serviceMonitor.tokenSecret" in refusal


@pytest.mark.slow
def test_a_token_of_scope_admin_alone_does_where_prometheus_has_its_own(chart: Chart) -> None:
    auth = {"auth": {"tokens": [{"name": "admin", "scope": "admin"}]}}
    chart({**monitoring(serviceMonitor={"tokenSecret": "prometheus"}), "api": auth})
    chart({**monitoring(serviceMonitor={"gpus": False}), "api": auth})


def test_the_rule_is_the_rules_file(monitored: Render) -> None:
    file = yaml.safe_load((HELM_CHART / RULES).read_text(encoding="utf-8"))
    assert monitored["PrometheusRule", "telemetry-alerts"]["spec"] == file


@pytest.mark.slow
def test_alerts_can_be_left_out_and_led_elsewhere(chart: Chart) -> None:
    rule = {
        "disabled": ["TelemetryHostStale"],
        "runbookUrl": "https://wiki.example.org/gpu",
        "alertLabels": {"team": "gpu"},
    }
    groups = chart(monitoring(prometheusRule=rule))["PrometheusRule", "telemetry-alerts"]["spec"]["groups"]
    rules = {one["alert"]: one for group in groups for one in group["rules"]}
    known = {alert.name for group in GROUPS.values() for alert in group}
    assert rules.keys() == known - {"TelemetryHostStale"}
    for name, one in rules.items():
        assert one["annotations"]["runbook_url"] == f"https://wiki.example.org/gpu#{name.lower()}"
        assert one["labels"]["team"] == "gpu"
    whole = chart(monitoring(prometheusRule={"disabled": [alert.name for alert in GROUPS["telemetry-gpus"]]}))
    assert [group["name"] for group in whole["PrometheusRule", "telemetry-alerts"]["spec"]["groups"]] == [
        "telemetry-pipeline"
    ]
    assert "there is no alert TelemetryHost;" in chart.refusal(
        monitoring(prometheusRule={"disabled": ["TelemetryHost"]})
    )


def test_no_label_of_an_alert_is_dropped_in_silence(chart: Chart) -> None:
    said = chart.refusal(monitoring(prometheusRule={"alertLabels": {"severity": "page"}}))
    assert "monitoring.prometheusRule.alertLabels: severity is each alert's own" in said


def test_no_streamer_is_missed_where_none_is_wanted(chart: Chart, monitored: Render) -> None:
    def alerts(render: Render) -> set[str]:
        groups = render["PrometheusRule", "telemetry-alerts"]["spec"]["groups"]
        return {rule["alert"] for group in groups for rule in group["rules"]}

    assert alerts(monitored) - alerts(chart({**ON, "streamer": {"replicas": 0}})) == {"TelemetryStreamerAbsent"}


def test_the_dashboards_are_the_codes(monitored: Render) -> None:
    for uid, board in boards().items():
        (text,) = monitored["ConfigMap", uid.replace("telemetry-", "telemetry-dashboard-")]["data"].values()
        assert json.loads(text) == board


def test_grafana_logs_in_as_the_reader(monitored: Render) -> None:
    source = login(monitored)
    password = monitored.secret("telemetry-postgres-reader", "password")
    assert source["secureJsonData"] == {"password": password}
    assert (source["url"], source["user"]) == ("telemetry-postgres.telemetry:5432", "telemetry_reader")
    assert source["jsonData"]["database"] == "gpu"
    assert source["type"] == boards()["telemetry-fleet"]["panels"][1]["datasource"]["type"]
    for uid in ("telemetry-fleet", "telemetry-gpu"):
        chosen = boards()[uid]["templating"]["list"][0]
        assert (chosen["name"], chosen["current"]["value"]) == ("datasource", source["uid"]), "whatever else there is"


@pytest.mark.slow
def test_grafana_logs_in_to_a_database_of_ones_own(chart: Chart) -> None:
    reader = {"url": "postgresql://watch:hun$ter2@db.example.org/gpu?sslmode=verify-full"}
    postgres = {"enabled": False, "owner": {"existingSecret": "o"}, "writer": {"existingSecret": "w"}, "reader": reader}
    source = login(chart({**ON, "postgres": postgres}))
    assert (source["url"], source["user"], source["jsonData"]["database"]) == ("db.example.org:5432", "watch", "gpu")
    assert source["jsonData"]["sslmode"] == "verify-full"
    assert source["secureJsonData"] == {"password": "hun$$ter2"}, "Grafana takes a single $ for a variable"
    postgres["reader"] = {"existingSecret": "r"}
    assert "monitoring.datasource.enabled" in chart.refusal({**ON, "postgres": postgres})
    postgres["reader"] = {"url": "postgresql://watch:p%40ss@db.example.org/gpu"}
    assert "monitoring.datasource.enabled" in chart.refusal({**ON, "postgres": postgres})


@pytest.mark.parametrize("writers", [{}, {"writer": {"url": "postgresql://writer:hunter2@db/gpu"}}])
def test_grafana_gets_no_login_that_may_write(chart: Chart, writers: dict[str, Any]) -> None:
    postgres = {"enabled": False, "owner": {"url": "postgresql://owner:hunter2@db/gpu"}, **writers}
    said = chart.refusal({**ON, "postgres": postgres})
    assert "monitoring.datasource.enabled: Grafana would log in as the " in said
    assert "postgres.reader.url" in said
    assert "hunter2" not in said


@pytest.mark.slow
def test_network_policies_let_prometheus_and_grafana_in(chart: Chart, rendered: Render, monitored: Render) -> None:
    key, namespace = MONITORS
    for place in GUARDED:
        peers = [peer for rule in monitored[place]["spec"]["ingress"] for peer in rule["from"]]
        assert {key: namespace} in peers
        assert {key: namespace} not in [p for rule in rendered[place]["spec"].get("ingress", []) for p in rule["from"]]
    elsewhere = chart({**monitoring(namespace="watch"), "networkPolicy": {"apiFrom": [{"podSelector": {}}]}})
    peers = elsewhere["NetworkPolicy", "telemetry-api"]["spec"]["ingress"][0]["from"]
    assert {key: {"matchLabels": {"kubernetes.io/metadata.name": "watch"}}} in peers


@pytest.mark.slow
def test_the_operators_objects_are_as_its_schemas_say(chart: Chart, monitored: Render) -> None:
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    closed = chart({**monitoring(labels={"release": "x"}), "api": {"metricsAuth": True}})
    for render in (monitored, closed):
        for manifest in render:
            if (schema := CRDS.get((manifest["apiVersion"], manifest["kind"]))) is not None:
                validator(schema).validate(manifest)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"enabled": "yes"}, "monitoring"),
        ({"servicemonitor": {}}, "servicemonitor"),
        ({"podMonitor": {"interval": "often"}}, "interval"),
        ({"prometheusRule": {"runbookUrl": "RUNBOOK.md"}}, "runbookUrl"),
        ({"datasource": {"sslMode": "maybe"}}, "sslMode"),
    ],
)
def test_what_is_no_value_is_refused_by_its_path(chart: Chart, values: dict[str, Any], path: str) -> None:
    assert path in chart.refusal({"monitoring": values})


@pytest.mark.parametrize(
    ("piece", "values", "says"),
    [
        ("serviceMonitor", {"interval": "5s"}, "scrapeTimeout: 10s is nothing or longer than the interval"),
        ("podMonitor", {"interval": "1m", "scrapeTimeout": "61s"}, "set it to 1m at most"),
        ("podMonitor", {"scrapeTimeout": "0s"}, "scrapeTimeout: 0s is nothing"),
        ("serviceMonitor", {"interval": "1m1ms"}, "interval: 1m1ms is not from 1s to 1m"),
        ("podMonitor", {"interval": "0m999ms", "scrapeTimeout": "5ms"}, "interval: 0m999ms is not from 1s to 1m"),
    ],
)
def test_a_monitor_that_the_operator_or_an_alert_could_not_use_is_refused(
    chart: Chart, piece: str, values: dict[str, str], says: str
) -> None:
    refusal = chart.refusal(monitoring(**{piece: values}))
    assert f"monitoring.{piece}." in refusal
    assert says in refusal


def test_the_shortest_and_the_longest_interval_are_taken(chart: Chart) -> None:
    pace = {"interval": "1s", "scrapeTimeout": "1000ms"}
    render = chart(monitoring(serviceMonitor={"interval": "1m", "scrapeTimeout": "59s"}, podMonitor=pace))
    api = render["ServiceMonitor", "telemetry-api"]["spec"]["endpoints"]
    (roles,) = render["PodMonitor", "telemetry-roles"]["spec"]["podMetricsEndpoints"]
    assert {(one["interval"], one["scrapeTimeout"]) for one in api} == {("1m", "59s")}
    assert (roles["interval"], roles["scrapeTimeout"]) == ("1s", "1000ms")
