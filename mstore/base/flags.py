"""A flag word, 64 bits: system flags, bits of our own, and the keywords of a mailbox (RFC 3501 §2.3.2)."""

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16
SYSTEM_FLAGS: tuple[bytes, ...] = (rb"\Seen", rb"\Answered", rb"\Flagged", rb"\Deleted", rb"\Draft")
"""In the order of their bits."""
TOMBSTONE = 1 << 7
"""The message is expunged; its row is only there for sessions that have not been told."""
INTERNAL_BITS = 0b11100000
"""Never shown to a client."""
USER_BITS = ~INTERNAL_BITS & 0xFFFFFFFFFFFFFFFF
FIRST_KEYWORD_BIT = 8
MOST_KEYWORDS = 56
