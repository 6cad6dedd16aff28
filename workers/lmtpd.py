"""lmtpd: Accept mail by LMTP (RFC 2033) into the message store."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mstore.base.options import Settings
from mstore.lmtp.session import Session
from workers import daemon
from workers.service import make_service
from workers.worker import Kind

PURPOSE = "Accept mail by LMTP (RFC 2033) into the message store."


def unix_sockets(settings: Settings) -> tuple[str, ...]:
    """The sockets below ``ipc``: one that obeys quotas, and if wanted one that does not."""
    return ("lmtpd", "lmtpd-oq") if settings.lmtp_enable_overquota_delivery else ("lmtpd",)


REFUSAL = b"421 4.3.2 %b, try again later\r\n"
KIND = Kind("lmtpd", PURPOSE, Session, make_service, unix_sockets, refusal=REFUSAL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run lmtpd from its command line; returns the exit status."""
    return daemon.main(KIND, argv)


if __name__ == "__main__":
    sys.exit(main())
