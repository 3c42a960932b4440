"""The gate and the COPY behind it: what is delivered twice, at once, late or wrongly is stored once or not at all."""

import threading
from datetime import UTC, datetime

import psycopg
import pytest

from telemetry.block import Rejection
from telemetry.store.errors import StoreLost
from telemetry.store.gate import Standing, open_gate
from telemetry.store.writer import Writer
from tests.fixtures.ledger import NOON, Store, a_block, a_gpu, at_once
from tests.fixtures.wait import until

BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def test_a_block_is_settled_with_what_became_of_its_readings(store: Store) -> None:
    rejected = [Rejection(5, "value is no number", "x"), Rejection(6, "time cannot be read", "é\n\t\\N")]
    store.reserve(10)
    assert store.stored(a_block(rows=10, blank=3, rejected=rejected)) == [Standing.STORED]
    assert store.row() == (10, True, 5, 3, 2, 0)
    assert store.values() == [0, 1, 2, 3, 4]
    found = store.database.ask("SELECT source, row, reason, raw FROM rejected_rows ORDER BY row")
    assert found == [("s", *item) for item in rejected]
    assert store.account().reconciles


@pytest.mark.parametrize("what", ["blank", "rejected"])
def test_a_block_without_a_sample_is_settled_too(store: Store, what: str) -> None:
    rejected = [Rejection(n, "value", "") for n in range(4)] if what == "rejected" else []
    store.reserve(4, 4)
    blocks = [a_block(blank=4 - len(rejected), rejected=rejected), a_block(first_row=4)]
    assert store.stored(*blocks) == [Standing.STORED] * 2
    assert store.values() == [4, 5, 6, 7]
    assert store.account().reconciles


def test_the_ledger_keeps_between_which_times_the_samples_of_a_block_are(store: Store) -> None:
    store.reserve(4, 4, 4)
    letter = a_block(first_row=8, dt=[3, 1, 2, 0])
    store.bury(8)
    store.stored(a_block(dt=[5, -7, 900, 0]), a_block(first_row=4, blank=4))
    (dead,) = store.dead.all()
    assert store.writer().store_replayed(letter, dead.id) is Standing.STORED
    times = "SELECT extract(epoch FROM {}_time - %s) * 1000000 FROM blocks ORDER BY block"
    noon = datetime.fromtimestamp(NOON / 1e6, UTC)
    assert store.database.ask(times.format("first"), noon) == [(-7,), (None,), (0,)]
    assert store.database.ask(times.format("last"), noon) == [(900,), (None,), (3,)]


def test_a_block_delivered_twice_is_stored_once(store: Store) -> None:
    store.reserve(4)
    writer = store.writer()
    assert writer.store([a_block()]) == [Standing.STORED]
    assert writer.store([a_block()]) == [Standing.SETTLED]
    assert store.stored(a_block()) == [Standing.SETTLED]
    assert store.values() == [0, 1, 2, 3]


def test_what_may_not_be_stored_is_told_apart_from_what_may(store: Store) -> None:
    store.reserve(4, 4)
    store.stored(a_block())
    delivered = [
        a_block(),
        a_block(first_row=4),
        a_block(first_row=8),
        a_block(first_row=2),
        a_block("t"),
    ]
    expected = [Standing.SETTLED, Standing.STORED, Standing.STALE, Standing.STALE, Standing.UNKNOWN]
    assert store.stored(*delivered) == expected
    assert store.values() == list(range(8))


@pytest.mark.parametrize("rows", [3, 5])
def test_a_block_of_another_size_is_not_stored(store: Store, rows: int) -> None:
    store.reserve(4)
    assert store.stored(a_block(rows=rows)) == [Standing.OTHER]
    assert store.values() == []
    assert store.stored(a_block()) == [Standing.STORED]


