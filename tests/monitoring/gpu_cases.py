"""What the alerts of GPUs are shown, beside those of absence (`presence_cases`). The pipeline: `alert_cases`."""

from __future__ import annotations

from tests.monitoring.alert_cases import BOARD, LIVE, NONE, PLACE, SAID, STOPS, WHO, Case, board, quiet, seen

__all__ = ["ECC", "GPU", "XID"]

COUNTED = "DCGM_EXP_XID_ERRORS_COUNT"
XID, HEAT, REASONS = "DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_THERMAL_VIOLATION", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"
POWER, ECC, SERIES = "DCGM_FI_DEV_POWER_VIOLATION", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "telemetry_gpus_series"


def coded(code: int, values: str) -> dict[str, str]:
    """The last XID as dcgm-exporter labels it: another code is another series."""
    return board(XID, values, f'{BOARD},err_code="{code}",err_msg="{code}, in words"')


def renumbered(boards: int, dead: int) -> dict[str, str]:
    """A host whose board dies at minute 5; at 8 it is back without it, and each is told at its new number alone."""
    told: dict[str, str] = {}
    for n in range(boards):
        if n == dead:
            told |= seen("node-7", n, STOPS, f"U{n}")
        elif n < dead:
            told |= seen("node-7", n, "0+60x60", f"U{n}")
        else:
            told |= seen("node-7", n, "0+60x8 stale", f"U{n}") | seen("node-7", n - 1, "_x9 540+60x51", f"U{n}")
    return told


def reasons(*masks: int) -> dict[str, str]:
    """A board for each mask."""
    return {f'{REASONS}{{gpu="{mask}",Hostname="node-7"}}': f"{mask}+0x50" for mask in masks}


