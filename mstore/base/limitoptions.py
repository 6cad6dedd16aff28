"""The options of ms.conf about how much one session may ask for: commands a second, what a command may bring,
how long an answer may wait for its client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mstore.base import values
from mstore.base.loginoptions import SESSIONS
from mstore.base.option import option

LINE_BYTES = 64 << 10
LITERALS_BYTES = 1 << 20
"""Of one command together, messages aside."""


def _commands(name: str, more: str = "") -> Any:
    return option(
        f"{name}-commands-per-second", values.number(0, 100_000),
        f"""How many commands a second {name} carries out for one session, once it has sent so many at once. A
        session that sends more is not refused anything: its next command waits until it is due, and its
        client with it.{more} 0 for any number.""",
        readers=(name,), section="Defence", default=0, example="50",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """How much one session may ask for."""

    imapd_commands_per_second: int = _commands("imapd")
    pop3d_commands_per_second: int = _commands("pop3d")
    lmtpd_commands_per_second: int = _commands(
        "lmtpd", """ A message is three commands at least, and one more for each further recipient; the mail
        transport agent keeps what waits."""
    )  # fmt: skip
    imapd_line_limit: int = option(
        "imapd-line-limit", values.size(8 << 10, 1 << 20),
        """How long the lines of one IMAP command may be, all of them together, once its user has logged in;
        before that, no longer than 64K. A command that is longer is answered BAD. To be raised for programs
        that name very many messages in one command; RFC 7162 §4 asks for 8K at least.""",
        readers=("imapd",), section="IMAP", default=LINE_BYTES,
    )  # fmt: skip
    imapd_literals_limit: int = option(
        "imapd-literals-limit", values.size(64 << 10, 64 << 20),
        """How long the literals of one IMAP command may be, all of them together, once its user has logged
        in: names of mailboxes, words to search for, annotations. They are held in memory. Messages do not
        count: for these there is message-size-limit.""",
        readers=("imapd",), section="IMAP", default=LITERALS_BYTES,
    )  # fmt: skip
    send_timeout: int = option(
        "send-timeout", values.duration(10, 3600),
        """How long a client may take nothing of what it is being sent; then the connection is ended, and what
        it holds is given back. A client that takes something now and then is not ended, however slow it
        is.""",
        readers=SESSIONS, section="Defence", default=300,
    )  # fmt: skip
