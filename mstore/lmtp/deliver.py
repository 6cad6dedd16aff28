"""One message, many recipients: finding them, the trace fields, and each one's result.

The message is spooled once and parsed once; every recipient's mailbox gets the same bytes through the store's
one door, ``append``. A recipient is acknowledged after ``append`` returned, which is when the message is on
disk. Two recipients that lead to one mailbox are two replies and one message.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from mstore import __version__
from mstore.accounts import AccountRecord
from mstore.base import blocking, clock
from mstore.base.errors import Invalid, LimitReached, Moved, MStoreError, NotFound
from mstore.files.spool import Spool
from mstore.lmtp.path import Path
from mstore.lmtp.reply import Refusal, format_failure, format_reply
from mstore.mail.date import format_date
from mstore.net.service import Service
from mstore.store.access import Access
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.names import INBOX
from mstore.store.place import Place
from mstore.store.spaces import SHARED_PREFIX

MOVED_PAUSE_S = 0.25
"""What the last step of a move takes: then the accounts' database names the new place."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """An accepted recipient: the address as given, whose it is, and the mailbox named after the plus."""

    path: Path
    record: AccountRecord
    mailbox_name: str
    is_shared: bool = False
    """The mailbox is a shared one, and only for it: it has no INBOX to fall back to."""


@dataclass(slots=True)
class Envelope:
    """A mail transaction between MAIL and the end of DATA."""

    sender: Path
    id: str = field(default_factory=lambda: os.urandom(8).hex())
    recipients: list[Recipient] = field(default_factory=list)


def find_recipient(service: Service, path: Path) -> Recipient:
    """Resolve a forward path to an account and a mailbox name.

    ``joe+important/March2000`` is the mailbox ``important/March2000`` of joe. With ``lmtp-shared-name`` as
    the user, a shared mailbox is meant, to which anyone must have the right ``p`` (RFC 4314 §2.1).
    Raises: Refusal, Denied, Unavailable, Corrupt, StorageFailed.
    """
    user, detail = path.split_plus()
    if detail and user.casefold() == service.settings.lmtp_shared_name.casefold():
        try:
            place = _find_shared(service, detail)
        except (NotFound, Invalid, LimitReached):
            raise Refusal(550, "5.1.1", f"<{path.text}> no such shared mailbox") from None
        return Recipient(path, cast("AccountRecord", place.person), detail, is_shared=True)
    record = service.accounts.resolve(user, path.domain) if user else None
    if record is None:
        raise Refusal(550, "5.1.1", f"<{path.text}> no such user here")
    return Recipient(path, record, detail)


def _find_shared(service: Service, detail: str) -> Place:
    """The shared mailbox of a plus address, where mail from anyone may go.

    Raises: NotFound, Denied, Invalid, LimitReached.
    """
    return Access(service.store, service.accounts, None).place_to_post(SHARED_PREFIX + detail)


def make_trace(service: Service, envelope: Envelope, hello: str, now_s: int) -> bytes:
    """Return-Path and Received, to stand in front of the message (RFC 5321 §4.4)."""
    only = f"\r\n\tfor <{envelope.recipients[0].path.text}>" if len(envelope.recipients) == 1 else ""
    return (
        f"Return-Path: <{envelope.sender.text}>\r\n"
        f"Received: from {hello}\r\n"
        f"\tby {service.settings.server_name} (M-Store {__version__}) with LMTP id {envelope.id}"
        f"{only};\r\n"
        f"\t{format_date(now_s, time.localtime(now_s).tm_gmtoff).decode()}\r\n"
    ).encode()


def deliver(service: Service, envelope: Envelope, spool: Spool) -> Iterator[bytes]:
    """Deliver to each recipient in turn and yield its reply.

    Durable: what a positive reply tells of is on disk before the reply is yielded.
    """
    message = NewMessage(spool, int(clock.now()))
    delivered: set[tuple[str, str]] = set()
    for recipient in envelope.recipients:
        to = recipient.path.text
        try:
            _deliver_one(service, recipient, message, delivered)
        except Exception as error:
            service.counters.add("errors")
            if isinstance(error, MStoreError):
                service.log.warning("delivery-failed", id=envelope.id, to=to, error=str(error))
            else:
                service.log.exception("fault", error, id=envelope.id, to=to)
            yield format_failure(error, to)
        else:
            service.log.info("delivery", id=envelope.id, to=to, bytes=spool.size)
            yield format_reply(250, "2.1.5", f"<{to}> delivered")


def _deliver_one(
    service: Service, recipient: Recipient, message: NewMessage, delivered: set[tuple[str, str]]
) -> None:
    """Deliver to the recipient, also when his mail was moved since he was accepted, or is just being."""
    try:
        return _deliver_to(service, recipient.record, recipient, message, delivered)
    except Moved:
        blocking.sleep(MOVED_PAUSE_S)
        record = service.accounts.by_id(recipient.record.id)
        if record is None:
            raise
        return _deliver_to(service, record, recipient, message, delivered)


def _deliver_to(
    service: Service,
    record: AccountRecord,
    recipient: Recipient,
    message: NewMessage,
    delivered: set[tuple[str, str]],
) -> None:
    """Deliver to the mailbox named, or to INBOX where there is none of that name, or no longer."""
    if recipient.is_shared:
        place = _find_shared(service, recipient.mailbox_name)
        return _append(service, place.account, place.inner, message, delivered)
    account = service.store.account(record)
    if recipient.mailbox_name:
        try:
            return _append(service, account, recipient.mailbox_name, message, delivered)
        except (NotFound, Invalid, LimitReached):
            pass
    return _append(service, account, INBOX, message, delivered)


def _append(
    service: Service, account: Account, name: str, message: NewMessage, delivered: set[tuple[str, str]]
) -> None:
    mailbox = account.open(name)
    try:
        place = (account.id, mailbox.id)
        if place not in delivered:
            append(mailbox, [message], service.over_quota)
            delivered.add(place)
            service.counters.add("deliveries")
    finally:
        mailbox.release()
