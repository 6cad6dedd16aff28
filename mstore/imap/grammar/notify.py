"""NOTIFY: which events of which mailboxes a client wants to be told (RFC 5465 §8)."""

from __future__ import annotations

from dataclasses import dataclass

from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.fetchitems import FetchItem, parse_fetch_list
from mstore.imap.grammar.sources import MAX_NAMES, WITH_NAMES, Source

MAX_GROUPS = 100
MAX_EVENTS = 50
NEW, EXPUNGE, FLAG = b"MESSAGENEW", b"MESSAGEEXPUNGE", b"FLAGCHANGE"
ANNOTATION = b"ANNOTATIONCHANGE"
NAME, SUBSCRIPTION = b"MAILBOXNAME", b"SUBSCRIPTIONCHANGE"
METADATA, SERVER_METADATA = b"MAILBOXMETADATACHANGE", b"SERVERMETADATACHANGE"
SUPPORTED = {
    NEW: b"MessageNew",
    EXPUNGE: b"MessageExpunge",
    FLAG: b"FlagChange",
    NAME: b"MailboxName",
    SUBSCRIPTION: b"SubscriptionChange",
    METADATA: b"MailboxMetadataChange",
    SERVER_METADATA: b"ServerMetadataChange",
}
"""The events there are, as they are told; annotations of messages there are none (RFC 5257)."""
OF_MESSAGES = frozenset((NEW, EXPUNGE, FLAG, ANNOTATION))
_SELECTED = frozenset((b"SELECTED", b"SELECTED-DELAYED"))
_OTHERS = frozenset((b"INBOXES", b"PERSONAL", b"SUBSCRIBED"))


@dataclass(frozen=True, slots=True)
class EventGroup:
    """Some mailboxes and the events wanted of them, in capitals; none for ``NONE``."""

    source: Source
    events: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class SelectedEvents:
    """What is wanted of the selected mailbox, whatever it is; as it stands here, nothing."""

    messages: bool = False
    """MessageNew and MessageExpunge, which come together."""
    flags: bool = False
    delayed: bool = False
    """Removals are told by commands alone, and only by those during which they may be (RFC 5465 §6.1.2)."""
    items: tuple[FetchItem, ...] = ()
    """What of new messages is to be sent unasked."""


@dataclass(frozen=True, slots=True)
class NotifyRequest:
    """All that one NOTIFY SET wants."""

    counts: bool
    """Whether to tell at once what the mailboxes hold."""
    selected: SelectedEvents
    groups: tuple[EventGroup, ...]


def parse_notify(cursor: Cursor, has_metadata: bool = True) -> NotifyRequest | None:
    """Read what follows the command's name, up to its end; None for ``NONE``.

    Raises: Bad; No with BADEVENT for events that there are not, after all is read (RFC 5465 §3.1).
    """
    cursor.space()
    word = cursor.word()
    if word == b"NONE":
        cursor.end()
        return None
    if word != b"SET":
        raise Bad("NONE or SET expected")
    counts = cursor.take(b" STATUS")
    groups: list[EventGroup] = []
    selected: SelectedEvents | None = None
    unknown = False
    names = 0
    while not (groups or selected) or not cursor.at_end():
        cursor.space()
        cursor.expect(b"(")
        source = _parse_filter(cursor)
        names += len(source.names)
        cursor.space()
        events, items = _parse_events(cursor)
        cursor.expect(b")")
        supported = SUPPORTED if has_metadata else SUPPORTED.keys() - {METADATA, SERVER_METADATA}
        unknown |= not events <= set(supported)
        _check(source, events, items)
        if source.kind in _SELECTED:
            if selected is not None:
                raise Bad("the selected mailbox can stand there only once")
            is_delayed = source.kind == b"SELECTED-DELAYED"
            selected = SelectedEvents(NEW in events, FLAG in events, is_delayed, items)
        else:
            groups.append(EventGroup(source, events))
        if len(groups) > MAX_GROUPS or names > MAX_NAMES:
            raise Bad("Too many mailboxes to be notified of")
    if unknown:
        told = [name for word, name in SUPPORTED.items() if word in supported]
        raise No("There are no such events", b"BADEVENT (%b)" % b" ".join(told))
    return NotifyRequest(counts, selected or SelectedEvents(), tuple(groups))


def _parse_filter(cursor: Cursor) -> Source:
    kind = cursor.word()
    if kind in _SELECTED or kind in _OTHERS:
        return Source(kind)
    if kind not in WITH_NAMES:
        raise Bad("Unknown mailbox filter")
    cursor.space()
    names = cursor.list_of(cursor.mailbox) if cursor.peek() == 40 else [cursor.mailbox()]
    return Source(kind, tuple(names))


def _parse_events(cursor: Cursor) -> tuple[frozenset[bytes], tuple[FetchItem, ...]]:
    """The events of a group, and what is to be sent of new messages."""
    if cursor.peek() != 40:
        if cursor.word() != b"NONE":
            raise Bad("a list of events or NONE expected")
        return frozenset(), ()
    items: tuple[FetchItem, ...] = ()
    count = 0

    def event() -> bytes:
        nonlocal items, count
        count += 1
        if count > MAX_EVENTS:
            raise Bad("Too many events")
        word = cursor.atom().upper()
        if word == NEW and cursor.take(b" ("):
            items = parse_fetch_list(cursor)
        return word

    return frozenset(cursor.list_of(event)), items


def _check(source: Source, events: frozenset[bytes], items: tuple[FetchItem, ...]) -> None:
    """Pass events that may stand together, and beside this filter (RFC 5465 §5, §6.1, §8).

    Raises: Bad.
    """
    if events & OF_MESSAGES and not {NEW, EXPUNGE} <= events:
        raise Bad("events of messages need both MessageNew and MessageExpunge")
    if source.kind in _SELECTED:
        if events & (SUPPORTED.keys() - OF_MESSAGES):
            raise Bad("only events of messages are for the selected mailbox")
    elif items:
        raise Bad("what to send of new messages can be said for the selected mailbox alone")
