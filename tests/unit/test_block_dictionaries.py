"""A block's dictionaries: their order says nothing, and that they are known from the block before changes nothing."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.block import Block, BlockError
from tests.fixtures.examples import tried
from tests.fixtures.wire import DOC, JSON, blocks, content, decoded


def named(block: Block) -> list[tuple[Any, ...]]:
    """Its readings, with what they point to."""
    columns = (block.gpu.tolist(), block.metric.tolist(), block.workload.tolist(), block.dt.tolist(), block.value)
    return [
        (block.gpus[gpu], block.metrics[metric], block.workloads[workload], dt, value)
        for gpu, metric, workload, dt, value in zip(*columns, strict=True)
    ]


@given(block=blocks())
def test_a_block_in_order_has_the_same_readings(block: Block) -> None:
    ordered = block.in_order()
    assert named(ordered) == named(block)
    for items, before in zip(content(ordered)[4:7], content(block)[4:7], strict=True):
        assert items == sorted(before)
    assert content(ordered)[:4] + content(ordered)[10:] == content(block)[:4] + content(block)[10:]


def test_blocks_in_order_of_the_same_gpus_begin_with_the_same_bytes() -> None:
    one, other = decoded(), decoded(gpus=DOC["gpus"][::-1], gpu=[1, 0], time0=7, value=[5, 6])
    heads = {block.in_order().encode().partition(b'"time0"')[0] for block in (one, other)}
    assert len(heads) == 1


def outcome(doc: dict[str, Any]) -> object:
    try:
        return content(Block.decode("s:10", 4, "block/1", json.dumps(doc, separators=(",", ":")).encode()))
    except BlockError as error:
        return str(error)


@settings(max_examples=tried(60))
@given(changes=st.dictionaries(st.sampled_from(sorted(DOC)), JSON, max_size=3))
def test_the_order_of_the_fields_changes_nothing(changes: dict[str, Any]) -> None:
    doc = {**DOC, **changes}
    assert outcome(doc) == outcome(doc) == outcome(dict(sorted(doc.items())))


def test_a_beginning_that_is_known_hides_nothing_behind_it() -> None:
    body = orjson.dumps(DOC)
    assert Block.decode("s:10", 4, "block/1", body).metrics == ["m"]
    assert Block.decode("s:10", 4, "block/1", body[:-1] + b',"metrics":["n"]}').metrics == ["n"]
    for end, message in ((b',"metrics":[""]}', "is empty"), (b"}]", "is not JSON"), (b"", "is not JSON")):
        with pytest.raises(BlockError, match=message):
            Block.decode("s:10", 4, "block/1", body[:-1] + end)


@pytest.mark.parametrize("text", ["},{", ']},{"', '],"metrics":["', ',"time0":', '"},{"uuid":"'])
def test_a_text_may_look_like_what_stands_between_items(text: str) -> None:
    gpus = [{"uuid": text, "gpu_id": "0", "labels": text}, {"uuid": "GPU-2", "gpu_id": "1", "labels": {text: text}}]
    block = decoded(gpus=gpus, metrics=[text], workloads=[{"pod": text, "labels": {"a": text}}])
    assert [gpu.uuid for gpu in block.gpus] == [text, "GPU-2"]
    assert [orjson.loads(gpu.labels) for gpu in block.gpus] == [text, {text: text}]
    assert (block.metrics, block.workloads[0].pod, orjson.loads(block.workloads[0].labels)) == (
        [text],
        text,
        {"a": text},
    )


def test_a_label_may_be_called_like_a_field() -> None:
    labels = {"job": "j", "time0": "t"}
    for _ in range(2):
        assert decoded(workloads=[{"pod": "p", "labels": labels}]).workloads[0].labels == '{"job":"j","time0":"t"}'
