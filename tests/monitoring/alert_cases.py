"""What each alert is shown: series as promtool writes them, when it must fire and when not, and what it then says.

What lives here: the cases. What does not: running them (`test_rules`). One sample a minute;
`a+bxn` is a, then n times b more. An alert fires
from the evaluation on at which its condition has held for as long as its rule says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CASES", "Case", "quiet"]

SEEN = "telemetry_gpu_last_seen_timestamp_seconds"
BOARD = 'gpu="3",UUID="GPU-x",device="nvidia3",modelName="H100",Hostname="node-7"'
PLACE = {"Hostname": "node-7", "gpu": "3"}
WHO = {**PLACE, "UUID": "GPU-x", "modelName": "H100"}
SAID = "node-7, GPU 3 (GPU-x)"


@dataclass(frozen=True)
class Case:
    """Series by name; minutes at which the alert fires, and at which it does not; what it says at the first of them."""

    alert: str
    series: Mapping[str, str]
    fires: tuple[int, ...] = ()
    quiet: tuple[int, ...] = ()
    says: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    """Other alerts that may fire meanwhile."""
    title: str = ""


def quiet(alert: str, title: str, series: Mapping[str, str], *at: int, beside: tuple[str, ...] = ()) -> Case:
    """A case in which the alert never fires."""
    return Case(alert, series, quiet=at or (5, 20), beside=beside, title=title)


def queue(**gauges: str) -> dict[str, str]:
    """Gauges of the queue, from two API pods, of which the second sees the same."""
    names = {f"telemetry_queue_{name}": values for name, values in gauges.items()}
    return {f'{name}{{instance="{pod}",pod="{pod}"}}': values for name, values in names.items() for pod in ("a", "b")}


def store(**gauges: str) -> dict[str, str]:
    """Gauges of the database, from one API pod."""
    return {f'telemetry_store_{name}{{instance="a",pod="a"}}': values for name, values in gauges.items()}


def buckets(name: str, **counts: str) -> dict[str, str]:
    """A histogram's buckets, by their bound: le_2_5 is 2.5."""
    return {
        f'{name}_bucket{{le="{bound[3:].replace("inf", "+Inf").replace("_", ".")}"}}': values
        for bound, values in counts.items()
    }


def kept(namespace: str = "a", **counts: str) -> dict[str, str]:
    """What became of readings, told by a collector."""
    return {
        f'telemetry_collector_rows_{name}_total{{namespace="{namespace}",instance="c"}}': values
        for name, values in counts.items()
    }


def board(metric: str, values: str, who: str = BOARD) -> dict[str, str]:
    """A metric of one board, from two API pods."""
    return {f'{metric}{{{who},instance="{pod}",pod="{pod}"}}': values for pod in ("a", "b")}


def seen(host: str, gpu: int, values: str, uuid: str = "") -> dict[str, str]:
    """When a board was last heard of."""
    return {f'{SEEN}{{Hostname="{host}",gpu="{gpu}",UUID="{uuid or f"{host}-{gpu}"}",instance="a"}}': values}


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


STOPS = "0+60x5 300+0x55"
UNSETTLED = "A block is overdue, by {} more than anything has waited in the queue: nobody publishes it."
UP = 'telemetry_database_up{{instance="{}"}}'
FULL = queue(depth_messages="9+0x50", capacity_messages="10+0x50")
LIVE = seen("node-1", 0, "0+60x60")
LAG = "telemetry_collector_publish_to_stored_seconds"
COMMIT = "telemetry_collector_transaction_seconds"
READ = "telemetry_streamer_rows_read_total"
ASKED, ROUTE = "telemetry_api_requests_total", 'route="/api/v1/gpus"'
TIMEOUTS = 'telemetry_api_database_connection_timeouts_total{instance="a"}'
COUNTED = "DCGM_EXP_XID_ERRORS_COUNT"
XID, HEAT, REASONS = "DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_THERMAL_VIOLATION", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"
POWER, ECC, SERIES = "DCGM_FI_DEV_POWER_VIOLATION", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "telemetry_gpus_series"

