"""COMPRESS: both directions of the connection compressed by DEFLATE (RFC 4978)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor

if TYPE_CHECKING:
    from mstore.imap.session import Session


def run_compress(session: Session, tag: bytes, cursor: Cursor) -> bytes:
    """RFC 4978 §3: answers itself, because what follows its OK is compressed."""
    cursor.space()
    mechanism = cursor.atom().upper()
    cursor.end()
    if mechanism != b"DEFLATE":
        raise Bad(f"unknown compression mechanism {mechanism.decode()[:40]}")
    if not session.offers(b"COMPRESS=DEFLATE"):
        raise No("Compression is switched off", b"CANNOT")
    stream = session.stream
    if stream.deflated:
        raise Bad("Compression is active already", b"COMPRESSIONACTIVE")
    if stream.has_input():
        # RFC 4978 §3 "MUST NOT send any further commands": whether these are compressed cannot be known.
        raise Bad("nothing may follow COMPRESS before its answer")
    session.send(tag + b" OK DEFLATE active\r\n")
    stream.start_deflate()
    return b""
