"""Backing up an account while it is in use: each mailbox as it is at one moment, and what was expunged.

A message's bytes never change, so they can be read after that moment. One that is expunged and given back
meanwhile is left out, and so is a mailbox that is deleted: both are told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mstore.backup import manifest, pack
from mstore.backup.manifest import Box, Head, Message
from mstore.backup.pack import Key, Packed
from mstore.backup.repository import Backup, Repository
from mstore.base.errors import Corrupt, Expunged, NotFound
from mstore.base.flags import FIRST_KEYWORD_BIT
from mstore.base.ids import AccountId, MailboxId
from mstore.store import generation
from mstore.store.account import Account
from mstore.store.directory import DELETED, DeletedMailbox, deleted_mailboxes
from mstore.store.diskuse import retained_since
from mstore.store.mailbox import Mailbox
from mstore.store.namestate import MailboxEntry
from mstore.store.undelete import Recoverable, open_deleted, open_expunged, seen_by_readers

_SOON_BYTES = 1 << 20
Tick = Callable[[int], object]
"""Told how many messages were done."""


class _Values(NamedTuple):
    """What the index says of a message: ``_COLUMNS``."""

    uid: int
    flags: int
    internal_date: int
    save_date: int
    size: int
    email_id: int


_COLUMNS = _Values._fields


@dataclass(frozen=True, slots=True)
class _Saving:
    """The account that is being saved."""

    id: AccountId
    name: str
    writer: manifest.Writer
    known: dict[Key, Packed]
    tick: Tick
    since_ms: int | None
    """What was expunged since then can be brought back; None: nothing."""


class Saver:
    """Adds accounts to a backup under its passing name."""

    def __init__(self, repository: Repository, path: Path, backup: Backup, packs: pack.Writer) -> None:
        self._repository = repository
        self._path = path
        self._backup = backup
        self._packs = packs
        self._before = repository.backups()[::-1]

    def save(self, account: Account, name: str, tick: Tick = lambda _: None) -> None:
        """Back up an account; what could not be read is noted in the backup.

        Durable: the manifest, but not its name, and not the messages before the packs are finished.
        Raises: NotFound when the account was removed, Moved, StorageFailed.
        """
        known = self._known(account.id)
        head = Head(account.id, name, int(time.time()), account.state())
        writer = manifest.Writer(self._path / f"{account.id}.jsonl", head)
        retain_s = account.lifetimes.retain_s
        saving = _Saving(
            account.id, name, writer, known, tick, retained_since(retain_s) if retain_s else None
        )
        try:
            for entry in head.names.entries.values():
                if entry.no_select:
                    continue
                try:
                    mailbox = account.open_entry(entry)
                    try:
                        self._save_mailbox(saving, Box(entry, 0, 0), mailbox)
                    finally:
                        mailbox.release()
                except (NotFound, Corrupt) as error:  # one deleted since is saved below where it is retained
                    self._backup.left_out.append(f"{name}: mailbox {entry.name}: {error}")
            for deleted in deleted_mailboxes(account.path):
                if saving.since_ms is None or deleted.time_s * 1000 < saving.since_ms:
                    continue
                try:
                    self._save_deleted(saving, deleted)
                except (NotFound, Corrupt) as error:
                    self._backup.left_out.append(f"{name}: deleted mailbox {deleted.name}: {error}")
            writer.finish()
        finally:
            writer.close()
        self._backup.accounts[account.id] = name
        self._backup.messages += writer.messages
        self._backup.retained += writer.retained
        self._backup.size_bytes += writer.size_bytes

    def _known(self, account_id: AccountId) -> dict[Key, Packed]:
        """The messages of the account whose bytes are in packs already."""
        number, numbers = int(account_id, 16), self._packs.numbers
        known = {key: packed for key, packed in self._packs.left.items() if key.account == number}
        for backup in self._before:
            if account_id not in backup.accounts:
                continue
            try:
                boxes = manifest.read(self._repository.manifest(backup, account_id))[1]
            except (Corrupt, OSError):
                continue  # an older one may be sound; at worst all is read again
            for box in boxes:
                for message in box.all_messages():
                    if message.packed.pack in numbers:
                        known[box.key(account_id, message.uid)] = message.packed
            break
        return known

    def _save_mailbox(self, account: _Saving, box: Box, mailbox: Mailbox) -> None:
        mailbox.refresh()
        # one moment: nothing is followed until all of this is copied
        rows = mailbox.index.live_rows().tolist()
        columns = [getattr(mailbox.columns.full, name)[rows].tolist() for name in _COLUMNS]
        keywords = list(mailbox.keywords)
        box.uid_next, box.highest_modseq = mailbox.uid_next, mailbox.highest_modseq
        account.writer.begin_mailbox(box)
        for row, *values in zip(rows, *columns, strict=True):
            self._save_message(account, box, mailbox, row, _Values(*values), keywords)
            account.tick(1)
        if account.since_ms is None:
            self._save_readers(account, box, mailbox)
        else:
            with open_expunged(mailbox) as there:
                for reader_id, seen in there.seen.items():
                    account.writer.add_reader(reader_id, seen[seen < box.uid_next])
                self._save_retained(account, box, there, set(columns[0]))

    def _save_readers(self, account: _Saving, box: Box, mailbox: Mailbox) -> None:
        """Save what each reader has seen of what is saved, where nothing is retained; only a table of its own
        knows that."""
        try:
            table, journal = generation.load(mailbox.path, patient=True)
        except Corrupt as error:
            self._backup.left_out.append(f"{account.name}: \\Seen of readers of {box.entry.name}: {error}")
            return
        journal.close()
        assert table.retained is not None
        for reader_id, seen in seen_by_readers(table, table.retained.entries()["uid"]):
            account.writer.add_reader(reader_id, seen[seen < box.uid_next])

    def _save_deleted(self, account: _Saving, deleted: DeletedMailbox) -> None:
        mailbox_id = MailboxId(deleted.path.name.removeprefix(DELETED))
        entry = MailboxEntry(deleted.name, mailbox_id, deleted.uid_validity)
        with open_deleted(deleted) as there:
            box = Box(entry, there.uid_next, 0, deleted_s=int(deleted.time_s))
            account.writer.begin_mailbox(box)
            for reader_id, seen in there.seen.items():
                account.writer.add_reader(reader_id, seen)
            self._save_retained(account, box, there, set())

    def _save_retained(self, account: _Saving, box: Box, there: Recoverable, saved: Collection[int]) -> None:
        """Save what of a mailbox can be brought back, but for what was there still a moment ago."""
        columns = [there.entries[name].tolist() for name in (*_COLUMNS, "expunged")]
        since_ms = 0 if account.since_ms is None else account.since_ms
        for row, (*values, expunged_ms) in enumerate(zip(*columns, strict=True)):
            if expunged_ms >= since_ms and values[0] not in saved:
                with_box = box.deleted_s is not None and expunged_ms >= box.deleted_s * 1000
                when = None if with_box else expunged_ms
                self._save_message(account, box, there, row, _Values(*values), there.index.keywords, when)

    def _save_message(
        self,
        account: _Saving,
        box: Box,
        source: Mailbox | Recoverable,
        row: int,
        values: _Values,
        keywords: Sequence[bytes],
        expunged_ms: int | None = None,
    ) -> None:
        key = box.key(account.id, values.uid)
        packed = account.known.get(key)
        if packed is None or packed.size != values.size:
            try:
                small = values.size <= _SOON_BYTES
                packed = self._packs.add(key, source.read(row) if small else source.chunks(row))
            except (Expunged, Corrupt) as error:
                which = f"message {values.uid} of {box.entry.name}"
                self._backup.left_out.append(f"{account.name}: {which}: {error}")
                return
            self._backup.new_messages += 1
            self._backup.new_bytes += values.size
        bits = values.flags
        names = [word for place, word in enumerate(keywords) if bits >> FIRST_KEYWORD_BIT + place & 1]
        dates = values.internal_date, values.save_date
        account.writer.add(
            Message(values.uid, bits & 0x1F, tuple(names), *dates, values.email_id, packed, expunged_ms)
        )
