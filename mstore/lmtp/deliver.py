"""One message, many recipients: finding them, the trace fields, and each one's result.

The message is spooled once and parsed once; every recipient's mailbox gets the same bytes through the store's
one door, ``append``. A recipient is acknowledged after ``append`` returned, which is when the message is on
disk. Two recipients that lead to one mailbox are two replies and one message.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import cast

from mstore import __version__
from mstore.accounts import AccountRecord
from mstore.base import blocking, clock
from mstore.base.errors import (
    Denied,
    Exists,
    Invalid,
    LimitReached,
    Moved,
    MStoreError,
    NotFound,
    OverQuota,
)
from mstore.files.spool import Spool
from mstore.lmtp.parameters import Mailing
from mstore.lmtp.path import Path
from mstore.lmtp.reply import Refusal, format_failure, format_reply
from mstore.mail.date import format_date
from mstore.net.service import Service
from mstore.store.access import Access
from mstore.store.account import Account
from mstore.store.acts import DELIVERED, Actor, acting
from mstore.store.append import NewMessage, append
from mstore.store.names import INBOX
from mstore.store.once import append_once
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


@dataclass(frozen=True, slots=True)
class Client:
    """What is known of whoever hands in a message."""

    hello: str = ""
    """As it calls itself."""
    address: str = ""
    """Where it comes from, over TCP."""
    is_secured: bool = False
    """It speaks under TLS."""
    user: str | None = None
    """The account by which it has logged in."""
    session: str = ""
    """What its session is called in the log."""


@dataclass(slots=True)
class Envelope:
    """A mail transaction between MAIL and the end of DATA."""

    sender: Path
    mailing: Mailing = field(default_factory=Mailing)
    client: Client = field(default_factory=Client)
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


def check_room(service: Service, recipient: Recipient, size_bytes: int) -> None:
    """Pass a recipient in whose account there is room for a message as large as announced.

    The size is only a promise (RFC 1870 §6.2): what counts is asked again when the message is there.
    Raises: OverQuota; Unavailable, Corrupt, StorageFailed.
    """
    if service.over_quota:
        return
    account = service.store.account(recipient.record)
    limits = account.limits
    if not limits:
        return
    used = account.usage()
    if limits.size_bytes is not None and used.size_bytes + size_bytes > limits.size_bytes:
        raise OverQuota("no room for a message of this size", hopeless=size_bytes > limits.size_bytes)
    if limits.messages is not None and used.messages >= limits.messages:
        raise OverQuota("no room for another message")


def make_trace(service: Service, envelope: Envelope, now_s: int) -> bytes:
    """Return-Path and Received, to stand in front of the message.

    RFC 5321 §4.4; RFC 3848, RFC 6531 §3.7.3 for the protocol's name.
    """
    client = envelope.client
    protocol = "UTF8LMTP" if envelope.mailing.utf8 else "LMTP"
    protocol += ("S" if client.is_secured else "") + ("A" if client.user is not None else "")
    source = f"{client.hello} ({format_literal(client.address)})" if client.address else client.hello
    only = f"\r\n\tfor <{envelope.recipients[0].path.text}>" if len(envelope.recipients) == 1 else ""
    return (
        f"Return-Path: <{envelope.sender.text}>\r\n"
        f"Received: from {source}\r\n"
        f"\tby {service.settings.server_name} (M-Store {__version__}) with {protocol} id {envelope.id}"
        f"{only};\r\n"
        f"\t{format_date(now_s, time.localtime(now_s).tm_gmtoff).decode()}\r\n"
    ).encode()


def format_literal(address: str) -> str:
    """An IP address as mail writes it (RFC 5321 §4.1.3); one of IPv4 that came by IPv6 as what it is."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        return f"[IPv6:{found}]" if mapped is None else f"[{mapped}]"
    return f"[{found}]"


