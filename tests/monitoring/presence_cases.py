"""What the alerts of absence are shown: roles that go, and readings that grow old. The others: `alert_cases`."""

from __future__ import annotations

from tests.monitoring.alert_cases import (
    ASKED,
    PLACE,
    ROUTE,
    SAID,
    SEEN,
    STOPS,
    WHO,
    Case,
    board,
    quiet,
    store,
)
from tests.monitoring.gpu_cases import ECC, XID

__all__ = ["GONE_FOR_A_WEEK", "PRESENCE", "pods"]


def pods(role: str, namespace: str = "a", **values: str) -> dict[str, str]:
    """Pods of a role by their name."""
    return {
        f'telemetry_{role}_build_info{{version="1",namespace="{namespace}",instance="{pod}",pod="{pod}"}}': there
        for pod, there in values.items()
    }


def ahead(pod: str, values: str) -> dict[str, str]:
    """GPUs whose newest reading is of the future, as an API pod counts them."""
    return {f'telemetry_store_gpus_ahead{{instance="{pod}",pod="{pod}"}}': values}


OF_A = {"namespace": "a"}
ALL_GONE = {"p": "1+0x10 stale", "q": "1+0x10 stale", "anew": "_x29 1+0x20"}


def heard(namespace: str, host: str, gpu: int, values: str) -> dict[str, str]:
    """When a board of one of several pipelines was last heard of."""
    return {f'{SEEN}{{namespace="{namespace}",Hostname="{host}",gpu="{gpu}",instance="a"}}': values}


UNREAD_BY = 'telemetry_gpus_up{namespace="a",instance="telemetry-api"}'
UNREAD = "The newest values of the GPUs have not been read for five minutes: alerts about them are silent."


def page(namespace: str, tells: str, up: str) -> dict[str, str]:
    """What /metrics/gpus tells of itself, and whether it was scraped, as the chart's target has it."""
    target = f'namespace="{namespace}",instance="telemetry-api"'
    return {f"telemetry_gpus_up{{{target}}}": tells, f'up{{{target},metrics_path="/metrics/gpus"}}': up}


REMAP = "DCGM_FI_DEV_ROW_REMAP_FAILURE"
AHEAD = "301+60x60"
GOES_ON = "0+60x60"
PROD = heard("prod", "node-1", 0, GOES_ON) | heard("prod", "node-7", 0, GOES_ON)

