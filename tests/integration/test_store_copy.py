"""COPY: every column's value arrives, whatever the time; days are made when they are needed."""

from datetime import UTC, datetime

import numpy as np
import psycopg
import pytest
from psycopg import sql

from telemetry.block import MAX_TIME, MIN_TIME
from telemetry.store.copy import ROW, days_of, pack
from telemetry.store.dimensions import Dimensions
from telemetry.store.errors import StoreRefused
from telemetry.store.gate import Standing
from telemetry.store.writer import MAX_DAYS
from tests.fixtures.ledger import DAY, NOON, Store, a_block, a_gpu, at_once
from tests.fixtures.store import Database

Y2000 = 946_684_800_000_000
TIMES = [MIN_TIME, -DAY - 1, -1, 0, Y2000 - 1, Y2000, Y2000 + 1, NOON, MAX_TIME]
VALUES = [0.0, -0.0, 5e-324, -1.7976931348623157e308, 81007.0, 1e-9, 64_997.681, 2.0**53, -1.0]


def test_every_column_arrives_whatever_the_time(store: Store) -> None:
    gpus = [a_gpu(n) for n in range(3)]
    store.reserve(2, len(TIMES))
    block = a_block(first_row=2, rows=len(TIMES), time0=0, gpus=gpus, dt=TIMES, value=VALUES)
    assert store.stored(block) == [Standing.STORED]
    found = store.database.ask(
        "SELECT (extract(epoch FROM time) * 1000000)::bigint, g.gpu_id, m.name, w.pod, value, b.first_row FROM samples"
        " JOIN gpus g USING (gpu) JOIN metrics m USING (metric) JOIN workloads w USING (workload)"
        " JOIN blocks b USING (block) ORDER BY time"
    )
    expected = [
        (time, str(n % 3), block.metrics[n % 2], "", value, 2)
        for n, (time, value) in enumerate(zip(TIMES, VALUES, strict=True))
    ]
    assert found == expected
    assert [str(row[4]) for row in found] == [str(value) for value in VALUES]  # tells 0.0 from -0.0
    shown = [text for (text,) in store.database.ask("SELECT timestamp::text FROM telemetry ORDER BY timestamp")]
    assert (shown[0], shown[-1]) == ("0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00")
    assert store.account().reconciles


