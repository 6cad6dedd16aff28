from __future__ import annotations

from pathlib import Path

import pytest

from mstore.files import cataloglayout, document, layout
from mstore.files.layout import COLUMNS, JOURNALED, LAYOUTS, ROW, Layout

DOCUMENT = Path(__file__).parents[3] / "docs" / "storage.md"


@pytest.mark.parametrize("table", LAYOUTS + cataloglayout.LAYOUTS, ids=lambda table: table.name)
def test_fields_add_up_and_round_trip(table: Layout) -> None:
    assert table.dtype.itemsize == table.size
    names = [field.name for field in table.fields]
    assert len(set(names)) == len(names)
    data = bytes(range(table.size))
    values = table.read(data)
    reserved = b"".join(
        bytes(width)
        if "x" in field.code
        else data[table.offset_of(field.name) : table.offset_of(field.name) + width]
        for field in table.fields
        for width in [layout.struct.calcsize("<" + field.code)]
    )
    assert table.write(**values._asdict()) == reserved


def test_sizes_that_are_promised() -> None:
    sizes = {table.name: table.size for table in LAYOUTS}
    assert (
        sizes["FrameHeader"] == sizes["SegmentHeader"] == sizes["JournalHeader"] == sizes["BlobHeader"] == 64
    )
    assert sizes["GroupHeader"] % 8 == sizes["RecordHeader"] % 8 == 0
    assert ROW.size == sum(layout.struct.calcsize("<" + column.code) for column in JOURNALED)
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
    assert all(len(column.name) <= 16 for column in COLUMNS)


def test_the_documentation_has_the_present_tables() -> None:
    text = DOCUMENT.read_text()
    assert document.fill(text) == text, "run: python -m mstore.files.document docs/storage.md"
    for table in ("FrameHeader", "CatalogHeader", "NameSet"):
        assert f"**{table}**" in text
