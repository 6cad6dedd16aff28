"""lmtpd: Accept mail by LMTP (RFC 2033) into the message store."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mstore.lmtp.session import Session
from mstore.lmtp.tap import LmtpTap
from workers import daemon
from workers.places import lmtp_sockets
from workers.service import make_service
from workers.worker import Kind

PURPOSE = "Accept mail by LMTP (RFC 2033) into the message store."


REFUSAL = b"421 4.3.2 %b, try again later\r\n"
KIND = Kind(
    "lmtpd", PURPOSE, Session, make_service, lmtp_sockets, surveys=True, refusal=REFUSAL, tap=LmtpTap
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run lmtpd from its command line; returns the exit status."""
    return daemon.main(KIND, argv)


if __name__ == "__main__":
    sys.exit(main())
