"""Numbers and dates as columns of text equal what Python writes one by one."""

import numpy as np
import pytest

from mstore.imap.render.columns import (
    decimal_groups,
    format_date_time,
    format_date_times,
    format_decimals,
    join_decimals,
)


def decimals(values: "np.ndarray[tuple[int], np.dtype[np.uint32]]") -> list[bytes]:
    parts = format_decimals(values, decimal_groups(int(values.max())))
    return [b"".join(part.tobytes() for part in row).replace(b"\0", b"") for row in zip(*parts, strict=True)]


@pytest.mark.parametrize("dtype", [np.uint32, np.int64])
@pytest.mark.parametrize("top", [0, 9, 9_999, 10_000, 99_999_999, 100_000_000, 2**32 - 1])
def test_decimals(dtype: type, top: int) -> None:
    edges = (0, 10, 100, 1000, 10**4, 10**7, 10**8, 10**9, top)
    values = sorted({edge + step for edge in edges for step in (-1, 0, 1) if 0 <= edge + step <= top})
    assert decimals(np.array(values, dtype=dtype)) == [b"%d" % value for value in values]


@pytest.mark.parametrize("dtype", [np.uint32, np.int64])
@pytest.mark.parametrize("step", [1, 7, 1_000_003])
@pytest.mark.parametrize("ascending", [True, False])
def test_numbers_are_joined_in_any_order(dtype: type, step: int, ascending: bool) -> None:
    edges = [np.arange(max(0, edge - 50), edge + 50) * step for edge in (0, 100, 1000, 99_999)]
    values = np.unique(np.concatenate([*edges, [2**32 - 1]])).clip(max=2**32 - 1).astype(dtype)
    values = np.unique(values) if ascending else values[::-1]
    for some in (values, values[:1], values[:0], values[40:90]):
        assert join_decimals(some, b" ") == b"".join(b" %d" % value for value in some.tolist())


def test_dates_are_fixed_width_and_in_utc() -> None:
    seconds = np.array([0, 837571465, -1, 951782399, 951782400, 4102444800], np.int64)
    told = format_date_times(seconds).tolist()
    assert told == [
        b" 1-Jan-1970 00:00:00 +0000",
        b"17-Jul-1996 02:44:25 +0000",
        b"31-Dec-1969 23:59:59 +0000",
        b"28-Feb-2000 23:59:59 +0000",
        b"29-Feb-2000 00:00:00 +0000",
        b" 1-Jan-2100 00:00:00 +0000",
    ]
    assert told == [format_date_time(second) for second in seconds.tolist()]


def test_dates_that_four_digits_cannot_tell_become_the_nearest() -> None:
    seconds = np.array([-(1 << 62), 1 << 62], np.int64)
    told = [b" 1-Jan-0001 00:00:00 +0000", b"31-Dec-9999 23:59:59 +0000"]
    assert format_date_times(seconds).tolist() == told
    assert [format_date_time(second) for second in seconds.tolist()] == told
