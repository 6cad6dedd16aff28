"""The command table of POP3 and all its commands but those of logging in (``login.py``).

A command gets the session and what stands behind its name; it answers through ``session.ok`` and
``session.send``, or raises ``Refusal``. What the store raises becomes an -ERR by ``refusal_of``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from mstore import __version__
from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.net.stream import Disconnected, StreamFailed
from mstore.pop3 import login
from mstore.pop3.maildrop import Maildrop
from mstore.pop3.multiline import stuff
from mstore.pop3.reply import TEMPORARY, Refusal

if TYPE_CHECKING:
    from mstore.pop3.session import Session

AUTHORIZATION = frozenset({"authorization"})
TRANSACTION = frozenset({"transaction"})
BOTH = AUTHORIZATION | TRANSACTION

_END = b".\r\n"
_LANGUAGE = re.compile(rb"\*|[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,8}")


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table: what to run, in which states."""

    run: Callable[[Session, bytes], None]
    states: frozenset[str]
    rfc: str
    kind: str = "command.other"
    """Where the time that it takes is counted."""


def run_capa(session: Session, argument: bytes) -> None:
    """List the capabilities (RFC 2449 §5)."""
    _no_argument(argument)
    lines = [
        "TOP",
        "UIDL",
        "RESP-CODES",
        "AUTH-RESP-CODE",
        "PIPELINING",
        "EXPIRE NEVER",
        "UTF8",  # Not with USER: clients of Cyrus then take that there is no such command.
        "LANG",
        f"IMPLEMENTATION M-Store-{__version__}",
    ]
    delay_s = session.service.settings.pop3d_login_delay
    if delay_s:
        lines.append(f"LOGIN-DELAY {delay_s}")
    if login.may_send_passwords(session):
        lines.append("USER")
    names = login.mechanisms(session)
    if names:
        lines.append("SASL " + " ".join(names))
    if session.maildrop is None and login.may_start_tls(session):
        lines.append("STLS")  # RFC 2595 §8 "AUTHORIZATION state only"
    session.ok("capability list follows")
    session.send("".join(line + "\r\n" for line in lines).encode() + _END)


def run_utf8(session: Session, argument: bytes) -> None:
    """Send headers as they are from now on, in UTF-8 too (RFC 6856 §2.1)."""
    _no_argument(argument)
    session.utf8 = True
    session.ok("headers may be in UTF-8")


def run_lang(session: Session, argument: bytes) -> None:
    """Choose the language of texts for people, of which there is one; or list it (RFC 6856 §3)."""
    if not argument:
        session.ok("language listing follows")
        session.send(b"en English\r\n" + _END)
        return
    if _LANGUAGE.fullmatch(argument) is None:
        raise Refusal("LANG takes a language range", wrong=True)
    if argument != b"*" and argument.split(b"-")[0].lower() != b"en":
        raise Refusal(f"there is no language {argument.decode()} here")
    session.ok("en English it is")


def run_stat(session: Session, argument: bytes) -> None:
    """Number and octets of the messages (RFC 1939 §5)."""
    _no_argument(argument)
    count, size_bytes = _maildrop(session).remaining
    session.ok(f"{count} {size_bytes}")


def run_list(session: Session, argument: bytes) -> None:
    """Number and size of one message or of all (RFC 1939 §5)."""
    maildrop = _maildrop(session)
    if argument:
        number = _number(argument)
        session.ok(f"{number} {maildrop.size(number)}")
        return
    session.ok(maildrop.summary)
    for batch in maildrop.scan_listing():
        session.send(batch)
        blocking.breathe()
    session.send(_END)


def run_uidl(session: Session, argument: bytes) -> None:
    """Number and unique-id of one message or of all (RFC 1939 §7)."""
    maildrop = _maildrop(session)
    if argument:
        number = _number(argument)
        session.ok(f"{number} {maildrop.unique_id(number).decode()}")
        return
    session.ok("unique-id listing follows")
    for batch in maildrop.unique_id_listing():
        session.send(batch)
        blocking.breathe()
    session.send(_END)


def run_retr(session: Session, argument: bytes) -> None:
    """Send a message (RFC 1939 §5)."""
    maildrop = _maildrop(session)
    number = _number(argument)
    size_bytes, chunks = maildrop.content(number, session.utf8)
    _send_message(session, f"{size_bytes} octets", chunks)