GPU = [
    Case(
        "TelemetryGpuXidCritical",
        coded(0, "0+0x5 stale _x9 0+0x25") | coded(79, "_x6 79+0x9 stale"),
        (6, 15, 30),
        (5, 31),
        f"{SAID}: XID 79, GPU has fallen off the bus.",
        {**WHO, "xid": "79"},
    ),
    Case(
        "TelemetryGpuXidCritical",
        board(XID, "0+0x5 79+0x9 0+0x25"),
        (6, 15, 30),
        (5, 31),
        f"{SAID}: XID 79, GPU has fallen off the bus.",
        {**WHO, "xid": "79"},
        title="by an exporter that does not label it",
    ),
    Case(
        "TelemetryGpuXidWarning",
        board(XID, "0+0x5 94+0x9 13+0x25"),
        (6, 15, 30),
        (5, 31),
        f"{SAID}: XID 94, contained ECC error: the applications that hit it must restart.",
        {**WHO, "xid": "94"},
    ),
    Case("TelemetryGpuXidCritical", board(XID, "0+0x5 79 45+0x40"), (6, 7, 21), (5, 22),
         f"{SAID}: XID 79, GPU has fallen off the bus.", {**WHO, "xid": "79"}, title="another code follows at once"),
    Case("TelemetryGpuXidCritical",
         board(XID, "45+0x40") | board(COUNTED, "0+0x5 2+0x4 0+0x30", f'{BOARD},xid="62"')
         | board(COUNTED, "1+0x40", f'{BOARD},xid="45"'),
         (6, 25), (5, 26), f"{SAID}: XID 62, internal micro-controller halted.", {**WHO, "xid": "62"},
         title="in the exporter's count alone"),
    Case("TelemetryGpuXidWarning", board(COUNTED, "0+0x5 2+0x4 0+0x30", f'{BOARD},xid="94"'), (6, 25), (5, 26),
         f"{SAID}: XID 94, contained ECC error: the applications that hit it must restart.", {**WHO, "xid": "94"},
         title="in the exporter's count alone"),
    Case("TelemetryGpuXidCritical", board(XID, "79+0x30") | board(COUNTED, "1+0x30", f'{BOARD},xid="79"'), (1, 20), (),
         f"{SAID}: XID 79, GPU has fallen off the bus.", {**WHO, "xid": "79"}, title="told by both, and once"),
    Case("TelemetryGpuXidCritical",
         {f'{XID}{{{BOARD},GPU_I_ID="{place}"}}': "79+0x30" for place in (1, 2)}, (1, 20), (),
         f"{SAID}: XID 79, GPU has fallen off the bus.", {**WHO, "xid": "79"}, title="of two instances of a board"),
    *(quiet(f"TelemetryGpuXid{severity}", f"{code} is the application's own", board(XID, f"{code}+0x50"))
      for severity, code in (("Critical", 31), ("Warning", 43))),
    Case("TelemetryGpuRowRemapFailed", board("DCGM_FI_DEV_ROW_REMAP_FAILURE", "0+0x5 1+0x9 0+0x9"), (6, 15), (5, 16),
         f"{SAID}: memory rows could not be remapped.", WHO),
    Case("TelemetryGpuRowRemapPending", board("DCGM_FI_DEV_ROW_REMAP_PENDING", "1+0x15 0+0x9"), (10, 15), (9, 16),
         f"{SAID}: memory rows wait to be remapped.", WHO),
    Case("TelemetryGpuEccUncorrectable", board(ECC, "0+0x5 1+0x9 0+0x9"), (6, 15), (5, 16),
         f"{SAID}: 1 uncorrectable memory errors since its driver was loaded.", WHO),
    Case("TelemetryGpuThermalThrottling", board(HEAT, "0+3600000000x30 108000000000+0x10"), (10, 30), (9, 36),
         f"{SAID} is slowed down by heat 6% of the time.", WHO),
    *(Case("TelemetryGpuThermalThrottling", board(REASONS, f"1+0x5 {mask}+0x9 1+0x10"), (12, 15), (5, 10, 24),
           f"{SAID} is slowed down by heat 100% of the time.", WHO, title=f"told by reasons alone, {mask}")
      for mask in (32, 64, 97)),
    quiet("TelemetryGpuThermalThrottling", "a share of exactly 5 %", board(HEAT, "0+3000000000x50")),
    quiet("TelemetryGpuThermalThrottling", "other reasons", reasons(0, 1, 4, 8, 16, 128, 256)),
    Case("TelemetryGpuPowerThrottling", board(POWER, "0+31200000000x40 1248000000000+0x10"), (35, 40), (34, 45),
         f"{SAID} is slowed down by its power limit 52% of the time.", WHO),
    Case("TelemetryGpuPowerThrottling", board(REASONS, "129+0x40 4+0x10"), (31, 40), (29, 46),
         f"{SAID} is slowed down by its power limit 100% of the time.", WHO, title="told by the power brake alone"),
    quiet("TelemetryGpuPowerThrottling", "a share of 49 %", board(POWER, "0+29400000000x50"), 40, 50),
    quiet("TelemetryGpuPowerThrottling", "the power cap is daily life", reasons(1, 4, 5, 16), 40),
    Case("TelemetryGpuMissing", LIVE | seen("node-7", 0, "0+60x60") | seen("node-7", 3, "0+60x5 300+0x24 1860+60x29"),
         (16, 30), (10, 15, 31), "node-7, GPU 3 (node-7-3) was last heard of 11m 0s ago; its host goes on.",
         {**PLACE, "UUID": "node-7-3"}),
    Case("TelemetryGpuMissing", LIVE | renumbered(8, 3), (16, 60), (5, 15),
         "node-7, GPU 3 (U3) was last heard of 11m 0s ago; its host goes on.", {**PLACE, "UUID": "U3"},
         title="its host was restarted, and the others are numbered anew"),
    Case("TelemetryGpuMissing", LIVE | renumbered(8, 7), (16, 60), (5, 15),
         "node-7, GPU 7 (U7) was last heard of 11m 0s ago; its host goes on.",
         {"Hostname": "node-7", "gpu": "7", "UUID": "U7"}, title="its host was restarted, and it was the last"),
    Case("TelemetryGpuMissing",
         LIVE | renumbered(8, 3) | seen("node-7", 7, "_x29 1740+60x30", "new"), (16, 28), (15, 30),
         "node-7, GPU 3 (U3) was last heard of 11m 0s ago; its host goes on.", {**PLACE, "UUID": "U3"},
         title="its host was restarted, until a new one was built in"),
    Case("TelemetryGpuMissing",
         LIVE | seen("node-7", 0, "0+0x60", "old") | seen("node-7", 0, "0+60x60", "new") | seen("node-7", 3, STOPS),
         (16, 40), (5, 15), "node-7, GPU 3 (node-7-3) was last heard of 11m 0s ago; its host goes on.",
         {**PLACE, "UUID": "node-7-3"}, title="and not another, that was replaced"),
    quiet("TelemetryGpuMissing", "all boards of a host are replaced at once",
          LIVE | {name: values for n in range(8)
                  for name, values in (seen("node-7", n, "0+60x5 300+0x54", f"old-{n}")
                                       | seen("node-7", n, "_x7 420+60x53", f"new-{n}")).items()}, 6, 8, 16, 40),
    quiet("TelemetryGpuMissing", "another board stands in its place",
          LIVE | seen("node-7", 0, "0+60x60") | seen("node-7", 3, STOPS) | seen("node-7", 3, "0+60x60", "new")),
    quiet("TelemetryGpuMissing", "nothing is heard of anybody", seen("node-1", 0, STOPS) | seen("node-7", 3, STOPS)),
    quiet("TelemetryGpuMissing", "its host falls silent five minutes after it",
          LIVE | seen("node-7", 3, STOPS) | seen("node-7", 0, "0+60x10 600+0x50"), 12, 16, 18, 20,
          beside=("TelemetryHostStale",)),
    quiet("TelemetryGpuMissing", "silent for five minutes, again and again",
          LIVE | seen("node-1", 3, "0+0x5 300+0x5 600+0x5 900+0x5 1200+0x5 1500+0x30"), 5, 15, 25),
    Case("TelemetryHostStale", LIVE | seen("node-7", 3, "0+60x5 300+0x24 1860+60x29"), (16, 30), (10, 15, 31),
         "node-7 was last heard of 11m 0s ago; other hosts go on.", {"Hostname": "node-7"}),
    quiet("TelemetryHostStale", "nothing is heard of anybody",
          seen("node-1", 0, STOPS) | seen("node-7", 3, "0+60x4 240+0x55")),
    quiet("TelemetryHostStale", "a GPU of no host", LIVE | seen("", 3, STOPS, "GPU-helm-test")),
    quiet("TelemetryGpuMissing", "a GPU of no host", LIVE | seen("", 3, STOPS, "a") | seen("", 0, "0+60x60", "b")),
    Case("TelemetryGpuSeriesCut",
         {f'{SERIES}{{state="cut",instance="a"}}': "9+0x15 0+0x9", f'{SERIES}{{state="cut",instance="b"}}': NONE,
          f'{SERIES}{{state="nameless",instance="a"}}': "9+0x30"},
         (10, 15), (9, 16), "9 series are beyond the most that /metrics/gpus shows: alerts do not see them.",
         {"state": "cut"}),
]  # fmt: skip
