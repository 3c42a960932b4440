"""What the rows of a CSV mean: identity, blanks, values, times, and the names that exports give their columns."""

import pytest

from telemetry.block import MAX_TIME, MIN_TIME, Gpu, Workload
from tests.fixtures.exports import NAMES, POWER, block_of, export, fates, row, source_of, stored

ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
INT32, INT64, FP64 = 2147483632, 9223372036854775792, 140737488355328.0


def reasons(content: bytes) -> dict[int, str]:
    return {item.row: item.reason for item in block_of(content).rejected}


def test_a_row_becomes_a_reading() -> None:
    (reading,) = stored(block_of(export(row(pod="p", namespace="n", container="c", labels_raw='job="j"'))))
    gpu, workload, metric, value, labels = reading
    assert gpu == Gpu("GPU-1", "0", "nvidia0", "H100", "host-1")
    assert workload == Workload("c", "p", "n", '{"job":"j"}')
    assert (metric, value, labels) == (POWER, 1.5, 'job="j"')


@pytest.mark.parametrize(
    "names",
    [
        "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw",
        "_time,_field,gpu,device,UUID,model_name,hostname,container,pod,namespace,_value,labels",
        " time , metric, GPU_ID,Device ,gpu_uuid,MODELNAME,Host,Container,Pod,Namespace,Value, Labels ",
        "timestamp,__name__,gpu_id,device,uuid,modelName,hostname,container,pod,namespace,_value,labels_raw",
    ],
)
def test_columns_go_by_all_their_names(names: str) -> None:
    content = export(row(pod="p", labels_raw='job="j"'), names=names.split(","))
    assert stored(block_of(content)) == stored(block_of(export(row(pod="p", labels_raw='job="j"'))))


def test_columns_may_stand_in_any_order_and_others_are_ignored() -> None:
    names = ["colour", *reversed(NAMES), ""]
    content = export(["red", *reversed(row()), "x"], names=names)
    assert stored(block_of(content)) == stored(block_of(export(row())))


def test_absent_columns_of_the_place_are_empty() -> None:
    content = export(["m", "0", "GPU-1", "7"], names=["metric_name", "gpu_id", "uuid", "value"])
    assert stored(block_of(content)) == [(Gpu("GPU-1", "0", "", "", ""), Workload("", "", ""), "m", 7.0, "")]


def test_a_byte_order_mark_and_crlf_change_nothing() -> None:
    plain = export(row(), row(uuid="GPU-2"))
    changed = b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")
    assert fates(block_of(changed)) == fates(block_of(plain))


def test_a_last_row_needs_no_line_end() -> None:
    assert fates(block_of(export(row(), row())[:-1])) == fates(block_of(export(row(), row())))


def test_blank_lines_are_no_readings() -> None:
    assert fates(block_of(export(b"", row(), b"\r", b"", row(), b""))) == fates(block_of(export(row(), row())))


def test_blanks_around_a_text_do_not_matter() -> None:
    rows = [
        row(metric_name="m", value="5"),
        row(metric_name="m ", value=" 5"),
        row(uuid=" GPU-1", metric_name="\tm", value="5 "),
    ]
    block = block_of(export(*rows))
    assert (list(block.metrics), list(block.value), len(block.gpus)) == (["m"], [5.0] * 3, 1)


def test_without_uuid_a_gpu_is_its_place_on_its_host() -> None:
    block = block_of(export(row(uuid=""), row(uuid="", gpu_id="1"), row(uuid="", Hostname="host-2")))
    assert {(gpu.hostname, gpu.gpu_id) for gpu in block.gpus} == {("host-1", "0"), ("host-1", "1"), ("host-2", "0")}


def test_dcgms_no_value_is_no_identity() -> None:
    rows = [row(uuid="<<<NOT_SUPPORTED>>>", Hostname=name) for name in ("host-1", "host-2", "<<<NULL>>>")]
    block = block_of(export(*rows, row(gpu_id="<<<NULL>>>")))
    assert [(gpu.uuid, gpu.hostname) for gpu in block.gpus] == [("", "host-1"), ("", "host-2")]
    assert [item.reason for item in block.rejected] == ["uuid and hostname are both empty", "gpu_id is empty"]


def test_a_mig_instance_is_a_gpu_of_its_own() -> None:
    labels = [f'GPU_I_ID="{i}",GPU_I_PROFILE="1g.10gb"' for i in (1, 2, 1)]
    block = block_of(export(*(row(labels_raw=text) for text in labels)))
    assert (len(block.gpus), len(block.workloads), block.gpu.tolist()) == (2, 1, [0, 1, 0])
    assert [labels for *_, labels in stored(block)] == labels


