"""One stream of blocks, stored once in each tier: whatever is asked afterwards, all tiers give the same answer.

What lives here: comparisons of tiers, never of an answer with what it should be (see the tests of store and API).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import product
from typing import Any, LiteralString

import pytest
from werkzeug.test import TestResponse

from telemetry.block import MAX_TIME, MIN_TIME, Workload
from telemetry.store.accounts import Account
from telemetry.store.gate import Standing
from telemetry.store.pool import Pool
from telemetry.store.questions.aggregates import Aggregate, GroupBy
from telemetry.store.questions.pages import Readings
from telemetry.store.questions.reader import Reader
from telemetry.store.questions.steps import StepReader
from telemetry.store.tiers import Tier
from telemetry.streamer.sources.csvfile import CsvSource
from tests.fixtures.api import Api
from tests.fixtures.filled import LABELS, POWER, SECOND, T0, TEMP, UTIL, Reading, block_of, fleet, gpu
from tests.fixtures.ledger import Store
from tests.fixtures.pipeline import SAMPLE, TRUTH
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.step_oracle import question, shown
from tests.fixtures.store import Database
from tests.fixtures.tiers import one_on_each, refresh

pytestmark = pytest.mark.timescale

Databases = Mapping[Tier, Database]
DAY = 86_400 * SECOND
POD = Workload("main", "trainer-0", "ml", LABELS)
PIECES = 450
"""Readings of a block of the sample: some five blocks."""
HARD = [0.1, -0.0, 5e-324, 1.7976931348623157e308, -1.5, 2.0**53 + 2, 1e-7, 100.0]
"""Values that lose something where they are rounded."""
VIEW: LiteralString = """
SELECT line FROM (
    SELECT ROW(timestamp AT TIME ZONE 'UTC', metric_name, gpu_id, device, uuid, model_name, hostname, container, pod,
               namespace, value, labels_raw)::text AS line FROM telemetry
) shown ORDER BY line COLLATE "C"
"""
ASKED: Mapping[str, LiteralString] = {
    "rows": "SELECT count(*) FROM telemetry",
    "ids of a host": "SELECT DISTINCT gpu_id FROM telemetry ORDER BY gpu_id",
    "sums": "SELECT metric_name, count(*), min(value), max(value) FROM telemetry GROUP BY 1 ORDER BY 1",
    "rejected": "SELECT source, row, reason, raw FROM rejected_rows ORDER BY source, row",
    "dead": "SELECT source, first_row, rows, message_id, format, reason, attempts, payload FROM dead_blocks",
    "ledger": "SELECT source, first_row, rows, stored, blank, rejected, dead, settled_at IS NULL FROM blocks ORDER BY"
    " source, first_row",
}
PATHS = (
    "/gpus", "/gpus?host=node-*", "/gpus?model=*h100*&limit=3", "/gpus/node-0:1", "/gpus/GPU-moved", "/gpus/heron-04:1",
    "/gpus/heron-02:1/latest", "/gpus/edge:0/latest",
    "/gpus/node-1:0/telemetry", "/gpus/node-1:0/telemetry?metric=POWER_USAGE&metric=GPU_TEMP", "/gpus/edge:0/telemetry",
    "/gpus/heron-04:1/telemetry?limit=100", "/gpus/GPU-moved/telemetry?format=csv", "/gpus/edge:0/telemetry?format=csv",
    "/gpus/edge:0/telemetry?format=ndjson", "/gpus?format=csv",
    "/gpus/node-2:1/telemetry?start_time=2025-07-18T20:42:35Z&end_time=2025-07-18T20:42:37Z", "/gpus/0", "/gpus/nobody",
    "/telemetry?limit=300", "/telemetry?format=csv", "/telemetry?pod=trainer*&metric=GPU_TEMP", "/telemetry?host=n*",
    "/gpus/node-1:0/telemetry?step=2s&agg=p95", "/gpus/GPU-moved/telemetry?max_points=7&agg=count&format=ndjson",
    "/telemetry?step=30d&agg=count&group_by=host&group_by=pod", "/telemetry?step=1d&agg=last&group_by=gpu",
    "/telemetry?max_points=9&agg=max&metric=POWER_USAGE&format=csv", "/telemetry?step=1h&agg=rate&group_by=gpu",
    "/top?metric=GPU_TEMP&start_time=0&k=50", "/top?metric=POWER_USAGE&start_time=0&agg=p50&order=lowest",
    "/inventory", "/inventory?host=node-*&limit=2", "/metrics", "/metrics?name=*temp*",
    "/fleet/summary?host=node-*", "/fleet/summary?host=heron-*&stale_after=86400",
    "/fleet/energy?start_time=0001-01-01T00:00:00Z&end_time=9999-12-31T23:59:59Z&max_gap=31536000&group_by=gpu",
    "/fleet/energy?start_time=0&end_time=2026-01-01T00:00:00Z&group_by=namespace&group_by=pod&group_by=model",
    "/fleet/idle?start_time=2020-01-01T00:00:00Z&end_time=2026-01-01T00:00:00Z&max_util=100&min_memory=0",
    "/fleet/anomalies?host=heron-*&threshold=1&stale_after=86400",
    "/fleet/anomalies?start_time=0&end_time=2026-01-01T00:00:00Z",
)  # fmt: skip


def made() -> list[list[Reading]]:
    """Readings of the same instant, of several days, of a GPU that moved, of two workloads, at the ends of time."""
    one, place = gpu("node-0", 0), gpu("edge", 0)
    moved = [gpu(host, 0, uuid="GPU-moved") for host in ("old", "new")]
    return [
        fleet(),
        fleet(),
        [Reading(one, T0 + day * DAY + number, UTIL, value) for day in range(3) for number, value in enumerate(HARD)],
        [Reading(one, T0, TEMP, value, workload) for workload in (POD, Workload("", "", "", "{}")) for value in (2, 1)],
        [Reading(each, T0 + day * DAY, POWER, day) for day, each in enumerate(moved)],
        [Reading(place, time, POWER, number) for number, time in enumerate((MAX_TIME, 0, MIN_TIME, -1, MAX_TIME))],
    ]


def tell(database: Database) -> list[list[Standing]]:
    """Store all; what became of each block. Some are delivered twice, one is dead, one waits, one nobody reserved."""
    became = []
    with closing(Store(database)) as store, closing(CsvSource(path=SAMPLE, times=True).open()) as source:
        writer, csv, other = store.writer(), store.ledger("csv", length=source.length), store.ledger("made")
        while (reserved := csv.reserve(PIECES)) is not None:
            became.append(writer.store([source.block("csv", reserved.first_row, reserved.rows, None)]))
        for readings in made():
            place = other.reserve(len(readings))
            assert place is not None
            block = block_of("made", place.first_row, readings)
            became += [writer.store([block]), store.writer().store([block])]
        store.reserve(4, 7, source="lost")
        became += [[store.bury(0, 4, "lost")], writer.store([block_of("nobody", 0, fleet(1, 1, 1))])]
    return became


@pytest.fixture(scope="module")
def became(databases: Databases) -> Mapping[Tier, list[list[Standing]]]:
    return {tier: tell(database) for tier, database in databases.items()}


@pytest.fixture(scope="module")
def databases(server_of_each_tier: Mapping[Tier, PostgresServer]) -> Iterator[Databases]:
    with one_on_each(server_of_each_tier) as found:
        yield found


@pytest.fixture
def readers(databases: Databases, became: object) -> Iterator[Mapping[Tier, Reader]]:
    pools = {tier: Pool(url=database.reader) for tier, database in databases.items()}
    yield {tier: Reader(pool=pool) for tier, pool in pools.items()}
    for pool in pools.values():
        pool.close()


def same(answers: Mapping[Tier, Any]) -> Any:
    """The answer of all of them."""
    first = answers[Tier.PLAIN]
    assert len(answers) > 1
    for tier, answer in answers.items():
        assert answer == first, f"{tier.value} gives another answer than plain"
    return first


def in_full(pages: Iterator[Readings]) -> list[tuple[Any, ...]]:
    """Reading by reading, with all that is said of each."""
    return [
        (time, value.hex(), page.series[code])
        for page in pages
        for time, value, code in zip(page.time.tolist(), page.value.tolist(), page.code.tolist(), strict=True)
    ]


def paged(reader: Reader, gpus: list[int], limit: int) -> Iterator[Readings]:
    after = None
    while True:
        page = reader.readings(gpus, start=MIN_TIME, end=MAX_TIME, after=after, limit=limit)
        yield page
        if (after := page.after) is None:
            return


def told(response: TestResponse) -> tuple[int, bytes]:
    """An answer without what tells one request from another."""
    aside = rb'"age_seconds":[^,]*|"request_id":"[^"]*"|"instance":"[^"]*"'
    return response.status_code, re.sub(aside, b"", response.data)


def test_each_server_is_the_tier_that_it_is_taken_for(readers: Mapping[Tier, Reader]) -> None:
    assert {tier: reader.check() for tier, reader in readers.items()} == {tier: tier for tier in readers}


def test_the_same_becomes_of_each_block(became: Mapping[Tier, list[list[Standing]]]) -> None:
    found = {standing for standings in same(became) for standing in standings}
    assert {Standing.STORED, Standing.SETTLED} < found


def test_the_view_shows_the_same_rows(databases: Databases, became: object) -> None:
    lines = same({tier: database.ask(VIEW) for tier, database in databases.items()})
    assert len(lines) == TRUTH["stored"] + sum(map(len, made()))


@pytest.mark.parametrize("question", ASKED)
def test_sql_gives_the_same_answer(databases: Databases, became: object, question: str) -> None:
    assert same({tier: database.ask(ASKED[question]) for tier, database in databases.items()})


def test_the_same_gpus_are_told_and_found(readers: Mapping[Tier, Reader]) -> None:
    ids = same({tier: reader.gpu_ids() for tier, reader in readers.items()})
    assert {"GPU-moved", "GPU-edge-0"} < set(ids)
    for id in ids:
        assert same({tier: reader.gpus_called(id) for tier, reader in readers.items()})


def test_the_newest_values_and_metrics_of_each_gpu_are_the_same(readers: Mapping[Tier, Reader]) -> None:
    for id in readers[Tier.PLAIN].gpu_ids():
        assert same({tier: sorted(reader.newest(reader.gpus_called(id))) for tier, reader in readers.items()})
        assert same({tier: reader.metrics_of(reader.gpus_called(id)) for tier, reader in readers.items()})


@pytest.mark.parametrize("limit", [23, 10_000])
def test_the_readings_of_each_gpu_come_in_the_same_order_page_by_page_and_whole(
    readers: Mapping[Tier, Reader], limit: int
) -> None:
    count = 0
    for id in readers[Tier.PLAIN].gpu_ids():
        pages, whole = {}, {}
        for tier, reader in readers.items():
            numbers = [row.number for row in reader.gpus_called(id)]
            pages[tier] = in_full(paged(reader, numbers, limit))
            whole[tier] = in_full(reader.whole_range(numbers, start=MIN_TIME, end=MAX_TIME))
        assert same(pages) == same(whole)
        count += len(pages[Tier.PLAIN])
    assert count == TRUTH["stored"] + sum(map(len, made()))


@pytest.mark.parametrize("path", PATHS)
def test_the_api_gives_the_same_answer(
    databases: Databases, became: object, make_api: Callable[..., Api], path: str
) -> None:
    answers = {
        tier: told(make_api(database.reader).client.get(f"/api/v1{path}")) for tier, database in databases.items()
    }
    assert same(answers)[1]


def test_the_same_is_accounted_for_and_reconciles(databases: Databases, became: object) -> None:
    found: dict[Tier, list[Account]] = {}
    for tier, database in databases.items():
        with closing(Store(database)) as store:
            found[tier] = list(store.accounts.of())
            assert store.accounts.orphans() == 0
    accounts = same(found)
    assert [account.source for account in accounts] == ["csv", "lost", "made"]
    assert all(account.reconciles for account in accounts)


@pytest.fixture
def rolled_up(databases: Databases, became: object) -> None:
    """What one tier has besides: what came of all that was stored before now."""
    refresh(databases[Tier.COMMUNITY])


def test_aggregates_over_time_are_the_same(readers: Mapping[Tier, Reader], rolled_up: None) -> None:
    for agg, step in product(Aggregate, (SECOND, DAY)):
        wanted = question(agg, GroupBy.GPU, GroupBy.POD, step=step)
        found = {tier: shown(StepReader(pool=reader.pool).steps(wanted, 100_000)) for tier, reader in readers.items()}
        keys = same({tier: sorted(each) for tier, each in found.items()})
        assert keys or agg is Aggregate.RATE
        for each in found.values():
            assert [each[key] for key in keys] == pytest.approx([found[Tier.PLAIN][key] for key in keys], 1e-12)
