"""The tail of the store: everybody who follows sees each reading once, whatever the order of commits."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import pytest

from telemetry.store.gate import Standing
from telemetry.store.pool import Pool
from telemetry.store.questions.marks import Mark, Place
from telemetry.store.questions.reader import Reader
from telemetry.store.questions.tail import Forgotten, Known, OtherOrder, Tail
from tests.fixtures.ledger import DAY, NOON, Store, a_block, a_gpu
from tests.fixtures.settling import Settle, write_in_disorder

SECOND = 1_000_000
HOUR = 3_600 * SECOND


@pytest.fixture
def tail(store: Store) -> Iterator[Tail]:
    pool = Pool(url=store.database.reader)
    yield Tail(reader=Reader(pool=pool))
    pool.close()


class Follower:
    """Somebody who follows, and the values of what was seen."""

    def __init__(self, tail: Tail, place: Place | None = None) -> None:
        self.tail, self.place = tail, place or Place(tail.begin())
        self.values: list[float] = []
        self._known: Known = {}

    def step(self, *, resuming: bool = False) -> list[float]:
        """Take what is new; its values. `resuming`: as if by another process that knows but the place's text."""
        place = Place.parse(self.place.text) if resuming else self.place
        found = self.tail.rest(place)
        news: list[float] = []
        for part in found.blocks.parts():
            batch = self.tail.read(found, part, self._known)
            for value, block, row in zip(batch.readings.value, batch.block.tolist(), batch.row.tolist(), strict=True):
                if place.upto is None or (block, row) >= (place.block, place.row):
                    news.append(float(value))
        self.place = Place(found.seen.with_all_of(found.upto) if place.upto else found.upto)
        self.values += news
        return news


def test_what_is_committed_from_now_on_is_new_and_once(store: Store, tail: Tail) -> None:
    store.reserve(4, 4, 4)
    store.stored(a_block())
    one = Follower(tail)
    assert one.step() == []
    store.stored(a_block(first_row=8), a_block(first_row=4))
    assert one.step() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert one.step() == []


def test_readings_come_with_all_that_is_known_of_them(store: Store, tail: Tail) -> None:
    store.reserve(4)
    seen = tail.begin()
    store.stored(a_block(gpus=[a_gpu(0), a_gpu(1)], dt=[3, 2, 1, 0]))
    found = tail.follow(seen)
    batch = tail.read(found, found.blocks, {})
    assert batch.readings.time.tolist() == [NOON, NOON + 1, NOON + 2, NOON + 3]
    assert batch.readings.value.tolist() == [3, 2, 1, 0]
    assert batch.row.tolist() == [0, 1, 2, 3]
    assert [batch.readings.series[code].uuid for code in batch.readings.code] == ["GPU-1", "GPU-0", "GPU-1", "GPU-0"]
    assert batch.last


@pytest.mark.parametrize("resuming", [False, True])
def test_a_transaction_that_settled_early_and_commits_late_is_seen_when_it_commits(
    store: Store, tail: Tail, settle: Settle, resuming: bool
) -> None:
    store.reserve(4, 4, 4)
    before = Follower(tail)
    late = settle(a_block())
    beside = Follower(tail)
    store.stored(a_block(first_row=4))
    assert before.step(resuming=resuming) == beside.step(resuming=resuming) == [4, 5, 6, 7]
    store.stored(a_block(first_row=8))
    assert before.step(resuming=resuming) == [8, 9, 10, 11]
    late.end()
    assert before.step(resuming=resuming) == [0, 1, 2, 3]
    assert beside.step(resuming=resuming) == [0, 1, 2, 3, 8, 9, 10, 11]
    after = Follower(tail)
    assert before.step(resuming=resuming) == beside.step(resuming=resuming) == after.step() == []


def test_what_is_rolled_back_is_not_seen_and_its_next_delivery_is(store: Store, tail: Tail, settle: Settle) -> None:
    store.reserve(4, 4)
    one = Follower(tail)
    lost = settle(a_block())
    store.stored(a_block(first_row=4))
    assert one.step() == [4, 5, 6, 7]
    lost.end("rollback")
    assert one.step() == []
    store.stored(a_block())
    assert one.step() == [0, 1, 2, 3]


