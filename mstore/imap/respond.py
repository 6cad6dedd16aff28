"""The bytes of responses and response codes (RFC 3501 §7).

Everything that goes to a client in a text is made printable ASCII here: no response can be broken by a
mailbox name, a file name or an error message.
"""

from __future__ import annotations

import re

from mstore.imap.grammar.names import format_mailbox

__all__ = [
    "continue_req",
    "format_astring",
    "format_mailbox",
    "format_mailbox_id",
    "format_string",
    "format_text",
    "status",
    "tagged",
]

_UNPRINTABLE = re.compile(rb"[^\x20-\x7e]")
_ASTRING = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
_QUOTABLE = re.compile(rb"[^\x00\r\n\x80-\xff\"\\]{0,1000}")
MAX_TEXT_BYTES = 400


def format_text(text: str | bytes) -> bytes:
    """Human text as resp-text: one line of printable ASCII, never empty (RFC 3501 §9 "text")."""
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    data = _UNPRINTABLE.sub(b"?", data[:MAX_TEXT_BYTES])
    if data.startswith(b"["):
        # Must not be taken for a response code.
        data = b" " + data
    if data.endswith(b"}"):
        # Nor its end for the announcement of a literal.
        data += b"."
    return data or b"-"


def format_mailbox_id(identifier: str) -> bytes:
    """A MAILBOXID (RFC 8474 §4)."""
    return b"F" + identifier.encode("ascii")


def status(kind: bytes, text: str | bytes, code: bytes | None = None) -> bytes:
    """``OK [CODE] text`` and its like, without tag and line end."""
    if code is None:
        return kind + b" " + format_text(text)
    return kind + b" [" + code + b"] " + format_text(text)


def tagged(tag: bytes, kind: bytes, text: str | bytes, code: bytes | None = None) -> bytes:
    """A whole status response; the tag ``*`` makes it untagged."""
    return tag + b" " + status(kind, text, code) + b"\r\n"


def continue_req(text: bytes) -> bytes:
    """A command continuation request (RFC 3501 §7.5)."""
    return b"+ " + text + b"\r\n"


def format_astring(data: bytes) -> bytes:
    """An atom where it can be, otherwise a string."""
    return data if _ASTRING.fullmatch(data) and data.upper() != b"NIL" else format_string(data)


def format_string(data: bytes) -> bytes:
    """A string: quoted where possible, otherwise a literal."""
    if _QUOTABLE.fullmatch(data):
        return b'"' + data + b'"'
    if len(data) <= 1000 and _QUOTABLE.fullmatch(data.replace(b'"', b"").replace(b"\\", b"")):
        return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n" % len(data) + data
