"""Putting a message in the place of another: the one comes in, the other goes, or neither (RFC 8508)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from mstore.base.errors import Expunged, OverQuota
from mstore.base.flags import TOMBSTONE
from mstore.base.ids import Uid
from mstore.store.append import NewMessage
from mstore.store.quota import Uncounted, again

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox
    from mstore.store.transaction import Transaction


def replace(row: int, source: Mailbox, target: Mailbox, message: NewMessage) -> tuple[Uid, int]:
    """Add a message to a mailbox and expunge another; gives the UID of the one, the MODSEQ of the removal.

    Of an account's quota no more is asked than what both together add to it.
    Locks: takes both mailboxes' locks, in order. Durable: both changes. Should we die between two commits,
    the old message is there still.
    Raises: Expunged when the old message is gone already; OverQuota, StorageFailed, Busy, NotFound,
    LimitReached, Invalid for a keyword.
    """
    message.prepare()

    def attempt() -> tuple[Uid, int]:
        with ExitStack() as stack:
            by_id = sorted({source, target}, key=lambda mailbox: mailbox.lock.place)
            transactions = {mailbox: stack.enter_context(mailbox.transaction()) for mailbox in by_id}
            return _replace(row, transactions[source], transactions[target], message)

    try:
        return attempt()
    except (OverQuota, Uncounted) as refusal:
        return again(target.quota, refusal, attempt)


def _replace(row: int, old: Transaction, new: Transaction, message: NewMessage) -> tuple[Uid, int]:
    source, target = old.mailbox, new.mailbox
    full = source.index.columns.full
    if full.flags.item(row) & TOMBSTONE:
        raise Expunged("the message has been deleted")
    same_account = source.quota is target.quota
    if same_account:
        _reserve(target, message.size - full.size.item(row))
        if old is not new:
            old.announce(losing=True)
    (uid,) = new.append([message], over_quota=same_account)
    if old is not new:
        new.commit()
    old.expunge([row])
    old.commit()
    return uid, old.modseq


def _reserve(target: Mailbox, growth_bytes: int) -> None:
    """Pass a replacement for which there is room in the account; one that makes it no larger always.

    Raises: OverQuota, Uncounted, StorageFailed, Busy.
    """
    quota, index = target.quota, target.index
    if quota is not None and quota.is_limited and growth_bytes > 0:
        quota.reserve(target.id, (index.size_bytes + growth_bytes, index.messages), (growth_bytes, 0))