def test_two_collectors_with_the_same_blocks_store_each_once_and_never_deadlock(store: Store) -> None:
    writers = [store.writer(), store.writer(), store.writer()]
    rounds, size = 25, 6
    for turn in range(rounds):
        store.reserve(*[4] * size)
        blocks = [a_block(first_row=(turn * size + n) * 4) for n in range(size)]
        orders = [blocks, blocks[::-1], blocks[3:] + blocks[:3]]
        shares = at_once([lambda w=w, o=o: w.store(o) for w, o in zip(writers, orders, strict=True)])  # type: ignore[misc]  # bound now
        assert [one for share in shares for one in share].count(Standing.STORED) == size
    assert store.values() == list(range(rounds * size * 4))
    assert store.account().reconciles


def test_a_block_renewed_while_the_gate_waits_for_it_is_stored(store: Store) -> None:
    store.reserve(4)
    with psycopg.connect(store.database.writer) as streamer:
        streamer.execute("UPDATE blocks SET leased_until = clock_timestamp() + INTERVAL '9 s'")
        found: list[list[Standing]] = []
        thread = threading.Thread(target=lambda: found.append(store.stored(a_block())))
        thread.start()
        until(lambda: store.database.one(BACKENDS))
        streamer.commit()
        thread.join()
    assert found == [[Standing.STORED]]
    assert store.values() == [0, 1, 2, 3]


@pytest.mark.parametrize("ends_well", [True, False])
def test_a_block_in_another_collectors_transaction_waits_for_its_outcome(store: Store, ends_well: bool) -> None:
    store.reserve(4)
    found: list[list[Standing]] = []
    with psycopg.connect(store.database.writer) as other:
        assert len(open_gate(other, [a_block()])) == 1
        thread = threading.Thread(target=lambda: found.append(store.stored(a_block())))
        thread.start()
        until(lambda: store.database.one(BACKENDS))
        if ends_well:
            other.commit()
        else:
            other.rollback()
        thread.join()
    assert found == [[Standing.SETTLED if ends_well else Standing.STORED]]


def test_a_collector_killed_between_copy_and_commit_leaves_nothing(store: Store) -> None:
    store.reserve(4)
    writer = store.writer()
    with pytest.raises(StoreLost):
        die_before_the_commit(store, writer)
    assert store.values() == []
    assert store.row() == (4, False, None, None, None, None)
    assert writer.store([a_block()]) == [Standing.STORED]
    assert store.values() == [0, 1, 2, 3]


