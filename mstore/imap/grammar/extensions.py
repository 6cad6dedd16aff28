"""What a client may enable that changes the grammar of its commands and answers (RFC 5161, 6855, 9051)."""

from __future__ import annotations

IMAP4REV2 = b"IMAP4REV2"
UTF8_ACCEPT = b"UTF8=ACCEPT"

NONE: frozenset[bytes] = frozenset()
REV2: frozenset[bytes] = frozenset((IMAP4REV2,))
UTF8: frozenset[bytes] = frozenset((IMAP4REV2, UTF8_ACCEPT))
"""With these UTF-8 may stand in quoted strings, and names are in UTF-8 (RFC 6855 §3, RFC 9051 §5.1)."""
