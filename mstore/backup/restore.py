"""The way back: a whole account, one mailbox, or single messages.

What a client may have cached stays true: UIDVALIDITY, UIDs and ids of messages are kept, and UIDNEXT and
HIGHESTMODSEQ move on by so much that nothing that came after the backup, and is lost, can be mistaken for
what comes after the restore.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import numpy as np

from mstore.backup.manifest import Box, Head, Message, uid_of
from mstore.backup.pack import Reader
from mstore.base.errors import Exists, NotFound
from mstore.base.ids import AccountId, Uid
from mstore.store import namestate
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.directory import deleted_mailboxes, note_deletion
from mstore.store.diskuse import retained_since
from mstore.store.mailbox import Mailbox
from mstore.store.names import INBOX
from mstore.store.namestate import NameState, Record
from mstore.store.recovery import MODSEQ_STEP
from mstore.store.specialuse import holder

UID_STEP = 1 << 16
"""So many UIDs may have been given since the backup."""
_MINUTE_MS = 60_000
_BATCH_BYTES = 8 << 20
_BATCH_MESSAGES = 500
_MOST_UID = 0xFFFFFFFF
Tick = Callable[[int], object]


def check_unused(account: Account) -> None:
    """Pass an account that holds nothing and never did.

    Raises: Exists, Corrupt.
    """
    for entry in account.mailboxes().values():
        if not entry.no_select:
            mailbox = account.open_entry(entry)
            try:
                mailbox.refresh()
                if mailbox.uid_next != 1:
                    raise Exists(
                        f"mailbox {entry.name} was used: a whole account is restored into an empty one"
                    )
            finally:
                mailbox.release()


def restore_account(
    account: Account, head: Head, boxes: Collection[Box], packs: Reader, tick: Tick = lambda _: None
) -> int:
    """Fill an account that was never used with all that a backup has; how many messages.

    What was retained then is so again, as long as its time is not over. Durable: all of it. Begun anew after
    an interruption, only where nothing was restored yet. Raises: Exists, Corrupt, Busy, StorageFailed.
    """
    check_unused(account)
    # what is made on the way, and INBOX, which is there, must not have the UIDVALIDITY of what is to come
    used = namestate.validity_used(head.names.uid_validity)
    account.change(lambda now: [used] if head.names.uid_validity > now.uid_validity else [])
    count = 0
    for box in boxes:
        if box.deleted_s is not None:
            _restore_deleted(account, head.id, box, packs, tick)
    there_still = [box for box in boxes if box.deleted_s is None]
    for box in sorted(there_still, key=lambda box: (box.entry.name != INBOX, box.entry.name)):
        mailbox = _make(account, box)
        try:
            count += _fill(account, mailbox, head.id, box, packs, tick)
            _move_on(mailbox, box)
        finally:
            mailbox.release()
    there = account.mailboxes()
    for entry in sorted(head.names.entries.values(), key=lambda entry: entry.name):
        if entry.no_select and entry.name in there and not there[entry.name].no_select:
            account.delete(entry.name)  # leaves the name, for what lies beneath it
    account.change(lambda now: _name_records(now, head.names))
    account.recount()
    return count


def restore_messages(
    account: Account,
    head: Head,
    box: Box,
    packs: Reader,
    uids: Collection[int] | None = None,
    tick: Tick = lambda _: None,
) -> int:
    """Bring a mailbox back, or some of its messages, also of those that were expunged; how many came.

    Into the mailbox of that name, made with its UIDVALIDITY and UIDs when it is not there or was never used.
    Otherwise what is there stays, and is not doubled; the rest gets new UIDs, or its own where all of these
    are free still.
    Durable: the messages. Raises: NotFound for a UID that the backup has not, Corrupt, Busy, StorageFailed.
    """
    there_then = box.messages if uids is None else box.all_messages()
    wanted = [message for message in there_then if uids is None or message.uid in uids]
    missing = sorted(set(uids or ()) - {message.uid for message in wanted})
    if missing:
        raise NotFound(f"the backup has no message {missing[0]} in {box.entry.name}")
    name = box.entry.name
    try:
        mailbox = _make(account, box)
    except Exists:
        there = account.mailboxes().get(name)
        if there is None or there.no_select:
            account.create(name)
        mailbox = account.open(name)
        try:
            if uids is None and _is_interrupted(mailbox, box):
                return _go_on(account, mailbox, head.id, box, packs, tick)
            return _add_missing(mailbox, head.id, box, wanted, packs, tick)
        finally:
            mailbox.release()
    try:
        if uids is None:
            count = _fill(account, mailbox, head.id, box, packs, tick)
        else:
            count = _add(mailbox, head.id, box, wanted, packs, tick)
        _move_on(mailbox, box)
    finally:
        mailbox.release()
    return count


def _fill(
    account: Account, mailbox: Mailbox, account_id: AccountId, box: Box, packs: Reader, tick: Tick
) -> int:
    """Add all messages to a new mailbox, and expunge again those that were, as of then; how many stay."""
    again = _retained_still(account, box)
    _add(mailbox, account_id, box, sorted(box.messages + again, key=uid_of), packs, tick)
    _expunge_again(mailbox, again)
    return len(box.messages)


def _is_interrupted(mailbox: Mailbox, box: Box) -> bool:
    """Whether this may be what a restore left that was interrupted: one that is whole has moved on."""
    mailbox.refresh()
    return mailbox.uid_validity == box.entry.uid_validity and mailbox.uid_next <= box.uid_next


def _go_on(
    account: Account, mailbox: Mailbox, account_id: AccountId, box: Box, packs: Reader, tick: Tick
) -> int:
    """Do the rest of it; how many messages came that stay."""
    uid_next = mailbox.uid_next
    there = mailbox.index.live_rows()
    uids = mailbox.columns.full.uid[there].tolist()
    _see(mailbox, box, uids, uids)
    again = _retained_still(account, box)
    rest = [message for message in box.messages + again if message.uid >= uid_next]
    _add(mailbox, account_id, box, sorted(rest, key=uid_of), packs, tick)
    _expunge_again(mailbox, again)
    done = [message for message in box.messages if message.uid < uid_next]
    lost = _add_missing(mailbox, account_id, box, done, packs, tick)
    _move_on(mailbox, box)
    return len(box.messages) - len(done) + lost


def _retained_still(account: Account, box: Box) -> list[Message]:
    """What was retained then, and whose time is not over."""
    retain_s = account.lifetimes.retain_s
    since_ms = retained_since(retain_s)
    return [message for message in box.retained if retain_s and (message.expunged_ms or 0) >= since_ms]


def _expunge_again(mailbox: Mailbox, again: list[Message]) -> None:
    """Expunge what was, as of then.

    A time is that of a transaction, so what was expunged within one minute is said to have been so at once.
    """
    by_time: dict[int, list[Message]] = {}
    for message in again:
        by_time.setdefault((message.expunged_ms or 0) // _MINUTE_MS, []).append(message)
    for _, messages in sorted(by_time.items()):
        uids = np.array(sorted(map(uid_of, messages)), np.uint32)
        with mailbox.transaction() as tx:
            rows = mailbox.index.rows_of_uids(uids)
            tx.time_ms = max(message.expunged_ms or 0 for message in messages)
            tx.expunge(rows[rows >= 0])


def _restore_deleted(account: Account, account_id: AccountId, box: Box, packs: Reader, tick: Tick) -> None:
    """Make a mailbox that was deleted then, and delete it as of then, if its time is not over."""
    retain_s = account.lifetimes.retain_s
    if not retain_s or box.deleted_s is None or box.deleted_s * 1000 < retained_since(retain_s):
        return
    passing = f"deleted-{box.entry.id}"
    account.create(passing)
    mailbox = account.open(passing)
    try:
        _fill(account, mailbox, account_id, box, packs, tick)
    finally:
        mailbox.release()
    account.delete(passing)
    for deleted in deleted_mailboxes(account.path):
        if deleted.name == passing:
            note_deletion(deleted.path, box.entry.name, box.entry.uid_validity, box.deleted_s)


def _make(account: Account, box: Box) -> Mailbox:
    """The mailbox with its UIDVALIDITY, new or never used.

    Raises: Exists.
    """
    entries = account.mailboxes()
    uses = (box.entry.special_use or "").split()
    is_free = all(holder(entries, use) is None for use in uses)
    entry = account.create(
        box.entry.name,
        box.entry.special_use if is_free else None,
        uid_validity=box.entry.uid_validity,
        least_modseq=box.highest_modseq + MODSEQ_STEP,
    )
    return account.open_entry(entry)


def _move_on(mailbox: Mailbox, box: Box) -> None:
    with mailbox.transaction() as tx:
        tx.raise_uid_next(min(box.uid_next + UID_STEP, _MOST_UID))


def _add_missing(
    mailbox: Mailbox, account_id: AccountId, box: Box, wanted: list[Message], packs: Reader, tick: Tick
) -> int:
    mailbox.refresh()
    rows = mailbox.index.live_rows()
    there = Counter(mailbox.columns.full.email_id[rows].tolist())
    missing = []
    for message in wanted:
        if there[message.email_id]:
            there[message.email_id] -= 1
            tick(1)
        else:
            missing.append(message)
    is_same = mailbox.uid_validity == box.entry.uid_validity
    keep_uids = is_same and bool(missing) and missing[0].uid >= mailbox.uid_next
    return _add(mailbox, account_id, box, missing, packs, tick, keep_uids)


def _add(
    mailbox: Mailbox,
    account_id: AccountId,
    box: Box,
    messages: list[Message],
    packs: Reader,
    tick: Tick,
    keep_uids: bool = True,
) -> int:
    for batch in _batches(messages):
        new = [
            NewMessage(
                packs.read(box.key(account_id, message.uid), message.packed),
                message.internal_date,
                message.flags,
                message.keywords,
                message.email_id,
                Uid(message.uid) if keep_uids else None,
                message.save_date,
            )
            for message in batch
        ]
        uids = append(mailbox, new, over_quota=True)
        _see(mailbox, box, [message.uid for message in batch], uids)
        tick(len(batch))
    return len(messages)


def _see(mailbox: Mailbox, box: Box, there: list[int], here: list[Uid]) -> None:
    """Let each reader have seen what he had seen then: UIDs in the backup and in the mailbox, ascending."""
    if not box.seen:
        return
    then, now = np.array(there, np.uint32), np.array(here, np.uint32)
    with mailbox.transaction() as tx:
        for reader_id, seen in box.seen.items():
            tx.see_new(now[seen.positions(then)], reader_id)


def _batches(messages: list[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and (len(batch) >= _BATCH_MESSAGES or size + message.packed.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message.packed.size
    if batch:
        yield batch


def _name_records(now: NameState, then: NameState) -> list[Record]:
    """The records that give names, subscriptions and annotations what they had."""
    records = [namestate.validity_used(max(now.uid_validity, then.uid_validity))]
    ids = {0: 0}
    for name, entry in then.entries.items():
        there = now.entries.get(name)
        if there is not None:
            ids[int(entry.id, 16)] = int(there.id, 16)
            same = replace(there, special_use=entry.special_use, acl=entry.acl, days=entry.days)
            records.append(namestate.name_set(same))
    records += [namestate.subscribed(name) for name in sorted(then.subscriptions - now.subscriptions)]
    for (owner, mailbox), values in then.annotations.items():
        subject = mailbox if owner else ids.get(mailbox)
        if subject is not None:
            records += [namestate.annotated(owner, subject, *pair) for pair in values.items()]
    if then.furnished and not now.furnished:
        records.append(namestate.furnished(then.furnished))
    return records