def die_before_the_commit(store: Store, writer: Writer) -> None:
    writer._prepare([a_block()])
    with writer.session.use() as connection, connection.transaction():
        writer._fill(connection, [a_block()], open_gate(connection, [a_block()]))
        assert connection.execute("SELECT count(*) FROM samples").fetchone() == (4,)
        store.database.ask("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)


@pytest.mark.parametrize(
    "lost_at",
    [b"COMMIT", b"COPY samples", b"AS w(source", b"FOR UPDATE", b"ensure_days", b"FROM metrics", b"AS today"],
)
def test_a_step_whose_reply_is_lost_is_found_out_at_the_next_delivery(store: Store, lost_at: bytes) -> None:
    store.reserve(4)
    url, proxy = store.proxied()
    writer = store.writer(url=url)
    proxy.lose_reply(lost_at)
    with pytest.raises(StoreLost):
        writer.store([a_block()])
    assert proxy.lost == 1
    committed = lost_at in (b"COMMIT", b"AS today")
    until(lambda: len(store.values()) == (4 if committed else 0))
    assert writer.store([a_block()]) == [Standing.SETTLED if committed else Standing.STORED]
    assert store.values() == [0, 1, 2, 3]
    assert store.account().reconciles


def test_a_connection_ended_while_idle_costs_one_error_and_no_reading(store: Store) -> None:
    store.reserve(4, 4)
    writer = store.writer()
    writer.store([a_block()])
    store.database.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'telemetry_writer'")
    with pytest.raises(StoreLost):
        writer.store([a_block(first_row=4)])
    assert writer.store([a_block(first_row=4)]) == [Standing.STORED]


def test_seen_times_follow_the_readings_and_lag_at_most_ten_seconds(store: Store) -> None:
    def seen() -> list[tuple[int, int]]:
        ask = "SELECT extract(epoch FROM first_seen)::int, extract(epoch FROM last_seen)::int FROM gpus ORDER BY gpu_id"
        return [(first, last) for first, last in store.database.ask(ask)]

    second = 1_000_000
    gpus = [a_gpu(0), a_gpu(1)]
    writer: Writer = store.writer()
    store.reserve(*[2] * 4)
    for first_row, time0 in ((0, 1000), (2, 1005), (4, 1020), (6, 500)):
        writer.store([a_block(first_row=first_row, rows=2, time0=time0 * second, gpus=gpus, dt=[0, second])])
        last = {0: 1000, 2: 1000, 4: 1020, 6: 1020}[first_row]
        first = 500 if first_row == 6 else 1000
        assert seen() == [(first, last), (first + 1, last + 1)]


def test_gpus_that_are_seen_again_and_again_take_no_more_room(store: Store) -> None:
    gpus = [a_gpu(n) for n in range(100)]
    store.reserve(*[100] * 40)
    writer, sizes = store.writer(), []
    for turn in range(40):
        writer.store([a_block(first_row=turn * 100, rows=100, gpus=gpus, time0=NOON + turn * 20_000_000)])
        sizes.append(store.database.one("SELECT pg_total_relation_size('gpus')"))
    assert sizes[-1] <= 2 * sizes[0]
    assert store.database.one("SELECT max(last_seen) FROM gpus") > store.database.one(
        "SELECT max(first_seen) FROM gpus"
    )


def test_a_block_that_was_settled_by_a_collector_that_died_is_seen_all_the_same(store: Store) -> None:
    store.reserve(4)
    store.stored(a_block())
    store.database.ask("UPDATE gpus SET first_seen = NULL, last_seen = NULL")
    assert store.stored(a_block()) == [Standing.SETTLED]
    assert store.database.one("SELECT count(*) FROM gpus WHERE last_seen IS NOT NULL") == 1


def test_a_block_that_died_leaves_no_trace_in_when_gpus_were_seen(store: Store) -> None:
    store.reserve(4, 4)
    store.stored(a_block(time0=1_000_000_000))
    ask = "SELECT max(last_seen) FROM gpus"
    seen = store.database.one(ask)
    store.bury(first_row=4)
    assert store.stored(a_block(first_row=4, time0=9_000_000_000)) == [Standing.DEAD]
    assert store.database.one(ask) == seen


@pytest.mark.parametrize("source", ["t", "s"])
def test_a_block_that_nobody_reserved_leaves_no_dimension_and_no_day(store: Store, source: str) -> None:
    store.reserve(4)
    forged = a_block(source, first_row=400, time0=2_000_000_000_000_000, gpus=[a_gpu(7)])
    days = "SELECT count(*) FROM pg_inherits"
    before = store.database.one(days)
    assert store.writer().store_replayed(forged, 99) is Standing.SETTLED
    assert store.stored(forged) == [Standing.UNKNOWN if source == "t" else Standing.STALE]
    assert [store.database.one(f"SELECT count(*) FROM {table}") for table in ("gpus", "metrics", "workloads")] == [
        0
    ] * 3
    assert store.database.one(days) == before


def test_settled_blocks_beside_open_ones_are_seen_by_a_writer_that_never_met_their_gpus(store: Store) -> None:
    store.reserve(4, 4, 4)
    store.stored(a_block(gpus=[a_gpu(0)]))
    store.bury(first_row=8)
    store.database.ask("UPDATE gpus SET last_seen = NULL")
    delivered = a_block(gpus=[a_gpu(0)]), a_block(first_row=4, gpus=[a_gpu(1)]), a_block(first_row=8, gpus=[a_gpu(2)])
    assert store.stored(*delivered) == [Standing.SETTLED, Standing.STORED, Standing.DEAD]
    assert store.database.one("SELECT count(*) FROM gpus WHERE last_seen IS NOT NULL") == 2
