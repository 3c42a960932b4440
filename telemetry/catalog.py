"""The catalogue of DCGM metrics: names old and new, units, kinds, ranges, and the values that mean "no value".

What lives here: facts about DCGM, as plain data, and two questions about them: what is this metric
(`lookup`), which of these values are no values (`blank_mask`, `is_blank_text`). What does not: what codes
mean (`xids`); reading, checking or storing anything. This module imports nothing of the project and changes
no value (a reader that wants canonical units multiplies by `Metric.factor`).

Sources: NVIDIA/DCGM `dcgmlib/dcgm_fields.h` (fields, meanings, the renames "per DCGM Field Naming
Standard") and `dcgmlib/dcgm_structs.h` (`DCGM_*_BLANK`); NVIDIA/dcgm-exporter `etc/*.csv` (what is
exported, units as Prometheus sees them) and its release notes 4.9.0 (which renames change the unit).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["gauge", "counter", "code"]

_DEV, _PROF, _EXP = "DCGM_FI_DEV_", "DCGM_FI_PROF_", "DCGM_EXP_"
_INT64_MAX: Final = float(2**63)
_COUNT: Final = 1e9  # more events than any counter of faults reaches, less than the int32 sentinels


@dataclass(frozen=True, slots=True)
class Metric:
    """One name under which DCGM or dcgm-exporter gives a metric.

    `value * factor` is the value in `unit`, the unit of the `canonical` (classic) name; `low` and `high`,
    both inclusive and in `unit`, are what hardware can give: outside is suspect, not impossible.
    A `code` is neither summed nor averaged: the last XID, a state, a bit mask.
    """

    name: str
    canonical: str
    unit: str
    kind: Kind
    low: float
    high: float
    description: str
    factor: float = 1.0


# prefix, unit, kind, low, high of a group of metrics, and the short name of each with its description
_GROUPS: Final[tuple[tuple[str, str, Kind, float, float, dict[str, str]], ...]] = (
    (_DEV, "MHz", "gauge", 0, 20_000, {
        "SM_CLOCK": "SM clock", "MEM_CLOCK": "Memory clock", "VIDEO_CLOCK": "Video clock",
        "APP_SM_CLOCK": "SM clock asked for", "APP_MEM_CLOCK": "Memory clock asked for",
        "MAX_SM_CLOCK": "Highest SM clock", "MAX_MEM_CLOCK": "Highest memory clock",
    }),
    (_DEV, "C", "gauge", -50, 150, {
        "GPU_TEMP": "Temperature of the GPU", "MEMORY_TEMP": "Temperature of the memory",
        "GPU_TEMP_LIMIT": "Margin to the nearest threshold",
        "GPU_MAX_OP_TEMP": "Highest operating temperature", "MEM_MAX_OP_TEMP": "Memory's highest temperature",
        "SLOWDOWN_TEMP": "Slowdown threshold", "SHUTDOWN_TEMP": "Shutdown threshold",
    }),
    (_DEV, "W", "gauge", 0, 5_000, {
        "POWER_USAGE": "Power draw of the board", "POWER_USAGE_INSTANT": "Power draw, not averaged",
        "POWER_MGMT_LIMIT": "Power limit that was asked for",
        "ENFORCED_POWER_LIMIT": "Power limit in force after all limiters",
    }),
    (_DEV, "mJ", "counter", 0, 1e15, {"TOTAL_ENERGY_CONSUMPTION": "Energy since driver load"}),
    (_DEV, "%", "gauge", 0, 100, {
        "GPU_UTIL": "Share of time in which a kernel ran",
        "MEM_COPY_UTIL": "Share of time in which memory was read or written",
        "ENC_UTIL": "Utilisation of the encoder", "DEC_UTIL": "Utilisation of the decoder",
        "FAN_SPEED": "Fan speed",
    }),
    (_DEV, "MiB", "gauge", 0, 2**22, {
        "FB_TOTAL": "Framebuffer memory in all", "FB_FREE": "Framebuffer memory free",
        "FB_USED": "Framebuffer memory used", "FB_RESERVED": "Framebuffer memory reserved by the driver",
        "BAR1_TOTAL": "BAR1 memory of the device", "BAR1_USED": "BAR1 memory used",
        "BAR1_FREE": "BAR1 memory free",
    }),
    (_DEV, "ratio", "gauge", 0, 1, {"FB_USED_PERCENT": "Framebuffer used / (total - reserved)"}),
    # exporters' counter files call it a counter; DCGM's header says throughput
    (_DEV, "MB/s", "gauge", 0, 1e8, {"NVLINK_BANDWIDTH_TOTAL": "NVLink throughput over all lanes"}),
    # likewise: DCGM's header says utilization, and NVML, from whom it is, gives KB/s over 20 ms
    (_DEV, "KB/s", "gauge", 0, 1e9, {
        "PCIE_TX_THROUGHPUT": "Sent over PCIe, in short samples", "PCIE_RX_THROUGHPUT": "Received over PCIe, likewise",
    }),
    (_DEV, "bytes", "counter", 0, _INT64_MAX, {
        "NVLINK_COUNT_TX_BYTES": "Bytes sent over NVLink",
        "NVLINK_COUNT_RX_BYTES": "Bytes received over NVLink",
    }),
    (_DEV, "ns", "counter", 0, _INT64_MAX, {
        "POWER_VIOLATION": "Time throttled by the power limit",
        "THERMAL_VIOLATION": "Time throttled by temperature",
        "SYNC_BOOST_VIOLATION": "Time throttled by sync boost",
        "BOARD_LIMIT_VIOLATION": "Time throttled by the board limit",
        "LOW_UTIL_VIOLATION": "Time throttled by low utilisation",
        "RELIABILITY_VIOLATION": "Time throttled by reliability",
    }),
    (_DEV, "count", "counter", 0, _COUNT, {
        "PCIE_REPLAY_COUNTER": "PCIe retries", "ECC_SBE_VOL_TOTAL": "Single-bit ECC errors, volatile",
        "ECC_DBE_VOL_TOTAL": "Double-bit ECC errors, volatile",
        "ECC_SBE_AGG_TOTAL": "Single-bit ECC errors, persistent",
        "ECC_DBE_AGG_TOTAL": "Double-bit ECC errors, persistent",
        "RETIRED_SBE": "Pages retired for single-bit errors",
        "RETIRED_DBE": "Pages retired for double-bit errors",
        "UNCORRECTABLE_REMAPPED_ROWS": "Rows remapped for uncorrectable errors",
        "CORRECTABLE_REMAPPED_ROWS": "Rows remapped for correctable errors",
        "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL": "NVLink flow-control CRC errors",
        "NVLINK_CRC_DATA_ERROR_COUNT_TOTAL": "NVLink data CRC errors",
        "NVLINK_REPLAY_ERROR_COUNT_TOTAL": "NVLink retries",
        "NVLINK_RECOVERY_ERROR_COUNT_TOTAL": "NVLink recovery errors",
        "NVLINK_ERROR_DL_CRC": "NVLink data-link CRC errors",
        "NVLINK_ERROR_DL_REPLAY": "NVLink data-link replays",
        "NVLINK_ERROR_DL_RECOVERY": "NVLink data-link recoveries",
    }),
    (_DEV, "count", "gauge", 0, _COUNT, {"RETIRED_PENDING": "Pages waiting to be retired"}),
    (_DEV, "code", "code", 0, 65_535, {
        "XID_ERRORS": "Code of the last XID error; 0 when there was none",
        "ROW_REMAP_FAILURE": "1 when the remapping of rows has failed",
        "ROW_REMAP_PENDING": "1 when rows wait to be remapped",
        "CLOCK_THROTTLE_REASONS": "Bit mask of the reasons why clocks are lowered",
        "PSTATE": "Performance state, 0 (highest) to 15", "ECC_CURRENT": "1 when ECC is on",
        "MIG_MODE": "1 when the GPU is split into MIG instances",
        "VGPU_LICENSE_STATUS": "1 when the vGPU is licensed",
        "FABRIC_HEALTH_SUMMARY": "0 not supported, 1 healthy, 2 unhealthy, 3 limited capacity",
    }),
    (_PROF, "ratio", "gauge", 0, 1, {
        "GR_ENGINE_ACTIVE": "Time in which the graphics or compute engine was active",
        "SM_ACTIVE": "Cycles in which an SM had at least one warp, averaged over SMs",
        "SM_OCCUPANCY": "Warps resident on an SM, of the most there can be",
        "PIPE_TENSOR_ACTIVE": "Cycles with the tensor pipe active",
        "PIPE_FP64_ACTIVE": "Cycles with the fp64 pipe active",
        "PIPE_FP32_ACTIVE": "Cycles with the fp32 pipe active",
        "PIPE_FP16_ACTIVE": "Cycles with the fp16 pipe active, without HMMA",
        "PIPE_INT_ACTIVE": "Cycles with the integer pipe active",
        "DRAM_ACTIVE": "Cycles with the memory interface active",
    }),
    (_PROF, "bytes/s", "gauge", 0, 1e13, {
        # some counter files call these counters; DCGM gives rates
        "PCIE_TX_BYTES": "Sent over PCIe, seen from the GPU, headers counted",
        "PCIE_RX_BYTES": "Received over PCIe, seen from the GPU, headers counted",
        "NVLINK_TX_BYTES": "Sent over NVLink, headers counted",
        "NVLINK_RX_BYTES": "Received over NVLink, headers counted",
    }),
    (_EXP, "count", "gauge", 0, _COUNT, {
        "XID_ERRORS_COUNT": "XID errors in the exporter's last window, one series per code",
        "CLOCK_EVENTS_COUNT": "Clock events in the exporter's last window, one series per reason",
    }),
)  # fmt: skip

# Names of dcgm_fields.h 4.6+ and dcgm-exporter 4.9.0, "NEW=CLASSIC", by the factor from the new unit to the
# classic one. A classic MB/s is 1,000 KiB/s, the new bytes/s are KiB/s x 1,024: hence NVLink's odd factor.
# DCGM 4.6 used the name GPU_UTIL_RATIO for percent; no exporter shipped that, only own counter files could.
_RENAMES: Final = {
    1.0: """
        GPU_TEMP_CELSIUS=GPU_TEMP MEMORY_TEMP_CELSIUS=MEMORY_TEMP GPU_TEMP_MARGIN_CELSIUS=GPU_TEMP_LIMIT
        GPU_MAX_OP_TEMP_CELSIUS=GPU_MAX_OP_TEMP MEMORY_MAX_OP_TEMP_CELSIUS=MEM_MAX_OP_TEMP
        GPU_TEMP_SLOWDOWN_CELSIUS=SLOWDOWN_TEMP GPU_TEMP_SHUTDOWN_CELSIUS=SHUTDOWN_TEMP
        BOARD_POWER_WATTS=POWER_USAGE BOARD_POWER_RAW_WATTS=POWER_USAGE_INSTANT
        BOARD_POWER_LIMIT_REQUESTED_WATTS=POWER_MGMT_LIMIT
        BOARD_POWER_LIMIT_ENFORCED_WATTS=ENFORCED_POWER_LIMIT FB_USED_RATIO=FB_USED_PERCENT
        PCIE_REPLAY_TOTAL=PCIE_REPLAY_COUNTER XID_ERROR=XID_ERRORS GPU_PSTATE=PSTATE ECC_MODE=ECC_CURRENT
        CLOCKS_EVENT_REASONS=CLOCK_THROTTLE_REASONS PAGE_RETIRED_PENDING=RETIRED_PENDING
        PAGE_RETIRED_SBE_TOTAL=RETIRED_SBE PAGE_RETIRED_DBE_TOTAL=RETIRED_DBE
        ROW_REMAP_UNCORRECTABLE_TOTAL=UNCORRECTABLE_REMAPPED_ROWS
        ROW_REMAP_CORRECTABLE_TOTAL=CORRECTABLE_REMAPPED_ROWS ROW_REMAP_FAILED=ROW_REMAP_FAILURE
        NVLINK_THROUGHPUT_TOTAL=NVLINK_BANDWIDTH_TOTAL NVLINK_TX_BYTES_TOTAL=NVLINK_COUNT_TX_BYTES
        NVLINK_RX_BYTES_TOTAL=NVLINK_COUNT_RX_BYTES
        NVLINK_CRC_FLIT_ERROR_TOTAL=NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL
        NVLINK_CRC_DATA_ERROR_TOTAL=NVLINK_CRC_DATA_ERROR_COUNT_TOTAL
        NVLINK_REPLAY_ERROR_TOTAL=NVLINK_REPLAY_ERROR_COUNT_TOTAL
        NVLINK_RECOVERY_ERROR_TOTAL=NVLINK_RECOVERY_ERROR_COUNT_TOTAL
        NVLINK_CRC_ERROR_TOTAL=NVLINK_ERROR_DL_CRC NVLINK_REPLAY_TOTAL=NVLINK_ERROR_DL_REPLAY
        NVLINK_RECOVERY_TOTAL=NVLINK_ERROR_DL_RECOVERY PROF:GR_ENGINE_UTIL_RATIO=GR_ENGINE_ACTIVE
        PROF:SM_UTIL_RATIO=SM_ACTIVE PROF:SM_OCCUPANCY_RATIO=SM_OCCUPANCY PROF:DRAM_UTIL_RATIO=DRAM_ACTIVE
        PROF:TENSOR_UTIL_RATIO=PIPE_TENSOR_ACTIVE PROF:INT_UTIL_RATIO=PIPE_INT_ACTIVE
        PROF:FP64_UTIL_RATIO=PIPE_FP64_ACTIVE PROF:FP32_UTIL_RATIO=PIPE_FP32_ACTIVE
        PROF:FP16_UTIL_RATIO=PIPE_FP16_ACTIVE""",
    1e-6: """
        SM_CLOCK_HERTZ=SM_CLOCK MEMORY_CLOCK_HERTZ=MEM_CLOCK VIDEO_CLOCK_HERTZ=VIDEO_CLOCK
        SM_APP_CLOCK_HERTZ=APP_SM_CLOCK MEMORY_APP_CLOCK_HERTZ=APP_MEM_CLOCK
        SM_MAX_CLOCK_HERTZ=MAX_SM_CLOCK MEMORY_MAX_CLOCK_HERTZ=MAX_MEM_CLOCK""",
    1e2: """
        GPU_UTIL_RATIO=GPU_UTIL MEMORY_UTIL_RATIO=MEM_COPY_UTIL ENC_UTIL_RATIO=ENC_UTIL
        DEC_UTIL_RATIO=DEC_UTIL FAN_SPEED_RATIO=FAN_SPEED""",
    1e3: "GPU_ENERGY_JOULES_TOTAL=TOTAL_ENERGY_CONSUMPTION",
    1e9: """
        GPU_POWER_THROTTLE_SECONDS_TOTAL=POWER_VIOLATION
        GPU_THERMAL_THROTTLE_SECONDS_TOTAL=THERMAL_VIOLATION""",
    2**-20: """
        FB_CAPACITY_BYTES=FB_TOTAL FB_FREE_BYTES=FB_FREE FB_USED_BYTES=FB_USED
        FB_RESERVED_BYTES=FB_RESERVED BAR1_CAPACITY_BYTES=BAR1_TOTAL BAR1_USED_BYTES=BAR1_USED
        BAR1_FREE_BYTES=BAR1_FREE""",
    1 / 1_024_000: "NVLINK_THROUGHPUT_BYTES_PER_SECOND=NVLINK_BANDWIDTH_TOTAL",
}

# etc/1.x-compatibility-metrics.csv: what "dcgm_<name>" of the first exporters does not share with the classic name.
_OLD_EXPORTER: Final = """
    MEMORY_CLOCK=MEM_CLOCK GPU_UTILIZATION=GPU_UTIL MEM_COPY_UTILIZATION=MEM_COPY_UTIL
    ENC_UTILIZATION=ENC_UTIL DEC_UTILIZATION=DEC_UTIL"""


def _classic() -> Iterator[Metric]:
    for prefix, unit, kind, low, high, fields in _GROUPS:
        for short, description in fields.items():
            name = prefix + short
            yield Metric(name, name, unit, kind, low, high, description)


def _renamed(classic: Mapping[str, Metric]) -> Iterator[Metric]:
    for factor, pairs in _RENAMES.items():
        for pair in pairs.split():
            prefix = _PROF if pair.startswith("PROF:") else _DEV
            new, old = pair.removeprefix("PROF:").split("=")
            yield replace(classic[prefix + old], name=prefix + new, factor=factor)


def _spellings(metrics: Mapping[str, Metric]) -> Iterator[tuple[str, Metric]]:
    for name, metric in metrics.items():
        yield name, metric
        yield name.removeprefix("DCGM_FI_"), metric
        short = name.removeprefix(_DEV).removeprefix(_PROF)
        yield short, metric
        if name.startswith(_DEV) and name == metric.canonical:
            yield f"DCGM_{short}", metric
    for pair in _OLD_EXPORTER.split():
        old, short = pair.split("=")
        yield f"DCGM_{old}", metrics[_DEV + short]


METRICS: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in _classic()})
"""The metrics under their canonical (classic) names."""

RENAMED: Final[Mapping[str, Metric]] = MappingProxyType({metric.name: metric for metric in _renamed(METRICS)})
"""The same metrics under the names of DCGM 4.6 and later, with the factor back to the classic unit."""

SPELLINGS: Final[Mapping[str, Metric]] = MappingProxyType(dict(_spellings({**METRICS, **RENAMED})))
"""Every name that `lookup` takes, in capitals and without blanks around."""


def lookup(name: str) -> Metric | None:
    """Return what is known of a metric name, or None.

    Case and surrounding blanks do not matter (exports carry `DEC_UTIL ` with a blank), nor does a missing
    `DCGM_FI_`, `DCGM_FI_DEV_` or `DCGM_FI_PROF_`. A renamed metric keeps its own name and carries the
    factor: `lookup("sm_clock_hertz")` has canonical `DCGM_FI_DEV_SM_CLOCK`, unit MHz, factor 1e-6.
    """
    return SPELLINGS.get(name.strip().upper())


BLANK_TEXTS: Final = frozenset({"<<<NULL>>>", "<<<NOT_FOUND>>>", "<<<NOT_SUPPORTED>>>", "<<<NOT_PERM>>>"})
"""DCGM_STR_BLANK, _NOT_FOUND, _NOT_SUPPORTED, _NOT_PERMISSIONED; the rule is `is_blank_text`."""

BLANK_FLOOR: Final = 2_147_483_632.0
"""No blank is below this (DCGM_INT32_BLANK, 0x7ffffff0): a column whose maximum is lower has none."""

_INT64_FLOOR: Final = 9.2e18  # DCGM_INT64_BLANK..+3 all become 2**63 as float64
_SMALL_BLANKS: Final = np.array(
    [base + step for base in (BLANK_FLOOR, 140_737_488_355_328.0) for step in range(4)]
)  # DCGM_INT32_BLANK and DCGM_FP64_BLANK, each with NOT_FOUND, NOT_SUPPORTED, NOT_PERMISSIONED


def blank_mask(values: NDArray[np.float64], metric_name: str) -> NDArray[np.bool_]:
    """Say which values are DCGM's "no value": float64 of shape (n,) in, bool of shape (n,) out.

    `values` are as the source gave them, before any factor. 9.2e18 and above is blank for every metric
    (`DCGM_INT64_IS_BLANK`); an int32 or fp64 sentinel is blank unless the metric's own range admits it, as
    for energy, byte rates and clocks in hertz. An unknown metric's range admits none. NaN and infinity
    are not blank: they are faults of the source.
    """
    blank = np.isfinite(values) & (values >= _INT64_FLOOR)
    if not values.size or not np.any(values >= BLANK_FLOOR):
        return blank
    metric = lookup(metric_name)
    highest = metric.high / metric.factor if metric else 0.0
    sentinels = _SMALL_BLANKS[_SMALL_BLANKS > highest]
    result: NDArray[np.bool_] = blank | np.isin(values, sentinels)
    return result


def is_blank_text(text: str) -> bool:
    """Say whether a textual value is DCGM's "no value": it opens with `<<<` and has `>>>` (DCGM_STR_IS_BLANK)."""
    stripped = text.strip()
    return stripped.startswith("<<<") and ">>>" in stripped