def test_a_mig_instance_goes_by_columns_of_its_own_too() -> None:
    names, blank = [*NAMES, "gpu_i_profile", "GPU_I_ID"], ["", ""]
    block = block_of(
        export(
            *([*row(), "1g.10gb", i] for i in ("1", "2")),
            [*row(labels_raw='GPU_I_ID="1",GPU_I_PROFILE="1g.10gb"'), "1g.10gb", "1"],
            [*row(labels_raw='GPU_I_ID="2",GPU_I_PROFILE="1g.10gb"'), *blank],
            [*row(labels_raw="of no form"), "1g.10gb", "1"],
            [*row(labels_raw='GPU_I_ID="7"'), "1g.10gb", "1"],
            [*row(), *blank],
            names=names,
        )
    )
    assert [gpu.labels for gpu in block.gpus] == [
        '{"GPU_I_ID":"1","GPU_I_PROFILE":"1g.10gb"}',
        '{"GPU_I_ID":"2","GPU_I_PROFILE":"1g.10gb"}',
        "{}",
    ]
    assert block.gpu.tolist() == [0, 1, 0, 1, 0, 0, 2]
    both = ['GPU_I_ID="1",GPU_I_PROFILE="1g.10gb"', 'GPU_I_ID="2",GPU_I_PROFILE="1g.10gb"']
    assert [labels for *_, labels in stored(block)] == ["", "", *both, "of no form", 'GPU_I_ID="7"', ""]


def test_a_change_of_pod_splits_no_gpu() -> None:
    block = block_of(export(row(pod="a"), row(pod="b", labels_raw='job="j"')))
    assert (len(block.gpus), len(block.workloads)) == (1, 2)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"gpu_id": ""}, "gpu_id is empty"),
        ({"gpu_id": " \t"}, "gpu_id is empty"),
        ({"uuid": "", "Hostname": ""}, "uuid and hostname are both empty"),
        ({"uuid": " ", "Hostname": ""}, "uuid and hostname are both empty"),
        ({"metric_name": ""}, "metric_name is empty"),
        ({"value": "9" * 1025}, "value has 1025 characters, more than 1024"),
        ({"value": "\0"}, "value holds a control character"),
        ({"pod": "p" * 1025}, "pod has 1025 characters, more than 1024"),
        ({"labels_raw": "x" * 16385}, "labels_raw has 16385 characters, more than 16384"),
        ({"container": "a\0b"}, "container holds a control character"),
        ({"labels_raw": "\1"}, "labels_raw holds a control character"),
        *(
            ({"value": text}, f"value {text!r} is not a finite number")
            for text in (
                "nan",
                "NaN",
                "inf",
                "-inf",
                "Infinity",
                "1e999",
                "0x10",
                "1_000",
                "1,5",
                "five",
                "-",
                ".",
                "٣",
            )
        ),
        ({"timestamp": ""}, "timestamp '' cannot be read; write it as 2025-07-18T20:42:34Z"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_its_reason(fields: dict[str, str], reason: str) -> None:
    assert reasons(export(row(), row(**fields), row(uuid="GPU-2"))) == {1: reason}


@pytest.mark.parametrize(
    ("field", "text"), [("labels_raw", "x" * 16384), ("labels_raw", 'a="' * 5400), ("value", "1" * 60_000 + "x")]
)
def test_hostile_texts_take_time_in_proportion_to_their_length(field: str, text: str) -> None:
    rows = [row(**{field: f"{i}{text}"[: len(text)]}) for i in range(10, 700)]
    assert block_of(export(*rows)).rows == len(rows)


def test_bad_utf8_is_rejected_and_shown_as_escapes() -> None:
    block = block_of(export(row(), b",".join([b"2025-07-18,m,0,\xff,GPU-1", *[b""] * 5, b"1,"])))
    assert [(item.row, item.reason) for item in block.rejected] == [(1, "device is not UTF-8")]
    assert r"0,\xff,GPU-1" in block.rejected[0].raw


def test_a_longest_text_is_stored() -> None:
    labels = "é" * 16384
    (reading,) = stored(block_of(export(row(pod="é" * 1024, labels_raw=labels))))
    assert (len(reading[1].pod), reading[4]) == (1024, labels)


@pytest.mark.parametrize(
    "value",
    ["", " ", "<<<NULL>>>", "<<<NOT_FOUND>>>", "<<<NOT_SUPPORTED>>>", "<<<NOT_PERM>>>"]
    + [str(base + step) for base in (INT32, INT64, FP64) for step in range(4)],
)
def test_dcgms_no_value_is_counted_as_blank(value: str) -> None:
    block = block_of(export(row(value=value), row(value="3")))
    assert (block.blank, block.value.tolist(), len(block.rejected)) == (1, [3.0], 0)


@pytest.mark.parametrize("value", [INT32, INT32 + 3])
def test_energy_passes_the_int32_sentinels(value: int) -> None:
    block = block_of(export(row(metric_name=ENERGY, value=str(value)), row(metric_name=POWER, value=str(value))))
    assert (block.value.tolist(), [block.metrics[code] for code in block.metric], block.blank) == ([value], [ENERGY], 1)


def test_int64_sentinels_are_blank_even_for_energy() -> None:
    assert block_of(export(row(metric_name=ENERGY, value=str(INT64)))).blank == 1


def test_a_blank_of_an_unusable_row_is_rejected_not_blank() -> None:
    block = block_of(export(row(value="", gpu_id="")))
    assert (block.blank, len(block.rejected)) == (0, 1)


TIME = 1_752_871_354_000_000


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2025-07-18T20:42:34Z", TIME),
        ("2025-07-18 20:42:34", TIME),
        ("2025-07-18T20:42:34.000001Z", TIME + 1),
        ("2025-07-18T20:42:34.0000019Z", TIME + 1),
        ("2025-07-18T22:42:34+02:00", TIME),
        ("2025-07-18T20:42:34-00:00", TIME),
        (" 2025-07-18T20:42:34Z ", TIME),
        ("1752871354", TIME),
        ("1752871354.000001", TIME + 1),
        ("1752871354000", TIME),
        ("1752871354000000", TIME),
        ("1752871354000000000", TIME),
        ("0", 0),
        ("0001-01-01T00:00:00Z", MIN_TIME),
        ("9999-12-31T23:59:59.999999Z", MAX_TIME),
        ("0001-01-01T01:00:00+01:00", MIN_TIME),
    ],
)
def test_a_time_is_read_in_its_many_forms(text: str, time: int) -> None:
    block = block_of(export(row(timestamp=text)), times=True)
    assert block.time0 + int(block.dt[0]) == time


