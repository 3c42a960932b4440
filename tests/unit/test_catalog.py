"""The catalogue: names of both generations, units, ranges and DCGM's blanks."""

import re

import numpy as np
import pytest

from telemetry.catalog import (
    BLANK_FLOOR,
    BLANK_TEXTS,
    METRICS,
    RENAMED,
    blank_mask,
    is_blank_text,
    lookup,
)
from telemetry.xids import XID_TEXT

INT32, FP64, INT64 = 2147483632.0, 140737488355328.0, float(9223372036854775792)

# etc/default-counters.csv of dcgm-exporter 4.8: the rows that are not labels
DEFAULT_COUNTERS = """
    DCGM_FI_DEV_SM_CLOCK DCGM_FI_DEV_MEM_CLOCK DCGM_FI_DEV_MEMORY_TEMP DCGM_FI_DEV_GPU_TEMP
    DCGM_FI_DEV_POWER_USAGE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION DCGM_FI_DEV_PCIE_REPLAY_COUNTER
    DCGM_FI_DEV_GPU_UTIL DCGM_FI_DEV_MEM_COPY_UTIL DCGM_FI_DEV_ENC_UTIL DCGM_FI_DEV_DEC_UTIL
    DCGM_FI_DEV_XID_ERRORS DCGM_FI_DEV_POWER_VIOLATION DCGM_FI_DEV_THERMAL_VIOLATION
    DCGM_FI_DEV_SYNC_BOOST_VIOLATION DCGM_FI_DEV_BOARD_LIMIT_VIOLATION DCGM_FI_DEV_LOW_UTIL_VIOLATION
    DCGM_FI_DEV_RELIABILITY_VIOLATION DCGM_FI_DEV_FB_FREE DCGM_FI_DEV_FB_USED DCGM_FI_DEV_FB_RESERVED
    DCGM_FI_DEV_ECC_SBE_VOL_TOTAL DCGM_FI_DEV_ECC_DBE_VOL_TOTAL DCGM_FI_DEV_ECC_SBE_AGG_TOTAL
    DCGM_FI_DEV_ECC_DBE_AGG_TOTAL DCGM_FI_DEV_RETIRED_SBE DCGM_FI_DEV_RETIRED_DBE
    DCGM_FI_DEV_RETIRED_PENDING DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL
    DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL
    DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL
    DCGM_FI_DEV_VGPU_LICENSE_STATUS DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS
    DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS DCGM_FI_DEV_ROW_REMAP_FAILURE DCGM_FI_PROF_GR_ENGINE_ACTIVE
    DCGM_FI_PROF_SM_ACTIVE DCGM_FI_PROF_SM_OCCUPANCY DCGM_FI_PROF_PIPE_TENSOR_ACTIVE
    DCGM_FI_PROF_DRAM_ACTIVE DCGM_FI_PROF_PIPE_FP64_ACTIVE DCGM_FI_PROF_PIPE_FP32_ACTIVE
    DCGM_FI_PROF_PIPE_FP16_ACTIVE DCGM_FI_PROF_PCIE_TX_BYTES DCGM_FI_PROF_PCIE_RX_BYTES
    DCGM_EXP_XID_ERRORS_COUNT DCGM_EXP_CLOCK_EVENTS_COUNT
""".split()


@pytest.mark.parametrize("name", DEFAULT_COUNTERS)
def test_what_the_exporter_ships_is_known_under_its_own_name(name: str) -> None:
    metric = lookup(name)
    assert metric is not None
    assert (metric.name, metric.canonical, metric.factor) == (name, name, 1.0)


