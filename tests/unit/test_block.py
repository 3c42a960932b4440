"""The block on the wire: what is written is read, and what cannot be is refused in one sentence."""

import json
import re
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.block import (
    MAX_LABELS,
    MAX_ROWS,
    MAX_TEXT,
    MAX_TIME,
    MIN_TIME,
    Block,
    BlockError,
    Gpu,
    Rejection,
    Workload,
    block_id,
    parse_block_id,
)
from tests.fixtures.examples import tried
from tests.fixtures.wire import DOC, JSON, TEXT, blocks, content, decoded


def test_a_block_that_any_language_could_write_is_read() -> None:
    block = decoded()
    assert (block.source, block.first_row, block.rows, block.stored, block.blank) == ("s", 10, 4, 2, 1)
    assert block.gpus == [Gpu("GPU-1", "0", "", "", ""), Gpu("", "1", "", "", "h", '{"GPU_I_ID":"7"}')]
    assert block.workloads == [Workload("", "p", "", '{"UUID":null,"job":"j"}')]
    assert block.rejected == [Rejection(12, "why", "raw")]
    assert [c.dtype.str for c in (block.gpu, block.metric, block.workload, block.dt, block.value)] == [
        "<i4",
        "<i4",
        "<i4",
        "<i8",
        "<f8",
    ]


@given(block=blocks())
def test_decode_undoes_encode(block: Block) -> None:
    assert content(Block.decode(block.id, block.rows, "block/1", block.encode())) == content(block)


def assert_consistent(block: Block) -> None:
    assert 0 < block.rows == block.stored + block.blank + len(block.rejected) <= MAX_ROWS
    assert len({len(column) for column in (block.gpu, block.metric, block.workload, block.dt, block.value)}) == 1
    assert np.isfinite(block.value).all()
    for index, items in ((block.gpu, block.gpus), (block.metric, block.metrics), (block.workload, block.workloads)):
        assert all(0 <= number < len(items) for number in index.tolist())
    assert all(MIN_TIME <= block.time0 + dt <= MAX_TIME for dt in block.dt.tolist())
    assert all(gpu.gpu_id and (gpu.uuid or gpu.hostname) for gpu in block.gpus)
    assert all(block.first_row <= item.row < block.first_row + block.rows for item in block.rejected)
    written = repr((block.source, block.gpus, block.metrics, block.workloads, block.rejected))
    assert "\\x00" not in written
    assert "\\u0000" not in written


@settings(max_examples=tried(100))
@given(changes=st.dictionaries(st.sampled_from(sorted(DOC)), JSON, max_size=3), rows=st.integers(-1, 6))
def test_a_malformed_body_is_refused_or_read_consistently(changes: dict[str, Any], rows: int) -> None:
    body = json.dumps({**DOC, **changes}).encode()  # writes numbers of any size, which orjson does not
    with suppress(BlockError):
        assert_consistent(Block.decode("s:10", rows, "block/1", body))


@given(body=st.binary(max_size=40), id=st.text(max_size=8), format=st.text(max_size=8))
def test_noise_is_refused(body: bytes, id: str, format: str) -> None:
    for arguments in ((id, "block/1", body), ("s:10", format, orjson.dumps(DOC)), ("s:10", "block/1", body)):
        with pytest.raises(BlockError):
            Block.decode(arguments[0], 4, arguments[1], arguments[2])


