"""Backups, and accounts as plain values, to compare what was backed up with what came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mstore.backup import pack
from mstore.backup.repository import PASSING, Backup, Repository
from mstore.backup.save import Saver
from mstore.base.flags import FIRST_KEYWORD_BIT, SEEN
from mstore.base.ids import AccountId
from mstore.store.account import Account
from mstore.store.mailbox import Mailbox


def back_up(repository: Repository, account: Account) -> Backup:
    """Back up an account, as msadm does."""
    with repository.alone():
        begun = repository.begin(1_700_000_000)
        made = Backup(begun.name.removeprefix(PASSING), 1_700_000_000, True)
        packs = pack.Writer(repository.packs)
        try:
            Saver(repository, begun, made, packs).save(account, "joe")
            packs.finish()
            repository.finish(begun, made)
        finally:
            packs.close()
    return made


def messages_in(mailbox: Mailbox) -> list[tuple[Any, ...]]:
    """All that is kept of each message, its bytes as well."""
    mailbox.refresh()
    full, keywords = mailbox.columns.full, mailbox.keywords
    found = []
    for row in mailbox.index.live_rows().tolist():
        bits = full.flags.item(row)
        words = frozenset(
            word for place, word in enumerate(keywords) if bits >> FIRST_KEYWORD_BIT + place & 1
        )
        dates = full.internal_date.item(row), full.save_date.item(row)
        email_id = full.email_id.item(row)
        found.append((full.uid.item(row), bits & 0x1F, words, *dates, email_id, mailbox.read(row)))
    return found


def seen_by(account: Account, name: str, reader: AccountId) -> list[int]:
    """The UIDs of what a reader who is not the owner has seen of a mailbox."""
    mailbox = account.open(name, reader)
    try:
        mailbox.refresh()
        rows, columns = mailbox.index.live_rows(), mailbox.columns
        seen: list[int] = columns.uid[rows[columns.flags[rows] & np.uint64(SEEN) != 0]].tolist()
        return seen
    finally:
        mailbox.release()


def look(account: Account, readers: Sequence[AccountId] = ()) -> dict[str, Any]:
    """All that a user sees of an account, and what others have seen of it; mailboxes by their names, not by
    ids."""
    state = account.state()
    names = {int(entry.id, 16): name for name, entry in state.entries.items()} | {0: ""}
    boxes: dict[str, Any] = {}
    for name, entry in state.entries.items():
        told = (entry.no_select, entry.special_use, dict(entry.acl))
        if entry.no_select:
            boxes[name] = told
            continue
        mailbox = account.open(name)
        seen = [seen_by(account, name, reader) for reader in readers]
        boxes[name] = (*told, entry.uid_validity, seen, messages_in(mailbox))
        mailbox.release()
    annotations = {
        (owner, mailbox if owner else names[mailbox]): values
        for (owner, mailbox), values in state.annotations.items()
    }
    return {"boxes": boxes, "subscriptions": state.subscriptions, "annotations": annotations}
