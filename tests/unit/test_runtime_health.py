"""The health model and its server, asked over real sockets."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.runtime import CollectorMetrics, Health, HealthServer, StreamerMetrics
from telemetry.streamer.sources.csvfile import CsvSource
from telemetry.streamer.sources.records import MAX_RECORD
from tests.fixtures.clock import ManualClock
from tests.fixtures.wait import PATIENCE


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def health(clock: ManualClock) -> Health:
    return Health(expects=("redis", "database"), live_limit=60, clock=clock)


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    with HealthServer(health=health, registry=StreamerMetrics(version="1.2.3").registry) as server:
        yield server


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def test_a_role_is_not_ready_before_it_reported_every_expected_check(server: HealthServer, health: Health) -> None:
    health.ready("redis", True)
    status, text, _ = ask(server, "/readyz")
    assert status == 503
    assert text == "[+] redis ok\n[-] database: not reported yet\nfailed\n"


def test_readyz_names_the_check_that_fails_and_why(server: HealthServer, health: Health) -> None:
    health.ready("redis", True)
    health.ready("database", False, "connection refused; is it running?")
    assert "[-] database: connection refused; is it running?\n" in ask(server, "/readyz")[1]
    health.ready("database", True)
    assert ask(server, "/readyz")[:2] == (200, "[+] redis ok\n[+] database ok\nok\n")


def test_a_loop_that_does_not_turn_is_not_live_until_it_turns_again(
    server: HealthServer, health: Health, clock: ManualClock
) -> None:
    assert ask(server, "/livez?verbose")[0] == 200
    clock.now += 61
    status, text, _ = ask(server, "/livez")
    assert (status, text) == (503, "[-] loop: the loop has not turned for 61 s, limit 60 s\nfailed\n")
    health.turned()
    assert ask(server, "/livez")[0] == 200


def test_healthz_tells_both(server: HealthServer) -> None:
    status, text, _ = ask(server, "/healthz")
    assert status == 503
    assert "[+] loop ok" in text
    assert "[-] redis" in text


def test_metrics_are_served_as_prometheus_text(server: HealthServer) -> None:
    status, text, headers = ask(server, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert 'telemetry_streamer_build_info{version="1.2.3"} 1.0' in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused_with_the_allowed_ones(server: HealthServer, method: str) -> None:
    status, _, headers = ask(server, "/livez", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_unknown_paths_are_not_found(server: HealthServer) -> None:
    assert ask(server, "/")[0] == 404
    assert ask(server, "/", "POST")[0] == 404


def test_head_has_headers_and_no_body(server: HealthServer) -> None:
    status, text, headers = ask(server, "/livez", "HEAD")
    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) > 0


def test_a_request_that_is_too_long_is_refused(server: HealthServer) -> None:
    assert ask(server, "/" + "x" * 70_000)[0] == 414


def test_silent_connections_neither_block_answers_nor_the_shutdown(health: Health) -> None:
    server = HealthServer(health=health, registry=StreamerMetrics().registry)
    server.start()
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(8)]
    assert ask(server, "/livez")[0] == 200
    server.close()
    server.close()
    for connection in silent:
        connection.close()


def test_beyond_the_limit_those_that_are_silent_for_longest_are_closed_and_all_others_are_answered(
    server: HealthServer,
) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) for _ in range(40)]
    for path in ("/livez", "/metrics", "/livez"):
        assert ask(server, path)[0] == 200
    assert [connection.recv(1) for connection in silent[:24]] == [b""] * 24
    silent[-1].sendall(b"GET /livez HTTP/1.0\r\n\r\n")
    assert silent[-1].recv(12) == b"HTTP/1.0 200"
    for connection in silent:
        connection.close()


def test_a_taken_port_is_an_error_at_start(server: HealthServer, health: Health) -> None:
    second = HealthServer(health=health, registry=StreamerMetrics().registry, port=server.port)
    with pytest.raises(OSError, match="in use"):
        second.start()


def test_health_takes_reports_from_many_threads() -> None:
    health = Health()
    threads = [threading.Thread(target=health.ready, args=(f"c{n}", True)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(health.readiness().checks) == 20
    assert health.readiness().ok


def test_totals_are_readable_without_prometheus() -> None:
    metrics = StreamerMetrics()
    metrics.rows_read.inc(10)
    metrics.rows_rejected.labels(reason="no gpu").inc(2)
    metrics.rows_rejected.labels(reason="no value").inc(3)
    metrics.publish_seconds.observe(0.5)
    totals = metrics.snapshot()
    assert (totals["rows_read"], totals["rows_rejected"]) == (10, 5)
    assert (totals["publish_seconds_count"], totals["publish_seconds_sum"]) == (1, 0.5)
    assert totals["rows_published"] == 0


def test_rejected_readings_are_counted_by_the_field_or_the_fault_of_their_row(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    good = b"2025-07-18T20:42:34Z,DCGM_FI_DEV_GPU_TEMP,0,GPU-1,node-1"
    rows = good + b",1", good + b",n/a", good, good + b",1,2", good + b',"1', b"x" * MAX_RECORD + good + b",1"
    path.write_bytes(b"timestamp,metric_name,gpu_id,uuid,Hostname,value\n" + b"\n".join(rows) + b"\n")
    source, metrics = CsvSource(path=path, times=True), StreamerMetrics()
    source.open()
    block = source.block("s", 0, len(rows), None)
    source.close()
    metrics.rejected(item.reason for item in block.rejected)
    (family,) = metrics.rows_rejected.collect()
    counted = {one.labels["reason"]: one.value for one in family.samples if one.value}
    assert counted == {"value": 1, "field_count": 2, "quotes": 1, "too_long": 1}


@pytest.mark.parametrize(("metrics", "role"), [(StreamerMetrics, "streamer"), (CollectorMetrics, "collector")])
def test_every_metric_is_named_by_its_role_and_says_why_one_looks_at_it(
    metrics: type[StreamerMetrics] | type[CollectorMetrics], role: str
) -> None:
    families = list(metrics().registry.collect())
    assert len(families) >= 9
    for family in families:
        assert family.name.startswith(f"telemetry_{role}_")
        assert family.documentation.endswith(".")
        assert len(family.documentation) > 30


def test_two_roles_in_one_process_share_nothing() -> None:
    first, second = CollectorMetrics(), CollectorMetrics()
    first.rows_stored.inc()
    assert second.snapshot()["rows_stored"] == 0


def test_a_served_role_tells_its_checks_and_its_process(health: Health) -> None:
    metrics = StreamerMetrics()
    metrics.watch(health)
    health.ready("redis", True)
    with HealthServer(health=health, registry=metrics.registry) as server:
        text = ask(server, "/metrics")[1]
    assert 'telemetry_streamer_ready{check="redis"} 1.0' in text
    assert 'telemetry_streamer_ready{check="database"} 0.0' in text
    assert "process_cpu_seconds_total " in text
    assert "_created" not in text
