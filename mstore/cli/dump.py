"""msadm dump: what one of the store's files says, decoded by the tables that the store itself uses.

Which kind a file is, its first four bytes tell. Each structure is a line: where it stands, its name and its
fields. Damage is shown as such, and the reading goes on where that makes sense.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from mstore.base.errors import Corrupt, Invalid
from mstore.cli.site import as_json
from mstore.files import cataloglayout, layout
from mstore.files.cataloglayout import CATALOG, CATALOG_MAGIC
from mstore.files.column import DTYPES
from mstore.files.journal import parse_group
from mstore.files.layout import (
    BLOB,
    BLOB_MAGIC,
    COLUMN_ENTRY,
    COLUMNS,
    DERIVED,
    DERIVED_MAGIC,
    FRAME,
    FRAME_MAGIC,
    GROUP,
    INDEX,
    INDEX_MAGIC,
    JOURNAL,
    JOURNAL_MAGIC,
    MAY_SKIP,
    READER_ENTRY,
    SEGMENT,
    SEGMENT_MAGIC,
    SLOTS,
    USAGE,
    USAGE_MAGIC,
    USAGE_SLOT,
    Layout,
)
from mstore.store import namestate
from mstore.store.rights import format_rights

Line = tuple[int, str, dict[str, Any]]
"""Where a structure stands, its name, its fields."""

_SHOWN_BYTES = 64


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def dump(file: Path, as_json: bool) -> None:
    """Show what FILE of a mailbox or an account says; with --json one object on each line.

    Example: msadm dump catalog --json
    """
    with file.open("rb") as opened:
        size = file.stat().st_size
        if size < 4:
            raise Invalid(f"{file} is empty" if not size else f"{file} is none of the store's files")
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            reader = READERS.get(int.from_bytes(data[:4], "little"))
            if reader is None:
                raise Invalid(f"{file} is none of the store's files")
            try:
                for at, name, fields in reader(data):
                    click.echo(_format(at, name, fields, as_json))
            except (ValueError, LookupError, struct.error) as error:
                raise Corrupt(f"{file} is damaged: {error}") from None


def _format(at: int, name: str, fields: dict[str, Any], as_json: bool) -> str:
    if as_json:
        return json.dumps({"at": at, "structure": name} | fields, default=_plain, ensure_ascii=False)
    return f"{at:>10}  {name}" + "".join(f" {key}={_show(value)}" for key, value in fields.items())


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def _show(value: Any) -> str:
    if isinstance(value, bytes):
        shown = value[:_SHOWN_BYTES].hex()
        return shown + "…" if len(value) > _SHOWN_BYTES else shown
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def _head(kind: Layout, data: Any, at: int = 0) -> Line:
    if at + kind.size > len(data):
        raise Corrupt("the file is cut off in its header")
    return at, kind.name, _fields(kind, data, at)


def _fields(kind: Layout, data: Any, at: int) -> dict[str, Any]:
    fields: dict[str, Any] = kind.read(data, at)._asdict()
    for name in fields.keys() & {"magic", "crc", "guard"}:
        fields[name] = f"{fields[name]:#x}"
    return fields


def _damage(at: int, what: str) -> Line:
    return at, "damage", {"text": what}


def _segment(data: Any) -> Iterator[Line]:
    at, name, head = _head(SEGMENT, data)
    yield at, name, head | {"mailbox_id": namestate.format_id(head["mailbox_id"])}
    at = SEGMENT.size
    magic = FRAME_MAGIC.to_bytes(4, "little")
    while at + FRAME.size <= len(data):
        if data[at : at + 4] != magic:
            following = data.find(magic, at)
            yield _damage(at, f"{(following if following > 0 else len(data)) - at} bytes that are no frame")
            if following < 0:
                return
            at = following
        fields = _fields(FRAME, data, at)
        yield at, FRAME.name, fields
        at += FRAME.size + fields["length"]
        if at > len(data):
            yield _damage(at, "the message is cut off")
    if at < len(data):
        yield _damage(at, f"{len(data) - at} bytes that are no frame")


def _groups(
    data: Any, start: int, generation: int, record: Callable[[int, bytes], tuple[str, dict[str, Any]]]
) -> Iterator[Line]:
    at = start
    whole = bytes(data)
    while at < len(data):
        try:
            found = parse_group(whole, at, at, generation)
        except Corrupt as error:
            yield _damage(at, str(error))
            return
        if found is None:
            yield _damage(at, f"{len(data) - at} bytes that are no valid group")
            return
        group, pending = found
        fields = {"modseq": group.modseq, "time_ms": group.time_ms, "bytes": group.end - at}
        yield at, GROUP.name, fields | ({"pending": True} if pending else {})
        at += GROUP.size
        for kind, flags, payload in group.records:
            name, values = record(kind, payload)
            yield at, name, values | ({"may_skip": True} if flags & MAY_SKIP else {})
            at += layout.RECORD.size + len(payload) + (-len(payload) & 7)
        at = group.end


def _journal(data: Any) -> Iterator[Line]:
    line = _head(JOURNAL, data)
    yield line
    yield from _groups(data, JOURNAL.size, line[2]["generation"], _journal_record)


def _journal_record(kind: int, payload: bytes) -> tuple[str, dict[str, Any]]:
    table = layout.RECORDS.get(kind)
    if table is None or len(payload) < table.size:
        return f"Record{kind}", {"payload": payload}
    fields = _fields(table, payload, 0)
    rest = payload[table.size :]
    if kind in (layout.TYPE_FLAGGED, layout.TYPE_EXPUNGED):
        fields["uids"] = _ranges(rest, fields["count"])
    elif kind == layout.TYPE_KEYWORD:
        fields["name"] = rest.decode("ascii", "replace")
    elif kind == layout.TYPE_APPENDED:
        fields |= _appended(fields["count"], rest)
    elif kind in (layout.TYPE_DERIVED_AT, layout.TYPE_RELOCATED):
        fields |= _placed(fields["count"], rest)
    elif kind == layout.TYPE_SEEN_BY:
        fields["reader"] = namestate.format_id(fields["reader"])
        fields["uids"] = _ranges(rest, fields["count"])
    elif rest:
        fields["payload"] = rest
    return table.name, fields


def _ranges(rest: bytes, count: int) -> str:
    pairs = np.frombuffer(rest[: count * 8], "<u4").reshape(-1, 2).tolist()
    return ",".join(f"{first}:{last}" if first != last else str(first) for first, last in pairs)


def _placed(count: int, rest: bytes) -> dict[str, Any]:
    uids = np.frombuffer(rest, "<u4", count)
    return {
        "uids": uids.tolist(),
        "offsets": np.frombuffer(rest, "<u8", count, (count + 1) // 2 * 8).tolist(),
    }


def _appended(count: int, rest: bytes) -> dict[str, Any]:
    columns = {}
    at = 0
    for column in layout.JOURNALED:
        values = np.frombuffer(rest, DTYPES[column.name], count, at)
        at += values.nbytes
        columns[column.name] = values.tolist()
    return columns


def _index(data: Any) -> Iterator[Line]:
    at, name, head = _head(INDEX, data)
    yield at, name, head
    at = INDEX.size
    columns = {}
    for _ in range(head["columns"]):
        fields = _fields(COLUMN_ENTRY, data, at)
        fields["name"] = fields["name"].rstrip(b"\0").decode("ascii", "replace")
        yield at, COLUMN_ENTRY.name, fields
        columns[fields["name"]] = fields["offset"]
        at += COLUMN_ENTRY.size
    for bit in range(8, 8 + head["keywords"]):
        length = int.from_bytes(data[at : at + 2], "little")
        yield at, "Keyword", {"bit": bit, "name": data[at + 2 : at + 2 + length].decode("ascii", "replace")}
        at += 2 + length
    rows = head["rows"]
    values = {
        column.name: np.frombuffer(data[:], DTYPES[column.name], rows, columns[column.name])
        for column in COLUMNS
        if column.name in columns
    }
    for row in range(rows):
        yield columns["uid"] + 4 * row, "Row", {name: column[row].item() for name, column in values.items()}

    yield from _readers(data, head)
    yield from _retained(data, head)


def _retained(data: Any, head: dict[str, Any]) -> Iterator[Line]:
    if not head["retained"]:
        return
    at = (head["expunges_at"] + head["expunges"] * layout.EXPUNGE_ENTRY.size + 7) & ~7
    line = _head(layout.RETAINED, data, at)
    yield line
    at += layout.RETAINED.size
    for table, count in ((layout.RETAINED_DAY, line[2]["days"]), (layout.RETAINED_ENTRY, line[2]["count"])):
        for _ in range(count):
            yield at, table.name, _fields(table, data, at)
            at += table.size


def _deleted(data: Any) -> Iterator[Line]:
    at, name, fields = _head(cataloglayout.DELETED_MAILBOX, data)
    rest = data[cataloglayout.DELETED_MAILBOX.size :]
    yield at, name, fields | {"name": rest.decode(errors="replace")}


def _readers(data: Any, head: dict[str, Any]) -> Iterator[Line]:
    for number in range(head["readers"]):
        at = head["readers_at"] + number * READER_ENTRY.size
        fields = _fields(READER_ENTRY, data, at)
        stored = data[fields["offset"] : fields["offset"] + fields["length"]]
        try:
            bits = np.frombuffer(zlib.decompress(stored), np.uint8)
            fields["rows"] = np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist()
        except zlib.error as error:
            yield _damage(fields["offset"], f"what a reader has seen: {error}")
        yield at, READER_ENTRY.name, fields | {"reader": namestate.format_id(fields["reader"])}


def _usage(data: Any) -> Iterator[Line]:
    line = _head(USAGE, data)
    line[2]["account_id"] = namestate.format_id(line[2]["account_id"])
    yield line
    for at in range(USAGE.size, len(data) - USAGE_SLOT.size + 1, USAGE_SLOT.size):
        fields = _fields(USAGE_SLOT, data, at)
        if any(fields.values()):
            yield at, USAGE_SLOT.name, fields | {"mailbox_id": namestate.format_id(fields["mailbox_id"])}


def _derived(data: Any) -> Iterator[Line]:
    yield _head(DERIVED, data)
    at = DERIVED.size
    magic = BLOB_MAGIC.to_bytes(4, "little")
    while at + BLOB.size <= len(data):
        if data[at : at + 4] != magic:
            yield _damage(at, "no blob begins here")
            at = data.find(magic, at + 1)
            if at < 0:
                return
        fields = _fields(BLOB, data, at)
        lengths = [fields.pop(f"length{slot}") for slot in range(SLOTS)]
        yield at, BLOB.name, fields | {"lengths": lengths}
        size = BLOB.size + sum(lengths)
        at += size + (-size & 7)


def _catalog(data: Any) -> Iterator[Line]:
    line = _head(CATALOG, data)
    line[2]["account_id"] = namestate.format_id(line[2]["account_id"])
    yield line
    yield from _groups(data, CATALOG.size, line[2]["generation"], _catalog_record)


def _catalog_record(kind: int, payload: bytes) -> tuple[str, dict[str, Any]]:
    table = cataloglayout.RECORDS.get(kind)
    if table is None or len(payload) < table.size:
        return f"Record{kind}", {"payload": payload}
    fields = _fields(table, payload, 0)
    if "mailbox_id" in fields:
        fields["mailbox_id"] = namestate.format_id(fields["mailbox_id"])
    if "name_length" in fields:
        fields["name"] = payload[table.size : table.size + fields["name_length"]].decode(errors="replace")
    if kind == cataloglayout.TYPE_NAME_SET:
        entry = namestate.parse_entry(payload)
        fields["special_use"] = entry.special_use
        if entry.days is not None:
            fields["days"] = entry.days
        if entry.acl:
            fields["acl"] = {identifier: format_rights(rights) for identifier, rights in entry.acl}
    return table.name, fields


READERS: dict[int, Callable[[Any], Iterator[Line]]] = {
    SEGMENT_MAGIC: _segment,
    JOURNAL_MAGIC: _journal,
    INDEX_MAGIC: _index,
    DERIVED_MAGIC: _derived,
    CATALOG_MAGIC: _catalog,
    cataloglayout.DELETED_MAGIC: _deleted,
    USAGE_MAGIC: _usage,
}
