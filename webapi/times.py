"""Times as people write them, and as answers show them. All inside is µs since 1970.

What does not live here: which parameter is which (`schemas`), ranges in SQL (`telemetry.store`).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from telemetry.block import MAX_TIME, MIN_TIME

EXAMPLE = "2025-07-18T20:42:34Z"
FORMS = f"RFC 3339 with an offset ({EXAMPLE}), unix seconds or milliseconds (1752871354), or now-15m"

RFC3339 = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d{1,30})?"
    r"([Zz]|[+ -]([01]\d|2[0-3]):[0-5]\d)$"
)
UNIX = r"^-?\d{1,18}(\.\d{1,30})?$"
NOW = r"^now(-\d{1,9}(ms|s|m|h|d|w))?$"
NAIVE = r"^\d{4}-\d\d?-\d\d?([Tt ]\d\d?:\d\d(:\d\d(\.\d+)?)?)?$"

_MILLISECONDS_FROM = 10**11
_UNITS = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3_600 * 10**6, "d": 86_400 * 10**6, "w": 604_800 * 10**6}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadTime(ValueError):
    """Raised when a text is no time; says why and what would be one."""


@dataclass(frozen=True)
class Moment:
    """An instant (µs since 1970), or one so many µs before whatever now is."""

    micros: int
    before_now: bool = False

    def at(self, now: int) -> int:
        """The instant, when now is `now`; years 1 to 9999."""
        return _clamp(now - self.micros if self.before_now else self.micros)


def parse(text: str) -> Moment:
    """The moment that a text names. A + that arrived as a space is taken for one; beyond µs is cut off."""
    text = text.strip()
    if re.match(UNIX, text, re.ASCII):
        return Moment(_clamp(_unix(text)))
    if re.match(NOW, text, re.ASCII):
        return Moment(_back(text.removeprefix("now")), before_now=True)
    if re.match(RFC3339, text, re.ASCII):
        return Moment(_clamp(_rfc3339(text)))
    if re.match(NAIVE, text, re.ASCII):
        raise BadTime(f"has no UTC offset, so it is another instant in each time zone; write {EXAMPLE} or ..+02:00")
    raise BadTime(f"is no time; write {FORMS}")


def now_micros() -> int:
    """Now."""
    return micros(datetime.now(UTC))


def micros(moment: datetime) -> int:
    """µs since 1970 of an aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def rfc3339(moment: datetime | None) -> str | None:
    """How answers show a time: UTC, microseconds, Z."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _unix(text: str) -> int:
    """From 1e11 on milliseconds (1973 and later), below that seconds (until the year 5138)."""
    whole, _, fraction = text.lstrip("-").partition(".")
    digits = int(fraction[:6].ljust(6, "0"))
    value = int(whole) * 1_000 + digits // 1_000 if int(whole) >= _MILLISECONDS_FROM else int(whole) * 10**6 + digits
    return -value if text.startswith("-") else value


def _back(text: str) -> int:
    number = text.lstrip("-").rstrip("mshdw")
    return int(number) * _UNITS[text.lstrip("-0123456789")] if number else 0


def _rfc3339(text: str) -> int:
    year, date, clock = int(text[:4]), text[5:10], text[11:19]
    month, day = map(int, date.split("-"))
    hour, minute, second = map(int, clock.split(":"))
    fraction, offset = re.split(r"(?=[Zz+ -])", text[19:], maxsplit=1)
    try:
        days = (datetime(year or 4, month, day, tzinfo=UTC) - _EPOCH).days
    except ValueError:
        raise BadTime(f"names a day that does not exist: {text[:10]}") from None
    if not year:
        return MIN_TIME
    local = ((days * 24 + hour) * 60 + minute) * 60 + second - _offset(offset)
    return local * 10**6 + int(fraction[1:7].ljust(6, "0"))


def _offset(text: str) -> int:
    """Seconds east of UTC."""
    if text in "Zz":
        return 0
    seconds = int(text[1:3]) * 3_600 + int(text[4:6]) * 60
    return -seconds if text[0] == "-" else seconds


def _clamp(value: int) -> int:
    return min(max(value, MIN_TIME), MAX_TIME)
