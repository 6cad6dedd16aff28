"""What an account's catalog says: its names, its subscriptions, and each record that changes them.

Plain values, no files: ``catalog`` keeps them on disk, ``namespace`` decides which changes a command means.
What a newer version wrote and marked as skippable is kept, and written again when the catalog is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from mstore.base.errors import Corrupt, LimitReached
from mstore.base.ids import MailboxId
from mstore.files import cataloglayout as layout
from mstore.files.layout import MAY_SKIP
from mstore.store.acl import EMPTY, Acl, parse_acl

Annotations = dict[tuple[int, int], dict[str, bytes]]
"""By the owner's account (0: this one) and the mailbox (0: the site), then by name."""
Record = tuple[int, int, bytes]
"""Type, flags and payload, as a group holds them."""


@dataclass(frozen=True, slots=True)
class MailboxEntry:
    """One name of an account and what it leads to."""

    name: str
    id: MailboxId
    uid_validity: int
    no_select: bool = False
    """A name that is kept only for its children; it leads to no mailbox."""
    special_use: str | None = None
    acl: Acl = EMPTY
    """Who may do what here, besides the owner."""
    attributes: tuple[tuple[int, bytes], ...] = ()
    """Attributes that this version does not know."""
    days: int | None = None
    """How many days messages stay here, 0: for ever; None: as the rules for all say."""


NO_MAILBOX = MailboxId("0" * 16)


