"""labels_raw in the view telemetry is the file's, byte for byte."""

import json
import re
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.block import Block, Gpu, Workload
from telemetry.store.gate import Standing
from telemetry.store.ledger import Ledger
from telemetry.store.writer import Writer
from tests.fixtures.examples import tried
from tests.fixtures.ledger import NOON, Store

Ends = tuple[Ledger, Writer]

TEXT = st.text(st.characters(exclude_characters="\0\1", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", '"', "\\", "\\n", "\n", '\\"', "a,b", 'x="y"', "é", "\x02n", "n", "$1", "\\1", "%s", "\U0001f600"]
)
PLAIN = st.text(st.characters(exclude_characters='\0\1"\\\n', exclude_categories=["Cs"]), max_size=6)
"""Texts of columns that a label may stand for: those that need no escape."""
MARKS = {
    "UUID": "uuid", "uuid": "uuid", "gpu": "gpu_id", "device": "device", "modelName": "model_name",
    "model_name": "model_name", "Hostname": "hostname", "hostname": "hostname",
    "container": "container", "pod": "pod", "namespace": "namespace",
}  # fmt: skip
NAMES = [*MARKS, "__name__", "GPU_I_ID", "GPU_I_PROFILE"]
FREE = st.from_regex(re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,5}", re.ASCII), fullmatch=True)
LABELS = st.dictionaries(st.sampled_from(NAMES), st.none() | TEXT, max_size=14)
OTHERS = st.dictionaries(FREE, TEXT, max_size=4)
SETS = st.builds(lambda marks, others: others | marks, LABELS, OTHERS)
GPUS = st.builds(
    Gpu,
    uuid=PLAIN.map("U".__add__),
    gpu_id=PLAIN.map("0".__add__),
    device=PLAIN,
    model_name=PLAIN,
    hostname=PLAIN,
    labels=st.dictionaries(st.sampled_from(["GPU_I_ID", "GPU_I_PROFILE"]), PLAIN).map(json.dumps),
)
CASES = st.lists(
    st.tuples(GPUS, st.builds(Workload, PLAIN, PLAIN, PLAIN, (SETS | TEXT).map(json.dumps)), PLAIN.map("m".__add__)),
    min_size=1,
    max_size=12,
)


def rendered(gpu: Gpu, workload: Workload, metric: str) -> str:
    """labels_raw as the columns and the label set say it."""
    labels = json.loads(workload.labels)
    if isinstance(labels, str):
        return labels
    columns: Mapping[str, str] = {**gpu._asdict(), **workload._asdict()}
    known = {name: columns[field] for name, field in MARKS.items()} | {"__name__": metric}
    known |= {"GPU_I_ID": "", "GPU_I_PROFILE": ""} | json.loads(gpu.labels)
    parts = []
    for name in sorted(labels, key=str.encode):
        text = labels[name]
        escaped = known[name] if text is None else text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        parts.append(f'{name}="{escaped}"')
    return ",".join(parts)


@pytest.fixture
def ends(store: Store) -> Ends:
    return store.ledger(), store.writer()


@settings(max_examples=tried(12), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cases=CASES)
def test_labels_come_back_byte_for_byte(ends: Ends, cases: list[tuple[Gpu, Workload, str]]) -> None:
    ledger, writer = ends
    rows = len(cases)
    reserved = ledger.reserve(rows)
    assert reserved is not None
    gpus, workloads, metrics = (list(column) for column in zip(*cases, strict=True))
    turn, value = np.arange(rows, dtype=np.int32), np.arange(rows, dtype=np.float64) + reserved.first_row
    sent = Block(
        "s", reserved.first_row, rows, NOON, gpus, metrics, workloads, turn, turn, turn, turn.astype(np.int64), value
    )
    block = Block.decode(sent.id, rows, "block/1", sent.encode())
    assert writer.store([block]) == [Standing.STORED]
    with ledger.session.use() as connection:
        ask = "SELECT labels_raw FROM telemetry WHERE value >= %s ORDER BY value"
        texts = [text for (text,) in connection.execute(ask, (reserved.first_row,)).fetchall()]
    assert texts == [rendered(*case) for case in cases]