QUEUE = [
    Case(
        "TelemetryQueueNearlyFull",
        queue(depth_messages="401+0x15 400+0x14", capacity_messages="500+0x30", acked_messages_total="0+9x30"),
        (10, 15),
        (9, 16, 30),
        "The queue has been more than 80.2% full for ten minutes: streamers wait.",
    ),
    Case(
        "TelemetryOldestMessageStuck",
        queue(oldest_age_seconds="61+0x10 60+0x20"),
        (5, 10),
        (4, 11, 30),
        "The oldest message has been in the queue for 1m 1s.",
    ),
    Case(
        "TelemetryNoProgress",
        queue(depth_messages="7+0x40", acked_messages_total="0+9x10 90+0x10 91+0x19", dead_messages_total="0+0x40"),
        (17, 20),
        (10, 16, 22, 25),
        "7 messages or more are in the queue, and none has been settled for five minutes.",
    ),
    Case(
        "TelemetryNoProgress",
        queue(depth_messages="7+0x40", acked_messages_total="9+0x40", dead_messages_total="0+0x40")
        | {UP.format("a"): "0+0x40", UP.format("b"): "1 0 " * 20},
        (8, 30),
        (1,),
        "7 messages or more are in the queue, and none has been settled for five minutes.",
        beside=("TelemetryDatabaseAway",),
        title="one API pod has lost the database, and it comes and goes for the other",
    ),
    quiet(
        "TelemetryNoProgress",
        "messages die, which is progress of a kind",
        queue(depth_messages="7+0x50", acked_messages_total="0+0x50", dead_messages_total="0+1x50"),
    ),
    quiet(
        "TelemetryNoProgress",
        "the queue was empty a moment ago",
        queue(
            depth_messages="0 0 0 1 0+0x3 1 0+0x3 1 0+0x40", acked_messages_total="5+0x50", dead_messages_total="0+0x50"
        ),
    ),
    Case(
        "TelemetryDeadLetters",
        store(dead_blocks="0+0x5 3+0x9 0+0x14"),
        (8, 15),
        (5, 7, 16),
        "Messages that could not be stored wait for a decision: 3.",
    ),
    Case(
        "TelemetryDeadLetters",
        {**queue(dead_letters="0+0x5 1+0x9 0+0x14"), **store(dead_blocks="0+0x29")},
        (8, 15),
        (5, 7, 16),
        "Messages that could not be stored wait for a decision: 1.",
        title="in the queue's own dead letters",
    ),
    Case(
        "TelemetryRedisAway",
        {'telemetry_redis_up{instance="a"}': "1+0x3 0+0x9 1+0x9", 'telemetry_redis_up{instance="b"}': "1+0x22"},
        (6, 13),
        (3, 5, 14),
        "The queue's server does not answer a: nothing is published or stored.",
        {"instance": "a"},
    ),
]