@dataclass(slots=True)
class NameState:
    """The sum of all records of a catalog."""

    entries: dict[str, MailboxEntry] = field(default_factory=dict)
    subscriptions: set[str] = field(default_factory=set)
    doomed: set[MailboxId] = field(default_factory=set)
    """Mailboxes without a name, whose directories are still to be removed."""
    uid_validity: int = 0
    """The highest UIDVALIDITY that was ever given."""
    strange: list[Record] = field(default_factory=list)
    """Records that this version does not know and may skip."""
    furnished: int = 0
    """When the account was given its default mailboxes; 0: it was not yet."""
    annotations: Annotations = field(default_factory=dict)

    def copy(self) -> NameState:
        """A state of its own with the same content."""
        return NameState(
            dict(self.entries),
            set(self.subscriptions),
            set(self.doomed),
            self.uid_validity,
            list(self.strange),
            self.furnished,
            {subject: dict(values) for subject, values in self.annotations.items()},
        )

    def apply(self, records: Iterable[Record]) -> None:
        """Take over the changes of one group.

        Raises: Corrupt for a record that cannot be read or must not be skipped.
        """
        for kind, flags, payload in records:
            try:
                self._apply(kind, flags, payload)
            except (struct.error, UnicodeDecodeError, IndexError):
                raise Corrupt(f"a record of type {kind} in the catalog cannot be read") from None

    def _apply(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == layout.TYPE_NAME_SET:
            entry = parse_entry(payload)
            self.entries[entry.name] = entry
            self.uid_validity = max(self.uid_validity, entry.uid_validity)
        elif kind == layout.TYPE_NAME_REMOVED:
            removed = layout.NAME_REMOVED.read(payload)
            _check_guard(removed.guard)
            self.entries.pop(_name_behind(payload, layout.NAME_REMOVED.size, removed.name_length), None)
            if removed.mailbox_id:
                self.doomed.add(format_id(removed.mailbox_id))
                self.annotations.pop((0, removed.mailbox_id), None)
        elif kind == layout.TYPE_SUBSCRIBED:
            self.subscriptions.add(_subscription(payload))
        elif kind == layout.TYPE_UNSUBSCRIBED:
            self.subscriptions.discard(_subscription(payload))
        elif kind == layout.TYPE_SWEPT:
            self.doomed.discard(format_id(layout.SWEPT.read(payload).mailbox_id))
        elif kind == layout.TYPE_DOOMED:
            doomed = layout.DOOMED.read(payload)
            _check_guard(doomed.guard)
            self.doomed.add(format_id(doomed.mailbox_id))
        elif kind == layout.TYPE_VALIDITY_USED:
            self.uid_validity = max(self.uid_validity, layout.VALIDITY_USED.read(payload).uid_validity)
        elif kind == layout.TYPE_FURNISHED:
            self.furnished = layout.FURNISHED.read(payload).time
        elif kind == layout.TYPE_ANNOTATED:
            self._annotate(payload)
        elif flags & MAY_SKIP:
            self.strange.append((kind, flags, payload))
        else:
            raise Corrupt(f"the catalog holds records of type {kind}, which only a newer version can read")

    def _annotate(self, payload: bytes) -> None:
        head = layout.ANNOTATED.read(payload)
        name = _name_behind(payload, layout.ANNOTATED.size, head.name_length)
        at = layout.ANNOTATED.size + head.name_length
        value = payload[at : at + head.value_length]
        if len(value) != head.value_length:
            raise IndexError("an annotation is cut off")
        subject = head.account_id, head.mailbox_id
        values = self.annotations.setdefault(subject, {})
        if head.flags & layout.ANNOTATION_REMOVED:
            values.pop(name, None)
        else:
            values[name] = value
        if not values:
            del self.annotations[subject]

    def remade(self, old: MailboxEntry, new: MailboxEntry) -> list[Record]:
        """The records that put a mailbox in the place of another, whose annotations go over to it."""
        records = [name_set(new)]
        before, after = int(old.id, 16), int(new.id, 16)
        for name, value in self.annotations.get((0, before), {}).items():
            records.append(annotated(0, after, name, value))
            records.append(annotated(0, before, name, None))
        return records

    def records(self) -> list[Record]:
        """The shortest list of records that makes this state out of nothing."""
        found = [validity_used(self.uid_validity)]
        found += map(name_set, self.entries.values())
        found += map(subscribed, sorted(self.subscriptions))
        found += map(doomed, sorted(self.doomed))
        if self.furnished:
            found.append(furnished(self.furnished))
        for (account_id, mailbox_id), values in sorted(self.annotations.items()):
            found += [annotated(account_id, mailbox_id, name, value) for name, value in values.items()]
        return found + self.strange


def format_id(number: int) -> MailboxId:
    """A mailbox's id as it is written everywhere: sixteen hexadecimal digits."""
    return MailboxId(f"{number:016x}")


def parse_entry(payload: bytes) -> MailboxEntry:
    """The entry in the payload of a NameSet record.

    Raises: struct.error, IndexError, UnicodeDecodeError when it is damaged.
    """
    head = layout.NAME_SET.read(payload)
    name = _name_behind(payload, layout.NAME_SET.size, head.name_length)
    at = layout.NAME_SET.size + head.name_length
    special_use = None
    acl = EMPTY
    days = None
    strange = []
    for _ in range(head.attributes):
        tag, length = layout.ATTRIBUTE.read(payload, at)
        at += layout.ATTRIBUTE.size
        value = payload[at : at + length]
        if len(value) != length:
            raise IndexError("an attribute is cut off")
        at += length
        if tag == layout.ATTRIBUTE_SPECIAL_USE:
            special_use = value.decode("ascii")
        elif tag == layout.ATTRIBUTE_ACL:
            acl = parse_acl(value)
        elif tag == layout.ATTRIBUTE_LIFETIME:
            days = layout.LIFETIME.read(value).days
        else:
            strange.append((tag, value))
    return MailboxEntry(
        name,
        format_id(head.mailbox_id),
        head.uid_validity,
        bool(head.flags & layout.NO_SELECT),
        special_use,
        acl,
        tuple(strange),
        days,
    )


def name_set(entry: MailboxEntry) -> Record:
    """The record: this name is so from now on.

    Raises: LimitReached for an attribute longer than its length can say.
    """
    name = entry.name.encode()
    attributes = list(entry.attributes)
    if entry.days is not None:
        attributes.insert(0, (layout.ATTRIBUTE_LIFETIME, layout.LIFETIME.pack(entry.days)))
    if entry.special_use is not None:
        attributes.insert(0, (layout.ATTRIBUTE_SPECIAL_USE, entry.special_use.encode("ascii")))
    if entry.acl:
        attributes.insert(0, (layout.ATTRIBUTE_ACL, entry.acl.encoded))
    if any(len(value) > layout.MAX_ATTRIBUTE_BYTES for _, value in attributes):
        raise LimitReached(f"an attribute of {entry.name} is too long")
    flags = layout.NO_SELECT if entry.no_select else 0
    head = layout.NAME_SET.pack(int(entry.id, 16), entry.uid_validity, flags, len(name), len(attributes))
    tail = b"".join(layout.ATTRIBUTE.pack(tag, len(value)) + value for tag, value in attributes)
    return layout.TYPE_NAME_SET, 0, head + name + tail


def name_removed(name: str, mailbox_id: MailboxId = NO_MAILBOX) -> Record:
    """The record: there is no such name any more, and the mailbox given with it is to go."""
    encoded = name.encode()
    head = layout.NAME_REMOVED.pack(layout.REMOVED_GUARD, len(encoded), int(mailbox_id, 16))
    return layout.TYPE_NAME_REMOVED, 0, head + encoded


def subscribed(name: str) -> Record:
    """The record: the name is subscribed."""
    encoded = name.encode()
    return layout.TYPE_SUBSCRIBED, 0, layout.SUBSCRIBED.pack(len(encoded)) + encoded


def unsubscribed(name: str) -> Record:
    """The record: the name is no longer subscribed."""
    encoded = name.encode()
    return layout.TYPE_UNSUBSCRIBED, 0, layout.UNSUBSCRIBED.pack(len(encoded)) + encoded


def swept(mailbox_id: MailboxId) -> Record:
    """The record: the directory of a removed mailbox is gone."""
    return layout.TYPE_SWEPT, 0, layout.SWEPT.pack(int(mailbox_id, 16))


def doomed(mailbox_id: MailboxId) -> Record:
    """The record: the directory of a mailbox without a name is to be removed."""
    return layout.TYPE_DOOMED, 0, layout.DOOMED.pack(layout.REMOVED_GUARD, int(mailbox_id, 16))


def validity_used(uid_validity: int) -> Record:
    """The record: no UIDVALIDITY up to this one may be given again."""
    return layout.TYPE_VALIDITY_USED, 0, layout.VALIDITY_USED.pack(uid_validity)


def furnished(time_s: int) -> Record:
    """The record: the account has been given its default mailboxes."""
    return layout.TYPE_FURNISHED, 0, layout.FURNISHED.pack(time_s)


def annotated(account_id: int, mailbox_id: int, name: str, value: bytes | None) -> Record:
    """The record: an annotation has this value, or None any more."""
    encoded = name.encode("ascii")
    flags = layout.ANNOTATION_REMOVED if value is None else 0
    value = value or b""
    head = layout.ANNOTATED.pack(mailbox_id, account_id, len(encoded), flags, len(value))
    return layout.TYPE_ANNOTATED, 0, head + encoded + value


def _subscription(payload: bytes) -> str:
    return _name_behind(payload, layout.SUBSCRIBED.size, layout.SUBSCRIBED.read(payload).name_length)


def _name_behind(payload: bytes, at: int, length: int) -> str:
    name = payload[at : at + length]
    if len(name) != length:
        raise IndexError("a name is cut off")
    return name.decode()


def _check_guard(guard: int) -> None:
    if guard != layout.REMOVED_GUARD:
        raise Corrupt("a removal in the catalog has no guard: it is damage, not a removal")