def test_a_transaction_of_an_hour_is_seen_when_it_commits_and_holds_nobody_up(
    store: Store, tail: Tail, settle: Settle
) -> None:
    store.reserve(4, 4)
    one = Follower(tail)
    late = settle(a_block())
    assert one.step() == []
    one.place = Place(an_hour_on(one.place.seen))
    store.stored(a_block(first_row=4))
    store.database.ask("UPDATE blocks SET settled_at = settled_at + INTERVAL '1 hour' WHERE first_row = 4")
    assert one.step() == [4, 5, 6, 7]
    one.place = Place(an_hour_on(one.place.seen))
    late.end()
    assert one.step() == [0, 1, 2, 3]
    assert one.step() == []


def an_hour_on(mark: Mark) -> Mark:
    """The same, as if it were so an hour later."""
    (*before, (number, at)) = mark.ways
    return replace(mark, time=mark.time + HOUR, ways=(*before, (number, at + HOUR)))


def test_dead_blocks_are_seen_when_they_are_replayed(store: Store, tail: Tail) -> None:
    store.reserve(4, 4)
    one = Follower(tail)
    store.bury()
    store.bury(source="nobodys", first_row=0)
    assert one.step() == []
    for block, dead in zip((a_block(), a_block("nobodys", value=[9, 8, 7, 6])), store.dead.all(), strict=True):
        assert store.writer().store_replayed(block, dead.id) is Standing.STORED
    assert sorted(one.step()) == [0, 1, 2, 3, 6, 7, 8, 9]
    assert one.step() == []


def test_blocks_without_a_value_are_nothing_new(store: Store, tail: Tail) -> None:
    store.reserve(4)
    seen = tail.begin()
    store.stored(a_block(blank=4))
    assert len(tail.follow(seen).blocks) == 0


def test_from_any_place_in_the_middle_the_rest_comes_once(store: Store, tail: Tail, settle: Settle) -> None:
    store.reserve(*[3] * 5)
    seen = tail.begin()
    late = settle(a_block(rows=3))
    store.stored(a_block(first_row=3, rows=3), a_block(first_row=9, rows=3))
    upto = tail.follow(seen).upto
    store.stored(a_block(first_row=6, rows=3))
    late.end()
    numbers = dict(store.database.ask("SELECT first_row, block FROM blocks WHERE source = 's'"))
    got: list[float] = []
    for first_row in (3, 9):
        for row in range(1, 4):
            got.append(first_row + row - 1)
            one = Follower(tail, Place(seen, upto, numbers[first_row], row))
            assert sorted(got + one.step(resuming=True) + one.step(resuming=True)) == list(range(12))


def test_blocks_are_read_together_where_they_are_near_and_alone_where_they_are_not(store: Store, tail: Tail) -> None:
    seen = tail.begin()
    times = [NOON, NOON + SECOND, NOON + 30 * DAY, NOON + SECOND, NOON + 2 * SECOND]
    store.reserve(*[2] * 5)
    store.stored(*(a_block(first_row=2 * n, rows=2, time0=at) for n, at in enumerate(times)))
    found = tail.follow(seen)
    assert [part.stored.tolist() for part in found.blocks.parts()] == [[2, 2], [2], [2, 2]]
    one = Follower(tail, Place(seen))
    assert one.step() == list(range(10))


def test_readings_of_a_ledger_from_before_it_kept_times_are_found(store: Store, tail: Tail) -> None:
    ledger, seen = store.ledger(stamped=True), tail.begin()
    stamped = ledger.reserve(4)
    assert stamped is not None
    assert stamped.time0 is not None
    store.reserve(4, source="own times")
    store.stored(a_block(time0=stamped.time0), a_block("own times", value=[4, 5, 6, 7]))
    store.database.ask("UPDATE blocks SET first_time = NULL, last_time = NULL")
    assert Follower(tail, Place(seen)).step() == list(range(8))


def test_who_was_away_for_too_long_is_told_so(store: Store, tail: Tail) -> None:
    mark = tail.begin()
    tail.check(replace(mark, time=mark.time - 3_590 * SECOND))
    with pytest.raises(Forgotten, match=r"36\d\d s ago"):
        tail.check(replace(mark, time=mark.time - 3_610 * SECOND))