WAY = [
    Case(
        "TelemetryCollectorAbsent",
        queue(consumers="0+0x9 1+0x10", depth_messages="5+0x19"),
        (5, 9),
        (4, 10),
        "Messages wait in the queue, and no collector has asked for them for five minutes.",
    ),
    quiet(
        "TelemetryCollectorAbsent",
        "nothing waits: collectors were scaled away",
        queue(consumers="0+0x50", depth_messages="0+0x50"),
    ),
    Case(
        "TelemetryBreakerOpen",
        {'telemetry_collector_breaker_open{instance="c"}': "0+0x3 1+0x9 0+0x9"},
        (6, 13),
        (3, 5, 14),
        "c holds its messages back, because the database refuses nearly all of them.",
        {"instance": "c"},
    ),
    Case(
        "TelemetryFreshnessLag",
        buckets(LAG, le_5="0+90x40", le_10="0+90x20 1801+95x19", le_30="0+100x40", le_inf="0+100x40"),
        (11, 20),
        (10, 30, 40),
        "One message of twenty takes longer than 20s from the queue to the database.",
    ),
    Case(
        "TelemetryDatabaseSlow",
        buckets(COMMIT, le_2_5="0+0x40", le_5="0+90x20 1801+95x19", le_10="0+100x40", le_inf="0+100x40"),
        (11, 20),
        (10, 30, 40),
        "One transaction of twenty takes the database longer than 7.5s.",
    ),
    Case(
        "TelemetryDatabaseAway",
        {
            'telemetry_database_up{instance="a"}': "1+0x3 0+0x9 1+0x9",
            'telemetry_database_up{instance="b"}': "1+0x22",
        },
        (6, 13),
        (3, 5, 14),
        "The database does not answer a: nothing is stored, and questions fail.",
        {"instance": "a"},
    ),
    Case(
        "TelemetryBlocksUnsettled",
        store(oldest_unsettled_age_seconds="301+0x9 300+0x9") | queue(oldest_age_seconds="0+0x20"),
        (5, 9),
        (4, 10),
        UNSETTLED.format("5m 1s"),
    ),
    Case(
        "TelemetryBlocksUnsettled",
        store(oldest_unsettled_age_seconds="900+60x40") | queue(oldest_age_seconds="480+0x14 480+60x26"),
        (5, 25),
        (4,),
        UNSETTLED.format("12m 0s"),
        beside=("TelemetryOldestMessageStuck",),
        title="beside a deep queue",
    ),
    quiet(
        "TelemetryBlocksUnsettled",
        "a bulk load is worked through",
        store(oldest_unsettled_age_seconds="477+0x40") | queue(oldest_age_seconds="480+0x40"),
        12,
        40,
        beside=("TelemetryOldestMessageStuck",),
    ),
]

