"""Hostile files, made from seeds: each reading has one fate however they are cut, and an independent reader agrees."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telemetry.streamer.errors import SourceError
from telemetry.streamer.sources.csvfile import SLICE_BYTES
from tests.fixtures.examples import tried
from tests.fixtures.exports import NAMES, checked, everything, export, quoted, row, source_of
from tests.fixtures.hostile import FILES, opinion, well_formed

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("kind", "seed"), [(kind, seed) for kind, (_, seeds) in FILES.items() for seed in range(min(seeds, tried(1)))]
)
def test_each_reading_has_one_fate_in_blocks_of_any_size_and_at_every_reading(kind: str, seed: int) -> None:
    content = FILES[kind][0](seed)
    with source_of(content) as source, source_of(content) as again:
        assert (source.length, source.digest) == (again.length, again.digest)
        whole = everything(source)
        for rows in (1, 7, 5_000):
            if rows * 400 > source.length:  # a file of many broken lines is not cut into single ones
                assert everything(again, range(rows, again.length, rows)) == whole
        for first in (1, source.length // 2):
            assert everything(again, [max(1, first)]) == whole
        assert everything(source) == whole


@pytest.mark.parametrize("seed", range(tried(16)))
def test_a_reader_that_shares_no_code_agrees_on_each_row(seed: int) -> None:
    content = well_formed(seed)
    verdicts = opinion(content)
    with source_of(content, times=True) as source:
        assert source.length == len(verdicts)
        numbered = checked(source.block("s", 0, source.length, 0))
        timed = checked(source.block("s", 0, source.length, None))
    readings = zip(numbered.dt.tolist(), timed.value.tolist(), (timed.time0 + timed.dt).tolist(), strict=True)
    expected = {i: repr(verdict) for i, verdict in enumerate(verdicts) if isinstance(verdict, tuple)}
    assert {row: repr((value, time)) for row, value, time in readings} == expected
    rejected = [i for i, verdict in enumerate(verdicts) if verdict == "rejected"]
    assert [item.row for item in numbered.rejected] == [item.row for item in timed.rejected] == rejected
    assert numbered.blank == timed.blank == verdicts.count("blank")


def test_a_block_of_long_rows_that_is_parsed_piece_by_piece_is_the_same_block() -> None:
    note = "x" * 60_000
    rows: list[bytes] = []
    for i in range(400):
        fields = {"uuid": f"GPU-{i % 7 + i // 200}", "metric_name": f"m{i // 90}", "pod": f"pod-{i % 3 + i // 100}"}
        value = {0: "", 1: "nan"}.get(i % 50, str(i))
        rows.append(quoted([*row(**fields, value=value), note][: 12 if i % 60 == 5 else 13]))
    content = export(*rows, names=[*NAMES, "note"])
    assert len(content) > 2 * SLICE_BYTES
    with source_of(content) as source:
        whole = everything(source)
        assert len(whole) == 400 - 8
        assert {number for number, fate in whole.items() if len(fate) == 2} == {
            i for i in range(400) if i % 50 == 1 or i % 60 == 5
        }
        assert everything(source, range(50, 400, 50)) == whole
        block = source.block("s", 0, 400, 0)
    assert (len(block.gpus), len(block.metrics), len(block.workloads)) == (8, 5, 6)


def test_the_corpus_holds_all_fates_in_plenty() -> None:
    verdicts = [verdict for seed in range(120) for verdict in opinion(well_formed(seed))]
    assert min(verdicts.count("blank"), verdicts.count("rejected")) > 50
    assert len({verdict for verdict in verdicts if isinstance(verdict, tuple)}) > 15


HEAD = export().rstrip()
NAME = st.sampled_from(
    [*NAMES, "time", "_value", "gpu", "DCGM_FI_DEV_GPU_UTIL", "", " ", "GPU_I_ID", '"', "\n", "\r", "\0", "é"]
)
HEADS = (
    st.binary(max_size=60)
    | st.tuples(st.binary(max_size=4), st.just(HEAD), st.binary(max_size=4)).map(b"".join)
    | st.lists(NAME, max_size=14).map(lambda names: ",".join(names).encode())
)


@settings(max_examples=tried(60))
@given(head=HEADS, line_end=st.sampled_from([b"\n", b"\r\n", b"\r", b""]), body=st.binary(max_size=80))
@example(head=b"time,gpu_id,uuid,value,metric\x0b", line_end=b"\n", body=b"0,1,2,3,4")
@example(head=HEAD + b',"a', line_end=b"\n", body=b'b"\n')
def test_any_bytes_at_all_are_read_or_refused_in_one_line(head: bytes, line_end: bytes, body: bytes) -> None:
    content = head + line_end + body
    refusal = refused(content)
    if refusal is not None:
        assert re.fullmatch(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{10,800}", refusal)
        return
    with source_of(content) as source:
        whole = everything(source)
        assert everything(source, range(1, source.length)) == whole


def refused(content: bytes) -> str | None:
    try:
        with source_of(content):
            return None
    except SourceError as error:
        return str(error)
