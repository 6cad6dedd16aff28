"""What of LMTP may be shown in a trace: the transactions in which somebody gets a message."""

from __future__ import annotations

from mstore.lmtp.commands import COMMANDS
from mstore.net.trace import MASK, Tap


class LmtpTap(Tap):
    """Follows an LMTP session from the acceptance of a recipient to the end of the transaction."""

    by_login = False

    def judge(self, line: bytes, has_content: bool) -> bytes:
        """A line is a command; those of the Unix socket have no secrets."""
        self.begin_command()
        return line if line.partition(b" ")[0].upper() in COMMANDS else MASK
