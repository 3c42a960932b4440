"""Times as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.block import MAX_TIME, MIN_TIME
from webapi.times import BadTime, Moment, micros, parse, rfc3339

T0 = 1_752_871_354_000_000


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-07-18T20:42:34Z", T0),
        ("2025-07-18t20:42:34z", T0),
        ("2025-07-18 20:42:34Z", T0),
        ("2025-07-18T22:42:34+02:00", T0),
        ("2025-07-18T22:42:34 02:00", T0),
        ("2025-07-18T15:12:34-05:30", T0),
        ("2025-07-18T20:42:33.5Z", T0 - 500_000),
        ("2025-07-18T20:42:34.123456789Z", T0 + 123_456),
        ("2025-07-18T20:41:60Z", T0 - 34_000_000),
        ("1752871354", T0),
        (" 1752871354 ", T0),
        ("1752871354.25", T0 + 250_000),
        ("1752871354000", T0),
        ("1752871354000.5", T0 + 500),
        ("-1", -1_000_000),
        ("0001-01-01T00:00:00+14:00", MIN_TIME),
        ("0000-01-01T00:00:00Z", MIN_TIME),
        ("9999-12-31T23:59:59.999999-14:00", MAX_TIME),
        ("99999999999999999", MAX_TIME),
        ("-99999999999999999", MIN_TIME),
    ],
)
def test_each_form_names_the_instant(text: str, instant: int) -> None:
    assert parse(text) == Moment(instant)


@pytest.mark.parametrize(
    ("text", "back"),
    [("now", 0), ("now-15m", 900), ("now-90s", 90), ("now-2h", 7_200), ("now-1d", 86_400), ("now-1w", 604_800)],
)
def test_a_time_before_now_is_counted_from_now(text: str, back: int) -> None:
    assert parse(text).at(T0) == T0 - back * 1_000_000


def test_a_time_long_before_now_is_the_first_there_is() -> None:
    assert parse("now-999999999w").at(T0) == MIN_TIME


@pytest.mark.parametrize("text", ["2025-07-18", "2025-07-18T20:42:34", "2025-07-18 20:42", "2025-7-1"])
def test_a_time_without_offset_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(BadTime, match="has no UTC offset"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "now+1h",
        "now-1y",
        "now-",
        "2025-13-01T00:00:00Z",
        "2025-07-18T24:00:00Z",
        "1e9",
        "٣",
        "1,5",
        "\0",
    ],
)
def test_what_is_no_time_is_told_what_would_be(text: str) -> None:
    with pytest.raises(BadTime, match=r"is no time; write RFC 3339 .* now-15m"):
        parse(text)


def test_a_day_that_does_not_exist_is_named() -> None:
    with pytest.raises(BadTime, match="2025-02-30"):
        parse("2025-02-30T00:00:00Z")


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)),
    st.integers(-14 * 60, 14 * 60),
)
def test_every_instant_in_every_offset_is_read_as_what_it_is(moment: datetime, offset: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert parse(aware.isoformat()) == Moment(micros(aware))
    assert parse(rfc3339(aware) or "") == Moment(micros(aware))
    assert rfc3339(aware) == aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
