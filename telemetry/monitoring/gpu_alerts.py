"""The alerts of GPUs, from the API's `/metrics/gpus`: what DCGM said last of each board.

Every API pod tells the same, and a MIG board has a series for each instance: the largest counts, once for each board.
What a source does not export is absent, and fires nothing. A board is told by host and number, where one can go, and by
its uuid: numbers may be given anew.
"""

from __future__ import annotations

from typing import Final, Literal

from telemetry.monitoring import thresholds as limit
from telemetry.monitoring.alerts import Alert
from telemetry.monitoring.promql import any_pod, gone, unless_away
from telemetry.xids import XID_TEXT

__all__ = ["BOARD", "GPUS"]

BOARD: Final = "Hostname, gpu, UUID, modelName"
_WHO = "{{ $labels.Hostname }}, GPU {{ $labels.gpu }} ({{ $labels.UUID }})"
_SEEN = f'telemetry_gpu_last_seen_timestamp_seconds{{Hostname!=""}} < time() + {limit.CLOCK_AHEAD:g}'
"""A GPU of which no host is known is at no place where one could go and look: that of `helm test` is such.
Its namespace is the API's, and tells pipelines apart that one Prometheus watches: each is compared with itself.
Times of the future tell nothing of now, and would hide what is silent."""
_PLACE = "namespace, Hostname, gpu"
_TAKEN = f"count by (namespace, Hostname) (time() - max by ({_PLACE}) ({_SEEN}) < {limit.GPU_SILENCE:g})"
"""How many numbers of a host are told of. A host that starts without a board numbers the others anew, so that one
stands at the number of each but the last: then there are fewer numbers than there were within a day, and the board that
is told of no more is the one that is missing. One that was replaced leaves as many, however short both were told of.
"""
_NOW = "0m"
"""What a board says of a fault stays until it is reset: there is nothing to wait for."""


def _worst(expr: str) -> str:
    return f"max by ({BOARD}) ({expr})"


def _told(metric: str) -> str:
    """What a board said last: one that falls silent after its fault is as faulty, and GpuMissing tells of it later."""
    return f"last_over_time({metric}[{limit.FAULT_KEPT}])"


def _xid(severity: Literal["critical", "warning"]) -> Alert:
    """XIDs of one severity. The code is a label, so that a second one is another alert.

    DCGM tells the last code alone: 79 is gone with the 45 of the processes that it ended. So each counts for as long as
    a fault is kept, and what came between two scrapes is in the exporter's own count, where that is exported.
    """
    texts = {code: xid.text for code, xid in XID_TEXT.items() if xid.severity == severity}
    # asking for the value of each code takes six times as long: nearly all boards have none
    codes = " or ".join(f'label_replace(vector(1), "xid", "{code}", "", "")' for code in texts)
    counted = f'DCGM_EXP_XID_ERRORS_COUNT{{xid=~"{"|".join(map(str, texts))}"}}[{limit.FAULT_KEPT}]'
    told = "".join(f'{{{{ if eq $labels.xid "{code}" }}}}{text}{{{{ end }}}}' for code, text in texts.items())
    action = {
        "critical": "Drain the host of work, keep `nvidia-bug-report.sh`, reset the GPU or restart the host.",
        "warning": "Restart the applications that used the GPU; reset it when it is free.",
    }
    return Alert(
        f"TelemetryGpuXid{severity.capitalize()}",
        severity,
        f"""
        last_over_time(
          (count_values by ({BOARD}) ("xid", DCGM_FI_DEV_XID_ERRORS > 0))[{limit.FAULT_KEPT}:{limit.GLIMPSE}]
        )
        and on (xid) ({codes})
        or max by ({BOARD}, xid) (max_over_time({counted})) > 0
        """,
        _NOW,
        f"{_WHO}: XID {{{{ $labels.xid }}}}, {told}.",
        action[severity],
    )


def _throttled(counter: str, reasons: str) -> str:
    """The share of the last five minutes: by the board's own counter, else by its reasons, every half minute."""
    return _worst(f"rate({counter}[5m]) / 1e9 or avg_over_time(({reasons} > bool 0)[5m:30s])")


_REASONS = "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"
_HEAT = f"floor({_REASONS} / 32) % 4"  # 0x20 software's, 0x40 hardware's thermal slowdown
_BRAKE = f"floor({_REASONS} / 128) % 2"  # 0x80 the hardware's power brake; 0x4, the power cap, is daily life