BIG = 10**30
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a boolean among the indexes": ({"gpu": [0, True]}, "'gpu' is not a flat list of whole numbers"),
    "a boolean among the values": ({"value": [1.5, True]}, "'value' is not a flat list of numbers"),
    "a boolean beside a text that says so": ({"value": [1, False], "rejected": [[12, "rule", "true"]]}, "flat list"),
    "a float as index": ({"metric": [0.0, 0.0]}, "'metric' is not a flat list of whole numbers"),
    "a text among the values": ({"value": [1, "2"]}, "'value' is not a flat list of numbers"),
    "null among the values": ({"value": [1, None]}, "'value' is not a flat list of numbers"),
    "nested lists": ({"dt": [[0], [1]]}, "'dt' is not a flat list of whole numbers"),
    "an empty nested list": ({"dt": [[]]}, "'dt' is not a flat list of whole numbers"),
    "ragged lists": ({"dt": [[0], [1, 2]]}, "'dt' is not a flat list of whole numbers"),
    "an index beyond its dictionary": ({"gpu": [0, 2]}, "'gpu' points outside its dictionary of 2"),
    "a negative index": ({"workload": [0, -1]}, "'workload' points outside its dictionary of 1"),
    "a huge index": ({"gpu": [0, 2**40]}, "'gpu' holds a number that is too large"),
    "a time beyond 64 bits signed": ({"dt": [0, 2**63]}, "'dt' holds a number that is too large"),
    "a time that would wrap around": ({"dt": [0, 2**64 - 1]}, "'dt' holds a number that is too large"),
    "a time beyond 64 bits": ({"dt": [0, BIG]}, "'dt' is not a flat list of whole numbers"),
    "a time before year 1": ({"dt": [0, MIN_TIME * 2]}, "a time lies outside the years 1 to 9999"),
    "a time after year 9999": ({"time0": MAX_TIME}, "a time lies outside the years 1 to 9999"),
    "columns of two lengths": ({"dt": [0]}, "differ in length"),
    "a missing column": ({"value": None}, "'value' is missing or not a list"),
    "time0 that is a boolean": ({"time0": True}, "'time0' is missing or not a whole number"),
    "a huge time0": ({"time0": 2**62}, "'time0' is missing or not a whole number"),
    "numbers that do not add up": ({"blank": 2}, "rows is 4, but 2 values + 2 blank + 1 rejected"),
    "a negative count": ({"blank": -1, "rejected": [[10 + i, "", ""] for i in range(3)]}, "rows is 4, but"),
    "a gpu that is no object": ({"gpus": ["GPU-1", "GPU-2"]}, "an item of 'gpus' is not an object"),
    "a gpu of unknown parts": ({"gpus": [{"uid": "GPU-1"}]}, "an item of 'gpus' is not an object"),
    "a gpu without gpu_id": ({"gpus": [{"uuid": "GPU-1"}]}, "has no gpu_id"),
    "a gpu without uuid and hostname": ({"gpus": [{"gpu_id": "1"}]}, "neither uuid nor hostname"),
    "a metric without name": ({"metrics": [""]}, "a text in 'metrics' is empty"),
    "a metric that is a number": ({"metrics": [1]}, "a text in 'metrics' is no text"),
    "NUL in an identity": ({"gpus": [{"uuid": "a\0", "gpu_id": "1"}]}, "a text in 'gpus' is no text, holds control"),
    "the mark in a metric": ({"metrics": ["a\1n"]}, "a text in 'metrics' is no text, holds control"),
    "a long text": ({"metrics": ["a" * (MAX_TEXT + 1)]}, "longer than 1024"),
    "NUL in a label": ({"workloads": [{"labels": {"a": "\0"}}]}, "labels in 'workloads' hold control characters"),
    "the mark in a label's name": ({"workloads": [{"labels": {"\1n": ""}}]}, "labels in 'workloads' hold control"),
    "long labels": ({"workloads": [{"labels": "a" * (MAX_LABELS + 1)}]}, "longer than 16384"),
    "labels that are null": ({"workloads": [{"labels": None}]}, "neither an object of texts nor a text"),
    "labels of numbers": ({"workloads": [{"labels": {"a": 1}}]}, "neither an object of texts nor a text"),
    "labels that are a list": ({"workloads": [{"labels": ["a"]}]}, "neither an object of texts nor a text"),
    "a rejection that is no list": ({"rejected": ["abc"]}, "an item of 'rejected' is not [row, reason, raw]"),
    "a rejection of a boolean row": ({"rejected": [[True, "", ""]]}, "an item of 'rejected' is not"),
    "a rejection outside the block": ({"rejected": [[14, "", ""]]}, "names a row outside the block"),
    "two rejections of one row": ({"blank": 0, "rejected": [[10, "", ""]] * 2}, "name the same row"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_body_is_refused_for_(name: str) -> None:
    changes, message = REFUSED[name]
    with pytest.raises(BlockError, match=re.escape(message)):
        Block.decode("s:10", 4, "block/1", json.dumps({**DOC, **changes}).encode())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body is not JSON"),
        (b"[1]", "body is not a JSON object"),
        (b"[" * 100_000, "body is not JSON"),
        (b'{"gpus":' + b"[" * 900 + b"]" * 900 + b"}", "is missing or not"),
        (b'{"time0":1,"gpus":[],"metrics":[],"workloads":[],"gpu":' + b"[" * 900 + b"]" * 900 + b"}", "flat list"),
        (json.dumps({**DOC, "value": [1, 2]}).replace("[1, 2]", "[1, 1e999]").encode(), "body is not JSON"),
        (json.dumps({**DOC, "value": [1, 2]}).replace("[1, 2]", "[1, NaN]").encode(), "body is not JSON"),
        (b'{"a":"\\ud800"}', "body is not JSON"),
        (b'{"a":"\xff"}', "body is not JSON"),
    ],
)
def test_a_text_that_is_no_such_document_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BlockError, match=re.escape(message)):
        Block.decode("s:10", 4, "block/1", body)


