from __future__ import annotations

import numpy as np

from mstore.files.blob import Window, format_blob, read_slots, readdress

SLOTS = (b"envelope", b"", b"body" * 700, b"x")


def window(data: bytes, places: list[int], uids: list[int], version: int = 1) -> Window:
    return Window(data, np.array(places, np.int64), np.array(uids, np.uint32), version)


def test_blobs_are_found_and_cut_into_slots() -> None:
    blobs = [format_blob(uid, 1, SLOTS[: uid % 4 + 1]) for uid in (4, 5, 6)]
    assert all(len(blob) % 8 == 0 for blob in blobs)
    data = b"".join(blobs)
    places = [0, len(blobs[0]), len(blobs[0]) + len(blobs[1])]
    found = window(data, places, [4, 5, 6])
    assert found.whole.tolist() == [True] * 3
    every = np.arange(3)
    assert found.slot(0, every) == [b"envelope"] * 3
    assert found.slot(2, every) == [b"", b"", SLOTS[2]]
    assert found.slot(11, every) == [b""] * 3
    for chosen in ([0, 1, 2], [2, 0], [1]):
        cut_out = read_slots(data, [places[n] for n in chosen], [4 + n for n in chosen], 1, [2, 0, 11])
        assert cut_out == [found.slot(slot, np.array(chosen)) for slot in (2, 0, 11)]
    wanted = [format_blob(uid, 1, SLOTS[: old % 4 + 1]) for uid, old in ((1, 4), (4_000_000_000, 5), (6, 6))]
    copies, starts = found.copies(every, np.array([1, 4_000_000_000, 6], np.uint32))
    assert (bytes(copies), starts.tolist()) == (b"".join(wanted), places)
    assert found.slot(0, every) == [b"envelope"] * 3, "what may not be written to is left as it is"
    found = window(bytearray(data), places, [4, 5, 6])  # type: ignore[arg-type]
    copies, starts = found.copies(np.array([0, 2]), np.array([1, 6], np.uint32))
    assert (bytes(copies), starts.tolist()) == (wanted[0] + wanted[2], [0, len(wanted[0])])
    cut = window(data[:-8], places, [4, 5, 6])
    assert (cut.whole.tolist(), cut.within.tolist()) == ([True, True, False], [True, True, True])
    assert read_slots(data[:-8], places, [4, 5, 6], 1, [0]) is None


def test_a_blob_is_made_out_to_another_message() -> None:
    for old, new in ((4, 5), (5, 4), (1, 0xFFFFFFFE), (0xFFFFFFFE, 1), (7, 7)):
        assert readdress(format_blob(old, 1, SLOTS), new) == format_blob(new, 1, SLOTS)


def test_another_message_another_version_or_place_is_refused() -> None:
    data = format_blob(4, 1, SLOTS)
    assert window(data, [0], [4]).whole.tolist() == [True]
    assert window(data, [0], [5]).whole.tolist() == [False]
    assert window(data, [0], [4], 2).whole.tolist() == [False]
    for place in (-8, 4, 8, len(data), len(data) + 80):
        assert window(data, [place], [4]).whole.tolist() == [False]
    assert read_slots(data, [0], [4], 1, [0]) == [[SLOTS[0]]]
    assert read_slots(data, [0], [5], 1, [0]) is read_slots(data, [0], [4], 2, [0]) is None
    for place in (1, 4, 8, len(data) - 8, len(data), len(data) + 80):
        assert read_slots(data, [0, place], [4, 4], 1, [0]) is None
    assert window(b"", [0], [4]).whole.tolist() == [False]


def test_no_flipped_bit_is_overlooked() -> None:
    data = format_blob(4, 1, (b"some", b"slots"))
    for at in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        assert window(bytes(damaged), [0], [4]).whole.tolist() == [False]
        assert read_slots(damaged, [0], [4], 1, [0]) is None
