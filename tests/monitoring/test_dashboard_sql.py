"""The dashboards' SQL, run as the API's reader on a fleet that has something of all, within the statement's time."""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from telemetry.catalog import METRICS, SPELLINGS
from telemetry.monitoring.sql import MEAN, fill
from tests.fixtures.filled import IDLE, POWER, SECOND, T0, Reading, gpu
from tests.fixtures.filled import fill as store
from tests.fixtures.store import Database
from tests.fixtures.tiers import refresh
from tests.monitoring.asked_sql import BUSY, TRAINING, Connection, Range, ask, connect, fleet, statements

UIDS = ("telemetry-fleet", "telemetry-gpu")
LENGTH = 600
"""Seconds that are filled, from T0 on."""
HOSTS = ["node-a", "node-b", "node-c"]
UTIL = "DCGM_FI_DEV_GPU_UTIL"
ASKED = sorted({name for uid in UIDS for _, _, sql in statements(uid) for name in re.findall(r"\bDCGM_FI_\w+", sql)})
CHOSEN: dict[str, Any] = {
    "model": ["NVIDIA H100 80GB HBM3"],
    "namespace": ["(none)", "research"],
    "window": "5 minutes",
}


@pytest.fixture(scope="module")
def stored(shared_database: Database) -> Database:
    """Ten minutes of four boards, every metric that a dashboard asks for; nobody writes to it."""
    readings = fleet([name for name in ASKED if name in METRICS], T0, LENGTH)
    by_time = groupby(readings, key=lambda one: (one.time - T0) // (150 * SECOND))
    store(shared_database, *(list(block) for _, block in by_time))
    return shared_database


@pytest.fixture(scope="module")
def filled(stored: Database) -> Iterator[Connection]:
    """What a dashboard is connected to."""
    with connect(stored) as connection:
        yield connection


def reader(connection: Connection, **more: Any) -> Range:
    """Someone who looks at the fifteen minutes around what is stored; `source` as its variable says."""
    chosen: dict[str, Any] = {**CHOSEN, "host": HOSTS, "gpu": [], **more}
    span = Range(T0 - 150 * SECOND, T0 + (LENGTH + 30) * SECOND, 15_000, **chosen)
    (row,) = ask(connection, span.fill(fill("source")))
    return Range(span.start, span.end, span.step_ms, **{"source": row["case"], **chosen})


def of_one_host(connection: Connection, host: str) -> Range:
    """What a reader of the GPUs' dashboard chose: a host, and all that its variable then offers."""
    span = reader(connection, host=host)
    boards = [row["__value"] for row in ask(connection, span.fill(fill("boards_of_host")))]
    return reader(connection, host=host, gpu=boards)


def test_every_question_is_answered_in_time_with_rows_that_say_their_host(filled: Connection) -> None:
    for uid, readers in (
        ("telemetry-fleet", [reader(filled)]),
        ("telemetry-gpu", [of_one_host(filled, one) for one in HOSTS]),
    ):
        for title, form, sql in statements(uid):
            answers = [ask(filled, one.fill(sql)) for one in readers]
            assert any(answers), (uid, title)
            for row in (row for answer in answers for row in answer):
                says_its_host(row, form, title)


def says_its_host(row: dict[str, Any], form: str, title: str) -> None:
    if form == "time_series":
        assert list(row) == ["time", "metric", "value"], title
        named = row["metric"]
    elif set(row) in ({"value"}, {"GPUs", "hosts", "silent"}):
        return  # one number of all
    else:
        named = row.get("host") or row.get("name") or row["gpu"]
    assert any(host in named for host in HOSTS), (title, row)


def test_variables_offer_what_there_is(filled: Connection) -> None:
    assert [row["hostname"] for row in ask(filled, fill("hosts"))] == HOSTS
    assert [row["model_name"] for row in ask(filled, fill("models"))] == CHOSEN["model"]
    assert [row["namespace"] for row in ask(filled, fill("namespaces"))] == CHOSEN["namespace"]
    names = {row["__text"] for row in ask(filled, reader(filled, host="node-a").fill(fill("boards_of_host")))}
    assert names == {"GPU 0, NVIDIA H100 80GB HBM3", "GPU 1, NVIDIA H100 80GB HBM3"}


def answer(
    connection: Connection, title: str, uid: str = "telemetry-fleet", host: str = "node-a", **chosen: Any
) -> list[dict[str, Any]]:
    span = reader(connection, **chosen) if uid == "telemetry-fleet" else of_one_host(connection, host)
    (sql,) = (sql for name, _, sql in statements(uid) if name == title)
    return ask(connection, span.fill(sql))


def test_the_answers_are_those_of_what_was_stored(filled: Connection) -> None:
    (counts,) = answer(filled, "GPUs")
    assert counts == {"GPUs": 4, "hosts": 3, "silent": 1}
    newer = {(row["metric"], row["value"]) for row in answer(filled, "Utilisation, mean")}
    assert newer == {("node-a", 20.0), ("node-b", 50.0), ("node-c", 40.0)}, "a ratio of the new names is per cent here"
    (power,) = answer(filled, "Power")
    assert power["value"] == 900.0, "the silent board draws nothing now"
    (memory,) = answer(filled, "Memory used")
    assert memory["value"] == 0.5


def test_every_spelling_of_the_catalogue_is_brought_to_the_classic_unit(filled: Connection) -> None:
    asked = {way(name): one for name, one in SPELLINGS.items() for way in (str, str.lower, "  {}\t".format)}
    rows = ", ".join(f"({number}, '{one.canonical}', '{name}')" for number, (name, one) in enumerate(asked.items()))
    given = f"WITH metrics(metric, canonical, name) AS (VALUES {rows}) SELECT metric, factor"
    found = {row["metric"]: float(row["factor"]) for row in ask(filled, f"{given} FROM {fill('names_of', *METRICS)} n")}
    assert found == {number: pytest.approx(one.factor) for number, one in enumerate(asked.values())}


def test_boards_in_trouble_say_what_it_is(filled: Connection) -> None:
    (row,) = answer(filled, "Errors")
    assert (row["host"], row["gpu"], row["id"]) == ("node-a", "0", BUSY.uuid)
    assert (row["XID"], row["XID says"]) == (79.0, "GPU has fallen off the bus")
    assert [one["host"] for one in answer(filled, "Silent GPUs")] == ["node-c"]
    (idle,) = answer(filled, "Idle, with memory held")
    assert (idle["host"], idle["gpu"], idle["memory held"], idle["power"]) == ("node-a", "1", 40_000.0, 300.0)


def test_a_board_that_moved_is_not_silent_at_the_place_that_it_left(database: Database) -> None:
    """As after a restart of the host of a dead one: those behind it are numbered anew."""
    boards = {n: [gpu("node-a", m, uuid=f"GPU-{n}") for m in (n, n - 1)] for n in range(4)}
    before = [Reading(places[0], T0, POWER, 1) for places in boards.values()]
    after = [Reading(places[n > 1], T0 + 500 * SECOND, POWER, 1) for n, places in boards.items() if n != 1]
    store(database, before, after)
    with connect(database) as connection:
        assert answer(connection, "GPUs") == [{"GPUs": 4, "hosts": 1, "silent": 1}]
        assert [row["id"] for row in answer(connection, "Silent GPUs")] == ["GPU-1"]
        then = Range(T0 - 150 * SECOND, T0 + 450 * SECOND, 15_000, **CHOSEN, host=HOSTS)
        told = {row["id"]: row["gpu"] for row in ask(connection, then.fill(fill("silent")))}
        assert told == {"GPU-1": "1", "GPU-2": "2", "GPU-3": "3"}, "who looks at the time before knows no more"


def test_energy_is_power_by_time_and_goes_to_who_used_it(filled: Connection) -> None:
    told = {(row["host"], row["namespace"]): (row["energy"], row["GPUs"]) for row in answer(filled, "Energy")}
    whole = 300 * (LENGTH - 15) / 3.6e6
    assert told[("node-a", "research")] == (pytest.approx(whole), 1)
    assert told[("node-a", "(none)")] == (pytest.approx(whole), 1)
    assert told[("node-c", "(none)")] == (pytest.approx(300 * (LENGTH / 2 - 15) / 3.6e6), 1)


def test_namespaces_that_had_a_board_in_turn_share_what_it_drew(database: Database) -> None:
    loads = (IDLE, TRAINING)
    store(database, [Reading(BUSY, T0 + s * SECOND, POWER, 300.0, loads[s // 60 % 2]) for s in range(0, LENGTH, 15)])
    half = pytest.approx(150 * (LENGTH - 15) / 3.6e6)
    with connect(database) as connection:
        for chosen in (["(none)", "research"], ["research"]):
            rows = answer(connection, "Energy", namespace=chosen)
            told = {row["namespace"]: (row["energy"], row["mean power"]) for row in rows}
            assert told == dict.fromkeys(chosen, (half, 150.0))


def test_throttling_is_a_share_of_time(filled: Connection) -> None:
    shares = [row["value"] for row in answer(filled, "Throttled by heat")]
    assert shares
    assert shares == pytest.approx([0.3] * len(shares))
    reasons = {row["metric"]: row["value"] for row in answer(filled, "Why clocks are lowered", "telemetry-gpu")}
    assert reasons == {"node-a / GPU 0: power cap": 1, "node-a / GPU 0: heat, by hardware": 1}


def test_mig_instances_and_pods_are_told(filled: Connection) -> None:
    (instance,) = answer(filled, "MIG instances")
    assert (instance["host"], instance["instance"], instance["profile"]) == ("node-b", "7", "1g.10gb")
    lines = {row["metric"] for row in answer(filled, "Temperature of the GPU", "telemetry-gpu", "node-b")}
    assert lines == {"node-b / GPU 0 / MIG 7"}
    (pod,) = answer(filled, "Pods")
    assert (pod["namespace"], pod["pod"], pod["host"], pod["GPUs"]) == ("research", "train-1", "node-a", "0")


def test_what_a_reader_did_not_choose_is_left_out(filled: Connection) -> None:
    (sql,) = (sql for name, _, sql in statements("telemetry-fleet") if name == "Power, sum")
    for chosen, hosts in (
        ({"host": ["node-b"]}, {"node-b"}),
        ({"namespace": ["research"]}, {"node-a"}),
        ({"model": ["A100"]}, set()),
    ):
        assert {row["metric"] for row in ask(filled, reader(filled, **chosen).fill(sql))} == hosts


@pytest.mark.parametrize("uid", UIDS)
def test_where_there_is_nothing_to_choose_from_questions_have_empty_answers(filled: Connection, uid: str) -> None:
    nothing = reader(filled, model=[], namespace=[], host=[] if uid == "telemetry-fleet" else "")
    for title, _, sql in statements(uid):
        answers = [row for row in ask(filled, nothing.fill(sql)) if any(row.values())]
        assert not answers, title


@pytest.mark.slow
def test_a_quote_in_a_name_stays_a_name(filled: Connection) -> None:
    for _, _, sql in statements("telemetry-fleet"):
        ask(filled, reader(filled, host=["o'brien", "x'); DROP TABLE gpus; --"]).fill(sql))


@pytest.mark.timescale
def test_long_ranges_are_read_from_rollups_and_say_the_same(stored: Database, filled: Connection) -> None:
    refresh(stored)
    steps = fill("host_steps", UTIL, inner=MEAN, outer="avg(value)")
    answers = []
    for days, table in ((0, "samples"), (1, "rollup_minute"), (30, "rollup_hour"), (400, "rollup_day")):
        start = T0 - 600 * SECOND - days * 86_400 * SECOND
        span = Range(start, start + (days * 86_400 + 900) * SECOND, 86_400_000, **CHOSEN, host=HOSTS)
        (row,) = ask(filled, span.fill(fill("source")))
        assert table in row["case"]
        asked = Range(
            T0 - 86_400 * SECOND, T0 + LENGTH * SECOND, span.step_ms, **CHOSEN, host=HOSTS, source=row["case"]
        )
        answers.append(ask(filled, asked.fill(steps)))
    assert len(answers[0]) == 3
    assert all([(row["metric"], row["value"]) for row in one] == [(row["metric"], row["value"]) for row in answers[0]]
               for one in answers)  # fmt: skip


@pytest.mark.timescale
def test_every_question_is_answered_from_every_rollup(stored: Database, filled: Connection) -> None:
    refresh(stored)
    span = reader(filled)
    for rollup in ("minute", "hour", "day"):
        source = f"(SELECT bucket AS time, gpu, metric, workload, readings, sum, min, max FROM rollup_{rollup})"
        for _, _, sql in statements("telemetry-fleet"):
            ask(
                filled,
                Range(T0 - 86_400 * SECOND, span.end, 60_000, **{**CHOSEN, "host": HOSTS, "source": source}).fill(sql),
            )