@pytest.mark.parametrize(
    "spelling",
    ["DCGM_FI_DEV_DEC_UTIL", "DCGM_FI_DEV_DEC_UTIL ", " dcgm_fi_dev_dec_util", "dev_dec_util", "DEC_UTIL\t"],
)
def test_prefix_case_and_blanks_do_not_matter(spelling: str) -> None:
    metric = lookup(spelling)
    assert metric is not None
    assert metric.canonical == "DCGM_FI_DEV_DEC_UTIL"


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("prof_sm_active", "DCGM_FI_PROF_SM_ACTIVE"),
        ("SM_ACTIVE", "DCGM_FI_PROF_SM_ACTIVE"),
        ("dcgm_gpu_utilization", "DCGM_FI_DEV_GPU_UTIL"),
        ("dcgm_memory_clock", "DCGM_FI_DEV_MEM_CLOCK"),
        ("dcgm_power_usage", "DCGM_FI_DEV_POWER_USAGE"),
        ("board_power_watts", "DCGM_FI_DEV_POWER_USAGE"),
    ],
)
def test_short_and_first_generation_names_are_known(spelling: str, canonical: str) -> None:
    metric = lookup(spelling)
    assert metric is not None
    assert metric.canonical == canonical


@pytest.mark.parametrize("name", ["", "UP", "DCGM_FI_DEV_", "DCGM_FI_PROF_SM_CLOCK", "GPU_UTIL_X", "gpu"])
def test_what_is_not_a_metric_is_none(name: str) -> None:
    assert lookup(name) is None


