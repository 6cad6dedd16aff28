"""Columns of numbers as columns of text: the vectors beneath long FETCH answers.

Every function takes an array and gives one of the same length whose elements are fixed-width text padded with
NULs; whoever puts lines together removes all NULs at the end, in one pass. No element is touched by a Python
statement, so that 50,000 messages cost a few milliseconds.
"""

from __future__ import annotations

import itertools
import time
from functools import cache, lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
TEN_THOUSAND = 10_000
FEW_NUMBERS = 256
DAY_S = 86_400
# The years that four digits can tell: 0001-01-01 to 9999-12-31.
FIRST_DATE_S = -62_135_596_800
LAST_DATE_S = 253_402_300_799
MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
DATE_TIME = np.dtype(
    {
        "names": ["day", "month", "year", "hour", "minute", "second"],
        "formats": ["<u2", "S3", "<u4", "<u2", "<u2", "<u2"],
        "offsets": [0, 3, 7, 12, 15, 18],
        "itemsize": 26,
    }
)
DATE_TIME_TEMPLATE = b"DD-MMM-YYYY hh:mm:ss +0000"


def _frozen(array: Array) -> Array:
    array.setflags(write=False)
    return array


def _digits(width: int, padding: str) -> Array:
    """Decimal texts of 0, 1, 2, … in ``width`` octets, each seen as one little-endian integer."""
    text = "".join(str(number).rjust(width, padding) for number in range(10**width)).encode("ascii")
    return _frozen(np.frombuffer(text, dtype=f"<u{width}"))


FOUR_FULL = _digits(4, "0")
FOUR_LEADING = _digits(4, "\0")
FOUR_LEADING_OR_NOTHING = _frozen(np.concatenate((np.zeros(1, "<u4"), FOUR_LEADING[1:])))
TWO_FULL = _digits(2, "0")
POWERS_OF_TEN = _frozen(10 ** np.arange(1, 19, dtype=np.int64))
TWO_SPACED = _digits(2, " ")
MONTH_NAMES = _frozen(np.frombuffer(MONTHS, dtype="S3"))


def decimal_groups(highest: int) -> int:
    """How many groups of four digits numbers up to ``highest`` need."""
    groups = 1
    while highest >= TEN_THOUSAND:
        highest //= TEN_THOUSAND
        groups += 1
    return groups


def format_decimals(values: Array, groups: int) -> list[Array]:
    """Non-negative integers as decimal text: one array per group of four octets, most significant first."""
    if groups == 1:
        return [FOUR_LEADING[values]]
    parts: list[Array] = []
    rest = values
    for _ in range(groups - 1):
        higher = rest // TEN_THOUSAND
        low = rest - higher * TEN_THOUSAND
        leading = _inner(low, rest) if parts else FOUR_LEADING[low]
        parts.append(np.where(higher > 0, FOUR_FULL[low], leading))
        rest = higher
    parts.append(FOUR_LEADING_OR_NOTHING[rest])
    parts.reverse()
    return parts


def _inner(low: Array, rest: Array) -> Array:
    """A middle group that begins the number: its digits, or nothing when the number is shorter still."""
    return np.where(rest > 0, FOUR_LEADING[low], np.zeros(1, "<u4"))


def join_decimals(values: Array, before: bytes) -> bytes:
    """Non-negative integers as decimal text, each with ``before`` (one octet) in front of it."""
    if len(values) < FEW_NUMBERS:
        return (before + b"%d") * len(values) % tuple(values.tolist())
    if (values[1:] > values[:-1]).all():
        # As found ones do: those of one width lie together, and nothing is to be removed.
        ends = values.searchsorted(POWERS_OF_TEN).tolist()
        runs = enumerate(itertools.pairwise((0, *ends)), 1)
        return b"".join([_join_wide(values[a:b], before, width) for width, (a, b) in runs if a < b])
    parts = format_decimals(values, decimal_groups(int(values.max())))
    table = np.empty((len(values), len(parts) + 1), "<u4")
    table[:, 0] = before[0]
    for place, part in enumerate(parts, 1):
        table[:, place] = part
    return table.tobytes().translate(None, b"\0")


def _join_wide(values: Array, before: bytes, width: int) -> bytes:
    """The same of numbers that have so many digits, of which the last are written first, two by two."""
    out = np.empty(len(values), _wide(width))
    out["before"] = before[0]
    rest: Array = values.astype(np.uint32 if width < 10 else np.uint64)
    for place in range(width // 2):
        higher = rest // 100
        out[f"pair{place}"] = TWO_FULL.take(rest - higher * 100)
        rest = higher
    if width % 2:
        out["first"] = rest + 48
    return out.tobytes()


@cache
def _wide(width: int) -> np.dtype[Any]:
    """The layout of an octet and so many digits."""
    pairs = [(f"pair{place}", "<u2") for place in reversed(range(width // 2))]
    return np.dtype([("before", "u1"), *[("first", "u1")] * (width % 2), *pairs])


def format_date_time(seconds: int) -> bytes:
    """One date-time, as ``format_date_times`` gives many."""
    if not FIRST_DATE_S <= seconds <= LAST_DATE_S:
        seconds = FIRST_DATE_S if seconds < 0 else LAST_DATE_S
    day, second = divmod(seconds, DAY_S)
    return b"%b %02d:%02d:%02d +0000" % (_format_day(day), second // 3600, second // 60 % 60, second % 60)


@lru_cache(maxsize=1024)
def _format_day(day: int) -> bytes:
    """The date of a day since 1970; messages that are listed together came on few days."""
    moment = time.gmtime(day * DAY_S)
    month = MONTHS[moment.tm_mon * 3 - 3 : moment.tm_mon * 3]
    return b"%2d-%b-%04d" % (moment.tm_mday, month, moment.tm_year)


def format_date_times(seconds: Array) -> Array:
    """Seconds since 1970 as ``17-Jul-1996 02:44:25 +0000``, the day padded with a space (date-time, §9)."""
    clipped = np.clip(seconds, FIRST_DATE_S, LAST_DATE_S)
    days = clipped // DAY_S
    second_of_day = (clipped - days * DAY_S).astype(np.uint32)
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    month_numbers = months.astype(np.int64)
    years = month_numbers // 12
    out = np.frombuffer(bytearray(DATE_TIME_TEMPLATE * len(seconds)), dtype=DATE_TIME)
    out["day"] = TWO_SPACED[(dates - months).astype(np.int64) + 1]
    out["month"] = MONTH_NAMES[month_numbers - years * 12]
    out["year"] = FOUR_FULL[years + 1970]
    minutes = second_of_day // 60
    hours = minutes // 60
    out["hour"] = TWO_FULL[hours]
    out["minute"] = TWO_FULL[minutes - hours * 60]
    out["second"] = TWO_FULL[second_of_day - minutes * 60]
    return out.view("S26")