def deliver(service: Service, envelope: Envelope, spool: Spool) -> Iterator[bytes]:
    """Deliver to each recipient in turn and yield its reply.

    Durable: what a positive reply tells of is on disk before the reply is yielded.
    """
    message = NewMessage(spool, int(clock.now()))
    delivery = Delivery(service, message)
    pairs = {"id": envelope.id, "session": envelope.client.session, "sender": envelope.sender.text}
    for recipient in envelope.recipients:
        to, began = recipient.path.text, clock.steady()
        try:
            with acting(_actor(envelope, to)) if service.settings.audit_log else nullcontext():
                delivery.to(recipient)
        except Exception as error:
            over_quota = isinstance(error, OverQuota)
            service.counters.add("deliveries_over_quota" if over_quota else "deliveries_failed")
            service.counters.add("errors")
            if isinstance(error, MStoreError):
                service.log.warning("delivery-failed", **pairs, to=to, error=str(error))
            else:
                service.log.exception("fault", error, **pairs, to=to)
            yield format_failure(error, to, service.settings.lmtp_overquota_reply == "permanent")
        else:
            service.log.info(
                "delivery", **pairs, to=to, by=envelope.client.user, message_id=message.message_id,
                size=spool.size,
            )  # fmt: skip
            service.counters.observe("delivery", clock.steady() - began)
            yield format_reply(250, "2.1.5", f"<{to}> delivered")


def _actor(envelope: Envelope, to: str) -> Actor:
    """Who delivers, for the audit log."""
    client = envelope.client
    return Actor(
        {
            "by": client.user, "session": client.session, "peer": client.address or "local",
            "id": envelope.id, "sender": envelope.sender.text, "to": to,
        },
        DELIVERED,
    )  # fmt: skip


class Delivery:
    """One message on its way to its recipients' mailboxes."""

    __slots__ = ("_delivered", "_message", "_service")

    def __init__(self, service: Service, message: NewMessage) -> None:
        self._service = service
        self._message = message
        self._delivered: set[tuple[str, str]] = set()

    def to(self, recipient: Recipient) -> None:
        """Deliver to the recipient, also when his mail was moved since he was accepted, or is just being.

        Durable: the message.
        """
        try:
            return self._to(recipient.record, recipient)
        except Moved:
            blocking.sleep(MOVED_PAUSE_S)
            record = self._service.accounts.by_id(recipient.record.id)
            if record is None:
                raise
            return self._to(record, recipient)

    def _to(self, record: AccountRecord, recipient: Recipient) -> None:
        """Deliver to the mailbox named, or to INBOX where there is none of that name, or no longer."""
        service, name = self._service, recipient.mailbox_name
        if recipient.is_shared:
            place = _find_shared(service, name)
            return self._append(place.account, place.inner)
        account = service.store.account(record)
        if name:
            try:
                return self._append(account, name)
            except (NotFound, Invalid, LimitReached):
                pass
            if service.settings.lmtp_create_mailbox and self._create(account, record, name):
                return self._append(account, name)
        return self._append(account, INBOX)

    def _create(self, account: Account, record: AccountRecord, name: str) -> bool:
        """Make the mailbox that an address asks for; whether it is there now."""
        try:
            account.create(name)
            account.subscribe(name)
        except Exists:
            return True
        except (NotFound, Invalid, LimitReached, Denied):
            return False
        self._service.log.info("mailbox-made", user=record.name, mailbox=name)
        return True

    def _append(self, account: Account, name: str) -> None:
        service, message = self._service, self._message
        mailbox = account.open(name)
        try:
            place = (account.id, mailbox.id)
            if place in self._delivered:
                return
            window_s = service.settings.lmtp_duplicate_window
            if not window_s:
                append(mailbox, [message], service.over_quota)
            elif not append_once(mailbox, message, message.internal_date - window_s, service.over_quota):
                service.counters.add("duplicates")
                return
            self._delivered.add(place)
            service.counters.add("deliveries")
        finally:
            mailbox.release()
