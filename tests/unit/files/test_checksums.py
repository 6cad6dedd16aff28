from __future__ import annotations

import random
import zlib

import numpy as np
import pytest

from mstore.files.checksums import crc32_added, crc32_each


@pytest.mark.parametrize("length", [1, 7, 56])
def test_each_checksum_is_that_of_its_row(length: int) -> None:
    chance = random.Random(length)
    rows = [bytes(length), b"\xff" * length, *(chance.randbytes(length) for _ in range(200))]
    rows += [bytes([value]) + bytes(length - 1) for value in range(256)]
    pieces = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), length)
    assert crc32_each(pieces).tolist() == [zlib.crc32(row) for row in rows]


def test_rows_may_be_part_of_wider_ones() -> None:
    wide = np.frombuffer(random.Random(1).randbytes(64 * 9), np.uint8).reshape(9, 64)
    assert crc32_each(wide[:, 8:]).tolist() == [zlib.crc32(row[8:].tobytes()) for row in wide]


def test_what_a_part_adds_makes_the_checksum_of_the_whole() -> None:
    chance = random.Random(2)
    parts = [bytes(4), b"\xff" * 4, *(chance.randbytes(4) for _ in range(50))]
    rests = [(chance.randbytes(20), chance.randbytes(32)) for _ in parts]
    added = crc32_added(np.frombuffer(b"".join(parts), np.uint8).reshape(-1, 4), 20, 56)
    for part, (before, behind), more in zip(parts, rests, added.tolist(), strict=True):
        assert zlib.crc32(before + bytes(4) + behind) ^ more == zlib.crc32(before + part + behind)