def test_a_long_text_beside_numbers_does_not_multiply_in_memory() -> None:
    body = orjson.dumps({**DOC, "value": [1] * 200_000 + ["x" * 500_000]})
    tracemalloc.start()
    try:
        with pytest.raises(BlockError):
            Block.decode("s:10", 4, "block/1", body)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()


def test_of_two_equal_keys_the_last_holds() -> None:
    body = orjson.dumps(DOC)[:-1] + b',"blank":7}'
    with pytest.raises(BlockError, match="7 blank"):
        Block.decode("s:10", 4, "block/1", body)


def test_a_rejected_text_may_speak_of_booleans() -> None:
    block = decoded(rejected=[[12, "rules", "true, false"]])
    assert (block.value.tolist(), block.gpu.tolist(), block.rejected[0].raw) == ([1, 2.5], [0, 1], "true, false")


def test_nul_in_a_rejected_text_is_shown_as_unreadable() -> None:
    assert decoded(rejected=[[12, "why", "a\0b"]]).rejected[0].raw == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("rows", [0, -1, MAX_ROWS + 1])
def test_a_block_of_no_or_too_many_rows_is_refused(rows: int) -> None:
    with pytest.raises(BlockError, match=f"rows is {rows}, not 1 to {MAX_ROWS}"):
        decoded(rows=rows)


@pytest.mark.parametrize(
    "text", ["", "a", ":1", "a:", "a:-1", "a:1.0", "a:٣", "a:01", "a:\n1", "a:" + "9" * 19, "a\0:1"]
)
def test_a_foreign_message_id_is_none_of_ours(text: str) -> None:
    assert parse_block_id(text) is None
    with pytest.raises(BlockError, match="is not source:first_row"):
        decoded(id=text)


@given(source=TEXT.filter(bool), first_row=st.integers(0, 10**18 - 1))
def test_parse_block_id_undoes_block_id(source: str, first_row: int) -> None:
    assert parse_block_id(block_id(source, first_row)) == (source, first_row)


def test_the_texts_of_rejected_rows_are_shortened_when_the_body_is_too_large() -> None:
    block = decoded(rejected=[[12, "why", "x" * 1000]])
    sizes = [len(block.encode()), len(block.encode(len(block.encode()) - 1)), len(block.encode(1))]
    raws = [
        Block.decode(block.id, 4, "block/1", block.encode(limit)).rejected[0].raw
        for limit in (0, sizes[0], sizes[0] - 1, 1)
    ]
    assert list(map(len, raws)) == [1000, 1000, 200, 0]
    assert sizes == [sizes[0], sizes[0] - 800, sizes[0] - 1000]
