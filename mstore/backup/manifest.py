"""Manifests: what one account was at the time of a backup, as lines of JSON with a checksum at the end.

The first line is the account with its names, subscriptions and annotations; then each mailbox, with its
messages behind it, what each reader who is not the owner has seen of them, and those that were expunged and
retained (``retain-expunged``); then mailboxes that were deleted and retained; the last line counts them and
has the SHA-256 of all lines before.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from mstore.backup.pack import Key, Packed
from mstore.base.errors import Corrupt
from mstore.base.flags import SYSTEM_FLAGS
from mstore.base.ids import AccountId, MailboxId
from mstore.base.numset import NumSet, format_numset, parse_numset
from mstore.files import raw
from mstore.store.acl import Acl
from mstore.store.namestate import MailboxEntry, NameState
from mstore.store.rights import Rights

FORMAT = 3
_FLAGS = [name.decode("ascii") for name in SYSTEM_FLAGS]


class Message(NamedTuple):
    """One message of a mailbox."""

    uid: int
    flags: int
    """System flags, bits 0 to 4."""
    keywords: tuple[bytes, ...]
    internal_date: int
    save_date: int
    email_id: int
    packed: Packed
    expunged_ms: int | None = None
    """When it was expunged, milliseconds since 1970, of one that was retained."""


@dataclass(slots=True)
class Box:
    """One mailbox."""

    entry: MailboxEntry
    uid_next: int
    highest_modseq: int
    messages: list[Message] = field(default_factory=list)
    retained: list[Message] = field(default_factory=list)
    """Those that had been expunged, but could be brought back."""
    deleted_s: int | None = None
    """When it was deleted, seconds since 1970, of one that was retained; its messages are those of then."""
    seen: dict[int, NumSet] = field(default_factory=dict)
    """The UIDs of those that each reader who is not the owner has seen, also of those retained."""

    def all_messages(self) -> list[Message]:
        """Those retained as well, by UID."""
        return sorted(self.messages + self.retained, key=uid_of)

    def key(self, account_id: AccountId, uid: int) -> Key:
        """Which message has this UID."""
        return Key(int(account_id, 16), int(self.entry.id, 16), self.entry.uid_validity, uid)


def uid_of(message: Message) -> int:
    """What messages are sorted by."""
    return message.uid


class Head(NamedTuple):
    """The account itself."""

    id: AccountId
    name: str
    time_s: int
    names: NameState


class Writer:
    """Writes one manifest."""

    def __init__(self, path: Path, head: Head) -> None:
        self._fd = raw.open_file(path, raw.CREATE)
        self._lines: list[bytes] = []
        self._held_bytes = self._end = 0
        self._digest = hashlib.sha256()
        self.messages = self.size_bytes = self.retained = 0
        self._is_deleted = False
        self._add({
            "account": head.id, "name": head.name, "format": FORMAT, "time": head.time_s,
            **_format_names(head.names),
        })  # fmt: skip

    def _add(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self._digest.update(line)
        self._lines.append(line)
        self._held_bytes += len(line)
        if self._held_bytes > 1 << 20:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._lines)
        raw.pwrite(self._fd, data, self._end)
        self._end += len(data)
        self._lines, self._held_bytes = [], 0

    def begin_mailbox(self, box: Box) -> None:
        """Begin a mailbox; its messages are added one by one."""
        entry = box.entry
        self._is_deleted = box.deleted_s is not None
        self._add({
            "mailbox": entry.name, "id": entry.id, "uid_validity": entry.uid_validity,
            "uid_next": box.uid_next, "highest_modseq": box.highest_modseq,
        } | ({"deleted": box.deleted_s} if self._is_deleted else {}))  # fmt: skip

    def add_reader(self, reader_id: int, seen: npt.NDArray[Any]) -> None:
        """Say what a reader has seen of the mailbox that was begun last: UIDs, ascending."""
        if len(seen):
            self._add({"reader": f"{reader_id:016x}", "seen": format_numset(seen).decode()})

    def add(self, message: Message) -> None:
        """Add a message to the mailbox that was begun last."""
        packed = message.packed
        is_retained = message.expunged_ms is not None
        if is_retained or self._is_deleted:
            self.retained += 1
        else:
            self.messages += 1
            self.size_bytes += packed.size
        self._add({
            "uid": message.uid, "flags": _flag_names(message.flags),
            "keywords": [_text(name) for name in message.keywords], "size": packed.size,
            "internal_date": message.internal_date, "save_date": message.save_date,
            "email_id": f"{message.email_id:016x}", "sha256": packed.sha256.hex(), "pack": packed.pack,
            "at": packed.at,
        } | ({"expunged": message.expunged_ms} if is_retained else {}))  # fmt: skip

    def finish(self) -> None:
        """Write the last line. Durable: the manifest, but not yet its name."""
        counts = {"messages": self.messages, "retained": self.retained, "size": self.size_bytes}
        self._add(counts | {"sha256": self._digest.hexdigest()})
        self._flush()
        raw.sync(self._fd)
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            raw.close(self._fd)
            self._fd = -1


def read(path: Path) -> tuple[Head, list[Box]]:
    """A manifest, its checksum compared.

    Raises: Corrupt, FileNotFoundError.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    try:
        end = json.loads(lines[-1])
        if end["sha256"] != hashlib.sha256(b"".join(lines[:-1])).hexdigest():
            raise Corrupt(f"{path} is damaged: its checksum is another")
        first = json.loads(lines[0])
        if first["format"] != FORMAT:
            raise Corrupt(f"{path} has format {first['format']}; this version reads {FORMAT}")
        names = _parse_names(first)
        return (
            Head(AccountId(first["account"]), first["name"], first["time"], names),
            list(_boxes(names, lines[1:-1])),
        )
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"{path} is damaged: {error!r}") from None