def test_who_missed_pruned_blocks_is_told_so(store: Store, tail: Tail) -> None:
    store.reserve(4, 4)
    store.stored(a_block())
    store.database.ask("UPDATE blocks SET settled_at = settled_at - INTERVAL '1 hour' WHERE settled_at IS NOT NULL")
    assert store.prune() == 1
    mark = tail.begin()
    tail.check(mark)  # what was pruned had been settled long before
    store.stored(a_block(first_row=4))
    assert store.prune() == 1
    with pytest.raises(Forgotten, match="pruned"):
        tail.check(mark)


def test_who_follows_is_told_of_blocks_that_were_pruned_before_he_looked(store: Store, tail: Tail) -> None:
    store.reserve(4, 4, 4)
    store.stored(a_block())
    store.database.ask("UPDATE blocks SET settled_at = settled_at - INTERVAL '7 days' WHERE settled_at IS NOT NULL")
    begun = tail.begin()
    assert store.prune() == 1
    store.stored(a_block(first_row=4))
    found = tail.follow(begun)
    assert found.blocks.readings == 4  # pruning what is old took nothing from anybody
    assert store.prune() == 1
    for ask in (tail.follow, tail.check, lambda mark: tail.between(mark, found.upto)):
        with pytest.raises(Forgotten, match="pruned"):
            ask(begun)
    fresh = tail.begin()
    store.stored(a_block(first_row=8))
    assert tail.follow(fresh).blocks.readings == 4  # what was gone when he came was not new to him


def test_who_has_seen_all_that_is_pruned_goes_on_however_late_it_was_settled(
    store: Store, tail: Tail, settle: Settle
) -> None:
    store.reserve(4, 4, 4)
    one = Follower(tail)
    late = settle(a_block())  # what is under way as he looks cannot be pruned either
    store.stored(a_block(first_row=4))
    assert one.step() == [4, 5, 6, 7]
    assert store.prune() == 2  # that of the fixture too
    assert one.step() == []
    tail.check(one.place.seen)
    tail.check(Place.parse(one.place.text).seen)
    late.end()
    assert one.step() == [0, 1, 2, 3]
    seen = one.place.seen
    store.stored(a_block(first_row=8))
    assert store.prune() == 2
    with pytest.raises(Forgotten, match="pruned"):
        tail.follow(seen)


def test_who_begins_has_not_seen_numbers_that_a_crash_may_give_again(store: Store, tail: Tail, settle: Settle) -> None:
    store.reserve(4, 4)
    store.stored(a_block())
    last = store.database.one("SELECT max(xmin::text::bigint) FROM blocks")
    lost = settle(a_block(first_row=4))
    nothing = store.database.one("SELECT pg_current_xact_id()::text::bigint")
    lost.end("rollback")
    mark = tail.begin()
    assert mark.shows(last)
    assert not mark.shows(nothing)
    assert mark.end == last + 1
    store.stored(a_block(first_row=4))
    assert Follower(tail, Place(mark)).step() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    "other",
    [lambda mark: replace(mark, timeline=mark.timeline + 1), lambda mark: replace(mark, end=mark.end + 1_000_000)],
)
def test_a_mark_of_another_database_is_told_from_an_old_one(
    store: Store, tail: Tail, other: Callable[[Mark], Mark]
) -> None:
    mark = other(tail.begin())
    with pytest.raises(OtherOrder):
        tail.check(mark)
    with pytest.raises(OtherOrder):
        tail.follow(mark)


@pytest.mark.usefixtures("settle")
def test_followers_beside_many_writers_see_each_reading_once_whatever_commits_when(store: Store, tail: Tail) -> None:
    count, over = 80, threading.Event()
    store.reserve(*[2] * count)
    numbers = random.Random(7).sample(range(count), count)
    followers = [(Follower(tail), pause, resuming) for pause, resuming in ((0.01, False), (0.03, True), (0.2, True))]

    def follow(one: Follower, pause: float, resuming: bool) -> None:
        while not over.wait(pause):
            one.step(resuming=resuming)

    with ThreadPoolExecutor(7) as pool:
        following = [pool.submit(follow, *each) for each in followers]
        writing = [pool.submit(write_in_disorder, store, numbers[n::4], random.Random(n)) for n in range(4)]
        wait(writing)
        over.set()
    for future in (*writing, *following):
        future.result()
    for one, *_ in followers:
        one.step()
        assert sorted(one.values) == list(range(2 * count))
