"""Rows that come as foreseen are compared only, and mean what they mean field by field, whatever is in disorder."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.streamer.sources import kinds, order
from telemetry.streamer.sources.columns import parse_header
from telemetry.streamer.sources.cutting import Cut, cut_rows
from telemetry.streamer.sources.kinds import Kinds
from telemetry.streamer.sources.order import Order
from telemetry.streamer.sources.records import MAX_RECORD
from telemetry.streamer.sources.slices import Slice
from tests.fixtures.examples import tried
from tests.fixtures.exports import NAMES, quoted, row
from tests.fixtures.rows import DECEPTIVE, LAYOUT, field_by_field, piece_of, recognised

SERIES = 20


def line(series: int, value: str = "1.5", time: str = "2025-07-18T20:42:34Z", note: str | None = None) -> bytes:
    cells = row(gpu_id=str(series), metric_name=f"m{series % 3}", value=value, timestamp=time, pod="p" * (series % 5))
    return quoted(cells if note is None else [*cells, note])


def tick(value: str = "1.5", time: str = "2025-07-18T20:42:34Z") -> list[bytes]:
    return [line(series, value, time) for series in range(SERIES)]


def learnt() -> Kinds:
    """What has seen two ticks, and foresees the third."""
    known = Kinds(LAYOUT)
    known.readings(piece_of(tick() * 2))
    return known


def cut_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows are cut, by slice, from now on."""
    counts: list[int] = []

    def counted(piece: Slice, columns: int, changing: list[int]) -> Cut | None:
        counts.append(len(piece))
        return cut_rows(piece, columns, changing)

    monkeypatch.setattr(kinds, "cut_rows", counted)
    return counts


@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize("time", ["2025-07-18T20:42:34Z", "2025-07-18T20:42:34.125Z"])
def test_what_comes_in_the_same_order_again_is_cut_no_more(
    monkeypatch: pytest.MonkeyPatch, first: int, time: str
) -> None:
    known, counts = learnt(), cut_of(monkeypatch)
    for value in ("7", "", "81559.25"):
        piece = piece_of((tick(value, time) * 4)[first:])
        assert recognised(known, piece)[0] == field_by_field(piece)
    assert counts == []