def _boxes(names: NameState, lines: Sequence[bytes]) -> Iterator[Box]:
    box = None
    for line in lines:
        value = json.loads(line)
        if "mailbox" in value:
            if box is not None:
                yield box
            deleted_s = value.get("deleted")
            if deleted_s is None:
                entry = names.entries[value["mailbox"]]
            else:
                entry = MailboxEntry(value["mailbox"], MailboxId(value["id"]), value["uid_validity"])
            box = Box(entry, value["uid_next"], value["highest_modseq"], deleted_s=deleted_s)
            continue
        if box is None:
            raise ValueError("something stands before any mailbox")
        if "reader" in value:
            box.seen[int(value["reader"], 16)] = parse_numset(value["seen"].encode())
            continue
        packed = Packed(value["pack"], value["at"], value["size"], bytes.fromhex(value["sha256"]))
        message = Message(
            value["uid"], sum(1 << _FLAGS.index(name) for name in value["flags"]),
            tuple(_bytes(name) for name in value["keywords"]), value["internal_date"],
            value["save_date"], int(value["email_id"], 16), packed, value.get("expunged"),
        )  # fmt: skip
        (box.messages if message.expunged_ms is None else box.retained).append(message)
    if box is not None:
        yield box


def _format_names(names: NameState) -> dict[str, Any]:
    return {
        "names": [_format_entry(entry) for entry in names.entries.values()],
        "subscriptions": sorted(names.subscriptions),
        "annotations": [
            {"owner": owner, "mailbox": mailbox, "name": name, "value": base64.b64encode(value).decode()}
            for (owner, mailbox), values in names.annotations.items()
            for name, value in values.items()
        ],
        "uid_validity": names.uid_validity,
        "furnished": names.furnished,
    }


def _parse_names(value: dict[str, Any]) -> NameState:
    names = NameState(uid_validity=value["uid_validity"], furnished=value["furnished"])
    names.entries = {entry["name"]: _parse_entry(entry) for entry in value["names"]}
    names.subscriptions = set(value["subscriptions"])
    for found in value["annotations"]:
        subject = names.annotations.setdefault((found["owner"], found["mailbox"]), {})
        subject[found["name"]] = base64.b64decode(found["value"])
    return names


def _format_entry(entry: MailboxEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "id": entry.id,
        "uid_validity": entry.uid_validity,
        "no_select": entry.no_select,
        "special_use": entry.special_use,
        "days": entry.days,
        "acl": {identifier: "".join(sorted(rights)) for identifier, rights in entry.acl},
    }


def _parse_entry(value: dict[str, Any]) -> MailboxEntry:
    acl = Acl({identifier: Rights(rights) for identifier, rights in value["acl"].items()})
    known = (value["uid_validity"], value["no_select"], value["special_use"])
    return MailboxEntry(value["name"], MailboxId(value["id"]), *known, acl, days=value["days"])


def _flag_names(bits: int) -> list[str]:
    return [name for bit, name in enumerate(_FLAGS) if bits >> bit & 1]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
