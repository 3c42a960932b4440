"""The reader's questions, where HTTP does not matter: how much is read, who may ask, what is shared by threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from urllib.parse import quote

import numpy as np
import psycopg
import pytest

from telemetry.block import Workload
from telemetry.store.copy import EPOCH_2000
from telemetry.store.errors import NotMigrated, StoreBusy, StoreUnavailable
from telemetry.store.pool import Pool
from telemetry.store.queries import query
from telemetry.store.questions.pages import COLUMNS, PIECE, ROW, Position, pieces, unpack
from telemetry.store.questions.reader import ENOUGH, QUESTIONS, Reader
from telemetry.store.tiers import Tier
from tests.fixtures.filled import LABELS, POWER, SECOND, T0, TEMP, UTIL, Reading, fill, fleet, gpu
from tests.fixtures.store import Database
from tests.fixtures.wait import PATIENCE


@pytest.fixture
def reader(database: Database) -> Iterator[Reader]:
    pool = Pool(url=database.reader, wait=PATIENCE)
    yield Reader(pool=pool)
    pool.close()


def test_it_says_which_tier_answers(reader: Reader, database: Database) -> None:
    assert reader.check() is (Tier.COMMUNITY if database.server.has_timescaledb else Tier.PLAIN)


def test_a_database_without_schema_is_told_as_such(empty_database: Database) -> None:
    pool = Pool(url=empty_database.owner)
    with pytest.raises(NotMigrated, match="telemetry migrate"):
        Reader(pool=pool).check()
    pool.close()


def test_nothing_can_be_written_even_by_the_owner(database: Database) -> None:
    pool = Pool(url=database.owner)
    with pytest.raises(StoreUnavailable, match="read-only"), pool.use() as connection:
        connection.execute("DELETE FROM gpus")
    pool.close()


def test_threads_share_the_pool_and_get_the_same_answers(reader: Reader, database: Database) -> None:
    fill(database, fleet())
    number = reader.gpus_called("node-0:0")[0].number
    with ThreadPoolExecutor(16) as threads:
        answers = list(
            threads.map(lambda _: reader.readings([number], start=0, end=2 * T0, limit=100).value.tolist(), range(64))
        )
    assert len(answers[0]) == 15
    assert answers == [answers[0]] * 64


def test_when_all_connections_are_in_use_a_question_is_refused_and_not_kept_waiting(database: Database) -> None:
    pool = Pool(url=database.reader, size=1, wait=PATIENCE)
    with pool.use():
        pool.wait = 0.1
        with pytest.raises(StoreBusy, match="all 1 connections"), pool.use():
            pass
    pool.close()


def test_when_no_connection_came_in_time_it_is_not_said_that_others_have_them(database: Database) -> None:
    """As after a crash: the pool had none to give, and the database is back just when somebody asks why."""
    pool = Pool(url=database.reader, size=2, wait=0.0)
    with pytest.raises(StoreUnavailable, match=r"no connection could be made within 0 s.*again now"), pool.use():
        pass
    pool.close()


def test_a_connection_that_was_given_back_is_not_counted_as_in_use(database: Database) -> None:
    pool = Pool(url=database.reader, size=1)
    with pool.use():
        pass
    pool.close()
    pool.wait = 0.0
    with pytest.raises(StoreUnavailable, match="no connection could be made"), pool.use():
        pass
    pool.close()


def test_a_closed_pool_opens_again(reader: Reader) -> None:
    assert reader.gpu_ids() == []
    reader.pool.close()
    assert reader.gpu_ids() == []


def test_a_statement_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match=r"reader\.sql has no statement 'gpu_idz'"):
        query("gpu_idz", file=QUESTIONS)


def test_what_the_url_asks_of_its_session_is_kept_and_ours_comes_last(database: Database) -> None:
    asked = quote("-c work_mem=1234kB -c default_transaction_read_only=off")
    pool = Pool(url=f"{database.reader}?options={asked}", statement_timeout=7.0)
    with pool.use() as connection:
        names = ("work_mem", "default_transaction_read_only", "statement_timeout")
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in names]
    assert shown == [("1234kB",), ("on",), ("7s",)]
    pool.close()


def test_a_page_of_one_gpu_reads_no_more_than_it_gives(reader: Reader, database: Database) -> None:
    """Of 20,000 readings, the index gives those of the page alone; the columnstore, those of one batch for each GPU."""
    fill(database, [Reading(gpu("n", number % 2), T0 + number, TEMP, number) for number in range(20_000)])
    (row,) = reader.gpus_called("n:0")
    database.ask("VACUUM ANALYZE samples")
    values = {"gpus": [row.number], "start": at(T0), "end": at(2 * T0), "metrics": None, "limit": 10, "skip": 0}
    key = dict.fromkeys(("after_gpu", "after_metric", "after_workload", "after_block"))
    assert rows_read(database, "readings", values | key) <= (10_000 if database.server.has_timescaledb else 100)


def test_days_before_those_that_are_looked_at_are_not_even_planned_for(reader: Reader, database: Database) -> None:
    days = [T0 + day * 86_400 * SECOND for day in range(3)]
    fill(database, [Reading(gpu("n", 0), day, TEMP, 1) for day in days])
    (row,) = reader.gpus_called("n:0")
    for first, planned in ((2, 1), (0, 3)):
        since = at(days[first] - SECOND)
        plan = plan_of(database, "newest", {"gpus": [row.number], "since": [since], "oldest": since, "enough": 10})
        assert len(set(relations(plan)) - {"metrics", "samples"}) == planned


def rows_read(database: Database, name: str, values: dict[str, object]) -> float:
    """The most rows that one scan of a question gave."""
    return max(scanned(plan_of(database, name, values)))


def plan_of(database: Database, name: str, values: dict[str, object]) -> dict[str, object]:
    """How a question was answered."""
    question = query(name, file=QUESTIONS)
    with psycopg.connect(database.reader, cursor_factory=psycopg.ClientCursor) as connection:
        rows = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {question}", values).fetchall()
    plan: dict[str, object] = rows[0][0][0]["Plan"]
    return plan


def relations(plan: dict[str, object]) -> Iterator[str]:
    """Names of the tables in a plan; a chunk of the columnstore has two."""
    if name := plan.get("Relation Name"):
        yield str(name).removesuffix("_compressed")
    for part in plan.get("Plans", []):  # type: ignore[attr-defined]  # JSON
        yield from relations(part)


def at(time: int) -> datetime:
    return datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(microseconds=time)


def scanned(plan: dict[str, object]) -> Iterator[float]:
    """Rows that each scan of samples gave."""
    if "Relation Name" in plan:
        yield float(str(plan["Actual Rows"])) * float(str(plan["Actual Loops"]))
    for part in plan.get("Plans", []):  # type: ignore[attr-defined]  # JSON
        yield from scanned(part)


def test_metrics_are_those_of_the_newest_readings_where_there_are_many(reader: Reader, database: Database) -> None:
    one = gpu("n", 0)
    old = [Reading(one, T0 - 7 * 86_400 * SECOND, POWER, 1)]
    fill(database, old, [Reading(one, T0 + number, (TEMP, UTIL)[number % 2], 1) for number in range(ENOUGH - 1)])
    assert reader.metrics_of(reader.gpus_called("n:0")) == [TEMP, UTIL, POWER]
    fill(database, [Reading(one, T0, TEMP, 1)])
    assert reader.metrics_of(reader.gpus_called("n:0")) == [TEMP, UTIL]


def test_no_more_than_the_newest_readings_tell_the_metrics_of_a_dense_hour(reader: Reader, database: Database) -> None:
    """The older half is of another metric; the columnstore reads the window, an index what is enough."""
    one = gpu("n", 0)
    fill(database, [Reading(one, T0 + number, (TEMP, UTIL)[number > 9_000], 1) for number in range(18_000)])
    database.ask("VACUUM ANALYZE samples")
    (row,) = reader.gpus_called("n:0")
    values = {"gpus": [row.number], "since": [at(T0)], "oldest": at(T0), "enough": 5_000}
    with reader.pool.use() as connection:
        found = connection.execute(query("newest", file=QUESTIONS), values).fetchall()
    assert found == [(row.number, UTIL, "%", at(T0 + 17_999), 1, 5_000, 2)]
    assert rows_read(database, "newest", values) <= (18_000 if database.server.has_timescaledb else 5_000)


def test_the_newest_values_are_those_a_scan_of_everything_finds(reader: Reader, database: Database) -> None:
    hour = 3_600 * SECOND
    ages = {TEMP: 0, UTIL: 3, POWER: 30 * hour, "DCGM_FI_DEV_FB_USED": 400 * 24 * hour}
    readings = [
        Reading(gpu("n", index), T0 - age - back * SECOND, metric, index + back)
        for index in range(2)
        for metric, age in ages.items()
        for back in range(5)
    ]
    fill(database, readings[::2], readings[1::2], [Reading(gpu("n", 0), T0, "DCGM_FI_DEV_SM_CLOCK", 1)])
    expected = database.ask(
        "SELECT DISTINCT ON (gpu, metric) gpu, name, unit, time, value FROM samples JOIN metrics USING (metric) "
        "ORDER BY gpu, metric, time DESC"
    )
    rows = [*reader.gpus_called("n:0"), *reader.gpus_called("n:1")]
    assert sorted(reader.newest(rows)) == sorted(expected)
    assert len(expected) == 9


def test_of_one_instant_the_newest_value_is_always_the_same(reader: Reader, database: Database) -> None:
    fill(database, *([Reading(gpu("n", 0), T0, TEMP, value)] for value in (1, 3, 2)))
    assert [newest.value for newest in reader.newest(reader.gpus_called("n:0"))] == [2], "of the block stored last"


def test_each_row_of_a_gpu_tells_its_own_metrics(reader: Reader, database: Database) -> None:
    """A place that was dense a year ago does not keep what the GPU reports now from being looked for."""
    year = 365 * 86_400 * SECOND
    old, new = gpu("old", 0, uuid="GPU-m"), gpu("new", 0, uuid="GPU-m")
    fill(database, [Reading(old, T0 - year + number, TEMP, 1) for number in range(ENOUGH)])
    fill(database, [Reading(new, T0 - 86_400 * SECOND, POWER, 1), Reading(new, T0, UTIL, 1)])
    assert reader.metrics_of(reader.gpus_called("GPU-m")) == [TEMP, UTIL, POWER]


def test_a_position_counts_ties_across_pages() -> None:
    """Seven equal readings, three a page: each page goes on after those that the ones before gave."""
    key = (T0, 1, 2, 3, 4)
    began, given = None, []
    while True:
        left = 7 - (began.skip if began else 0)
        page = unpack(
            [column(value, kind) * left for value, kind in zip(key, (8, 4, 2, 4, 8), strict=True)] + [bytes(8 * left)],
            3,
        )
        given.append(len(page))
        if (began := page.end(began)) is None:
            break
        assert began == Position(*key, skip=sum(given))
    assert given == [3, 3, 1]


def test_the_columns_of_a_row_come_as_one_value_and_rows_of_another_shape_are_refused() -> None:
    rows = np.zeros(PIECE + 3, ROW)
    for number, (name, _) in enumerate(COLUMNS):
        rows[name] = np.arange(len(rows)) % 7 + 10 * number
    sent = [(row.tobytes(),) for row in rows]
    pages = list(pieces(sent))
    assert [len(page) for page in pages] == [PIECE, 3]
    last = pages[1]
    for column in (last.time - EPOCH_2000, last.gpu - 10, last.metric - 20, last.block - 40, last.value - 50):
        assert column.tolist() == (np.arange(PIECE, PIECE + 3) % 7).tolist()
    assert list(pieces([])) == []
    with pytest.raises(ValueError, match="other columns than were asked for"):
        list(pieces([*sent, (bytes(2 * ROW.itemsize),)]))


def test_a_long_range_comes_in_pieces_that_are_the_pages_joined(reader: Reader, database: Database) -> None:
    pods = [Workload("", pod, "", LABELS) for pod in "abc"]
    readings = [Reading(gpu("n", 0), T0 + at // 3, TEMP, at % 7, pods[at % 3]) for at in range(2 * PIECE + 10)]
    fill(database, readings)
    (row,) = reader.gpus_called("n:0")
    parts = list(reader.whole_range([row.number], start=0, end=2 * T0))
    page = reader.readings([row.number], start=0, end=2 * T0, limit=100_000)
    assert [len(part.time) for part in parts] == [PIECE, PIECE, 10]
    assert np.concatenate([part.time for part in parts]).tolist() == page.time.tolist()
    assert np.concatenate([part.value for part in parts]).tolist() == page.value.tolist()
    pods_told = [part.series[code].pod for part in parts for code in part.code.tolist()]
    assert pods_told == [page.series[code].pod for code in page.code.tolist()]


def column(value: int, size: int) -> bytes:
    since_2000 = value - 946_684_800_000_000 if value == T0 else value
    return since_2000.to_bytes(size, "big")


def test_series_are_told_apart_by_gpu_metric_and_workload() -> None:
    triples = np.array([(1, 2, 3), (2, 1, 3), (1, 2, 3), (1, 2, 2**31 - 1), (2**31 - 1, 32_767, 0)])
    kinds = (">i8", ">i4", ">i2", ">i4", ">i8", ">f8")
    columns = (triples[:, 0], triples[:, 0], triples[:, 1], triples[:, 2], triples[:, 0], triples[:, 0])
    page = unpack([part.astype(kind).tobytes() for part, kind in zip(columns, kinds, strict=True)], 10)
    distinct, code = page.triples()
    assert len(distinct) == 4
    assert distinct[code].tolist() == triples.tolist()
