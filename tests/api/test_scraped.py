"""What Prometheus is told: the API's own counts, the queue and the database, the newest values of all GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from telemetry.block import Workload
from telemetry.broker import Topic, TopicFull
from telemetry.runtime.exposition import exposition
from telemetry.runtime.measures import QUEUE, STORE
from telemetry.runtime.metrics import ApiMetrics, CollectorMetrics, StreamerMetrics
from telemetry.store.pool import Pool
from telemetry.store.questions.current import Current
from tests.fixtures.api import Api, port_of, through
from tests.fixtures.broker import Loop
from tests.fixtures.filled import POWER, SECOND, TEMP, UTIL, Reading, fill, gpu
from tests.fixtures.ledger import Store
from tests.fixtures.process import eventually
from tests.fixtures.promtool import Promtool
from tests.fixtures.proxy import Proxy
from tests.fixtures.servers_redis import Server
from tests.fixtures.store import Database
from tests.fixtures.wait import PATIENCE
from webapi.options import QueuePlace
from webapi.scraped.counting import group_of, told_as
from webapi.scraped.page import Page, unpacked
from webapi.services import services

NOWHERE = "postgresql://nobody@127.0.0.1:1/nowhere"
XID = "DCGM_FI_DEV_XID_ERRORS"
CLOCK_HERTZ, ENERGY = "DCGM_FI_DEV_SM_CLOCK_HERTZ", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
Labels = frozenset[tuple[str, str]]
Watch = Callable[..., Api]


@pytest.fixture
def watch(topic: Topic, make_api: Callable[..., Api]) -> Watch:
    """Makes apps that look at the topic and at a database; they wait so many seconds for either."""

    def make(database_url: str, url: str = "", wait: float = PATIENCE) -> Api:
        url = url or topic.broker.address.url
        place = QueuePlace(url=url, namespace=topic.broker.namespace, capacity=20, reply_timeout=wait)
        return make_api(database_url, queue=place, connection_wait=wait)

    return make


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One kind of server: what the kinds differ in is the broker's, and tested there."""
    return redis_server


def scraped(api: Api, path: str = "/metrics") -> dict[str, dict[Labels, float]]:
    """Values by name and labels; each series stands there once."""
    response = api.client.get(path)
    assert response.status_code == 200, response.text
    found: dict[str, dict[Labels, float]] = {}
    for family in families(response.text):
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in series, (sample.name, labels)
            series[labels] = sample.value
    return found


def values(api: Api) -> dict[str, float]:
    """Of the queue's and the database's metrics those that are there."""
    found, observed = scraped(api), {one.name for one in (*QUEUE, *STORE)}
    return {name: series[frozenset()] for name, series in found.items() if name in observed}


def in_time(api: Api) -> dict[str, float]:
    """Those of the first scrape for which both answered in time."""
    found: dict[str, float] = {}

    def are_up() -> bool:
        found.clear()
        found.update(values(api))
        return all(value for name, value in found.items() if name.endswith("_up"))

    eventually(are_up, "a scrape that finds them up")
    return found


def now() -> int:
    return time.time_ns() // 1_000


