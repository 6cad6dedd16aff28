"""Which mailboxes a command means: the filters of RFC 5465 §6, as ESEARCH takes them (RFC 7377 §2.2)."""

from __future__ import annotations

from dataclasses import dataclass

from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor

MAX_NAMES = 1000
ALONE = frozenset((b"SELECTED", b"INBOXES", b"PERSONAL", b"SUBSCRIBED"))
WITH_NAMES = frozenset((b"SUBTREE", b"SUBTREE-ONE", b"MAILBOXES"))


@dataclass(frozen=True, slots=True)
class Source:
    """One filter, in capitals, with the mailboxes it names."""

    kind: bytes
    names: tuple[str, ...] = ()


def parse_sources(cursor: Cursor) -> tuple[Source, ...]:
    """Read ``IN (…)`` and the space behind it; the selected mailbox when something else comes next.

    Raises: Bad for unknown filters and scope options, of which there are none; No for what is no name.
    """
    if not cursor.take(b"IN "):
        return (Source(b"SELECTED"),)
    count = 0

    def source() -> Source:
        nonlocal count
        kind = cursor.word()
        if kind in ALONE:
            return Source(kind)
        if kind not in WITH_NAMES:
            raise Bad("Unknown source of messages")
        cursor.space()
        names = cursor.list_of(cursor.mailbox) if cursor.peek() == 40 else [cursor.mailbox()]
        count += len(names)
        if count > MAX_NAMES:
            raise Bad("Too many mailboxes")
        return Source(kind, tuple(names))

    found = cursor.list_of(source)
    cursor.space()
    if len(found) > MAX_NAMES:
        raise Bad("Too many sources of messages")
    return tuple(found)
