"""Dates of messages, as clients wrote them over the decades."""

import pytest

from mstore.mail.date import SentDate, format_date, format_internal_date, parse_date, parse_sent_date

MOMENT = 837595405  # 17 Jul 1996 09:23:25 UTC


@pytest.mark.parametrize(
    "value",
    [
        b"Wed, 17 Jul 1996 02:23:25 -0700",
        b"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)",
        b"17 Jul 1996 09:23:25 GMT",
        b"17 jul 1996 09:23:25",
        b"Wed, 17 Jul 96 09:23:25 UT",
        b"Wed,17-Jul-96 09:23:25 Z",
        b"Wed (a day), 17 (of) July 1996 02:23:25 PDT",
        b"Wednesday, 17 July 1996 04:23:25 EST",
        b"Wed, 17 Jul 1996 9.23.25 +00:00",
        b"Wed Jul 17 09:23:25 1996",
        b"Wed Jul 17 02:23:25 PDT 1996",
        b"Jul 17 02:23:25 1996 -0700",
        b"1996-07-17T09:23:25Z",
        b"1996-07-17 11:23:25.5 +02:00",
        b"Wed, 17 Jul 1996 09:23:25 GMT+0000",
    ],
)
def test_one_moment_in_many_forms(value: bytes) -> None:
    assert parse_date(value) == MOMENT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1 Jan 1970", 0),
        (b"Thu, 1 Jan 1970 00:00 +0000", 0),
        (b"1 Jan 49 00:00:00 +0000", 2493072000),
        (b"1 Jan 50 00:00:00 +0000", -631152000),
        (b"1 Jan 100 00:00:00 +0000", 946684800),
        (b"31 Dec 1998 23:59:60 +0000", 915148800),
        (b"1 Jan 1970 00:00:00 +9999", 0),
    ],
)
def test_short_years_and_odd_times(value: bytes, seconds: int) -> None:
    """RFC 5322 §4.3."""
    assert parse_date(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        b"32 Jan 2020 00:00:00 +0000",
        b"30 Feb 2020 00:00",
        b"1 Foo 2020",
        b"1 Jan 2020 25:00",
        b"1 Jan 2020 00:60",
        b"1 Jan 0000 00:00:00 +0000",
        b" " * 100_000,
        b"(" * 100_000,
        b"\0\xff",
    ],
)
def test_no_date(value: bytes) -> None:
    assert parse_date(value) is None


def test_the_zone_keeps_the_day_as_written() -> None:
    sent = parse_sent_date(b"Sun, 25 Mar 2007 00:30:00 +0300")
    assert sent == SentDate(1174771800, 10800)
    assert format_date(*sent) == b"Sun, 25 Mar 2007 00:30:00 +0300"


def test_formats_read_back() -> None:
    assert format_internal_date(MOMENT, -25200) == b"17-Jul-1996 02:23:25 -0700"
    assert format_internal_date(0) == b" 1-Jan-1970 00:00:00 +0000"
    assert format_date(MOMENT) == b"Wed, 17 Jul 1996 09:23:25 +0000"
    assert parse_date(format_date(MOMENT, 19800)) == MOMENT
    assert format_internal_date(-(1 << 63)).startswith(b" 1-Jan-0001 ")
    assert format_date(1 << 62).startswith(b"Fri, 31 Dec 9999 ")
