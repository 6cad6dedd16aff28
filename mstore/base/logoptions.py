"""The options of the log: where it goes, its form, and which acts on mail stand in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mstore.base import values
from mstore.base.option import option

DAEMONS = ("storemgr", "authproxyd", "imapd", "pop3d", "lmtpd", "metricsd")
ACTS = (
    "delivered", "appended", "copied", "moved", "flagged", "expunged",
    "created", "deleted", "renamed", "subscribed", "acl",
)  # fmt: skip
"""The kinds of acts that ``audit-log`` can choose."""
_ACTORS = ("imapd", "pop3d", "lmtpd", "msadm")


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """The options that ``docs/logging.md`` explains."""

    log_to: str = option(
        "log-to", values.choice("file", "stderr", "syslog", "journal"),
        """Where the lines of the log go (docs/logging.md). file: to DAEMON.log in the directory log of
        ms-path, opened anew on SIGHUP. stderr: to the standard error of storemgr, all daemons' together.
        syslog: to the system's syslog, facility mail. journal: to the journal of systemd, with a field for
        each pair. What Python itself says of a crash goes to DAEMON.log in the last two cases. A daemon that
        is started by hand writes to its standard error instead of a file.""",
        readers=(*DAEMONS, "msadm"), section="Log", default="file",
    )  # fmt: skip
    log_format: str = option(
        "log-format", values.choice("logfmt", "json"),
        """The form of a line: logfmt is key=value with quotes where they are needed, json one object. In
        the journal the message is logfmt in any case.""",
        readers=(*DAEMONS, "msadm"), section="Log", default="logfmt",
    )  # fmt: skip
    log_socket: Path | None = option(
        "log-socket", values.PATH,
        """The socket of the syslog or the journal, where it is not /dev/log or
        /run/systemd/journal/socket.""",
        readers=(*DAEMONS, "msadm"), section="Log", example="/run/systemd/journal/syslog",
    )  # fmt: skip
    audit_log: frozenset[str] = option(
        "audit-log", values.some("all", *ACTS),
        """Which acts on mail are logged, with who did them, from where and to which messages
        (docs/logging.md): all, none, or some of delivered appended copied moved flagged expunged, which are
        about messages, and created deleted renamed subscribed acl, about mailboxes.""",
        readers=_ACTORS, section="Log", default=frozenset[str](), example="delivered moved expunged deleted",
    )  # fmt: skip
    audit_messages: bool = option(
        "audit-messages", values.BOOLEAN,
        """Whether acts on messages that exist already are logged with a line for each message, with its
        Message-ID and size, instead of one for each command and mailbox. What arrives has such lines in any
        case.""",
        readers=_ACTORS, section="Log", default=False,
    )  # fmt: skip