def test_the_queue_and_the_database_are_told_as_they_are(watch: Watch, topic: Topic, store: Store) -> None:
    fill(store.database, [Reading(gpu("a", n), now() - 5 * SECOND, TEMP, n) for n in range(3)])
    store.ledger().reserve(7)
    with topic.producer(capacity=5) as producer, topic.consumer() as consumer:
        for number in range(2):
            producer.publish(f"bad:{number}", b"x", rows=10, timeout=0)
        with (loop := Loop(consumer, max_messages=2)).next() as batch:
            for message in batch.messages[:1]:
                batch.reject(message, "cannot be read")
            batch.release()
        assert len(loop.ids()) == 1
        for number in range(5):
            producer.publish(f"file:{number}", b"x", rows=100, timeout=0)
        with pytest.raises(TopicFull):
            producer.publish("file:5", b"x", rows=100, timeout=0.05)
        loop.next()
        found = in_time(api := watch(store.database.reader))
        eventually(lambda: values(api).get("telemetry_queue_consumer_idle_seconds"), "a moment of silence")
    assert set(found) == {one.name for one in (*QUEUE, *STORE)}
    queue = {name.removeprefix("telemetry_queue_"): value for name, value in found.items()}
    assert (queue["depth_messages"], queue["waiting_messages"], queue["in_flight_messages"]) == (5, 3, 2)
    assert (queue["depth_rows"], queue["waiting_rows"], queue["in_flight_rows"]) == (500, 300, 200)
    assert (queue["capacity_messages"], queue["consumers"], queue["dead_letters"]) == (5, 1, 1)
    totals = {name.removesuffix("_total"): value for name, value in queue.items() if name.endswith("_total")}
    assert totals.pop("backpressure_seconds") >= 0.05
    assert totals == {
        **{"published_messages": 7, "acked_messages": 1, "dead_messages": 1, "redelivered_messages": 1},
        **{"published_rows": 520, "acked_rows": 10, "dead_rows": 10},
    }
    assert min(queue["oldest_age_seconds"], queue["memory_bytes"]) > 0
    assert (found["telemetry_redis_up"], found["telemetry_database_up"], found["telemetry_store_gpus"]) == (1, 1, 3)
    assert (found["telemetry_store_unsettled_blocks"], found["telemetry_store_dead_blocks"]) == (1, 0)
    assert 5 <= found["telemetry_store_newest_reading_age_seconds"] < 100


def test_a_clock_that_is_a_day_ahead_does_not_hide_that_all_others_are_silent(api: Api, database: Database) -> None:
    day = 86_400 * SECOND
    fill(database, [Reading(gpu("a", 0), now() - 90 * SECOND, TEMP, 1), Reading(gpu("b", 0), now() + day, TEMP, 1)])
    found = in_time(api)
    assert found["telemetry_store_newest_reading_age_seconds"] >= 90
    assert (found["telemetry_store_gpus"], found["telemetry_store_gpus_ahead"]) == (2, 1)
    seen = scraped(api, "/metrics/gpus")[SEEN]
    assert [dict(labels)["Hostname"] for labels in seen] == ["a"]


def test_one_reading_of_the_future_hides_neither_a_gpu_nor_its_fault(api: Api, database: Database) -> None:
    board, at = gpu("a", 0), now()
    fill(database, [Reading(board, at + 3_600 * SECOND, TEMP, 50)])
    fill(database, [Reading(board, at, XID, 79), Reading(board, at - 9 * SECOND, TEMP, 51)])
    found = scraped(api, "/metrics/gpus")
    assert (list(found[XID].values()), list(found[TEMP].values())) == ([79], [51])
    assert list(found[SEEN].values()) == [pytest.approx(at / 1e6, abs=0.001)]


def test_of_what_is_away_only_that_is_told_and_of_the_other_all(
    watch: Watch, server: Server, database: Database, proxies: list[Proxy]
) -> None:
    proxies += [redis := Proxy(server.port), postgres := Proxy(port_of(database.reader))]
    api = watch(through(database.reader, postgres.port), f"redis://127.0.0.1:{redis.port}/0", wait=0.3)
    everything = set(in_time(api))
    redis.cut()
    found = values(api)
    assert found["telemetry_redis_up"] == 0
    assert set(found) == {"telemetry_redis_up", *(name for name in everything if "queue" not in name)}
    redis.heal()
    postgres.cut()
    found = values(api)
    assert found["telemetry_database_up"] == 0
    assert {name for name in found if "store" in name} == set()
    assert scraped(api, "/metrics/gpus") == {"telemetry_gpus_up": {frozenset(): 0}}, "nothing of the database itself"
    postgres.heal()
    eventually(lambda: set(values(api)) == everything, "the database again")


@pytest.mark.parametrize(("lasts", "told"), [(60.0, True), (0.0, False)])
def test_when_a_look_fails_the_last_one_is_shown_for_a_while_but_for_counters(
    database: Database, proxies: list[Proxy], lasts: float, told: bool
) -> None:
    fill(database, [Reading(gpu("a", 0), now(), metric, 1) for metric in (TEMP, ENERGY)])
    proxies.append(proxy := Proxy(port_of(database.reader)))
    pool = Pool(url=through(database.reader, proxy.port), size=1, wait=0.3)
    page = Page(Current(pool=pool, most=9), keep=0.0, lasts=lasts)

    def text() -> bytes:
        return b"".join(unpacked(page.packed(timestamps=False)))

    def shown() -> tuple[bool, ...]:
        found = text()
        return tuple(name in found for name in (b"telemetry_gpus_up 1\n", b"GPU_TEMP{", ENERGY.encode()))

    eventually(lambda: shown() == (True, True, True), "a connection in time")
    proxy.cut()
    assert shown() == (told, told, False), "another process may have shown a higher one since"
    proxy.heal()
    eventually(lambda: shown() == (True, True, True), "the next look")
    pool.close()


