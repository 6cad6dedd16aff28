"""What has happened elsewhere than in the selected mailbox, as responses (RFC 5465 §5).

LIST tells of names, STATUS of what mailboxes hold, METADATA of annotations.
"""

from __future__ import annotations

from mstore.imap.respond import format_astring, format_mailbox
from mstore.store.news import FLAGS, AnnotationNews, CountNews, NameNews

MOST_ENTRIES = 100
"""In one response."""


def format_name(news: NameNews, shows_uses: bool, utf8: bool) -> bytes:
    """LIST, with what the name was called before."""
    attributes = []
    entry = news.entry
    if entry is None:
        attributes.append(b"\\NonExistent")
    elif entry.no_select:
        attributes.append(b"\\Noselect")
    if news.no_access:
        attributes.append(b"\\NoAccess")
    attributes.append(b"\\HasChildren" if news.has_children else b"\\HasNoChildren")
    if entry is not None and entry.special_use is not None and shows_uses:
        attributes.append(entry.special_use.encode("ascii"))
    if news.subscribed:
        attributes.append(b"\\Subscribed")
    old = b"" if news.old_name is None else b' ("OLDNAME" (%b))' % format_mailbox(news.old_name, utf8)
    return b'* LIST (%b) "/" %b%b\r\n' % (b" ".join(attributes), format_mailbox(news.name, utf8), old)


def format_counts(news: CountNews, aware: bool, utf8: bool) -> bytes:
    """STATUS with what has changed; nothing where what has changed is not wanted, or cannot be told.

    ``aware`` clients know of MODSEQs; of others' flags only the number of unseen messages can be told.
    """
    before, now = news.before, news.now
    items = []
    has_moved = before is None or (before.messages, before.uid_next) != (now.messages, now.uid_next)
    has_changed = before is None or before.highest_modseq != now.highest_modseq
    if has_moved:
        items += [b"MESSAGES %d" % now.messages, b"UIDNEXT %d" % now.uid_next]
    if news.wanted & FLAGS and before is not None and before.unseen != now.unseen:
        items.append(b"UNSEEN %d" % now.unseen)
    if aware and (has_moved or (has_changed and news.wanted & FLAGS)):
        items.append(b"HIGHESTMODSEQ %d" % now.highest_modseq)
    return _format_status(news, items, utf8) if items else b""


def format_first_counts(news: CountNews, tells_modseq: bool, utf8: bool) -> bytes:
    """STATUS as NOTIFY SET STATUS begins with (RFC 5465 §3.1)."""
    now = news.now
    items = [b"MESSAGES %d" % now.messages, b"UIDNEXT %d" % now.uid_next]
    if tells_modseq:
        items.append(b"HIGHESTMODSEQ %d" % now.highest_modseq)
    return _format_status(news, items, utf8)


def _format_status(news: CountNews, items: list[bytes], utf8: bool) -> bytes:
    items.append(b"UIDVALIDITY %d" % news.now.uid_validity)
    return b"* STATUS %b (%b)\r\n" % (format_mailbox(news.name, utf8), b" ".join(items))


def format_annotations(news: AnnotationNews, utf8: bool) -> bytes:
    """METADATA with the names alone (RFC 5464 §4.4.2)."""
    name = format_mailbox(news.name, utf8) if news.name else b'""'
    lines = []
    for at in range(0, len(news.entries), MOST_ENTRIES):
        entries = [format_astring(entry.encode("ascii")) for entry in news.entries[at : at + MOST_ENTRIES]]
        lines.append(b"* METADATA %b %b\r\n" % (name, b" ".join(entries)))
    return b"".join(lines)