@pytest.mark.parametrize(
    "text",
    [
        *("10000-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
        *("garbage", "2025-13-01T00:00:00Z", "2025-07-18T25:00:00Z", "-5", "1e9", "9" * 400, ".", "٣", "Z", "20Z"),
    ],
)
def test_a_time_that_cannot_be_read_is_rejected(text: str) -> None:
    found = reasons(export(row(timestamp=text), row()))
    assert list(found) == [0]
    assert found[0].startswith(f"timestamp {text[:40]!r} cannot be read")


def test_the_files_own_times_are_kept() -> None:
    times = ["2025-07-18T20:42:35Z", "2025-07-18T20:42:34Z", "1700-01-01T00:00:00Z"]
    block = block_of(export(*(row(timestamp=time) for time in times)), times=True)
    assert (block.time0 + block.dt).tolist() == [TIME + 1_000_000, TIME, -8_520_336_000_000_000]


def test_given_times_follow_the_readings_numbers() -> None:
    with source_of(export(row(), row(gpu_id=""), row(value=""), row())) as source:
        assert source.block("s", 0, 4, TIME).dt.tolist() == [0, 3]
        later = source.block("s", 7, 4, TIME)
    assert (later.time0, later.dt.tolist()) == (TIME, [0, 1])


WIDE = ["_time", "Hostname", "gpu_id", "DCGM_FI_DEV_GPU_UTIL", "DEC_UTIL", "DCGM_FI_OWN", "note"]
WIDE_ROW = ["2025-07-18T20:42:34Z", "host-1", "0", "1", "2.5", "3", "n"]


def test_a_wide_row_is_a_reading_per_metric() -> None:
    block = block_of(export(WIDE_ROW, [*WIDE_ROW[:2], "1", *WIDE_ROW[3:]], names=WIDE))
    assert (block.rows, list(block.metrics), block.value.tolist()) == (6, WIDE[3:6], [1, 2.5, 3] * 2)
    assert (block.gpu.tolist(), block.dt.tolist()) == ([0, 0, 0, 1, 1, 1], [*range(6)])


def test_a_wide_cell_is_blank_or_rejected_alone() -> None:
    cells = [["", "x", "3"], ["1", str(INT32), "nan"]]
    block = block_of(export(*(WIDE_ROW[:3] + part + WIDE_ROW[6:] for part in cells), names=WIDE))
    assert (block.rows, block.blank, block.dt.tolist(), block.value.tolist()) == (6, 2, [2, 3], [3, 1])
    assert [item.row for item in block.rejected] == [1, 5]


def test_a_cell_under_a_long_name_has_a_reason_that_fits_a_block() -> None:
    name = "DCGM_" + "x" * 1019
    block = block_of(export(["0", "GPU-1", "0" * 1025], ["0", "GPU-1", "1"], names=["gpu_id", "uuid", name]))
    assert (block.stored, list(block.metrics)) == (1, [name])
    assert block.rejected[0].reason == f"{name[:40]} has 1025 characters, more than 1024"


def test_an_unusable_wide_row_is_rejected_for_each_of_its_readings() -> None:
    block = block_of(export(WIDE_ROW, ["soon", *WIDE_ROW[1:]], WIDE_ROW[:-1], WIDE_ROW, names=WIDE))
    assert (block.rows, block.stored, [item.row for item in block.rejected]) == (12, 6, [3, 4, 5, 6, 7, 8])


@pytest.mark.parametrize(("first_row", "rows"), [(1, 3), (0, 2), (0, 0), (-3, 3), (3, -3)])
def test_a_range_that_is_not_whole_rows_is_a_programming_error(first_row: int, rows: int) -> None:
    with (
        source_of(export(WIDE_ROW, WIDE_ROW, names=WIDE)) as source,
        pytest.raises(ValueError, match="not whole rows of 3"),
    ):
        source.block("s", first_row, rows, 0)
