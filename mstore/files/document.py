"""The documentation of all formats, written from the tables that the code itself uses.

``python -m mstore.files.document docs/storage.md`` puts it between the markers of a document; a test says
when that is out of date.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mstore.files import cataloglayout, layout
from mstore.files.layout import Layout

_OF_ACCOUNTS = (layout.USAGE, layout.USAGE_SLOT)


def describe_all() -> str:
    """Every structure, record type and column, file by file."""
    return "\n".join(
        (
            "### Of a mailbox\n",
            _tables([table for table in layout.LAYOUTS if table not in _OF_ACCOUNTS]),
            _records("Record types of a journal", layout.RECORDS),
            _columns(),
            "### Of an account\n",
            _tables([*cataloglayout.LAYOUTS, *_OF_ACCOUNTS]),
            _records("Record types of a catalog", cataloglayout.RECORDS),
            _tables(layout.USAGE_LAYOUTS),
        )
    )


def _tables(layouts: Sequence[Layout]) -> str:
    return "\n".join(table.describe() for table in layouts)


def _records(title: str, records: Mapping[int, Layout]) -> str:
    lines = "\n".join(
        f"| {number} | {table.name} | {table.title.replace('|', chr(92) + '|')} |"
        for number, table in records.items()
    )
    return f"**{title}**\n\n| type | record | says |\n|---:|---|---|\n{lines}\n"


def _columns() -> str:
    lines = "\n".join(
        f"| {column.name} | {'i' if column.code.islower() else 'u'}"
        f"{struct.calcsize('<' + column.code) * 8} | {column.meaning} |"
        for column in layout.COLUMNS
    )
    return f"**Columns of the index**\n\n| column | type | meaning |\n|---|---|---|\n{lines}\n"


def fill(text: str) -> str:
    """A document with the tables between its markers replaced by the present ones."""
    begin, end = "<!-- layout -->\n", "<!-- /layout -->"
    return re.sub(f"{begin}.*?{end}", lambda _: begin + describe_all() + end, text, flags=re.S)


def main(arguments: Sequence[str]) -> None:
    """Bring a document up to date."""
    document = Path(arguments[0] if arguments else "docs/storage.md")
    document.write_text(fill(document.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
