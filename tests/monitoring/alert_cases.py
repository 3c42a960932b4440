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
NONE = "0+0x60"
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
    """Gauges of the queue from two API pods, of which the second sees nothing but the capacity: the largest counts."""
    names = {f"telemetry_queue_{name}": values for name, values in gauges.items()}
    others = {name: values if name.endswith("capacity_messages") else NONE for name, values in names.items()}
    return of_pods(names, "a") | of_pods(others, "b")


def store(**gauges: str) -> dict[str, str]:
    """Gauges of the database from two API pods, of which the second sees nothing."""
    names = {f"telemetry_store_{name}": values for name, values in gauges.items()}
    return of_pods(names, "a") | of_pods(dict.fromkeys(names, NONE), "b")


def of_pods(names: Mapping[str, str], pod: str) -> dict[str, str]:
    """The same from a pod."""
    return {f'{name}{{instance="{pod}",pod="{pod}"}}': values for name, values in names.items()}


def buckets(name: str, of: str = "", **counts: str) -> dict[str, str]:
    """A histogram's buckets, by their bound: le_2_5 is 2.5; `of` are further labels."""
    return {
        f'{name}_bucket{{{of}le="{bound[3:].replace("inf", "+Inf").replace("_", ".")}"}}': values
        for bound, values in counts.items()
    }


def kept(namespace: str = "a", **counts: str) -> dict[str, str]:
    """What became of readings, told by a collector."""
    return {
        f'telemetry_collector_rows_{name}_total{{namespace="{namespace}",instance="c"}}': values
        for name, values in counts.items()
    }


def board(metric: str, values: str, who: str = BOARD) -> dict[str, str]:
    """A metric of one board, from two API pods; to the second it is well. The worst counts."""
    return {f'{metric}{{{who},instance="{pod}",pod="{pod}"}}': told for pod, told in (("a", values), ("b", NONE))}


def seen(host: str, gpu: int, values: str, uuid: str = "") -> dict[str, str]:
    """When a board was last heard of."""
    return {f'{SEEN}{{Hostname="{host}",gpu="{gpu}",UUID="{uuid or f"{host}-{gpu}"}",instance="a"}}': values}


STOPS = "0+60x5 300+0x55"
UNSETTLED = "A block is overdue, by {} more than anything has waited in the queue: nobody publishes it."
UP = 'telemetry_database_up{{instance="{}"}}'
IN_A = 'namespace="a",'
BURSTS = " ".join(str(n // 3 * 100) for n in range(42))
FULL = queue(depth_messages="9+0x50", capacity_messages="10+0x50")
LIVE = seen("node-1", 0, "0+60x60")
LAG = "telemetry_collector_publish_to_stored_seconds"
COMMIT = "telemetry_collector_transaction_seconds"
READ = "telemetry_streamer_rows_read_total"
ASKED, ROUTE = "telemetry_api_requests_total", 'route="/api/v1/gpus"'
TIMEOUTS = 'telemetry_api_database_connection_timeouts_total{instance="a"}'

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
        {
            'telemetry_collector_breaker_open{instance="d"}': NONE,
            'telemetry_collector_breaker_open{instance="c"}': "0+0x3 1+0x9 0+0x9",
        },
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
        "TelemetryFreshnessLag",
        buckets(LAG, 'instance="c",', le_5="0+100x40", le_10="0+100x40", le_30="0+100x40", le_inf="0+100x40")
        | buckets(LAG, 'instance="d",', le_5="0+0x40", le_10="0+0x40", le_30="0+50x40", le_inf="0+50x40"),
        (11, 40),
        (10,),
        "One message of twenty takes longer than 27s from the queue to the database.",
        title="of one collector of two",
    ),
    Case(
        "TelemetryDatabaseSlow",
        buckets(COMMIT, IN_A, le_2_5="0+0x40", le_5="0+90x20 1801+95x19", le_10="0+100x40", le_inf="0+100x40")
        | buckets(COMMIT, 'namespace="b",', le_2_5="0+900x40", le_5="0+900x40", le_10="0+900x40", le_inf="0+900x40"),
        (11, 20),
        (10, 30, 40),
        "One transaction of twenty takes the database longer than 7.5s.",
        {"namespace": "a"},
    ),
    Case(
        "TelemetryDatabaseSlow",
        buckets(COMMIT, le_2_5="0+0x41", le_5="0+0x41", le_10=BURSTS, le_inf=BURSTS),
        (13, 40),
        (10,),
        "One transaction of twenty takes the database longer than 9.75s.",
        title="in bursts, every three minutes",
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
    quiet("TelemetryNothingRead", "one streamer of two stands still",
          {f'{READ}{{instance="s"}}': "5+0x50", f'{READ}{{instance="t"}}': "0+100x50"}, 15, 25, 50),
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
        "TelemetryNotReady",
        {'telemetry_streamer_ready{instance="s",check="queue"}': "0+0x15 1+0x9"},
        (10, 15),
        (9, 16),
        "s is not ready: its check queue has failed for ten minutes.",
        {"instance": "s", "check": "queue"},
        title="a streamer",
    ),
    quiet("TelemetryApiErrors", "what was asked was wrong",
          {f'{ASKED}{{{ROUTE},status="4xx"}}': "0+50x40", f'{ASKED}{{{ROUTE},status="2xx"}}': "0+50x40"}, 12, 30),
    quiet("TelemetryApiErrors", "one pod that is asked little",
          {f'{ASKED}{{{ROUTE},status="5xx",instance="a"}}': "0+1x40",
           f'{ASKED}{{{ROUTE},status="2xx",instance="b"}}': "0+99x40"}, 12, 30),
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

CASES = [*QUEUE, *WAY, *ENDS]
