"""Dates in messages: the Date field in all the forms seen in the wild, and the forms we write.

Times are whole seconds since 1970 in UTC. Parsing never raises; what is no date gives ``None``.
"""

import re
from datetime import date
from typing import NamedTuple

NO_DATE = -(1 << 63)
"""Stands in the sent date of a message that has no usable Date field."""

_MONTH_NAMES = (
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
)  # fmt: skip
_DAY_NAMES = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTH = {name.lower(): number for number, name in enumerate(_MONTH_NAMES, 1)}
_ZONE_S = {
    b"EST": -5 * 3600, b"EDT": -4 * 3600, b"CST": -6 * 3600, b"CDT": -5 * 3600, b"MST": -7 * 3600,
    b"MDT": -6 * 3600, b"PST": -8 * 3600, b"PDT": -7 * 3600, b"CET": 3600, b"CEST": 7200, b"MET": 3600,
    b"MEST": 7200, b"BST": 3600, b"WEST": 3600, b"EET": 7200, b"EEST": 10800, b"MSK": 10800, b"JST": 32400,
}  # fmt: skip
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_LENGTH_LIMIT_BYTES = 200

_TIME = rb"(\d{1,2})[:.](\d{1,2})(?:[:.](\d{1,2})(?:[.,]\d+)?)?"
_ZONE = rb"(?:GMT|UTC?)?([+-]\d{1,2}:?\d{2}|[A-Za-z]+)?"
# What nearly all messages have.
_STRICT = re.compile(
    rb"(?:[A-Za-z]{3}, )?(\d\d?) ([A-Za-z]{3}) (\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"
).match
# RFC 5322 §3.3 and §4.3, with a little more freedom in punctuation.
_DATE = re.compile(
    rb"\s*(?:[A-Za-z]+\s*[,.]?\s*)?(\d{1,2})[\s-]+([A-Za-z]{3})[A-Za-z.]*[\s,-]+(\d{2,4})"
    rb"(?:[\s,T]+" + _TIME + rb"\s*" + _ZONE + rb")?"
).match
# C's asctime(): Thu Nov 24 18:22:48 1986, with a zone before or after the year.
_ASCTIME = re.compile(
    rb"\s*(?:[A-Za-z]+[,.]?\s+)?([A-Za-z]{3})[A-Za-z]*\s+(\d{1,2}),?\s+"
    + (_TIME + rb"\s+(?:([A-Z]+)\s+)?(\d{4})\s*" + _ZONE)
).match
_ISO = re.compile(rb"\s*(\d{4})-(\d{1,2})-(\d{1,2})(?:[T\s]+" + _TIME + rb"\s*" + _ZONE + rb")?").match
_COMMENTS = re.compile(rb"\([^()]*\)")


class SentDate(NamedTuple):
    """A moment in UTC, and the zone it was written in: ``utc_s + zone_s`` falls on the day as written."""

    utc_s: int
    zone_s: int


def parse_date(value: bytes) -> int | None:
    """Seconds since 1970 of the date in a Date field (RFC 5322 §3.3)."""
    sent = parse_sent_date(value)
    return None if sent is None else sent.utc_s


def parse_sent_date(value: bytes) -> SentDate | None:
    """The date in a Date field with the zone it was written in."""
    strict = _STRICT(value)
    if strict is not None:
        day, name, year, hour, minute, second, sign, zone_hours, zone_minutes = strict.groups()
        zone_s = int(zone_hours) * 3600 + int(zone_minutes) * 60
        if sign == b"-":
            zone_s = -zone_s
        month = _MONTH.get(name.lower(), 0)
        return _moment(int(year), month, int(day), int(hour), int(minute), int(second), zone_s)
    return _parse_loose_date(value)


def _parse_loose_date(value: bytes) -> SentDate | None:
    value = value[:_LENGTH_LIMIT_BYTES]
    found = _DATE(value)
    if found is None and b"(" in value:
        value = _COMMENTS.sub(b" ", value)
        found = _DATE(value)
    if found is not None:
        day, name, year, hour, minute, second, zone = found.groups()
        month = _MONTH.get(name.lower(), 0)
    else:
        found = _ASCTIME(value)
        if found is not None:
            name, day, hour, minute, second, early_zone, year, zone = found.groups()
            zone = zone or early_zone
            month = _MONTH.get(name.lower(), 0)
        else:
            found = _ISO(value)
            if found is None:
                return None
            year, month_digits, day, hour, minute, second, zone = found.groups()
            month = int(month_digits)
    time = int(hour or 0), int(minute or 0), int(second or 0)
    return _moment(_full_year(year), month, int(day), *time, _zone_offset(zone) if zone else 0)


def _full_year(digits: bytes) -> int:
    """RFC 5322 §4.3: two digits below 50 are of this century; other short years count from 1900."""
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year


def _moment(
    year: int, month: int, day: int, hour: int, minute: int, second: int, zone_s: int
) -> SentDate | None:
    if hour > 24 or minute > 59 or second > 60:
        return None
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    if not -86400 < zone_s < 86400:
        zone_s = 0
    return SentDate(days * 86400 + hour * 3600 + minute * 60 + second - zone_s, zone_s)


def _zone_offset(zone: bytes) -> int:
    """Seconds east of UTC; unknown names and impossible offsets count as UTC (RFC 5322 §4.3)."""
    if zone[:1] not in b"+-":
        return _ZONE_S.get(zone.upper(), 0)
    digits = zone[1:].replace(b":", b"")
    offset = int(digits[:-2]) * 3600 + int(digits[-2:]) * 60
    return -offset if zone[:1] == b"-" else offset


def _calendar(seconds: int) -> tuple[date, int]:
    days, rest = divmod(seconds, 86400)
    ordinal = min(max(days + _EPOCH_DAY, 1), date.max.toordinal())
    return date.fromordinal(ordinal), rest


def format_internal_date(seconds: int, zone_s: int = 0) -> bytes:
    """``17-Jul-1996 02:44:25 +0000``, the day padded with a space (RFC 3501 §9 date-time, without quotes)."""
    day, rest = _calendar(seconds + zone_s)
    return b"%2d-%b-%04d %02d:%02d:%02d %b" % (
        day.day, _MONTH_NAMES[day.month - 1], day.year, rest // 3600, rest // 60 % 60, rest % 60,
        _format_zone(zone_s),
    )  # fmt: skip


def format_date(seconds: int, zone_s: int = 0) -> bytes:
    """``Wed, 17 Jul 1996 02:44:25 +0000`` (RFC 5322 §3.3)."""
    day, rest = _calendar(seconds + zone_s)
    return b"%b, %d %b %04d %02d:%02d:%02d %b" % (
        _DAY_NAMES[day.weekday()], day.day, _MONTH_NAMES[day.month - 1], day.year,
        rest // 3600, rest // 60 % 60, rest % 60, _format_zone(zone_s),
    )  # fmt: skip


def _format_zone(zone_s: int) -> bytes:
    minutes = abs(zone_s) // 60
    return b"%b%02d%02d" % (b"-" if zone_s < 0 else b"+", minutes // 60, minutes % 60)