GPUS: Final = (
    _xid("critical"),
    _xid("warning"),
    Alert(
        "TelemetryGpuRowRemapFailed",
        "critical",
        f"{_worst(_told('DCGM_FI_DEV_ROW_REMAP_FAILURE'))} > 0",
        _NOW,
        f"{_WHO}: memory rows could not be remapped.",
        "Take the GPU out of use and have it replaced: it has no spare rows left.",
    ),
    Alert(
        "TelemetryGpuRowRemapPending",
        "warning",
        f"{_worst('DCGM_FI_DEV_ROW_REMAP_PENDING')} > 0",
        limit.SLOW,
        f"{_WHO}: memory rows wait to be remapped.",
        "Reset the GPU when its work is done: until then it runs on a row that had errors.",
    ),
    Alert(
        "TelemetryGpuEccUncorrectable",
        "critical",
        f"{_worst(_told('DCGM_FI_DEV_ECC_DBE_VOL_TOTAL'))} > 0",
        _NOW,
        f"{_WHO}: {{{{ $value | humanize }}}} uncorrectable memory errors since its driver was loaded.",
        "Drain it of work and reset it; what ran at that time may have computed nonsense.",
    ),
    Alert(
        "TelemetryGpuThermalThrottling",
        "warning",
        f"{_throttled('DCGM_FI_DEV_THERMAL_VIOLATION', _HEAT)} > {limit.THERMAL_SHARE}",
        limit.USUAL,
        f"{_WHO} is slowed down by heat {{{{ $value | humanizePercentage }}}} of the time.",
        "Look at the host's fans, air and neighbours: one GPU is a fan or paste, a whole rack is the room.",
    ),
    Alert(
        "TelemetryGpuPowerThrottling",
        "info",
        f"{_throttled('DCGM_FI_DEV_POWER_VIOLATION', _BRAKE)} > {limit.POWER_SHARE}",
        limit.LONG,
        f"{_WHO} is slowed down by its power limit {{{{ $value | humanizePercentage }}}} of the time.",
        "Compare its power limit with that of its neighbours; at equal limits this is full load, nothing else.",
    ),
    Alert(
        "TelemetryGpuMissing",
        "critical",
        f"""
        time() - topk by ({_PLACE}) (1, max by ({_PLACE}, UUID) ({_SEEN})) > {limit.GPU_SILENCE:g}
        and on (namespace, Hostname)
        time() - max by (namespace, Hostname) ({_SEEN}) < {limit.GPU_SILENCE:g}
        or
        time() - max by ({_PLACE}, UUID) ({_SEEN}) > {limit.GPU_SILENCE:g}
        and on (namespace, Hostname)
        {_TAKEN} < max_over_time(({_TAKEN})[1d:1h])
        unless on (namespace, Hostname)
        time() - max by ({_PLACE}) ({_SEEN}) > {limit.GPU_SILENCE:g}
        """,
        limit.USUAL,
        f"{_WHO} was last heard of {{{{ $value | humanizeDuration }}}} ago; its host goes on.",
        "Look at the host with `nvidia-smi -L` for the uuid (another board may have its number now), and at "
        "`dmesg | grep -i xid`: it may have fallen off the bus.",
    ),
    Alert(
        "TelemetryHostStale",
        "warning",
        f"""
        time() - max by (namespace, Hostname) ({_SEEN}) > {limit.GPU_SILENCE:g}
        and on (namespace)
        time() - max by (namespace) ({_SEEN}) < {limit.GPU_SILENCE:g}
        """,
        limit.USUAL,
        "{{ $labels.Hostname }} was last heard of {{ $value | humanizeDuration }} ago; other hosts go on.",
        "Look whether the host is up, then at its exporter.",
    ),
    Alert(
        "TelemetryGpusUnread",
        "warning",
        unless_away(
            "("
            "max by (namespace) (telemetry_gpus_up) == 0"
            ' or max by (namespace) (up{metrics_path="/metrics/gpus"}) == 0'
            f" or ({gone('telemetry_gpus_up')})"
            f")\nunless on (namespace) ({gone('telemetry_api_build_info')})"
        ),
        limit.USUAL,
        "The newest values of the GPUs have not been read for five minutes: alerts about them are silent.",
        "Look whether Prometheus gets /metrics/gpus (its targets: 401, time-out), then at the API's log for "
        "`a scrape is answered without the GPUs`.",
    ),
    Alert(
        "TelemetryGpuSeriesCut",
        "warning",
        any_pod('telemetry_gpus_series{state="cut"}') + " > 0",
        limit.SLOW,
        "{{ $value | humanize }} series are beyond the most that /metrics/gpus shows: alerts do not see them.",
        "Let the fleet be watched in parts, or from the database with the dashboards.",
    ),
)
"""All of them, the gravest first."""
