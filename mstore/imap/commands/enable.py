"""ENABLE: the client says which extensions it uses (RFC 5161)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from mstore.imap.grammar.cursor import Cursor

if TYPE_CHECKING:
    from mstore.imap.session import Session

MEANINGS: Mapping[bytes, frozenset[bytes]] = MappingProxyType(
    {
        b"CONDSTORE": frozenset((b"CONDSTORE",)),
        b"QRESYNC": frozenset((b"QRESYNC", b"CONDSTORE")),
        b"UIDONLY": frozenset((b"UIDONLY",)),
    }
)
"""What can be enabled, and all that is in use then (RFC 7162 §3.2.3, RFC 9586 §3.1)."""


def run_enable(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 5161 §3.1: words that are not known, or cannot be enabled, are ignored."""
    words: dict[bytes, None] = {}
    while True:
        cursor.space()
        words[cursor.atom().upper()] = None
        if cursor.at_end():
            break
    enabled = [word for word in words if word in MEANINGS and session.offers(word)]
    session.send(b"* ENABLED" + b"".join([b" " + word for word in enabled]) + b"\r\n")
    session.enable(*frozenset[bytes]().union(*[MEANINGS[word] for word in enabled]))
