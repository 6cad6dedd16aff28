"""The bits of a flag word that have a meaning of their own; bits 8 to 63 are the mailbox's keywords."""

from mstore.files.snapshot import TOMBSTONE

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16
EXPUNGED = TOMBSTONE
"""The message is gone; it is only there for sessions that have not been told."""
FIRST_KEYWORD_BIT = 8
