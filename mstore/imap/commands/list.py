"""Names of mailboxes: LIST, LSUB, NAMESPACE (RFC 3501 §6.3.8, §6.3.9, RFC 3348, RFC 2342)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mstore.base.errors import Invalid
from mstore.imap.errors import No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.names import compile_pattern, fold_inbox, format_mailbox, parse_utf7
from mstore.store.names import SEPARATOR, sorted_names
from mstore.store.spaces import OTHERS_PREFIX

if TYPE_CHECKING:
    from mstore.imap.session import Session

MAX_PATTERN_CHARACTERS = 2000
_OTHERS_INBOX = re.compile("(user/[^/%*]+/)inbox(?=/|$)", re.IGNORECASE)


def run_list(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.8, with \\HasChildren and \\HasNoChildren (RFC 3348 §3).

    What is told follows from the names alone that the client may see (RFC 4314 §4). A level above one of
    them that is no name itself, or none for this client, is told where a ``%`` at the end asks for levels.
    """
    try:
        pattern = parse_pattern(cursor)
    except Invalid:
        return
    if pattern is None:
        session.send(b'* LIST (\\Noselect) "/" ""\r\n')
        return
    entries = session.mailstore.listing(pattern.partition("%")[0].partition("*")[0])
    parents = find_parents(entries)
    names: Iterable[str] = entries
    if pattern.endswith("%") and not parents.issubset(entries.keys()):
        names = sorted_names(parents.union(entries))
    matches = compile_pattern(pattern)
    lines = []
    for name in names if pattern == "*" else filter(matches, names):
        entry = entries.get(name)
        attributes = b"\\HasChildren" if name in parents else b"\\HasNoChildren"
        if entry is None or entry.no_select:
            attributes = b"\\Noselect " + attributes
        lines.append(b'* LIST (%b) "/" %b\r\n' % (attributes, format_mailbox(name)))
    session.stream.writelines(lines)


def run_lsub(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 3501 §6.3.9: a level above subscribed names that ``%`` matches stands for them, as \\Noselect."""
    try:
        pattern = parse_pattern(cursor)
    except Invalid:
        return
    if pattern is None:
        session.send(b'* LSUB (\\Noselect) "/" ""\r\n')
        return
    subscribed = session.mailstore.subscriptions()
    matches = compile_pattern(pattern)
    found = {name: b"" for name in subscribed if matches(name)}
    if "%" in pattern:
        for name in find_parents(subscribed):
            if name not in subscribed and matches(name):
                found[name] = b"\\Noselect"
    session.stream.writelines(
        b'* LSUB (%b) "/" %b\r\n' % (found[name], format_mailbox(name)) for name in sorted_names(found)
    )


def run_namespace(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 2342 §5: one's own mailboxes, those of other users, and the shared ones."""
    cursor.end()
    session.send(b'* NAMESPACE (("" "/")) (("user/" "/")) (("shared/" "/"))\r\n')


def parse_pattern(cursor: Cursor) -> str | None:
    """Reference and pattern as one pattern, decoded; None when only the separator is asked for.

    Raises: Invalid for what is no modified UTF-7, and so can match no name.
    """
    cursor.space()
    reference = cursor.astring()
    cursor.space()
    pattern = cursor.list_mailbox()
    cursor.end()
    if not pattern:
        return None
    text = fold_inbox(parse_utf7(reference) + parse_utf7(pattern))
    if text.startswith(OTHERS_PREFIX):
        text = _OTHERS_INBOX.sub(r"\1INBOX", text, 1)
    if len(text) > MAX_PATTERN_CHARACTERS:
        raise No("pattern too long", b"LIMIT")
    return text


def find_parents(names: Iterable[str]) -> set[str]:
    """All names that are a level above one of these."""
    parents: set[str] = set()
    for name in names:
        at = name.rfind(SEPARATOR)
        while at >= 0:
            name = name[:at]
            if name in parents:
                break
            parents.add(name)
            at = name.rfind(SEPARATOR)
    return parents
