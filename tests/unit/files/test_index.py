from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mstore.base.errors import Corrupt
from mstore.files import journal as journals
from mstore.files.checkpoint import read_index, totals, write_index
from mstore.files.column import DTYPES, format_rows, rows_in_ranges
from mstore.files.index import Index
from mstore.files.layout import APPENDED, ROW, TYPE_APPENDED, TYPE_EXPUNGED
from mstore.files.segment import PACKED


def appended(uids: list[int], size: int = 10) -> tuple[int, int, bytes]:
    count = len(uids)
    if count == 1:
        payload = ROW.pack(0, 1, 2, 3, uids[0] * 100, 5, 0, 0, uids[0], size, 1, 7, -3600)
    else:
        arrays = {name: np.zeros(count, dtype) for name, dtype in DTYPES.items()}
        arrays["uid"][:] = uids
        arrays["offset"][:] = np.array(uids) * 100
        arrays["size"][:] = size
        arrays["segment"][:] = 1
        payload = format_rows(arrays)
    return TYPE_APPENDED, 0, APPENDED.pack(count) + payload


@pytest.fixture
def index() -> Index:
    index = Index(7)
    index.apply(*appended([1]), 2)
    index.apply(*appended([2, 5, 6, 9]), 3)
    index.highest_modseq = 3
    return index


