"""ENABLE: the client says which extensions it uses (RFC 5161, RFC 9051 §6.3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from mstore.imap import state
from mstore.imap.errors import Bad
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.extensions import IMAP4REV2, UTF8_ACCEPT

if TYPE_CHECKING:
    from mstore.imap.session import Session

MEANINGS: Mapping[bytes, frozenset[bytes]] = MappingProxyType(
    {
        b"CONDSTORE": frozenset((b"CONDSTORE",)),
        b"QRESYNC": frozenset((b"QRESYNC", b"CONDSTORE")),
        UTF8_ACCEPT: frozenset((UTF8_ACCEPT,)),
        IMAP4REV2: frozenset((IMAP4REV2,)),
        b"UIDONLY": frozenset((b"UIDONLY",)),
    }
)
"""What can be enabled, and all that is in use then (RFC 7162 §3.2.3, RFC 9586 §3.1)."""
SPELLINGS: Mapping[bytes, bytes] = MappingProxyType({IMAP4REV2: b"IMAP4rev2"})
BEFORE_SELECT = frozenset((UTF8_ACCEPT, IMAP4REV2))
"""They change what is told of a selected mailbox, so they come before (RFC 6855 §3, RFC 9051 §6.3.1)."""


def run_enable(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 5161 §3.1: words that are not known, or cannot be enabled, are ignored."""
    words: dict[bytes, None] = {}
    while True:
        cursor.space()
        words[cursor.atom().upper()] = None
        if cursor.at_end():
            break
    enabled = [word for word in words if word in MEANINGS and session.offers(word)]
    if session.state == state.SELECTED and BEFORE_SELECT.intersection(enabled) - session.enabled:
        raise Bad("This is to be enabled before a mailbox is selected")
    session.send(b"* ENABLED" + b"".join([b" " + SPELLINGS.get(word, word) for word in enabled]) + b"\r\n")
    session.enable(*frozenset[bytes]().union(*[MEANINGS[word] for word in enabled]))
