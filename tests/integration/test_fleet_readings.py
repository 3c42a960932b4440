"""Readings of a selection of the fleet: every one once and in order, and no more read than a page needs."""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from telemetry.block import MAX_TIME, MIN_TIME, Workload
from telemetry.store.pool import Pool
from telemetry.store.questions.fleet_readings import FleetReadings
from telemetry.store.questions.pages import Position, Readings
from telemetry.store.questions.reader import Reader
from telemetry.store.questions.selection import Selection
from tests.fixtures.filled import LABELS, POWER, SECOND, T0, TEMP, UTIL, Reading, fill, gpu
from tests.fixtures.servers_postgres import PostgresServer
from tests.fixtures.store import Database, cloned
from tests.fixtures.wait import PATIENCE

DAY = 86_400 * SECOND
PODS = [Workload("", pod, space, LABELS) for pod, space in (("a", "ml"), ("b", "ml"), ("", ""))]
EVERYTHING = Selection()


class Row(NamedTuple):
    """A reading by what selects it."""

    time: int
    uuid: str
    metric: str
    pod: str
    namespace: str
    model: str
    hostname: str
    value: float


def made() -> list[list[Reading]]:
    """Crowds in one instant, ties of every kind, dense seconds, empty years, and both ends of time."""
    dice = random.Random(11)  # the same in each run
    gpus = [gpu(f"n{number // 4}", number % 4, model=("A", "B")[number % 2]) for number in range(8)]
    place = gpu("edge", 0)
    instant = [Reading(one, T0, metric, 1.0, pod) for one in gpus for metric in (TEMP, UTIL) for pod in PODS] * 60
    dense = [Reading(dice.choice(gpus), T0 + dice.randrange(SECOND), POWER, dice.random()) for _ in range(6_000)]
    sparse = [Reading(dice.choice(gpus), T0 + day * 97 * DAY, TEMP, day) for day in range(6)]
    return [instant, dense, sparse, [Reading(place, time, UTIL, 1) for time in (MIN_TIME, 0, MAX_TIME, MAX_TIME)]]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """What is stored, by time."""
    return sorted(
        Row(time, of.uuid, metric, load.pod, load.namespace, of.model_name, of.hostname, value)
        for block in made()
        for of, time, metric, value, load in block
    )


@pytest.fixture(scope="module")
def fleet(postgres_server: PostgresServer, migrated: str) -> Iterator[FleetReadings]:
    with cloned(postgres_server, migrated) as database:
        fill(database, *made())
        pool = Pool(url=database.reader)
        yield FleetReadings(reader=Reader(pool=pool), patience=PATIENCE)
        pool.close()


def told(parts: Iterable[Readings]) -> list[Row]:
    return [
        Row(time, of.uuid, of.metric_name, of.pod, of.namespace, of.model_name, of.hostname, value)
        for part in parts
        for time, of, value in zip(
            part.time.tolist(), (part.series[code] for code in part.code.tolist()), part.value.tolist(), strict=True
        )
    ]


def pages_of(
    fleet: FleetReadings, selection: Selection, *, limit: int, start: int = MIN_TIME, end: int = MAX_TIME
) -> Iterator[Readings]:
    after: Position | None = None
    while True:
        yield (page := fleet.page(selection, start=start, end=end, after=after, limit=limit))
        if (after := page.after) is None:
            return


@pytest.mark.parametrize("limit", [97, 2_880, 9_000])
def test_pages_of_any_size_hold_every_reading_once_and_in_order(
    fleet: FleetReadings, rows: list[Row], limit: int
) -> None:
    pages = list(pages_of(fleet, EVERYTHING, limit=limit))
    assert [len(page.time) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    found = told(pages)
    assert [row.time for row in found] == [row.time for row in rows]
    assert sorted(found) == rows
    assert found == told([fleet.page(EVERYTHING, start=MIN_TIME, end=MAX_TIME, limit=100_000)])
    assert found == told(fleet.whole(EVERYTHING, start=MIN_TIME, end=MAX_TIME))


@pytest.mark.parametrize(
    ("selection", "selects"),
    [
        (Selection(gpus=("GPU-n0-1", "GPU-edge-0", "nobody")), lambda row: row.uuid in ("GPU-n0-1", "GPU-edge-0")),
        (Selection(host="N1"), lambda row: row.hostname == "n1"),
        (Selection(model="b", metrics=("power_usage",)), lambda row: row.model == "B" and row.metric == POWER),
        (Selection(namespace="m*", pod="?"), lambda row: row.namespace == "ml"),
        (Selection(pod="b", host="n0", metrics=(TEMP,)), lambda row: row[2:4] == (TEMP, "b") and row.hostname == "n0"),
        (Selection(host="nowhere"), lambda _: False),
        (Selection(metrics=("NO_SUCH",)), lambda _: False),
    ],
)  # fmt: skip
def test_a_selection_is_what_each_reading_must_pass(
    fleet: FleetReadings, rows: list[Row], selection: Selection, selects: Callable[[Row], bool]
) -> None:
    expected = [row for row in rows if selects(row)]
    assert sorted(told(pages_of(fleet, selection, limit=400))) == expected
    assert sorted(told(fleet.whole(selection, start=MIN_TIME, end=MAX_TIME))) == expected


@pytest.mark.parametrize(
    ("start", "end"), [(T0, T0), (T0 + 1, T0 + SECOND // 2), (T0 + SECOND, MAX_TIME), (0, 0), (T0, T0 - 1), (1, 9)]
)
def test_a_range_includes_both_its_ends(fleet: FleetReadings, rows: list[Row], start: int, end: int) -> None:
    expected = [row for row in rows if start <= row.time <= end]
    assert sorted(told(pages_of(fleet, EVERYTHING, limit=700, start=start, end=end))) == expected


def test_who_has_no_patience_gets_shorter_pages_and_in_the_end_everything(
    fleet: FleetReadings, rows: list[Row]
) -> None:
    start, end = T0 - 200 * SECOND, T0 + 200 * SECOND
    hasty = FleetReadings(reader=fleet.reader, patience=0.0)
    pages = list(pages_of(hasty, EVERYTHING, start=start, end=end, limit=5_000))
    assert sorted(told(pages)) == [row for row in rows if start <= row.time <= end]
    assert 0 in {len(page.time) for page in pages[:-1]}, "an empty page, and others behind it"


@pytest.mark.parametrize("time", [MIN_TIME, T0 - 1, MAX_TIME])
def test_a_place_outside_the_range_is_no_way_to_readings_that_are_not_in_it(fleet: FleetReadings, time: int) -> None:
    page = fleet.page(EVERYTHING, start=T0, end=T0, after=Position(time, 1, 1, 1, 1, 0), limit=10_000)
    assert set(page.time.tolist()) <= {T0}


def test_readings_that_arrive_while_pages_are_read_shift_nothing(database: Database) -> None:
    fill(database, *made())
    with closing(Pool(url=database.reader)) as pool:
        fleet = FleetReadings(reader=Reader(pool=pool), patience=PATIENCE)
        before = told(fleet.whole(EVERYTHING, start=MIN_TIME, end=MAX_TIME))
        pages = pages_of(fleet, EVERYTHING, limit=3_001)
        found = told([next(pages)])
        late = [Reading(gpu("n0", 0), found[-1].time + place, TEMP, -1.0) for place in (-1, 400 * DAY)]
        fill(database, late)
        found += told(pages)
    assert [row for row in found if row.value != -1.0] == before
    assert [row.time - before[3_000].time for row in found if row.value == -1.0] == [400 * DAY]