def ranges(*pairs: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    array = np.array(pairs, np.uint32)
    return array[:, 0], array[:, 1]


def test_rows_in_ranges_expands_without_a_loop() -> None:
    assert rows_in_ranges(np.array([2, 5, 9]), np.array([4, 5, 10])).tolist() == [2, 3, 9]
    assert rows_in_ranges(np.array([3]), np.array([6])).tolist() == [3, 4, 5]
    assert rows_in_ranges(np.array([3]), np.array([2])).tolist() == []
    assert rows_in_ranges(np.empty(0, int), np.empty(0, int)).tolist() == []


def test_one_row_and_many_are_applied_alike(index: Index) -> None:
    assert index.columns.uid.tolist() == [1, 2, 5, 6, 9]
    assert index.columns.modseq.tolist() == [2, 3, 3, 3, 3]
    assert index.columns.sent_zone.tolist() == [-3600, 0, 0, 0, 0]
    assert (index.messages, index.unseen, index.uid_next, index.size_bytes) == (5, 5, 10, 50)
    assert (index.tail_segment, index.tail_offset) == (1, 910)
    assert index.row_of(6) == 3
    assert [index.row_of(uid) for uid in (0, 3, 10, 2**32 - 1)] == [-1] * 4


@pytest.mark.parametrize("count", [3, 50])
@pytest.mark.parametrize("reader", [None, 9])
def test_arrivals_are_applied_together_as_one_by_one(count: int, reader: int | None) -> None:
    alone, together = Index(7), Index(7)
    uids = [3 * number + 1 for number in range(count)]
    packed = [PACKED + 4 if number % 7 == 3 else 2 + number // 20 for number in range(count)]
    payloads = [
        APPENDED.pack(1) + ROW.pack(uid % 16, 1, 2, 3, uid * 100, 5, 6, 0, uid, uid + 10, segment, 7, -3600)
        for uid, segment in zip(uids, packed, strict=True)
    ]
    for index in (alone, together):
        index.apply(*appended([1]), 2)
        if reader is not None:
            index.see_as(reader, None)
    payloads, modseqs = payloads[1:], list(range(5, 4 + count))
    for payload, modseq in zip(payloads, modseqs, strict=True):
        alone.apply(TYPE_APPENDED, 0, payload, modseq)
    together.apply_arrivals(payloads, modseqs)
    for name in DTYPES:
        assert getattr(together.columns, name).tolist() == getattr(alone.columns, name).tolist()
    names = (
        "messages",
        "unseen",
        "deleted",
        "size_bytes",
        "uid_next",
        "tail_segment",
        "tail_offset",
        "version",
    )
    for name in names:
        assert getattr(together, name) == getattr(alone, name), name
    assert together.changes_since(0) == alone.changes_since(0)
    assert together.snapshot.count == alone.snapshot.count


@pytest.mark.parametrize("damage", ["uid", "count"])
def test_arrivals_that_cannot_be_ours_are_refused(index: Index, damage: str) -> None:
    uids = [20, *range(11, 30)] if damage == "uid" else range(10, 30)
    records = [appended([uid]) for uid in uids]
    payloads = [payload for _, _, payload in records]
    if damage == "count":
        payloads[9] = APPENDED.pack(2) + payloads[9][APPENDED.size :]
    with pytest.raises(Corrupt):
        index.apply_arrivals(payloads, [4] * len(payloads))


def test_ranges_touch_live_rows_only(index: Index) -> None:
    index.apply(*journals.expunged(*ranges((5, 5))), 4)
    index.apply(*journals.flagged(*ranges((1, 2), (4, 8)), 1, 0), 5)
    assert index.columns.flags.tolist() == [1, 1, 128, 1, 0]
    assert index.columns.modseq.tolist() == [5, 5, 4, 5, 3]
    index.apply(*journals.flagged_one(5, 4, 0), 6)
    index.apply(*journals.flagged_one(3, 4, 0), 6)
    index.apply(*journals.flagged_one(9, 9, 0), 6)
    assert index.columns.flags.tolist() == [1, 1, 128, 1, 9]
    for name, value in totals(index).items():
        assert getattr(index, name) == value


def test_expunging_twice_counts_once(index: Index) -> None:
    index.apply(*journals.expunged(*ranges((1, 5))), 4)
    index.apply(*journals.expunged(*ranges((1, 6))), 5)
    assert index.messages == 1
    assert index.live_rows().tolist() == [4]
    assert index.dead_bytes == 4 * (10 + 64)


def test_malformed_records_are_corrupt(index: Index) -> None:
    for record in (
        appended([9]),
        (TYPE_APPENDED, 0, b"\1"),
        (TYPE_APPENDED, 0, APPENDED.pack(500)),
        (TYPE_EXPUNGED, 0, bytes(16)),
        (99, 0, b""),
        journals.keyword_defined(11, b"gap"),
    ):
        with pytest.raises(Corrupt):
            index.apply(*record, 9)
    index.apply(99, 1, b"may be skipped", 9)
    assert index.columns.uid.tolist() == [1, 2, 5, 6, 9]


def test_keywords_are_defined_once(index: Index) -> None:
    index.apply(*journals.keyword_defined(8, b"a"), 3)
    index.apply(*journals.keyword_defined(8, b"a"), 3)
    with pytest.raises(Corrupt):
        index.apply(*journals.keyword_defined(8, b"b"), 3)
    assert index.keywords == [b"a"]


def test_what_happened_lately_is_known(index: Index) -> None:
    start = index.version
    index.apply(*journals.flagged_one(6, 1, 0), 4)
    assert index.changes_since(start) == [("F", 4, 3)]
    assert index.changes_since(index.version) == []
    for _ in range(600):
        index.apply(*journals.flagged_one(6, 0, 1), 5)
    assert index.changes_since(start) is None
    assert len(index.changes_since(index.version - 10) or ()) == 10


@pytest.mark.parametrize("rows", [0, 1, 5, 40_000])
def test_a_checkpoint_holds_the_live_rows(tmp_path: Path, rows: int) -> None:
    index = Index(7)
    index.keywords = [b"one", b"two"]
    if rows:
        index.apply(*appended(list(range(1, rows + 1))), 2)
    if rows > 4:
        index.apply(*journals.expunged(*ranges((2, 3))), 3)
    path = tmp_path / "index.4"
    write_index(path, index, 4)
    for verify in (False, True):
        found = read_index(path, verify)
        assert found.generation == 4
        assert found.keywords == index.keywords
        live = index.live_rows()
        for name in DTYPES:
            assert getattr(found.columns, name).tolist() == getattr(index.columns, name)[live].tolist()
            assert (
                getattr(found.columns.full, name).ctypes.data % getattr(found.columns.full, name).itemsize
                == 0
            )
        found.apply(*appended([rows + 1]), 9)
        assert found.columns.uid.item(-1) == rows + 1
        for _ in range(3):
            first = found.uid_next
            found.apply(*appended(list(range(first, first + max(2, rows // 3)))), 9)
        for name, value in totals(found).items():
            assert getattr(found, name) == value
    assert read_index(path).messages == index.messages, "what is applied never reaches the file"


def test_a_damaged_index_is_corrupt(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "index.4"
    write_index(path, index, 4)
    data = path.read_bytes()
    for size in (0, 5, 100, 500, len(data) - 40):
        path.write_bytes(data[:size])
        with pytest.raises(Corrupt):
            read_index(path)
    path.write_bytes(data[:30] + b"?" + data[31:])
    with pytest.raises(Corrupt):
        read_index(path)


def test_catching_up_is_a_difference(index: Index) -> None:
    newer = Index(7)
    newer.apply(*appended([1]), 2)
    newer.apply(*appended([2, 5, 6, 9]), 3)
    version = index.version
    newer.apply(*journals.expunged(*ranges((2, 2))), 4)
    newer.apply(*journals.flagged_one(6, 1, 0), 5)
    newer.apply(*appended([10, 12]), 6)
    newer.highest_modseq = 6
    index.catch_up(newer)
    assert index.columns.uid.tolist() == [1, 2, 5, 6, 9, 10, 12]
    assert index.live_rows().tolist() == [0, 2, 3, 4, 5, 6]
    assert [change.kind for change in index.changes_since(version) or ()] == ["F", "X", "A", "K"]
    for name, value in totals(index).items():
        assert getattr(index, name) == value


def test_relocated_rows_keep_all_but_their_place(index: Index) -> None:
    index.apply(*journals.expunged(*ranges((5, 5))), 4)
    version, before = index.version, index.columns.modseq.tolist()
    uids, offsets = np.array([2, 6, 7], np.uint32), np.array([64, 200, 300], np.uint64)
    index.apply(*journals.relocated(PACKED + 3, uids, offsets, 99), 4)
    assert index.columns.segment.tolist() == [1, PACKED + 3, 1, PACKED + 3, 1]
    assert index.columns.offset.tolist() == [100, 64, 500, 200, 900]
    assert index.columns.modseq.tolist() == before
    assert (index.dead_bytes, index.packed_next, index.moves) == (99, PACKED + 4, 1)
    assert (index.tail_segment, index.tail_offset) == (1, 910)
    assert index.version == version, "no session has to be told"


def test_the_tail_moves_only_on_and_a_sweep_tells_what_is_left(index: Index, tmp_path: Path) -> None:
    index.apply(*journals.tail_moved(2, 64), 3)
    assert (index.tail_segment, index.tail_offset) == (2, 64)
    index.apply(*journals.tail_moved(1, 5000), 3)
    assert (index.tail_segment, index.tail_offset) == (2, 64)
    index.apply(*journals.swept(12), 3)
    assert index.dead_bytes == 12
    index.packed_next = PACKED + 9
    write_index(tmp_path / "index.1", index, 1)
    assert read_index(tmp_path / "index.1").packed_next == PACKED + 9


def test_records_of_unknown_uids_say_nothing(index: Index) -> None:
    empty = Index(7)
    for table in (index, empty):
        before = table.columns.segment.tolist()
        record = journals.relocated(PACKED, np.array([77], np.uint32), np.array([64], np.uint64), 0)
        table.apply(*record, 3)
        table.apply(*journals.derived_at(np.array([77], np.uint32), np.array([64], np.uint64)), 3)
        assert table.columns.segment.tolist() == before