@pytest.mark.parametrize("times", [(NOON, NOON - 1, NOON - 2), (MAX_TIME - 50, MIN_TIME, NOON)], ids=["near", "far"])
def test_rows_are_sent_in_the_columnstores_order(store: Store, times: tuple[int, ...]) -> None:
    gpus = [a_gpu(n) for n in (3, 1, *range(4, 40), 2)]  # in so many of them, times far apart are no 64-bit number
    blocks = [a_block(first_row=n * 50, rows=50, gpus=gpus, time0=time) for n, time in enumerate(times)]
    dimensions = Dimensions(session=store.session())
    dimensions.learn(blocks)
    rows = pack(blocks, [7, 8, 9], dimensions)
    assert rows.dtype == ROW
    assert np.array_equal(np.lexsort((rows["time"], rows["metric"], rows["gpu"])), np.arange(150))
    assert sorted(zip(rows["block"].tolist(), rows["value"].tolist(), strict=True)) == [
        (7 + n // 50, float(n)) for n in range(150)
    ]


@pytest.mark.parametrize(
    ("times", "days"),
    [
        ([0, DAY - 1], {"1970-01-01"}),
        ([-1, 0], {"1969-12-31", "1970-01-01"}),
        ([MIN_TIME, MAX_TIME], {"0001-01-01", "9999-12-31"}),
        ([], set()),
    ],
)
def test_days_are_those_of_utc(times: list[int], days: set[str]) -> None:
    assert days_of(a_block(rows=len(times), time0=0, dt=times, value=times)) == days


def test_a_block_may_have_readings_of_many_days(store: Store) -> None:
    store.reserve(60)
    assert store.stored(a_block(rows=60, dt=[n * DAY for n in range(60)])) == [Standing.STORED]
    assert store.database.one("SELECT count(*) FROM telemetry") == 60
    plain = store.database.one("SELECT relkind = 'p' FROM pg_class WHERE oid = 'samples'::regclass")
    partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'samples'::regclass"
    assert store.database.one(partitions) == 60 or not plain
    assert store.account().reconciles


def test_a_block_of_too_many_days_is_refused_and_alone(store: Store) -> None:
    rows = MAX_DAYS + 1
    store.reserve(rows, 4)
    writer = store.writer()
    many = a_block(rows=rows, dt=[n * DAY for n in range(rows)])
    for _ in range(2):
        with pytest.raises(StoreRefused, match="401 different days"):
            writer.store([many])
        with pytest.raises(StoreRefused, match="400 is the most"):
            writer.store([a_block(first_row=rows), many])
    assert writer.store([a_block(first_row=rows)]) == [Standing.STORED]
    assert store.database.one("SELECT count(*) FROM samples") == 4


def test_blocks_of_few_days_each_may_have_many_together(store: Store) -> None:
    half = MAX_DAYS // 2 + 1
    store.reserve(half, half)
    blocks = [a_block(first_row=n * half, rows=half, dt=[d * DAY for d in range(n, 2 * half, 2)]) for n in range(2)]
    assert store.stored(*blocks) == [Standing.STORED] * 2
    assert store.database.one("SELECT count(DISTINCT timestamp::date) FROM telemetry") == 2 * half


@pytest.mark.parametrize("days", [401, 10_000])
def test_the_owners_function_makes_no_more_days_at_once(database: Database, days: int) -> None:
    ask = "SELECT ensure_days(array_agg('2024-01-01'::date + n)) FROM generate_series(1, %s) n"
    with psycopg.connect(database.writer) as connection, pytest.raises(psycopg.errors.ProgramLimitExceeded):
        connection.execute(ask, (days,))


def test_collectors_that_need_the_same_days_at_once_all_get_them(store: Store) -> None:
    writers = [store.writer() for _ in range(4)]
    for turn in range(4):
        store.reserve(*[5] * 4)
        days = [(turn * 5 + n) * DAY for n in range(5)]
        blocks = [a_block(first_row=(turn * 4 + n) * 5, rows=5, dt=days[n:] + days[:n]) for n in range(4)]
        at_once([lambda w=w, b=b: w.store([b]) for w, b in zip(writers, blocks, strict=True)])  # type: ignore[misc]  # bound now
    assert store.database.one("SELECT count(*) FROM telemetry") == 80
    assert store.account().reconciles


def drop_day(database: Database, time: int) -> None:
    """What retention does."""
    day = datetime.fromtimestamp(time / 1e6, UTC)
    with psycopg.connect(database.owner, autocommit=True) as owner:
        if owner.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'").rowcount:
            owner.execute("SELECT drop_chunks('samples', older_than => %s::timestamptz + '1 day'::interval)", (day,))
        else:
            owner.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(f"samples_{day:%Y%m%d}")))


def test_a_day_that_is_dropped_under_a_running_collector_is_made_again(store: Store) -> None:
    store.reserve(4, 4, 4)
    writer = store.writer()
    writer.store([a_block()])
    drop_day(store.database, NOON)
    assert store.values() == []
    assert writer.store([a_block(first_row=4)]) == [Standing.STORED]
    assert store.values() == [4, 5, 6, 7]
    assert store.database.one("SELECT count(*) FROM dead_blocks") == 0


def test_a_dead_block_of_a_dropped_day_can_be_replayed_by_a_running_collector(store: Store) -> None:
    store.reserve(4, 4)
    writer = store.writer()
    writer.store([a_block()])
    store.bury(first_row=4)
    drop_day(store.database, NOON)
    assert writer.store_replayed(a_block(first_row=4), 1) is Standing.STORED
    assert store.values() == [4, 5, 6, 7]


def test_a_new_day_does_not_wait_for_a_reader_nor_the_reader_for_it(store: Store) -> None:
    store.reserve(4, 4, 4)
    store.stored(a_block())
    with psycopg.connect(store.database.reader) as reader, psycopg.connect(store.database.writer) as other:
        reader.execute("SELECT count(*) FROM telemetry")  # a long question; its transaction stays open
        hasty = store.writer(lease=1.0)
        assert hasty.store([a_block(first_row=4, time0=NOON + DAY)]) == [Standing.STORED]
        assert other.execute("SELECT count(*) FROM telemetry").fetchone() == (8,)
        assert hasty.store([a_block(first_row=8, time0=NOON + 2 * DAY)]) == [Standing.STORED]


@pytest.mark.timescale
def test_samples_are_compressed_as_they_arrive(store: Store) -> None:
    store.reserve(5_000)
    assert store.stored(a_block(rows=5_000)) == [Standing.STORED]
    assert store.database.one("SELECT count(*) FROM telemetry") == 5_000
    with psycopg.connect(store.database.admin) as connection:
        chunk = connection.execute("SELECT show_chunks('samples')::text").fetchone()
        assert chunk is not None
        rowstore = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.SQL(chunk[0]))
        assert connection.execute(rowstore).fetchone() == (0,)
