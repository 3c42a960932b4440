"""Stop, signals, backoff: what cuts waiting short."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from telemetry.runtime import Backoff, Stop, SystemClock
from tests.fixtures.clock import ManualClock

SIGNALLED = """
import os, signal, sys
from telemetry.runtime import Stop, stop_on_signals
stop = Stop()
stop_on_signals(stop)
os.kill(os.getpid(), signal.SIGTERM)
assert stop.wait(60), "the signal did not end the wait"
print(stop.reason, flush=True)
if "twice" in sys.argv:
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_the_first_reason_stays() -> None:
    stop = Stop()
    assert not stop.wait(0)
    stop.set("first")
    stop.set("second")
    assert stop.is_set()
    assert stop.reason == "first"


def test_every_waiter_is_woken_by_one_stop() -> None:
    stop = Stop()
    woken: list[bool] = []
    waiters = [threading.Thread(target=lambda: woken.append(stop.wait(60))) for _ in range(8)]
    for waiter in waiters:
        waiter.start()
    stop.set("done")
    for waiter in waiters:
        waiter.join(30)
    assert woken == [True] * 8


def test_waiting_gives_false_when_the_time_is_over() -> None:
    stop = Stop()
    assert not stop.wait(0.001)
    assert not stop.wait(-5)
    assert not SystemClock().sleep(0.001, stop)


def test_threads_that_set_at_the_same_moment_do_not_disturb_each_other() -> None:
    for _ in range(50):
        stop = Stop()
        barrier = threading.Barrier(4)

        def race(stop: Stop = stop, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            stop.set("race")
            assert stop.wait(30)

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert stop.wait(0)


@pytest.mark.parametrize(("argument", "code"), [("once", 0), ("twice", 128 + 15)])
def test_one_signal_sets_the_stop_and_a_second_ends_the_process(argument: str, code: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SIGNALLED, argument], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == code, ran.stderr
    assert ran.stdout == "received SIGTERM\n"


def test_backoff_grows_to_its_cap_and_starts_over_after_a_success() -> None:
    clock = ManualClock()
    backoff = Backoff(first=1, cap=5, clock=clock, uniform=lambda low, high: high)
    for _ in range(5):
        assert not backoff.wait(Stop())
    assert clock.slept == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next_delay() == 1


def test_backoff_jitters_over_the_whole_range() -> None:
    backoff = Backoff(first=1, cap=1)
    delays = [backoff.next_delay() for _ in range(500)]
    assert min(delays) < 0.1
    assert max(delays) > 0.9
    assert all(0 <= delay <= 1 for delay in delays)


def test_a_stop_cuts_a_backoff_short() -> None:
    stop = Stop()
    stop.set()
    assert Backoff(first=3600, cap=3600).wait(stop)
