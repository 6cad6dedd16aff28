"""Message-ids that are never the same again: the challenges of CRAM-MD5 (RFC 2195) and APOP (RFC 1939 §7).

They tell nothing of the host or the process.
"""

from __future__ import annotations

import secrets
import time


def make_stamp(server: str) -> bytes:
    """A fresh one, in angle brackets."""
    return f"<{secrets.token_hex(12)}.{int(time.time())}@{server}>".encode()
