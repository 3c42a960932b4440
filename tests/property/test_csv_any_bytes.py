"""Whatever bytes follow the header: every reading is stored, blank or rejected, and always in the same way."""

import re
from collections.abc import Callable

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from telemetry.streamer.sources.records import MAX_RECORD, scan
from telemetry.streamer.sources.slices import RAW_KEPT
from tests.fixtures.examples import tried
from tests.fixtures.exports import block_of, everything, export, fates, quoted, row, source_of, stored

GOOD = quoted(row())
WIDE = ["timestamp", "gpu_id", "uuid", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "x"]
ROWS = [GOOD, GOOD + b"\n", GOOD + b"\r\n", GOOD[:-1], GOOD[:40], b'2025-07-18,1,GPU-1,1,2,"x\ny"\n', b"1,2,3,4,5,6\n"]
BITS = [b'"', b'""', b",", b'","', b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"a", b" "]
SOUP = st.lists(st.sampled_from([*ROWS, *BITS]) | st.binary(max_size=6), max_size=25).map(b"".join)


@settings(max_examples=tried(50))
@given(soup=SOUP, wide=st.booleans(), cuts=st.lists(st.integers(1, 30), max_size=6))
@example(soup=b'a",b,"c\n' + GOOD, wide=False, cuts=[])
@example(soup=GOOD + b'\na",b,c,d,e,f,g,h,i,j,k,"l', wide=False, cuts=[1])
@example(soup=b"\xff,\n" + GOOD, wide=False, cuts=[])
@example(soup=b"\r\r\n" + GOOD, wide=False, cuts=[])
@example(soup=b"\xef\xbb\xbf" + GOOD + b"\n\xef\xbb\xbf" + GOOD, wide=False, cuts=[1])
def test_each_reading_of_any_bytes_has_one_fate_however_the_file_is_cut(
    soup: bytes, wide: bool, cuts: list[int]
) -> None:
    content = (export(names=WIDE) if wide else export()) + soup
    assume(re.search(rb"(?m)^(?!\r?$)", soup))  # a file with no row but blank ones is none
    with source_of(content) as source:
        whole = everything(source)
        assert everything(source, cuts) == whole
        again = source.block("s", source.length, source.length, 0)
        assert {number - source.length: fate for number, fate in fates(again).items()} == whole
        assert all(len(fate[1]) <= RAW_KEPT for fate in whole.values() if len(fate) == 2)


@settings(max_examples=tried(40))
@given(data=SOUP, chunk=st.integers(1, 60), at=st.integers(0, 1000), fields=st.sampled_from([1, 3, 6, 12]))
def test_whoever_starts_at_any_record_sees_the_same_records(data: bytes, chunk: int, at: int, fields: int) -> None:
    def records(offset: int, chunk: int) -> list[tuple[int, bytes, bool]]:
        return [
            (found.offset + int(start), found.data[int(start) : int(end)], bool(broken))
            for found in scan(lambda place, size: data[place : place + size], offset, fields, chunk)
            for start, end, broken in zip(found.starts, found.ends, found.broken, strict=True)
        ]

    whole = records(0, 1 << 20)
    assert records(0, chunk) == whole
    assume(whole)
    position = at % len(whole)
    assert records(whole[position][0], chunk) == whole[position:]


def cut_in_a_field(line: bytes) -> bytes:
    return line[: line.index(b"H100") + 2]


MUTATIONS: dict[str, Callable[[bytes], bytes]] = {
    "bad UTF-8": lambda line: line.replace(b"nvidia", b"nvi\xffdia"),
    "NUL": lambda line: line.replace(b"nvidia", b"nvi\0dia"),
    "mark": lambda line: line.replace(b"nvidia", b"nvi\1dia"),
    "cut with an open quote": cut_in_a_field,
    "cut without an open quote": lambda line: cut_in_a_field(line) + b'"',
    "cut after an opening quote": lambda line: line[: line.index(b'"nvidia') + 1],
    "too many fields": lambda line: line + b',"more"',
    "too few fields": lambda line: line[: line.rindex(b",")],
    "stray quote in a quoted field": lambda line: line.replace(b"nvidia", b'nvi"dia'),
    "stray quote in an unquoted field": lambda line: line.replace(b'"1.5"', b'1"5'),
    "stray quotes that open a field": lambda line: line.replace(b'"nvidia0"', b'nvidia0"').replace(b'"1.5"', b'"1.5'),
    "a lone quote": lambda line: b'"',
    "lone CR": lambda line: line.replace(b",", b"\r", 1),
    "oversized field": lambda line: line.replace(b"nvidia0", b"n" * 1025),
    "giant line": lambda line: line.replace(b"nvidia0", b"n" * (MAX_RECORD + 1)),
    "giant line with an open quote": lambda line: line.replace(b'"nvidia0"', b'"' + b"n" * 3 * MAX_RECORD),
    "no number": lambda line: line.replace(b'"1.5"', b'"nan"'),
    "no time": lambda line: line.replace(b"2025", b"soon"),
    "not a row": lambda line: b"hello",
}


@settings(max_examples=tried(30))
@given(
    plan=st.lists(st.sampled_from(["", "", *MUTATIONS]), min_size=1, max_size=12),
    end=st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r\n\r\n"]),
    last=st.booleans(),
)
def test_a_bad_row_is_rejected_alone(plan: list[str], end: bytes, last: bool) -> None:
    lines = [MUTATIONS.get(name, bytes)(quoted(row(pod=f"pod-{i}"))) for i, name in enumerate(plan)]
    block = block_of(export() + end.join(lines) + (end if last else b""))
    assert block.rows == len(plan)
    found = fates(block)
    assert {number for number, fate in found.items() if len(fate) == 2} == {i for i, name in enumerate(plan) if name}
    assert [workload.pod for _, workload, *_ in stored(block)] == [
        f"pod-{i}" for i, name in enumerate(plan) if not name
    ]


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_lines_around_a_bad_row_are_stored(name: str) -> None:
    bad = MUTATIONS[name](GOOD)
    block = block_of(export(row(), bad, row(), row(), bad, row()))
    assert (block.rows, block.stored, [item.row for item in block.rejected]) == (6, 4, [1, 4])
    for item in block.rejected:
        assert item.reason
        assert len(item.raw) <= RAW_KEPT
        assert all(character.isprintable() or character in "\t\n" for character in item.raw)


@pytest.mark.parametrize("pod", ["pod", "pöd"])
@pytest.mark.parametrize("every", [97, *(pytest.param(every, marks=pytest.mark.slow) for every in (3, 1000))])
def test_a_long_file_with_all_that_can_be_wrong_reads_the_same_in_any_blocks(pod: str, every: int) -> None:
    makers = list(MUTATIONS.values())
    lines = [quoted(row(pod=f"{pod}-{i}", device='a "b"\nc' if i % 401 == 0 else "nvidia0")) for i in range(1, 2500)]
    for turn, i in enumerate(range(every, len(lines), every)):
        lines[i] = makers[turn % len(makers)](quoted(row()))
    with source_of(export(*lines)) as source:
        whole = everything(source)
        rejected = {number for number, fate in whole.items() if len(fate) == 2}
        assert rejected == set(range(every, len(lines), every))
        pods = [fate[1].pod for _, fate in sorted(whole.items()) if len(fate) == 5]
        assert pods == [f"{pod}-{i + 1}" for i in range(len(lines)) if i not in rejected]
        for step in (13, 64, 700):
            assert everything(source, range(step, source.length, step)) == whole
