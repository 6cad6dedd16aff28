"""pop3d: Serve POP3 (RFC 1939) from the message store."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mstore.pop3.session import Session
from mstore.pop3.tap import Pop3Tap
from workers import daemon
from workers.service import make_service
from workers.worker import Kind

PURPOSE = "Serve POP3 (RFC 1939) from the message store."
REFUSAL = b"-ERR [SYS/TEMP] %b, try again later\r\n"
KIND = Kind("pop3d", PURPOSE, Session, make_service, protocol="pop3", refusal=REFUSAL, tap=Pop3Tap)


def main(argv: Sequence[str] | None = None) -> int:
    """Run pop3d from its command line; returns the exit status."""
    return daemon.main(KIND, argv)


if __name__ == "__main__":
    sys.exit(main())