def run_top(session: Session, argument: bytes) -> None:
    """Send the header of a message and the first lines of its body (RFC 1939 §7)."""
    maildrop = _maildrop(session)
    words = argument.split()
    if len(words) != 2 or not words[1].isdigit():
        raise Refusal("TOP needs a message number and a number of lines", wrong=True)
    # What has more digits than any message has lines means all of them.
    lines = int(words[1][:18])
    _send_message(session, "top of message follows", maildrop.top(_number(words[0]), lines, session.utf8))


def run_dele(session: Session, argument: bytes) -> None:
    """Mark a message as deleted; it goes when the session ends with QUIT (RFC 1939 §5)."""
    number = _number(argument)
    _maildrop(session).mark(number)
    session.ok(f"message {number} deleted")


def run_noop(session: Session, argument: bytes) -> None:
    """Do nothing (RFC 1939 §5)."""
    _no_argument(argument)
    session.ok("")


def run_rset(session: Session, argument: bytes) -> None:
    """Unmark all messages (RFC 1939 §5)."""
    _no_argument(argument)
    maildrop = _maildrop(session)
    maildrop.unmark_all()
    session.ok(f"maildrop has {maildrop.summary}")


def run_quit(session: Session, argument: bytes) -> None:
    """Remove what is marked, all or nothing, and end the session (RFC 1939 §4, §6).

    Durable: the removal, before +OK is sent.
    Locks: the maildrop is free again when the answer is sent.
    """
    _no_argument(argument)
    session.ended = True
    maildrop = session.maildrop
    if maildrop is None:
        session.ok("signing off")
        return
    try:
        left = maildrop.update()
    except MStoreError as error:
        session.report("update", error)
        raise Refusal("deleted messages not removed", TEMPORARY) from error
    finally:
        session.leave()
    what = "maildrop empty" if left == 0 else f"{left} message{'' if left == 1 else 's'} left"
    session.ok(f"signing off ({what})")


COMMANDS: Mapping[bytes, Command] = {
    b"CAPA": Command(run_capa, BOTH, "RFC 2449 §5"),
    b"STLS": Command(login.run_stls, AUTHORIZATION, "RFC 2595 §4"),
    b"USER": Command(login.run_user, AUTHORIZATION, "RFC 1939 §7"),
    b"PASS": Command(login.run_pass, AUTHORIZATION, "RFC 1939 §7", "command.login"),
    b"APOP": Command(login.run_apop, AUTHORIZATION, "RFC 1939 §7", "command.login"),
    b"AUTH": Command(login.run_auth, AUTHORIZATION, "RFC 5034 §4", "command.login"),
    b"UTF8": Command(run_utf8, AUTHORIZATION, "RFC 6856 §2.1"),
    b"LANG": Command(run_lang, BOTH, "RFC 6856 §3.2"),
    b"STAT": Command(run_stat, TRANSACTION, "RFC 1939 §5"),
    b"LIST": Command(run_list, TRANSACTION, "RFC 1939 §5"),
    b"UIDL": Command(run_uidl, TRANSACTION, "RFC 1939 §7"),
    b"RETR": Command(run_retr, TRANSACTION, "RFC 1939 §5", "command.retr"),
    b"TOP": Command(run_top, TRANSACTION, "RFC 1939 §7", "command.retr"),
    b"DELE": Command(run_dele, TRANSACTION, "RFC 1939 §5"),
    b"RSET": Command(run_rset, TRANSACTION, "RFC 1939 §5"),
    b"NOOP": Command(run_noop, TRANSACTION, "RFC 1939 §5"),
    b"QUIT": Command(run_quit, BOTH, "RFC 1939 §6"),
}


def _send_message(session: Session, text: str, chunks: Iterator[bytes]) -> None:
    """Answer with a message, as it comes from the disk; what fails at its beginning is an -ERR still."""
    first = next(chunks, b"")
    session.ok(text)
    try:
        for piece in stuff(chain((first,), chunks)):
            session.send(piece)
            blocking.breathe()
    except StreamFailed:
        raise
    except MStoreError as error:
        # In the middle of a response nothing can be said any more but that it ends here.
        session.report("retrieve", error)
        raise Disconnected("message cannot be read to its end") from error


def _maildrop(session: Session) -> Maildrop:
    """The maildrop, which is open in every state in which a command asks for it."""
    assert session.maildrop is not None
    return session.maildrop


def _no_argument(argument: bytes) -> None:
    if argument:
        raise Refusal("no argument is allowed here", wrong=True)


def _number(argument: bytes) -> int:
    """A message number; more digits than ten are beyond any maildrop."""
    if not argument.isdigit() or len(argument) > 10:
        raise Refusal("a message number is needed", wrong=True)
    return int(argument)
