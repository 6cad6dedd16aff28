"""imapd: Serve IMAP4 (RFC 3501) from the message store."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mstore.imap.session import Session
from mstore.imap.tap import ImapTap
from workers import daemon
from workers.service import make_service
from workers.worker import Kind

PURPOSE = "Serve IMAP4 (RFC 3501) from the message store."
REFUSAL = b"* BYE [UNAVAILABLE] %b, try again later\r\n"
KIND = Kind("imapd", PURPOSE, Session, make_service, protocol="imap", refusal=REFUSAL, tap=ImapTap)


def main(argv: Sequence[str] | None = None) -> int:
    """Run imapd from its command line; returns the exit status."""
    return daemon.main(KIND, argv)


if __name__ == "__main__":
    sys.exit(main())
