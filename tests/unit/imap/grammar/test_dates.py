"""Dates and date-times on the wire."""

import datetime

import pytest

from mstore.base.errors import Invalid
from mstore.imap.grammar.dates import parse_date, parse_date_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"17-Jul-1996 02:44:25 -0700", 837596665),
        (b" 1-jan-1970 00:00:00 +0000", 0),
        (b"01-JAN-1970 01:00:00 +0100", 0),
        (b"31-Dec-1969 23:59:59 +0000", -1),
        (b"29-Feb-2000 12:00:00 +1345", 951776100),
    ],
)
def test_date_times(text: bytes, seconds: int) -> None:
    assert parse_date_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        b"1-Jan-1970 00:00:00 +0000",
        b"17-Jul-1996 02:44:25",
        b"17-Jul-1996 02:44:25 GMT",
        b"17-Jul-1996 24:00:00 +0000",
        b"17-Jul-1996 00:60:00 +0000",
        b"17-Jul-1996 00:00:61 +0000",
        b"17-Jul-1996 00:00:00 +2400",
        b"17-Jul-1996 00:00:00 +0060",
        b"30-Feb-1996 00:00:00 +0000",
        b"29-Feb-1997 00:00:00 +0000",
        b"00-Jul-1996 00:00:00 +0000",
        b"17-Foo-1996 00:00:00 +0000",
        b"17-Jul-0000 00:00:00 +0000",
        b"17-Jul-1996  00:00:00 +0000",
        b"17-Jul-1996 00:00:00 +0000 ",
        b"",
    ],
)
def test_what_is_no_date_time(text: bytes) -> None:
    with pytest.raises(Invalid):
        parse_date_time(text)


def test_dates() -> None:
    assert parse_date(b"1-Feb-1994") == datetime.date(1994, 2, 1)
    assert parse_date(b"28-FEB-2100") == datetime.date(2100, 2, 28)
    for text in (b"29-Feb-2100", b"1-Feb-94", b"001-Feb-1994", b" 1-Feb-1994", b"1-2-1994", b""):
        with pytest.raises(Invalid):
            parse_date(text)
