"""labels_raw taken apart: what the columns say is not kept twice, and nothing is lost."""

import json

import pytest

from telemetry.block import Gpu, Workload
from telemetry.streamer.sources.labels import METRIC_MARK, escape, freed, is_canonical, parse, unescape
from tests.fixtures.exports import POWER, block_of, export, labels_raw, row, stored

COLUMNS = {"uuid": "GPU-1", "gpu_id": "0", "device": "nvidia0", "model_name": "H100", "hostname": "host-1", "pod": "p"}


def test_a_label_that_a_column_determines_is_null() -> None:
    text = f'Hostname="host-1",UUID="GPU-1",__name__="{METRIC_MARK}",device="nvidia0",gpu="0",job="j",modelName="H100"'
    _, labels = parse(text, COLUMNS)
    null = ("Hostname", "UUID", "__name__", "device", "gpu", "modelName")
    assert json.loads(labels) == {**dict.fromkeys(null), "job": "j"}


def test_a_label_that_differs_from_its_column_keeps_its_own_text() -> None:
    _, labels = parse('gpu="1",hostname="host-1",pod=""', COLUMNS)
    assert json.loads(labels) == {"gpu": "1", "hostname": None, "pod": ""}


def test_a_mig_instance_is_part_of_the_gpu() -> None:
    gpu, workload = parse('GPU_I_ID="7",GPU_I_PROFILE="1g.10gb",job="j"', COLUMNS)
    assert json.loads(gpu) == {"GPU_I_ID": "7", "GPU_I_PROFILE": "1g.10gb"}
    assert json.loads(workload) == {"GPU_I_ID": None, "GPU_I_PROFILE": None, "job": "j"}


def test_a_mig_label_with_escapes_stays_with_the_workload() -> None:
    gpu, workload = parse(r'GPU_I_ID="1",GPU_I_PROFILE="a\"b"', COLUMNS)
    assert json.loads(gpu) == {"GPU_I_ID": "1"}
    assert json.loads(workload) == {"GPU_I_ID": None, "GPU_I_PROFILE": 'a"b'}


@pytest.mark.parametrize(
    "text",
    [
        'b="1",a="2"',
        'a="1",a="1"',
        'a="1", b="2"',
        'a="1",',
        'a="1',
        "a=1",
        'a-b="1"',
        r'a="\t"',
        'a="1\n2"',
        '{a="1"}',
        "just text",
        '__name__="x',
        '"',
    ],
)
def test_a_text_that_is_not_canonical_is_kept_as_it_is(text: str) -> None:
    assert not is_canonical(text)
    assert parse(text, COLUMNS) == ("{}", json.dumps(text, ensure_ascii=False))


@pytest.mark.parametrize("text", ["", 'a="1"', r'a="\"\\\n"', 'A="",a="é"', '_="x",a1="y"'])
def test_a_canonical_text_is_a_set_of_labels(text: str) -> None:
    assert is_canonical(text)
    assert isinstance(json.loads(parse(text, COLUMNS)[1]), dict)


@pytest.mark.parametrize("text", ["", "\\", '"', "\n", '\\"\\n', "a\\nb"])
def test_unescape_undoes_escape(text: str) -> None:
    assert unescape(escape(text)) == text
    assert '"' not in escape(text).replace('\\"', "")


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ('__name__="m"', "m", f'__name__="{METRIC_MARK}"'),
        ('a="1",__name__="m",b="2"', "m", f'a="1",__name__="{METRIC_MARK}",b="2"'),
        ('x__name__="m"', None, 'x__name__="m"'),
        ('__name__="m', None, '__name__="m'),
        ('a="1"', None, 'a="1"'),
        ("", None, ""),
    ],
)
def test_a_text_is_freed_of_its_metric(text: str, name: str | None, rest: str) -> None:
    assert freed(text) == (name, rest)


@pytest.mark.parametrize(
    "text",
    [
        f'__name__="{POWER}"',
        f'Hostname="host-1",UUID="GPU-1",__name__="{POWER}",gpu="0"',
        '__name__="another"',
        f'__name__="{POWER} "',
        f'__name__="{POWER}',
        f'a=",__name__=",b="{POWER}"',
        f'a=",__name__="{POWER}"',
        f'x__name__="{POWER}",y="1"',
        'GPU_I_ID="1",GPU_I_PROFILE="a\\"b"',
        r'job="C:\\new\"dir\""',
        'modelName="H100 ",pod="host-1"',
        '__name__="a\\"b"',
    ],
)
@pytest.mark.parametrize("metric", [POWER, POWER + " ", ",b=", "a\\", "new\nline"])
def test_labels_come_back_byte_for_byte(text: str, metric: str) -> None:
    block = block_of(export(row(metric_name=metric, labels_raw=text), row(metric_name="other", labels_raw=text)))
    assert [labels for *_, labels in stored(block)] == [text, text]


def test_one_set_of_labels_serves_all_metrics_of_a_gpu() -> None:
    rows = [row(metric_name=m, labels_raw=f'UUID="GPU-1",__name__="{m}",job="j"') for m in ("a", "b", "c")]
    block = block_of(export(*rows))
    assert (len(block.gpus), len(block.workloads), len(block.metrics)) == (1, 1, 3)


def test_the_second_opinion_tells_a_loss() -> None:
    gpu = Gpu("GPU-1", "0", "nvidia0", "H100", "host-1")
    assert labels_raw(gpu, Workload("", "", "", '{"UUID":null,"job":"j"}'), "m") == 'UUID="GPU-1",job="j"'
    assert labels_raw(gpu, Workload("", "", "", '{"UUID":"GPU-2"}'), "m") == 'UUID="GPU-2"'
