"""Dates on the wire: ``date`` of SEARCH and ``date-time`` of APPEND and INTERNALDATE (RFC 3501 §9)."""

from __future__ import annotations

import calendar
import datetime
import re

from mstore.base.errors import Invalid

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name.upper().encode(): number for number, name in enumerate(_MONTHS, 1)}
_DATE = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_DATE_TIME = re.compile(
    rb"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"
)


def parse_date(text: bytes) -> datetime.date:
    """``1-Feb-1994``, without quotes.

    Raises: Invalid.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise Invalid("not a date")
    return _make_date(match[1], match[2], match[3])


def parse_date_time(text: bytes) -> int:
    """``17-Jul-1996 02:44:25 -0700``, without quotes, to seconds since 1970 UTC.

    Raises: Invalid for anything that is not exactly that, or no date of the calendar.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise Invalid("not a date-time")
    day, month, year, hour, minute, second, sign, zone_hour, zone_minute = match.groups()
    date = _make_date(day.strip(), month, year)
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60 or int(zone_hour) > 23 or int(zone_minute) > 59:
        raise Invalid("not a time of the day")
    seconds = calendar.timegm((date.year, date.month, date.day, int(hour), int(minute), int(second)))
    zone_s = (int(zone_hour) * 60 + int(zone_minute)) * 60
    return seconds - zone_s if sign == b"+" else seconds + zone_s


def _make_date(day: bytes, month: bytes, year: bytes) -> datetime.date:
    number = _MONTH_NUMBERS.get(month.upper())
    if number is None:
        raise Invalid("no such month")
    try:
        return datetime.date(int(year), number, int(day))
    except ValueError as error:
        raise Invalid("no such day in the calendar") from error