ENDS = [
    Case(
        "TelemetryNothingRead",
        {READ: "0+100x10 1000+0x30 1100+100x10"},
        (31, 40),
        (15, 29, 42),
        "Streamers run, the queue has room, and no reading was taken from the source for ten minutes.",
    ),
    Case(
        "TelemetryNothingRead",
        {f'{READ}{{namespace="a"}}': "5+0x50", 'telemetry_redis_up{namespace="b",instance="b"}': "0+0x50"},
        (11, 25),
        (9, 10),
        "Streamers run, the queue has room, and no reading was taken from the source for ten minutes.",
        {"namespace": "a"},
        ("TelemetryRedisAway",),
        "another namespace's Redis is none of its business",
    ),
    quiet("TelemetryNothingRead", "the queue is full", {READ: "5+0x50"} | FULL, 25,
          beside=("TelemetryQueueNearlyFull",)),
    quiet("TelemetryNothingRead", "Redis is away", {READ: "5+0x50", 'telemetry_redis_up{instance="a"}': "0+0x50"}, 25,
          beside=("TelemetryRedisAway",)),
    quiet("TelemetryNothingRead", "the database is away",
          {READ: "5+0x50", 'telemetry_database_up{instance="a"}': "0+0x50"}, 25, beside=("TelemetryDatabaseAway",)),
    Case(
        "TelemetryRowsRejected",
        kept(stored="0+95x90", blank="0+3x90", rejected="0+2x20 40+0x70"),
        (3, 20, 40),
        (2, 75),
        "2% of the last hour's readings cannot be used and are kept with their reason.",
        {"namespace": "a"},
    ),
    Case(
        "TelemetryRowsRejected",
        kept(stored="0+0x3 470+0x70", blank="0+0x73", rejected="0+0x3 2000+0x70"),
        (6, 20, 60),
        (3, 5, 66),
        "80.97% of the last hour's readings cannot be used and are kept with their reason.",
        {"namespace": "a"},
        title="a whole file that came within one scrape",
    ),
    quiet("TelemetryRowsRejected", "one of a hundred", kept(stored="0+98x60", blank="0+1x60", rejected="0+1x60")),
    Case(
        "TelemetryNotReady",
        {'telemetry_collector_ready{instance="c",check="database"}': "0+0x15 1+0x9"},
        (10, 15),
        (9, 16),
        "c is not ready: its check database has failed for ten minutes.",
        {"instance": "c", "check": "database"},
    ),
    Case(
        "TelemetryApiErrors",
        {
            f'{ASKED}{{{ROUTE},status="5xx"}}': "0+6x20 120+5x20",
            f'{ASKED}{{{ROUTE},status="2xx"}}': "0+94x20 1880+96x20",
            f'{ASKED}{{route="/livez",status="2xx"}}': "0+900x40",
        },
        (11, 20),
        (10, 30, 40),
        "The API answers 6% of all questions with an error of its own.",
    ),
    Case(
        "TelemetryApiConnectionsShort",
        {TIMEOUTS: "0+0x5 0+3x12 36+0x30"},
        (17, 20),
        (5, 16, 35),
        "30 questions at a got no database connection within ten minutes.",
        {"instance": "a"},
    ),
]  # fmt: skip

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
    Case("TelemetryGpuEccUncorrectable", board(ECC, "0+0x5 2+0x9 0+0x9"), (6, 15), (5, 16),
         f"{SAID}: 2 uncorrectable memory errors since its driver was loaded.", WHO),
    Case("TelemetryGpuThermalThrottling", board(HEAT, "0+3600000000x30 108000000000+0x10"), (10, 30), (9, 36),
         f"{SAID} is slowed down by heat 6% of the time.", WHO),
    Case("TelemetryGpuThermalThrottling", board(REASONS, "1+0x5 64+0x9 1+0x10"), (12, 15), (5, 10, 24),
         f"{SAID} is slowed down by heat 100% of the time.", WHO, title="told by reasons alone"),
    quiet("TelemetryGpuThermalThrottling", "a share of exactly 5 %", board(HEAT, "0+3000000000x50")),
    quiet("TelemetryGpuThermalThrottling", "other reasons", reasons(0, 1, 4, 8, 16, 128, 256)),
    Case("TelemetryGpuPowerThrottling", board(POWER, "0+36000000000x40 1440000000000+0x10"), (35, 40), (34, 45),
         f"{SAID} is slowed down by its power limit 60% of the time.", WHO),
    Case("TelemetryGpuPowerThrottling", board(REASONS, "129+0x40 4+0x10"), (31, 40), (29, 46),
         f"{SAID} is slowed down by its power limit 100% of the time.", WHO, title="told by the power brake alone"),
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
    quiet("TelemetryGpuMissing", "silent for five minutes, again and again",
          LIVE | seen("node-1", 3, "0+0x5 300+0x5 600+0x5 900+0x5 1200+0x5 1500+0x30"), 5, 15, 25),
    Case("TelemetryHostStale", LIVE | seen("node-7", 3, "0+60x5 300+0x24 1860+60x29"), (16, 30), (10, 15, 31),
         "node-7 was last heard of 11m 0s ago; other hosts go on.", {"Hostname": "node-7"}),
    quiet("TelemetryHostStale", "nothing is heard of anybody",
          seen("node-1", 0, STOPS) | seen("node-7", 3, "0+60x4 240+0x55")),
    quiet("TelemetryHostStale", "a GPU of no host", LIVE | seen("", 3, STOPS, "GPU-helm-test")),
    quiet("TelemetryGpuMissing", "a GPU of no host", LIVE | seen("", 3, STOPS, "a") | seen("", 0, "0+60x60", "b")),
    Case("TelemetryGpuSeriesCut",
         {f'{SERIES}{{state="cut",instance="a"}}': "9+0x15 0+0x9", f'{SERIES}{{state="stale"}}': "9+0x30"},
         (10, 15), (9, 16), "9 series are beyond the most that /metrics/gpus shows: alerts do not see them.",
         {"state": "cut"}),
]  # fmt: skip

CASES = [*QUEUE, *WAY, *ENDS, *GPU]
