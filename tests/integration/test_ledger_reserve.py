"""Reserving: streamers share a source by one statement; no reading is left out and none is given twice."""

import sys
from itertools import pairwise

import pytest

from telemetry.store.errors import StoreLost
from telemetry.store.ledger import Ledger, Reservation
from tests.fixtures.ledger import Store, at_once
from tests.fixtures.process import Processes
from tests.fixtures.store import Database

RESERVE = """
import sys
from telemetry.store.ledger import Ledger
from telemetry.store.session import Session
with Session(url=sys.argv[1], name="telemetry-streamer@test") as session:
    ledger = Ledger(session=session, source="s", length=1_000, stamped=True)
    while (found := ledger.reserve(7)) is not None:
        print(found.first_row, found.rows, found.time0, flush=True)
"""


def reserve_all(ledger: Ledger, rows: int) -> list[Reservation]:
    found = []
    while (reserved := ledger.reserve(rows)) is not None:
        found.append(reserved)
    return found


def assert_without_gap(found: list[Reservation], length: int) -> None:
    ends = 0
    for one in sorted(found, key=lambda one: one.first_row):
        assert one.first_row == ends
        ends += one.rows
    assert ends == length


def test_streamers_in_threads_share_a_source_without_gap_or_double(store: Store) -> None:
    ledgers = [store.ledger(length=1_003) for _ in range(6)]
    shares = at_once([lambda ledger=ledger, n=n: reserve_all(ledger, 5 + n) for n, ledger in enumerate(ledgers)])  # type: ignore[misc]  # bound now
    assert_without_gap([one for share in shares for one in share], 1_003)
    progress = store.ledger(length=1_003).progress()
    assert progress is not None
    assert (progress.unsettled, progress.done) == (sum(map(len, shares)), False)


def test_streamers_in_processes_share_a_source_and_its_time(database: Database, processes: Processes) -> None:
    streamers = [processes.spawn([sys.executable, "-c", RESERVE, database.writer]) for _ in range(3)]
    assert [one.wait() for one in streamers] == [0, 0, 0]
    lines = [line.split() for one in streamers for line in one.stdout.splitlines()]
    found = [Reservation(int(first), int(rows), int(time0), 0) for first, rows, time0 in lines]
    assert_without_gap(found, 1_000)
    found.sort(key=lambda one: one.first_row)
    assert all((one.time0 or 0) + one.rows <= (then.time0 or 0) for one, then in pairwise(found))


def test_the_last_block_is_short_and_then_there_is_none(store: Store) -> None:
    ledger = store.ledger(length=10)
    assert [(one.first_row, one.rows) for one in reserve_all(ledger, 4)] == [(0, 4), (4, 4), (8, 2)]
    assert ledger.reserve(4) is None
    assert ledger.reserve(1) is None


def test_a_source_of_nothing_is_done_at_once(store: Store) -> None:
    ledger = store.ledger(length=0)
    assert ledger.reserve(4) is None
    progress = ledger.progress()
    assert progress is not None
    assert progress.done
    assert store.database.one("SELECT count(*) FROM blocks") == 0


def test_nothing_is_known_of_a_source_before_its_first_reservation(store: Store) -> None:
    assert store.ledger(length=10).progress() is None


def test_a_loop_has_no_end(store: Store) -> None:
    ledger = store.ledger(length=None)
    found = [ledger.reserve(3) for _ in range(20)]
    assert_without_gap([one for one in found if one], 60)
    progress = ledger.progress()
    assert progress is not None
    assert (progress.length, progress.done) == (None, False)


def test_times_are_apart_and_never_go_back_even_when_the_clock_does(store: Store) -> None:
    ledger = store.ledger(stamped=True)
    first = ledger.reserve(1_000)
    store.database.ask("UPDATE stream_progress SET next_time = '2099-01-01T00:00:00.000007Z'")  # the clock was ahead
    second, third = ledger.reserve(10), ledger.reserve(1)
    assert first is not None
    assert second is not None
    assert third is not None
    assert (second.time0, third.time0) == (4_070_908_800_000_007, 4_070_908_800_000_017)
    stamped = store.database.one("SELECT extract(epoch FROM time0) * 1000000 FROM blocks WHERE first_row = 0")
    assert int(stamped) == first.time0


def test_a_source_with_times_of_its_own_is_not_stamped(store: Store) -> None:
    reserved = store.ledger(stamped=False).reserve(5)
    assert reserved is not None
    assert reserved.time0 is None


def test_sources_do_not_touch_each_other(store: Store) -> None:
    store.reserve(5, 5, source="a")
    assert store.ledger("b").reserve(3) == Reservation(0, 3, None, 0)


def test_a_reservation_whose_reply_is_lost_comes_due(store: Store) -> None:
    url, proxy = store.proxied()
    ledger = Ledger(session=store.session("streamer", url=url), source="s", length=10, stamped=False)
    assert ledger.reserve(4) is not None
    proxy.lose_reply(b"stream_progress")
    with pytest.raises(StoreLost):
        ledger.reserve(4)
    assert ledger.reserve(4) == Reservation(8, 2, None, 0)
    store.lapse()
    assert ledger.due(-1, 10) == [0, 4, 8]