PRESENCE = [
    Case(
        "TelemetryApiAbsent",
        # that targets are known and do not answer makes no difference: their series end all the same
        pods("api", **ALL_GONE) | pods("api", "b", p="1+0x60") | {'up{namespace="a",pod="p"}': "1+0x10 0+0x60"},
        (16, 28, 31),
        (10, 15, 32),
        "No API pod was there to be scraped for five minutes: queue, database and GPUs are watched by nobody.",
        OF_A,
    ),
    quiet("TelemetryApiAbsent", "a pod of several is left, and one takes the place of another",
          pods("api", p="1+0x10 stale", q="1+0x30 stale", r="_x30 1+0x20"), 16, 31, 45),
    Case(
        "TelemetryStreamerAbsent",
        pods("streamer", **ALL_GONE) | pods("streamer", "b", p="1+0x60"),
        (16, 28, 31),
        (10, 15, 32),
        "No streamer was there to be scraped for five minutes: nothing is read.",
        OF_A,
    ),
    Case("TelemetryStreamerAbsent",
         pods("streamer", p="1 stale _ _ _ " * 8, q="1 stale _ _ _ " * 8) | pods("streamer", "b", p="1+0x40"),
         (5, 21, 32, 39), (4,), "No streamer was there to be scraped for five minutes: nothing is read.", OF_A,
         title="two crash again and again"),
    quiet("TelemetryStreamerAbsent", "one follows the other, again and again", {
        name: told for n in range(8) for name, told in pods("streamer", **{f"p{n}": f"_x{7 * n} 1+0x6 stale"}).items()},
        5, 9, 20, 33, 40),
    Case(
        "TelemetryReadingsOld",
        store(newest_reading_age_seconds="301+60x9 300+0x9"),
        (5, 9),
        (4, 10),
        "The newest reading of all GPUs is 10m 1s old.",
    ),
    Case("TelemetryClockAhead", ahead("a", "0+0x5 2+0x15 0+0x9") | ahead("b", "0+0x30"), (16, 21), (15, 22),
         "2 GPUs have readings that are dated more than five minutes ahead: nobody sees if they fall silent."),
    Case("TelemetryReadingsOld", store(newest_reading_age_seconds="604380+60x30"), (5, 6), (4, 7),
         "The newest reading of all GPUs is 6d 23h 58m 0s old.", title="for a week"),
    quiet("TelemetryReadingsOld", "an export of last year, or a clock that is ahead",
          store(newest_reading_age_seconds="604800+60x30") | {
              'telemetry_store_newest_reading_age_seconds{namespace="b"}': "-900+0x30"}),
    Case("TelemetryGpusUnread",
         {f'telemetry_gpus_up{{namespace="a",instance="{pod}"}}': "1+0x3 0+0x9 1+0x9" for pod in ("a", "b")}
         | {'telemetry_database_up{namespace="a",instance="a"}': "1+0x22",
            'telemetry_gpus_up{namespace="b",instance="a"}': "1+0x22"}, (9, 12), (8, 14), UNREAD, OF_A),
    Case("TelemetryGpusUnread",
         pods("api", p="1+0x60") | page("a", "1+0x10 stale", "1+0x10 0+0x49") | page("b", "1+0x60", "1+0x60"),
         (16, 60), (10, 15), UNREAD, OF_A, title="it was scraped, and is refused"),
    Case("TelemetryGpusUnread", pods("api", p="1+0x20") | page("a", "_x20", "0+0x20"), (8, 20), (7,), UNREAD, OF_A,
         title="it never was scraped: the token is wrong from the first"),
    Case("TelemetryGpusUnread", pods("api", p="1+0x60") | {UNREAD_BY: "1+0x10 stale _x29 1+0x20"}, (16, 43), (15, 44),
         UNREAD, OF_A, title="its target is gone"),
    quiet("TelemetryGpusUnread", "one of two pods is slow, and the database answers",
          {'telemetry_gpus_up{instance="a"}': "0+0x40", 'telemetry_gpus_up{instance="b"}': "1+0x40",
           'telemetry_database_up{instance="a"}': "1+0x40"}),
    quiet("TelemetryGpusUnread", "the API is gone, which says more",
          pods("api", p="1+0x10 stale") | page("a", "1+0x10 stale", "1+0x10 stale"), 16, 40,
          beside=("TelemetryApiAbsent",)),
    *(Case(name, board(metric, f"0+0x5 {value}+0x3 stale"), (6, 9, 20, 23), (5, 26), f"{SAID}: {says}", WHO | xid,
           title="the board falls silent")
      for name, metric, value, says, xid in (
          ("TelemetryGpuXidCritical", XID, 79, "XID 79, GPU has fallen off the bus.", {"xid": "79"}),
          ("TelemetryGpuEccUncorrectable", ECC, 2, "2 uncorrectable memory errors since its driver was loaded.", {}),
          ("TelemetryGpuRowRemapFailed", REMAP, 1, "memory rows could not be remapped.", {}))),
    quiet("TelemetryApiErrors", "probes alone fail", {
        f'{ASKED}{{route="/readyz",status="5xx"}}': "0+9x40", f'{ASKED}{{route="/livez",status="2xx"}}': "0+9x40",
        f'{ASKED}{{{ROUTE},status="2xx"}}': "0+9x40"}, 12, 30),
    quiet("TelemetryHostStale", "another pipeline was stopped", PROD | heard("dev", "node-2", 0, STOPS), 16, 40),
    quiet("TelemetryGpuMissing", "another pipeline, that was stopped, had a GPU of the same host",
          PROD | heard("dev", "node-7", 3, STOPS), 16, 40),
    quiet("TelemetryHostStale", "nothing is heard of anybody, and one clock is ahead",
          heard("prod", "node-2", 0, STOPS) | heard("prod", "node-1", 0, AHEAD), 16, 40),
    quiet("TelemetryGpuMissing", "its host has no other sign of life than a clock that is ahead",
          heard("prod", "node-1", 0, GOES_ON) | heard("prod", "node-7", 3, STOPS) | heard("prod", "node-7", 0, AHEAD),
          16, 40, beside=("TelemetryHostStale",)),
    Case("TelemetryGpuMissing", PROD | heard("prod", "node-7", 3, STOPS) | heard("prod", "node-9", 0, AHEAD),
         (16, 40), (10, 15), "node-7, GPU 3 () was last heard of 11m 0s ago; its host goes on.",
         {"namespace": "prod", **PLACE}, title="beside a clock that is ahead"),
    Case("TelemetryHostStale", PROD | heard("prod", "node-8", 0, STOPS) | heard("dev", "node-8", 0, GOES_ON), (16, 40),
         (10, 15), "node-8 was last heard of 11m 0s ago; other hosts go on.",
         {"namespace": "prod", "Hostname": "node-8"}, title="in one of two pipelines"),
    Case("TelemetryGpuMissing", PROD | heard("prod", "node-7", 3, STOPS) | heard("dev", "node-7", 3, GOES_ON), (16, 40),
         (10, 15), "node-7, GPU 3 () was last heard of 11m 0s ago; its host goes on.", {"namespace": "prod", **PLACE},
         title="in one of two pipelines"),
]  # fmt: skip

GONE_FOR_A_WEEK = {
    **pods("api", p="1 stale"),
    **pods("streamer", p="1 stale"),
}
"""Scraped once in twelve hours, and never again."""
