"""Rows that are recognised mean what they mean when they are read field by field, and what is odd is handed back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.streamer.sources import kinds, known
from telemetry.streamer.sources.columns import parse_header
from telemetry.streamer.sources.kinds import Kinds
from telemetry.streamer.sources.slices import Slice
from tests.fixtures.examples import tried
from tests.fixtures.exports import NAMES, quoted, row
from tests.fixtures.rows import DECEPTIVE, GOOD, LAYOUT, field_by_field, piece_of, recognised


@pytest.mark.parametrize("line", DECEPTIVE)
def test_no_row_means_more_or_less_than_field_by_field(line: bytes) -> None:
    met = Kinds(LAYOUT)
    for lines in ([GOOD, line, GOOD], [line, GOOD], [GOOD, line]):
        piece = piece_of(lines)
        for _ in range(2):  # the second time all its kinds are known
            found, others = recognised(met, piece)
            expected = field_by_field(piece)
            assert found == {record: reading for record, reading in expected.items() if record not in others}
            blank = piece.broken.size - len(found) - len(others)
            assert blank == sum(text in line for text in (b'"<<<NULL>>>",', b"922337")) * lines.count(line)


PARTS = [b'"', b",", b'","', b'""', b"1.5", b"x", b"<<<>>>", b"2025-07-18", b"20:42:34Z", b"2025-07-18T20:42:34Z"]
DISORDER = st.lists(st.sampled_from(PARTS), max_size=7).map(b"".join)


@settings(max_examples=tried(30))
@given(
    lines=st.lists(st.lists(DISORDER, min_size=6, max_size=6), max_size=6),
    names=st.permutations(["timestamp", "metric_name", "gpu_id", "value", "uuid", "note"]),
    kept=st.booleans(),
)
def test_of_six_columns_in_any_order_and_disorder_too(lines: list[list[bytes]], names: list[str], kept: bool) -> None:
    good = {"timestamp": "2025-07-18T20:42:34Z", "metric_name": "m", "gpu_id": "0", "value": "1.5", "uuid": "u"}
    named = [name for name in names if kept or name != "note"]
    layout = parse_header(",".join(named).encode(), lambda _: False, times=False)
    first = quoted([good.get(name, "n") for name in layout.names])
    rows = [first, *(b'"' + b'","'.join(parts[: len(layout.names)]) + b'"' for parts in lines)]
    met, piece = Kinds(layout), piece_of(rows, layout)
    found, others = recognised(met, piece)
    expected = field_by_field(piece, layout)
    assert 0 in found
    assert found == {record: reading for record, reading in expected.items() if record not in others}


def test_a_file_that_is_not_quoted_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "ODD", 4)
    met = Kinds(LAYOUT)
    plain = piece_of([",".join(row()).encode()] * 3)
    assert recognised(met, plain) == ({}, {0, 1, 2})
    assert recognised(met, piece_of([GOOD]))[1] == set()
    assert recognised(met, plain)[1] == recognised(met, plain)[1] == {0, 1, 2}
    assert recognised(met, piece_of([GOOD])) == ({}, {0})


def test_a_column_that_nobody_reads_may_change_in_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "UNPROVEN", 2 * (known.COST + len(GOOD)))
    layout = parse_header(",".join(["", *NAMES, "note"]).encode(), lambda _: False, times=True)
    met = Kinds(layout)
    for turn in range(3):
        piece = piece_of([quoted([f"{turn}.{i}", *row(), f"note {i}"]) for i in range(9)], layout)
        assert recognised(met, piece) == (field_by_field(piece, layout), set())


def of_fleet(turn: int) -> Slice:
    """Thirty GPUs with four metrics each."""
    return piece_of([quoted(row(uuid=f"GPU-{turn}-{i}", metric_name=f"m{k}")) for i in range(30) for k in range(4)])


def test_rows_that_never_come_again_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "COST", 0)
    monkeypatch.setattr(kinds, "UNPROVEN", 40 * len(GOOD))
    met = Kinds(LAYOUT)
    for turn in range(3):
        piece = piece_of([quoted(row(labels_raw=f'job="{turn}.{i}"')) for i in range(50)])
        found, others = recognised(met, piece)
        assert (found, len(others)) == ((field_by_field(piece), 0) if turn < 1 else ({}, 50))


@pytest.mark.parametrize("fleets", [1, 2, 12])
def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch, fleets: int) -> None:
    monkeypatch.setattr(known, "COST", 0)
    monkeypatch.setattr(kinds, "UNPROVEN", 40 * len(GOOD))
    monkeypatch.setattr(kinds, "REMEMBERED", 300 * len(GOOD))
    met = Kinds(LAYOUT)
    for turn in range(24):
        piece = of_fleet(turn % fleets)
        found, others = recognised(met, piece)
        assert found == {record: is_ for record, is_ in field_by_field(piece).items() if record not in others}
        assert met.known.size <= 300 * len(GOOD) + len(piece.data)
    assert len(others) == (len(piece) if fleets == 12 else 0)  # twelve are more than is remembered


def test_a_fleet_whose_every_gpu_has_a_pod_of_its_own_is_recognised_at_its_second_tick() -> None:
    met = Kinds(LAYOUT)
    tick = [quoted(row(uuid=f"GPU-{g}", pod=f"pod-{g}", metric_name=f"m{k}")) for k in range(5) for g in range(1_000)]
    for _ in range(3):
        assert recognised(met, piece_of(tick))[1] == set()


def test_a_job_that_ended_is_forgotten_and_all_others_mean_the_same() -> None:
    met, sizes = Kinds(LAYOUT), []
    for turn in range(60):
        job = [quoted(row(uuid=f"GPU-{g}", pod=f"job-{turn // 6}-{g}")) for g in range(9)]
        lasting = [quoted(row(uuid=f"GPU-{g}", metric_name=f"m{k}")) for g in range(9) for k in range(2)]
        piece = piece_of([*lasting, *job] * 3)
        assert recognised(met, piece) == (field_by_field(piece), set())
        sizes.append(len(met.known))
    assert max(sizes) < 3 * sizes[0] < 10 * 9
    assert len(met.known.workloads) <= len(met.known)
