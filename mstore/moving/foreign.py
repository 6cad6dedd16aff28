"""What is known of mail that lies elsewhere, in whatever form: mailboxes, messages, where they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from imapclient.imap_utf7 import decode as decode_utf7
from imapclient.imap_utf7 import encode as encode_utf7

from mstore.base.errors import MStoreError


class Unreadable(MStoreError):
    """A message, or a mailbox, cannot be read where it lies; the others can."""


@dataclass(frozen=True, slots=True)
class ForeignMessage:
    """One message elsewhere."""

    key: str
    """Names it in its mailbox for good, also when it is looked at again later."""
    uid: int | None
    flags: tuple[bytes, ...]
    """System flags and keywords as IMAP writes them."""
    date: int
    """INTERNALDATE, seconds since 1970."""
    read: Callable[[], bytes]
    """Gives the message with CRLF line ends (RFC 5322 §2.3). Raises: Unreadable, Unavailable, OSError."""


Wanted = Callable[[str, int | None], bool]
"""Asked once for each message there is, with its key and its UID: whether it is to be brought in."""


@dataclass(frozen=True, slots=True)
class ForeignMailbox:
    """One mailbox elsewhere; its messages come in ascending order of their UIDs, those without one last."""

    name: str
    """In our form: Unicode, ``/`` between the levels, INBOX in capitals."""
    uid_validity: int | None
    uid_next: int | None
    messages: Callable[[Wanted], Iterator[ForeignMessage]]
    """Gives those that are wanted; the others are not even read. Raises: Unreadable, Unavailable, OSError."""
    count: int
    """About how many messages there are, for showing progress."""
    special_use: str | None = None


class Source(Protocol):
    """An account's mail elsewhere."""

    identity: str
    """Tells it from others that may be imported into the same account."""

    def mailboxes(self) -> Iterable[ForeignMailbox]: ...
    def subscriptions(self) -> Iterable[str]: ...


def decode_level(text: str) -> str:
    """A level of a mailbox name as servers name files: in modified UTF-7 (RFC 3501 §5.1.3), or in UTF-8."""
    if text.isascii():
        try:
            return str(decode_utf7(text.encode("ascii")))
        except (UnicodeDecodeError, ValueError):
            pass
    return text


def encode_level(level: str) -> str:
    """The same the other way, without any dot: to Maildir++ and to the system it means something else."""
    encoded: bytes = encode_utf7(level)
    return encoded.decode("ascii").replace(".", "&AC4-")
