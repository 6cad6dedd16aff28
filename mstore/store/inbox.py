"""Renaming INBOX: what is in it goes to a new mailbox, and INBOX stays (RFC 3501 §6.3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstore.base.errors import MStoreError
from mstore.store import namestate
from mstore.store.copy import move
from mstore.store.names import INBOX

if TYPE_CHECKING:
    from mstore.store.account import Account, Permit
    from mstore.store.mailbox import Mailbox
    from mstore.store.namestate import MailboxEntry, NameState, Record


def rename_inbox(account: Account, new: str, permit: Permit) -> None:
    """Move what is in INBOX now into a new mailbox; INBOX itself stays, with its UIDVALIDITY.

    Durable: the mailbox with the messages.
    Raises: Exists, Invalid, LimitReached, Busy, StorageFailed.
    """
    inbox = account.open(INBOX)
    try:
        made = account.create(new, permit=permit)
        try:
            _copy_annotations(account, INBOX, made.name)
            _fill(account, made, inbox)
        except MStoreError:
            _take_back(account, made)
            raise
    finally:
        inbox.release()


def _fill(account: Account, made: MailboxEntry, inbox: Mailbox) -> None:
    target = account.open_entry(made)
    try:
        move(inbox.view().rows, inbox, target)
    finally:
        target.release()


def _take_back(account: Account, made: MailboxEntry) -> None:
    """Remove a mailbox again that was made in vain, if nothing has come into it and the disk lets us."""
    try:
        target = account.open_entry(made)
        try:
            target.refresh()
            is_empty = not target.status().messages
        finally:
            target.release()
        if is_empty and account.entry(made.name).id == made.id:
            account.delete(made.name)
    except MStoreError:
        pass  # what is told is why it was made in vain


def _copy_annotations(account: Account, old: str, new: str) -> None:
    """RFC 5464 §4.1: INBOX keeps its annotations, and the mailbox its messages went to has them too."""

    def records(state: NameState) -> list[Record]:
        source, target = state.entries.get(old), state.entries.get(new)
        if source is None or target is None:
            return []
        values = state.annotations.get((0, int(source.id, 16)), {})
        return [namestate.annotated(0, int(target.id, 16), *pair) for pair in values.items()]

    account.change(records)