def test_a_scrape_does_not_wait_for_what_hangs(watch: Watch, database: Database, proxies: list[Proxy]) -> None:
    proxies.append(proxy := Proxy(port_of(database.reader)))
    api = watch(through(database.reader, proxy.port), wait=0.3)
    in_time(api)
    proxy.stall()
    assert [values(api)["telemetry_database_up"] for _ in range(2)] == [0, 0]
    proxy.heal()


def test_without_a_queue_nothing_is_said_of_one(api: Api) -> None:
    found = in_time(api)
    assert found["telemetry_database_up"] == 1
    assert not [name for name in found if "queue" in name or "redis" in name]


def test_connections_in_use_and_questions_that_got_none_are_counted(
    make_api: Callable[..., Api], database: Database
) -> None:
    api = make_api(database.reader, connections=1, connection_wait=1)

    def told(name: str) -> float:
        return scraped(api)[f"telemetry_api_database_connection{name}"][frozenset()]

    with api.client.application.app_context(), services().reader.pool.use():
        assert (told("s_limit"), told("s_in_use"), told("_timeouts_total")) == (1, 1, 0)
        api.problem(503, "/gpus")
        assert told("_timeouts_total") == 1
    assert told("s_in_use") == 0


def test_open_streams_are_counted(api: Api) -> None:
    def told() -> float:
        return scraped(api)["telemetry_api_streams_open"][frozenset()]

    with api.get("/stream", max_seconds=60):
        assert told() == 1
    assert told() == 0


def test_however_odd_the_requests_the_series_stay_few(alone: Api) -> None:
    for method in ("BREW", "GET", "PUT", "x" * 50):
        for path in ("/api/v1/gpus/a", "/api/v1/gpus/b", "/no/such", "/api/v1/gpus"):
            alone.client.open(path, method=method)
    alone.client.head("/api/v1/gpus")
    requests = scraped(alone)["telemetry_api_requests_total"]
    assert {dict(labels)["route"] for labels in requests} == {"/api/v1/gpus/<gpu>", "/api/v1/gpus", "none"}
    assert {dict(labels)["method"] for labels in requests} == {"GET", "none"}


def test_a_server_that_answered_everything_in_every_way_has_fewer_than_300_series(alone: Api) -> None:
    metrics = ApiMetrics()
    for rule in alone.client.application.url_map.iter_rules():
        for method, status in product(rule.methods or (), (200, 202, 304, 400, 401, 403, 404, 413, 422, 429, 500, 503)):
            told, route = told_as(method, str(rule))
            metrics.answered(told, route, group_of(str(rule)), status, 1)
    series = sum(len(family.samples) for family in metrics.registry.collect())
    assert series + len(QUEUE) + len(STORE) < 300


@pytest.mark.parametrize("role", [StreamerMetrics, CollectorMetrics])
def test_a_role_has_fewer_than_300_series(role: type[StreamerMetrics] | type[CollectorMetrics]) -> None:
    metrics = role()
    if isinstance(metrics, StreamerMetrics):
        before = reasons(metrics)
        assert {"value", "field_count", "other"} < before, "told from 0 on"
        metrics.rejected(f"column_{n} is not UTF-8" for n in range(1_000))
        metrics.rejected(["value 'x' is not a finite number", "11 fields where the header has 12"])
        assert metrics.snapshot()["rows_rejected"] == 1_002
        assert reasons(metrics) == before
    else:
        errors = next(iter(metrics.write_errors.collect())).samples
        assert {one.labels["kind"]: one.value for one in errors} == {"outage": 0, "conflict": 0, "data": 0}
    assert sum(len(family.samples) for family in metrics.registry.collect()) < 100