@pytest.mark.parametrize(
    ("name", "value", "canonical", "expected", "unit"),
    [
        ("DCGM_FI_DEV_SM_CLOCK_HERTZ", 1.98e9, "DCGM_FI_DEV_SM_CLOCK", 1980, "MHz"),
        ("DCGM_FI_DEV_MEMORY_CLOCK_HERTZ", 2.619e9, "DCGM_FI_DEV_MEM_CLOCK", 2619, "MHz"),
        ("DCGM_FI_DEV_GPU_UTIL_RATIO", 0.97, "DCGM_FI_DEV_GPU_UTIL", 97, "%"),
        ("DCGM_FI_DEV_MEMORY_UTIL_RATIO", 0.5, "DCGM_FI_DEV_MEM_COPY_UTIL", 50, "%"),
        ("DCGM_FI_DEV_FB_USED_BYTES", 4 * 2**20, "DCGM_FI_DEV_FB_USED", 4, "MiB"),
        ("DCGM_FI_DEV_FB_CAPACITY_BYTES", 80 * 2**30, "DCGM_FI_DEV_FB_TOTAL", 81920, "MiB"),
        ("DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", 12.5, "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 12500, "mJ"),
        ("DCGM_FI_DEV_GPU_POWER_THROTTLE_SECONDS_TOTAL", 2, "DCGM_FI_DEV_POWER_VIOLATION", 2e9, "ns"),
        ("DCGM_FI_DEV_GPU_TEMP_CELSIUS", 41, "DCGM_FI_DEV_GPU_TEMP", 41, "C"),
        ("DCGM_FI_DEV_XID_ERROR", 79, "DCGM_FI_DEV_XID_ERRORS", 79, "code"),
        ("DCGM_FI_PROF_TENSOR_UTIL_RATIO", 0.3, "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 0.3, "ratio"),
        (
            "DCGM_FI_DEV_NVLINK_THROUGHPUT_BYTES_PER_SECOND",
            1_024_000_000,
            "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL",
            1000,
            "MB/s",
        ),
    ],
)
def test_a_renamed_metric_carries_the_factor_to_the_classic_unit(
    name: str, value: float, canonical: str, expected: float, unit: str
) -> None:
    metric = lookup(name)
    assert metric is not None
    assert (metric.name, metric.canonical, metric.unit) == (name, canonical, unit)
    assert value * metric.factor == pytest.approx(expected)


@pytest.mark.parametrize("name", ["DEV_PCIE_TX_THROUGHPUT", "DEV_PCIE_RX_THROUGHPUT", "DEV_NVLINK_BANDWIDTH_TOTAL"])
def test_a_throughput_is_a_gauge_though_exporters_call_it_a_counter(name: str) -> None:
    metric = lookup(f"DCGM_FI_{name}")
    assert metric is not None
    assert (metric.kind, metric.unit[1:]) == ("gauge", "B/s")


def test_no_spelling_means_two_metrics() -> None:
    shorts: dict[str, str] = {}
    for name, metric in {**METRICS, **RENAMED}.items():
        short = re.sub("^DCGM_FI_(DEV|PROF)_", "", name)
        assert shorts.setdefault(short, metric.canonical) == metric.canonical, short
    assert not METRICS.keys() & RENAMED.keys()


def test_every_metric_is_described_and_its_range_holds_something() -> None:
    for metric in (*METRICS.values(), *RENAMED.values()):
        assert metric.canonical in METRICS
        assert metric.description
        assert metric.low < metric.high
        assert metric.factor > 0
        assert lookup(metric.name) is metric


@pytest.mark.parametrize("sentinel", [INT32, FP64])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_sentinel_is_blank_where_the_metric_cannot_reach_it(sentinel: float, step: int) -> None:
    values = np.array([0.0, sentinel + step, 41.0, sentinel - 1, sentinel + 4])
    assert blank_mask(values, "DCGM_FI_DEV_GPU_TEMP").tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(
    "name",
    ["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "NVLINK_COUNT_TX_BYTES", "PROF_PCIE_RX_BYTES", "POWER_VIOLATION"],
)
def test_an_int32_sentinel_is_a_reading_where_the_metric_reaches_it(name: str) -> None:
    values = np.array([INT32, INT32 + 3, INT64])
    assert blank_mask(values, name).tolist() == [False, False, True]


def test_the_range_is_compared_in_the_unit_of_the_name() -> None:
    values = np.array([INT32])
    assert blank_mask(values, "DCGM_FI_DEV_SM_CLOCK").tolist() == [True]
    assert blank_mask(values, "DCGM_FI_DEV_SM_CLOCK_HERTZ").tolist() == [False]
    assert blank_mask(values, "DCGM_FI_DEV_FB_USED").tolist() == [True]
    assert blank_mask(values, "DCGM_FI_DEV_FB_USED_BYTES").tolist() == [False]


def test_an_unknown_metric_has_every_sentinel() -> None:
    values = np.array([INT32, FP64 + 2, INT64, 7.0])
    assert blank_mask(values, "SOMETHING_ELSE").tolist() == [True, True, True, False]


def test_all_int64_sentinels_are_blank_although_float64_cannot_tell_them_apart() -> None:
    values = np.array([9223372036854775792 + step for step in range(4)], dtype=np.int64).astype(np.float64)
    assert blank_mask(values, "DCGM_FI_DEV_XID_ERRORS").all()


def test_nan_and_infinity_are_faults_and_not_blanks() -> None:
    values = np.array([np.nan, np.inf, -np.inf, -INT32])
    assert not blank_mask(values, "DCGM_FI_DEV_GPU_TEMP").any()


def test_no_values_give_no_mask() -> None:
    mask = blank_mask(np.array([], dtype=np.float64), "DCGM_FI_DEV_GPU_TEMP")
    assert mask.shape == (0,)
    assert mask.dtype == np.bool_


def test_no_sentinel_is_below_the_floor() -> None:
    assert BLANK_FLOOR == INT32
    assert not blank_mask(np.array([np.nextafter(INT32, 0)]), "DCGM_FI_DEV_GPU_TEMP").any()


@pytest.mark.parametrize("text", [*sorted(BLANK_TEXTS), " <<<NULL>>> ", "<<<SOMETHING_NEW>>>"])
def test_dcgms_blank_texts_are_blank(text: str) -> None:
    assert is_blank_text(text)


@pytest.mark.parametrize("text", ["", "0", "NULL", "x<<<NULL>>>", "<<<NULL", "<<>>"])
def test_other_texts_are_not_blank(text: str) -> None:
    assert not is_blank_text(text)


def test_the_xids_that_need_a_person_are_named() -> None:
    critical = {code for code, xid in XID_TEXT.items() if xid.severity == "critical"}
    assert critical == {46, 48, 62, 64, 74, 79, 95, 110, 119, 120, 136, 140, 143, 158}
    assert XID_TEXT.keys() - critical == {61, 94, 109, 156}
    assert all(xid.text for xid in XID_TEXT.values())
