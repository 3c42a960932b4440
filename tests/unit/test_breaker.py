"""The rule of the flood breaker, with time in the test's hand."""

import logging

import pytest

from telemetry.broker import FloodBreaker
from tests.fixtures.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> FloodBreaker:
    return FloodBreaker(clock=clock)


def refuse(breaker: FloodBreaker, times: int) -> None:
    for number in range(times):
        breaker.refused(f"reason\n{number}")


def test_a_few_bad_messages_and_nothing_else_are_no_flood(breaker: FloodBreaker) -> None:
    refuse(breaker, 10)
    assert not breaker.flooded
    refuse(breaker, 1)
    assert breaker.flooded


def test_good_messages_in_between_show_that_the_bad_ones_are_to_blame(breaker: FloodBreaker) -> None:
    for _ in range(100):
        refuse(breaker, 2)
        breaker.done()
        assert not breaker.flooded


def test_a_flood_begins_when_three_quarters_of_the_last_twenty_are_refused(breaker: FloodBreaker) -> None:
    breaker.done(1_000)
    refuse(breaker, 14)
    assert not breaker.flooded
    refuse(breaker, 1)
    assert breaker.flooded


def test_it_opens_and_closes_once_and_says_so_once(breaker: FloodBreaker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    breaker.trip()
    assert breaker.why == ""
    refuse(breaker, 12)
    assert breaker.why == "", "who looks further first may find that it is none"
    for _ in range(3):
        breaker.trip()
        assert breaker.why == "12 of the last 12 messages were refused, the last one: reason 11"
    breaker.mended()
    assert (breaker.why, breaker.flooded, breaker.blank) == ("", False, True)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_enough_good_messages_behind_the_bad_ones_end_it(breaker: FloodBreaker) -> None:
    refuse(breaker, 16)
    breaker.trip()
    breaker.done(5)
    assert breaker.why
    breaker.done(1)
    assert breaker.why == ""
    assert not breaker.blank


def test_what_was_long_ago_says_nothing_of_now(breaker: FloodBreaker, clock: ManualClock) -> None:
    refuse(breaker, 12)
    breaker.trip()
    clock.pass_(601)
    assert (breaker.why, breaker.flooded, breaker.blank) == ("", False, True)


def test_what_goes_on_grows_no_older(breaker: FloodBreaker, clock: ManualClock) -> None:
    refuse(breaker, 12)
    breaker.trip()
    for _ in range(2):
        clock.pass_(400)
        breaker.goes_on()
    assert breaker.why
    clock.pass_(601)
    breaker.goes_on()
    assert breaker.why == "", "what has ended does not begin again"


def test_a_share_of_one_means_never() -> None:
    breaker = FloodBreaker(share=1)
    refuse(breaker, 100)
    breaker.trip()
    assert not breaker.flooded
    assert breaker.why == ""