def reasons(metrics: StreamerMetrics) -> set[str]:
    """The reasons that it tells of."""
    (family,) = metrics.rows_rejected.collect()
    return {sample.labels["reason"] for sample in family.samples}


def fleet(at: int) -> list[Reading]:
    """Two whole boards, one of them with a pod, a MIG instance, and names of both generations."""
    pod = Workload("train", "job-7", "ml", '{"DCGM_FI_DRIVER_VERSION":"535.1","job":"dgx","gpu":null,"err\\n":"x"}')
    odd = gpu('h"1', 0, model="A\\B")
    return [
        Reading(odd, at, TEMP, 41.5, pod),
        Reading(gpu("h2", 1), at - 200 * SECOND, TEMP, 30),
        Reading(gpu("h2", 1), at - SECOND, "DCGM_FI_DEV_SM_CLOCK", 1_200),
        Reading(gpu("h2", 1), at, CLOCK_HERTZ, 1.41e9),
        Reading(gpu("h2", 1, mig="3"), at, ENERGY, 7),
        Reading(gpu("h2", 1), at - 400 * SECOND, UTIL, 99),
        Reading(gpu("h3", 0, uuid="GPU-moved"), at - 60 * SECOND, "temperature.gpu [C]", 1),
        Reading(gpu("h3", 0, uuid="GPU-moved"), at - 60 * SECOND, "telemetry_gpus_up", 5),
        Reading(gpu("h2", 2, uuid="GPU-moved"), at, POWER, 250),
    ]


def test_the_newest_values_are_named_and_labelled_as_dcgm_exporter_has_them(api: Api, database: Database) -> None:
    fill(database, fleet(at := now()))
    text = api.client.get("/metrics/gpus").text
    assert (
        "# HELP DCGM_FI_DEV_GPU_TEMP Temperature of the GPU, C\n# TYPE DCGM_FI_DEV_GPU_TEMP gauge\n"
        'DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-h\\"1-0",device="nvidia0",modelName="A\\\\B",Hostname="h\\"1",'
        'container="train",pod="job-7",namespace="ml",DCGM_FI_DRIVER_VERSION="535.1"} 41.5\n'
    ) in text
    found = scraped(api, "/metrics/gpus")
    assert sorted(found["DCGM_FI_DEV_GPU_TEMP"].values()) == [30, 41.5]
    assert list(found["DCGM_FI_DEV_SM_CLOCK"].values()) == [1_410], "one name, the newest value, in its unit"
    assert f'# TYPE {ENERGY} counter\n{ENERGY}{{gpu="1",UUID="GPU-h2-1",device="nvidia1",' in text
    assert 'Hostname="h2",GPU_I_ID="3",GPU_I_PROFILE="1g.10gb",container="",pod="",namespace=""} 7.0\n' in text, (
        "with honor_labels Prometheus else tells the API's pod"
    )
    assert list(found["temperature_gpu__C_"].values()) == [1]
    assert found["telemetry_gpus_up"] == {frozenset(): 1}, "whatever a source says"
    assert UTIL not in found, "older than 300 s"
    seen = {(dict(labels)["UUID"], dict(labels)["Hostname"]): at for labels, at in found[SEEN].items()}
    assert {key for key in seen if key[0] == "GPU-moved"} == {("GPU-moved", "h2")}
    assert seen["GPU-moved", "h2"] == pytest.approx(at / 1e6, abs=11)
    assert states(found) == {"exported": 7, "cut": 0, "nameless": 0}


def states(found: dict[str, dict[Labels, float]]) -> dict[str, float]:
    return {dict(labels)["state"]: value for labels, value in found["telemetry_gpus_series"].items()}


def test_no_source_can_name_a_metric_as_prometheus_or_the_server_names_theirs(api: Api, database: Database) -> None:
    forged = ("up", "ALERTS", "scrape_duration_seconds", "telemetry_api_request_duration_seconds_bucket")
    fill(database, [Reading(gpu("a", 0), now(), name, 5) for name in (*forged, "upper")])
    found = scraped(api, "/metrics/gpus")
    assert not found.keys() & set(forged)
    assert all(list(found[name].values()) == [5] for name in (*(f"_{name}" for name in forged), "upper"))