@pytest.mark.parametrize("first", ["timestamp", "uuid", "value"])
def test_columns_may_stand_in_any_order(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    names = sorted(NAMES, key=lambda name: (name != first, name))
    layout = parse_header(",".join(names).encode(), lambda _: False, times=True)
    known, cells = Kinds(layout), dict(zip(NAMES, row(), strict=True))
    lines = [quoted([{**cells, "gpu_id": str(i % SERIES)}[name] for name in names]) for i in range(3 * SERIES)]
    known.readings(piece_of(lines, layout))
    counts = cut_of(monkeypatch)
    assert recognised(known, piece_of(lines, layout)) == (field_by_field(piece_of(lines, layout), layout), set())
    assert counts == []


def test_a_row_that_is_missing_or_new_costs_a_few_rows_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    known, counts = learnt(), cut_of(monkeypatch)
    lines = [*tick(), *tick()[:5], *tick()[6:], *tick() * 3, line(99), *tick() * 3]
    piece = piece_of(lines)
    found, others = recognised(known, piece)
    assert found == {record: one for record, one in field_by_field(piece).items() if record not in others}
    assert len(others) <= 1  # the new one is learnt when it comes again
    assert sum(counts) < len(lines) / 3


def test_a_row_that_is_spoiled_does_not_put_the_others_out_of_step(monkeypatch: pytest.MonkeyPatch) -> None:
    known, counts = learnt(), cut_of(monkeypatch)
    lines = tick() * 6
    for at, spoiled in (
        (3, b'"",""'),
        (30, lines[30][:-1]),
        (50, lines[50].replace(b'"1.5"', b'"1"5"')),
        (70, b"x" * 9),
    ):
        lines[at] = spoiled
    piece = piece_of(lines)
    found, others = recognised(known, piece)
    assert (set(found), others) == (set(range(len(lines))) - {3, 30, 50, 70}, {3, 30, 50, 70})
    assert counts == []


def test_many_rows_on_end_that_are_spoiled_put_nothing_out_of_step_and_count_once() -> None:
    known = learnt()
    lines = tick() * 6
    spoiled = set(range(30, 30 + 2 * order.LOST))
    piece = piece_of([b"x" + one[1:] if at in spoiled else one for at, one in enumerate(lines)])
    found, others = recognised(known, piece)
    assert (set(found), others) == (set(range(len(lines))) - spoiled, spoiled)


CHANGES = st.one_of(
    st.sampled_from(DECEPTIVE),
    st.tuples(st.integers(0, SERIES), st.sampled_from(["", "7", "-0.25", ",", '","', '"', "nan", "1" * 40])).map(
        lambda one: line(one[0], one[1])
    ),
    st.sampled_from(["2025-07-18T20:42:34.5Z", "", ",", "2025-07-18 20:42:3", '2025-07-18T20:42:34"']).map(
        lambda time: line(3, "1", time)
    ),
    st.just(line(4) + b"\r"),
    st.just(b"x" + line(4)[1:]),
    st.just(None),
)


@settings(max_examples=tried(12))
@given(
    changes=st.lists(st.dictionaries(st.integers(0, 3 * SERIES - 1), CHANGES, max_size=12), min_size=2, max_size=5),
    turns=st.sampled_from([0, 1, 16]),
)
def test_in_any_disorder_a_row_means_what_it_means_field_by_field(
    changes: list[dict[int, bytes | None]], turns: int
) -> None:
    known = learnt()
    for change in changes:
        known.known.forget(turns)
        lines = [change.get(at, one) for at, one in enumerate(tick() * 3)]
        piece = piece_of([one for one in lines if one is not None])
        found, others = recognised(known, piece)
        expected = field_by_field(piece)
        assert found == {record: reading for record, reading in expected.items() if record not in others}
        assert len(others) <= 2 * len(change) + kinds.FEW * len(lines)


def test_columns_that_nobody_reads_may_be_of_any_length() -> None:
    layout = parse_header(",".join(["", *NAMES, "note"]).encode(), lambda _: False, times=True)
    known = Kinds(layout)
    for turn in range(4):
        rows = [[str(turn), *row(gpu_id=str(i % SERIES)), "n" * (turn * (i % 3))] for i in range(3 * SERIES)]
        piece = piece_of([quoted(cells) for cells in rows], layout)
        assert recognised(known, piece) == (field_by_field(piece, layout), set())


NOTED = parse_header(",".join([*NAMES, "note"]).encode(), lambda _: False, times=True)
ROOM = MAX_RECORD - len(line(10, note=""))


@pytest.mark.parametrize(
    ("note", "old", "new", "end"),
    [
        ("abc", b'"abc"', b'"",""', b""),
        ("n" * ROOM, b'"1.5"', b'"1.25"', b"x"),
    ],
    ids=["another field", "a row too long, cut where it would be whole"],
)
def test_what_a_column_that_nobody_reads_holds_can_spoil_the_row(note: str, old: bytes, new: bytes, end: bytes) -> None:
    known = Kinds(NOTED)
    lines = [line(series, note=note) for series in range(10, 100, 5)]
    known.readings(piece_of(lines * 2, NOTED))
    spoiled = [one.replace(old, new) + end if at == 5 else one for at, one in enumerate(lines * 2)]
    assert recognised(known, piece_of(spoiled, NOTED))[1] == {5}


def test_where_nothing_comes_as_foreseen_it_is_asked_for_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    known, asked = Kinds(LAYOUT), 0

    def counted(*words: Any, **named: Any) -> Any:
        nonlocal asked
        asked += 1
        return order.compare(*words, **named)

    monkeypatch.setattr(kinds, "compare", counted)
    dice, pieces = np.random.default_rng(5), 40
    for _ in range(pieces):
        rows = [line(int(series)) for series in dice.permutation(SERIES * 3)]
        piece = piece_of(rows)
        assert recognised(known, piece) == (field_by_field(piece), set())
    assert 0 < asked < pieces


def of_six(*seen: list[int]) -> Order:
    known = Order()
    known.add([(b"%d" % kind,) for kind in range(4)])
    for number, kinds_seen in enumerate(seen):
        if number == len(seen) - 1:
            known.lay_out()
            known.add([(b"%d" % kind,) for kind in range(4, 6)])
        known.learn(np.array(kinds_seen), missed=6)
    known.lay_out()
    return known


def foreseen(known: Order, kind: int, rows: int) -> list[int]:
    found = known.foresee(kind, rows)
    assert found is not None
    assert [one.as_py() for one in found.same[0]] == [b"%d" % one for one in found.kinds]
    assert found.sizes[0].tolist() == [1] * len(found.kinds)
    return list(found.kinds.tolist())


def test_a_cycle_is_foreseen_from_wherever_it_is_begun() -> None:
    known = of_six([3, 1, 4, 0, 3, 1])
    assert foreseen(known, 4, 9) == [4, 0, 3, 1, 4, 0, 3, 1, 4]
    assert foreseen(known, 1, 1) == [1]


def test_what_was_never_followed_ends_what_is_foreseen_and_the_unknown_begins_nothing() -> None:
    known = of_six([0, 1, -1, 2, 3])
    assert foreseen(known, 0, 9) == [0, 1]
    assert known.foresee(6, 9) is None
    assert Order().foresee(0, 9) is None


def test_another_order_is_believed_when_it_comes_twice() -> None:
    once, twice = [0, 1, 2, 3, 0], [0, 2, 3, 0]
    assert foreseen(of_six(once, twice), 0, 4) == [0, 1, 2, 3]
    assert foreseen(of_six(once, twice, twice), 0, 4) == [0, 2, 3, 0]


def test_what_is_left_follows_each_other_when_others_are_gone() -> None:
    known = of_six([0, 1, 2, 3, 4, 5, 0])
    known.keep(np.array([True, False, True, True, False, True]))
    learnt = known.foresee(1, 9)
    assert learnt is not None
    assert learnt.kinds.tolist() == [1, 2]
    assert [one.as_py() for one in learnt.same[0]] == [b"2", b"3"]
    known.learn(np.array([2, 3, 0, 1]), missed=6)
    known.lay_out()
    again = known.foresee(3, 6)
    assert again is not None
    assert [one.as_py() for one in again.same[0]] == [b"5", b"0", b"2", b"3", b"5", b"0"]


def test_an_order_that_jumps_is_followed_so_far_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MOST_RUNS", 3)
    assert len(foreseen(of_six([0, 2, 4, 1, 3, 5, 0]), 0, 100)) < 100
