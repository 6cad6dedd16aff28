"""Quotas: GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 2087, RFC 9208).

Every account is a quota root of its own: ``user/NAME``, and ``shared`` for the shared mailboxes. Only
administrators see and set quotas; with ``quota-visible-to-owner`` users see theirs. To everybody else all
roots, those that are not there among them, are answered for alike. Storage is told in units of 1024 octets,
rounded down, and counted to the octet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.base import blocking
from mstore.base.errors import Denied, NotFound
from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.respond import format_astring, format_mailbox
from mstore.store.spaces import OTHERS_PREFIX, SHARED, SHARED_PREFIX

if TYPE_CHECKING:
    from mstore.imap.session import Session
    from mstore.store.people import Person

UNIT = 1024
RESOURCES = (b"STORAGE", b"MESSAGE")


def run_getquota(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 9208 §4.1.1."""
    cursor.space()
    root = cursor.astring()
    cursor.end()
    _send_quota(session, _find_root(session, root))


def run_getquotaroot(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 9208 §4.1.2; there need not be such a mailbox, but the user must be able to make it."""
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    if not (session.mailstore.is_administrator or session.service.settings.quota_visible_to_owner):
        raise _refusal()
    record = session.mailstore.account_of(name)
    _check_may_see(session, record)
    told = format_mailbox(name, session.utf8)
    session.send(b"* QUOTAROOT %b %b\r\n" % (told, _format_root(session, record)))
    _send_quota(session, record)


def run_setquota(session: Session, tag: bytes, cursor: Cursor) -> None:
    """RFC 9208 §4.1.3: limits that are not named are lifted.

    Durable: the limits.
    """
    cursor.space()
    root = cursor.astring()
    cursor.space()
    wanted: dict[bytes, int] = {}
    for resource, limit in cursor.list_of(lambda: _parse_limit(cursor), may_be_empty=True):
        if resource in wanted:
            raise Bad(f"{resource.decode()} is given twice")
        wanted[resource] = limit
    cursor.end()
    if not session.mailstore.is_administrator:
        raise Denied("only administrators may set quotas")
    for resource in wanted:
        if resource not in RESOURCES:
            raise No(f"there is no limit on {resource.decode()[:40]}", b"CANNOT")
    storage = wanted.get(b"STORAGE")
    size_bytes = None if storage is None else storage * UNIT
    record = _find_root(session, root)
    changed = blocking.call(session.service.accounts.set_quota, record, size_bytes, wanted.get(b"MESSAGE"))
    told = SHARED_PREFIX if _is_shared(session, changed) else changed.name
    session.service.log.info(
        "quota-set", session=session.id, user=session.user, peer=session.stream.peer, account=told,
        limit_bytes=_tell_limit(changed.quota_bytes), limit_messages=_tell_limit(changed.quota_messages),
    )  # fmt: skip
    _send_quota(session, changed)


def _tell_limit(limit: int | None) -> int | str:
    return "none" if limit is None else limit


def _parse_limit(cursor: Cursor) -> tuple[bytes, int]:
    resource = cursor.atom().upper()
    cursor.space()
    return resource, cursor.number64()


def _find_root(session: Session, root: bytes) -> Person:
    """The account that a quota root is.

    Raises: Denied for one that the user may not know of, NotFound.
    """
    accounts = session.service.accounts
    name = root.decode("utf-8", "replace")
    record: Person | None = None
    if name == SHARED:
        record = accounts.shared()
    elif name.startswith(OTHERS_PREFIX):
        record = accounts.find(name.removeprefix(OTHERS_PREFIX))
    _check_may_see(session, record)
    if record is None:
        raise NotFound("there is no such quota root")
    return record


def _check_may_see(session: Session, record: Person | None) -> None:
    """Pass administrators, and owners where they may.

    Raises: Denied.
    """
    if session.mailstore.is_administrator:
        return
    own = session.record
    is_own = record is not None and own is not None and record.id == own.id
    if not (is_own and session.service.settings.quota_visible_to_owner):
        raise _refusal()


def _refusal() -> Denied:
    return Denied("you may not see this quota")


def _send_quota(session: Session, record: Person) -> None:
    """What of an account's mail is limited: how much there is of it, and how much there may be."""
    parts = []
    if record.quota_bytes is not None or record.quota_messages is not None:
        usage = session.service.store.account(record).usage()
        if record.quota_bytes is not None:
            parts.append(b"STORAGE %d %d" % (usage.size_bytes // UNIT, record.quota_bytes // UNIT))
        if record.quota_messages is not None:
            parts.append(b"MESSAGE %d %d" % (usage.messages, record.quota_messages))
    session.send(b"* QUOTA %b (%b)\r\n" % (_format_root(session, record), b" ".join(parts)))


def _is_shared(session: Session, record: Person) -> bool:
    shared = session.service.accounts.shared()
    return shared is not None and shared.id == record.id


def _format_root(session: Session, record: Person) -> bytes:
    if _is_shared(session, record):
        return SHARED.encode()
    return format_astring((OTHERS_PREFIX + record.name).encode())