def test_metrics_whose_names_differ_in_odd_characters_are_not_one(api: Api, database: Database) -> None:
    names = ("my metric", "my-metric", "my_metric", "ü", "ö")
    fill(database, [Reading(gpu("a", 0), now(), name, n) for n, name in enumerate(names)])
    found = scraped(api, "/metrics/gpus")
    assert list(found["my_metric"].values()) == [2], "who is called so to the letter"
    assert len(found["_"]) == 1
    assert states(found) == {"exported": 2, "cut": 0, "nameless": 3}


def test_a_gpu_has_a_series_for_each_code_that_its_exporter_counts(api: Api, database: Database) -> None:
    at, name = now() - SECOND, "DCGM_EXP_XID_ERRORS_COUNT"

    def coded(labels: str, value: float, time: int = at) -> Reading:
        return Reading(gpu("a", 0), time, name, value, Workload("", "", "", labels))

    fill(database, [coded('{"xid":"79"}', 1), coded('{"xid":"31"}', 2), coded('{"xid":"31","job":"b"}', 3, at - 9)])
    older = [Workload("c", "job-1", "ml", f'{{"xid":"79","{label}":"1"}}') for label in ("pod_uid", "DCGM_FI_DRIVER")]
    fill(database, [Reading(gpu("a", 0), at - 99 * SECOND, name, 9, workload) for workload in older])
    found = scraped(api, "/metrics/gpus")[name]
    assert sorted((dict(labels)["xid"], value) for labels, value in found.items()) == [("31", 2), ("79", 1)]


def test_a_gpu_that_is_called_otherwise_than_before_is_one_series_of_each_metric(api: Api, database: Database) -> None:
    at = now()
    old, new = gpu("node-1.local", 0, uuid="GPU-x"), gpu("node-1", 0, uuid="GPU-x")
    whole = new._replace(labels='{"GPU_I_ID":"","GPU_I_PROFILE":""}')
    fill(database, [Reading(old, at - 60 * SECOND, metric, 300) for metric in (POWER, TEMP)])
    fill(database, [Reading(new, at - SECOND, POWER, 310), Reading(whole, at, POWER, 320)])
    text = api.client.get("/metrics/gpus").text
    assert [line.split("{")[1] for line in text.splitlines() if line.startswith((POWER, TEMP))] == [
        'gpu="0",UUID="GPU-x",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",'
        f'Hostname="{host}",container="",pod="",namespace=""}} {value:.1f}'
        for host, value in (("node-1.local", 300), ("node-1", 320))
    ]


SEEN = "telemetry_gpu_last_seen_timestamp_seconds"


def test_a_value_carries_the_time_of_its_reading_where_that_is_asked_for(api: Api, database: Database) -> None:
    fill(database, [Reading(gpu("a", 0), at := now() - 7 * SECOND, TEMP, 1)])
    assert f"}} 1.0 {at // 1_000}\n" in api.client.get("/metrics/gpus?timestamps=true").text
    assert "} 1.0\n" in api.client.get("/metrics/gpus").text


def test_an_answer_is_packed_for_who_takes_that_and_the_same_for_who_does_not(api: Api, database: Database) -> None:
    fill(database, [Reading(gpu("a", n), now(), TEMP, n) for n in range(500)])
    plain = api.client.get("/metrics/gpus")
    packed = api.client.get("/metrics/gpus", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < len(plain.data) / 5
    assert plain.content_type == packed.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"


def test_promtool_finds_nothing_to_say_of_the_metrics(
    watch: Watch, topic: Topic, database: Database, promtool: Promtool
) -> None:
    fill(database, [Reading(gpu("a", 0), now(), metric, 1) for metric in (TEMP, UTIL, POWER, XID)])
    api = watch(database.reader)
    api.json("/gpus")
    texts = [exposition(role.registry)[0].decode() for role in (StreamerMetrics(), CollectorMetrics())]
    for text in (*texts, api.client.get("/metrics").text):
        told = promtool("check", "metrics", given=text)
        assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    told = promtool("check", "metrics", given=api.client.get("/metrics/gpus").text)
    assert not [line for line in told.stderr.splitlines() if "camelCase" not in line], (
        "but for modelName, which is DCGM's"
    )
    assert told.stdout == ""
