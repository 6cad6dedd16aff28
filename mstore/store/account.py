"""An account's mailboxes: listing, creating, deleting, renaming, subscribing, and opening them.

One object for an account in each process, shared by its sessions. What is read comes from the catalog,
which is looked at again each time and costs one ``stat`` when nothing changed. What is changed is changed
under the account's lock and is on disk on return. A new mailbox's directory is complete before the catalog
names it, and a deleted one is removed after the catalog has forgotten it, so a crash between leaves at most
a directory without a name, which the next change removes.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from mstore.base.errors import Busy, Corrupt, Denied, Exists, Invalid, LimitReached, MStoreError, NotFound
from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.files.lock import DEADLINE_S, RANK_ACCOUNT, RANK_MAILDROP, Lock
from mstore.store import directory as directories
from mstore.store import names, namespace, namestate
from mstore.store.acl import Acl, all_grantees
from mstore.store.annotation import Changes, Subject, check_room, records_for
from mstore.store.catalog import Catalog
from mstore.store.change import MailboxStatus
from mstore.store.directory import TRASH, gone
from mstore.store.inbox import rename_inbox
from mstore.store.mailbox import Mailbox
from mstore.store.maildrop import LOCK_FILE, Maildrop
from mstore.store.names import INBOX
from mstore.store.namestate import MailboxEntry, NameState, Record
from mstore.store.pool import Pool
from mstore.store.quota import Limits, Usage
from mstore.store.specialuse import DEFAULTS, holder

__all__ = ["Account", "MailboxEntry", "Maildrop"]

Permit = Callable[[Mapping[str, MailboxEntry]], None]
"""Looks at an account's names before they are changed, and raises when that may not be."""


def _permit_all(_: Mapping[str, MailboxEntry]) -> None:
    """Let a change be made."""


class Account:
    """The mailboxes of one account."""

    def __init__(self, path: Path, account_id: AccountId, pool: Pool, mailstore: str = "") -> None:
        self.path = path
        self.mailstore = mailstore
        """The name of the mailstore it lives in."""
        self._directory = os.fspath(path)
        self.id = account_id
        self._catalog = Catalog(path, account_id)
        self._lock = Lock(path / "lock", RANK_ACCOUNT, account_id)
        self._maildrop_lock = Lock(path / LOCK_FILE, RANK_MAILDROP, account_id)
        self._pool = pool
        self.lifetimes = pool.lifetimes
        self._quota = pool.quota(self._directory)
        self._listed_serial = -1
        self._listing: Mapping[str, MailboxEntry] = MappingProxyType({})
        self._subscribed: frozenset[str] = frozenset()
        self._is_tidy = False

    # -- reading

    def mailboxes(self) -> Mapping[str, MailboxEntry]:
        """All names in the order of a listing, as they are now; the mapping itself never changes.

        Raises: NotFound when the account was removed, Moved, Corrupt.
        """
        self._follow()
        return self._listing

    def subscriptions(self) -> frozenset[str]:
        """The subscribed names, whether there are such mailboxes or not (RFC 3501 §6.3.6)."""
        self._follow()
        return self._subscribed

    def entry(self, name: str) -> MailboxEntry:
        """What a name leads to, selectable or not.

        Raises: NotFound, Invalid.
        """
        name = names.normalize(name)
        self._follow()
        entry = self._listing.get(name)
        if entry is None:
            raise NotFound(f"there is no mailbox {name}")
        return entry

    def open(self, name: str, reader: AccountId | None = None) -> Mailbox:
        """The mailbox of this name, shared by all of this process; ``release()`` it when done.

        With a ``reader``, who is not its owner, \\Seen is that reader's own.
        Raises: NotFound, also for a name that cannot be selected; Corrupt.
        """
        return self.open_entry(self.entry(name), reader)

    def open_entry(self, entry: MailboxEntry, reader: AccountId | None = None) -> Mailbox:
        """The mailbox that an entry leads to, whatever it is called by now; otherwise like ``open``.

        Raises: NotFound, Corrupt.
        """
        try:
            return self._pool.open(self._path_of(entry), reader, self._quota, entry)
        except NotFound as error:
            raise gone(self._directory, str(error)) from None

    def status(self, entry: MailboxEntry, reader: AccountId | None = None) -> MailboxStatus:
        """The totals of the mailbox that an entry leads to, as they are now, for its owner or a reader.

        Nothing is opened while nothing changes. Raises: as ``open_entry``.
        """
        try:
            return self._pool.status(self._path_of(entry), reader, self._quota, entry)
        except NotFound as error:
            raise gone(self._directory, str(error)) from None

    def known(self, entries: Mapping[str, MailboxEntry]) -> dict[str, MailboxStatus]:
        """The same, by name, of those of many that need not be opened now, for their owner."""
        head = f"{self._directory}/"
        return self._pool.known({name: head + e.id for name, e in entries.items() if not e.no_select})

    def _path_of(self, entry: MailboxEntry) -> str:
        if entry.no_select:
            raise NotFound(f"{entry.name} is only a name for what lies beneath it")
        return f"{self._directory}/{entry.id}"

    def pop3_lock(self) -> Maildrop:
        """Exclusive access to the maildrop over all processes (RFC 1939 §4); never waits.

        Raises: Busy when another session has it, NotFound, Moved, StorageFailed.
        """
        lock = self._maildrop_lock
        if lock.is_held:
            raise Busy("the maildrop is in use by another session")
        with directories.needed(self._directory):
            try:
                lock.acquire(0)
            except NotFound:
                raw.close(raw.open_file(lock.path, raw.WRITE | os.O_CREAT))
                lock.acquire(0)
        return Maildrop(lock, self._directory)

    # -- quota

    @property
    def limits(self) -> Limits:
        """What the account may hold, as far as this process knows; set whenever its record was read."""
        return self._quota.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._quota.set_limits(limits)

    def usage(self) -> Usage:
        """What the account holds: bytes and messages, deleted mailboxes not counted.

        Locks: takes those of mailboxes, one by one, where they have to be counted first.
        Raises: Busy, Corrupt, StorageFailed.
        """
        return self._quota.usage()

    def recount(self) -> Usage:
        """Count what all mailboxes hold anew.

        Locks: takes that of the usage, and those of mailboxes, one by one.
        Raises: Busy, Corrupt, StorageFailed.
        """
        return self._quota.recount()

    # -- changing

    def create(
        self,
        name: str,
        special_use: str | None = None,
        permit: Permit = _permit_all,
        uid_validity: int | None = None,
        least_modseq: int = 0,
    ) -> MailboxEntry:
        """Make a mailbox, and those above it that are missing.

        RFC 3501 §6.3.3. Each gets the access control list of the nearest level above it (RFC 4314 §4).
        ``permit`` here and below sees the names as they are when the lock is held, and may raise.
        With a ``uid_validity`` (of an import or a restore) it has that one; what never held a message is
        made anew for it, as INBOX, or gives it up. HIGHESTMODSEQ begins at ``least_modseq``.
        Durable: the mailbox.
        Raises: Exists, Invalid, LimitReached, Busy, StorageFailed.
        """
        name = names.normalize_new(name)
        with self._changing():
            entries = self._catalog.state.entries
            permit(entries)
            if uid_validity is not None:
                same = namespace.find_uid_validity(entries, name, uid_validity)
                if same is not None:
                    self._remake(same)
                    entries = self._catalog.state.entries
                if name in entries and not entries[name].no_select:
                    return self._remake(entries[name], uid_validity, least_modseq)
            wanted = namespace.names_to_create(entries, name)
            made = self._make(wanted, special_use, uid_validity, least_modseq)
            self._catalog.commit([namestate.name_set(entry) for entry in made])
        self._tell("created", *wanted)
        return made[-1]

    def furnish(self) -> None:
        """Give the account its default mailboxes, once and for all; what it has made of them since stays.

        A name that is there already is given the use, unless another mailbox has it.
        Durable: the mailboxes, and that they were made.
        Raises: LimitReached, Busy, Corrupt, StorageFailed.
        """
        self._follow()
        if self._catalog.state.furnished:
            return
        with self._changing():
            state = self._catalog.state
            if state.furnished:
                return
            records = [namestate.furnished(int(time.time()))]
            wanted = [(name, use) for name, use in DEFAULTS if holder(state.entries, use) is None]
            there = {name: entry for name, entry in state.entries.items() if not entry.no_select}
            # all at once, so that each has a UIDVALIDITY of its own
            there |= {entry.name: entry for entry in self._make([n for n, _ in wanted if n not in there])}
            for name, use in wanted:
                if there[name].special_use is None:
                    records.append(namestate.name_set(replace(there[name], special_use=use)))
                    records.append(namestate.subscribed(name))
            self._catalog.commit(records)
        self._tell("created", *(name for name, _ in wanted))

    def annotations(self, subject: Subject) -> Mapping[str, bytes]:
        """The annotations that the account keeps about something."""
        self._follow()
        return dict(self._catalog.state.annotations.get((subject.owner, subject.mailbox), {}))

    def check_annotations(self, subject: Subject, changes: Changes) -> None:
        """Pass changes of annotations for which there is room now.

        Raises: TooMany.
        """
        self._follow()
        check_room(self._catalog.state.annotations, subject, changes)

    def annotate(self, subject: Subject, changes: Changes, entry: MailboxEntry | None = None) -> None:
        """Change annotations about something, which is the account's mailbox ``entry`` if that is given.

        Durable: the annotations, all or none.
        Raises: NotFound, UseRefused, TooMany, Busy, StorageFailed.
        """
        self.change(lambda state: records_for(state, subject, changes, entry))

    def state(self) -> NameState:
        """All that the catalog says, as of one moment.

        Raises: NotFound when the account was removed, Moved, Corrupt.
        """
        self._follow()
        return self._catalog.state.copy()

    def change(self, make: Callable[[NameState], list[Record]]) -> None:
        """Make the changes that ``make`` finds, all or none; it sees the names as they are under the lock.

        Durable: the changes. Raises: Busy, StorageFailed, what ``make`` raises.
        """
        with self._changing():
            records = make(self._catalog.state)
            if records:
                self._catalog.commit(records)

    def delete(self, name: str, permit: Permit = _permit_all) -> None:
        """Remove a mailbox with its messages; with mailboxes beneath it, the name stays as ``\\Noselect``.

        RFC 3501 §6.3.4. Durable: the removal.
        Raises: NotFound, Invalid, Busy, StorageFailed.
        """
        name = names.normalize(name)
        with self._changing():
            permit(self._catalog.state.entries)
            plan = namespace.plan_delete(self._catalog.state.entries, name)
            if self.lifetimes.retain_s and not plan.entry.no_select:
                directories.note_deletion(self.path / plan.entry.id, name, plan.entry.uid_validity)
            records = [namestate.name_removed(name, plan.entry.id)]
            records += [namestate.name_removed(other) for other in plan.removed if other != name]
            if plan.kept is not None:
                records.append(namestate.name_set(plan.kept))
            self._catalog.commit(records)
            if not plan.entry.no_select:
                self._quota.forget(plan.entry.id)
                self._sweep()
        self._tell("deleted", name)

    def rename(self, old: str, new: str, permit: Permit = _permit_all) -> None:
        """Give a mailbox and all beneath it another name; INBOX instead gives its messages to a new mailbox.

        RFC 3501 §6.3.5. Durable: the names.
        Raises: NotFound, Exists, Invalid, LimitReached, Busy, StorageFailed.
        """
        old = names.normalize(old)
        new = names.normalize_new(new)
        if old == INBOX:
            rename_inbox(self, new, permit)
            return
        with self._changing():
            permit(self._catalog.state.entries)
            plan = namespace.plan_rename(self._catalog.state.entries, old, new)
            records = [namestate.name_removed(name) for name, _ in plan.moved]
            records += [namestate.name_removed(name) for name in plan.removed]
            records += [namestate.name_set(entry) for entry in self._make(plan.made)]
            records += [namestate.name_set(entry) for _, entry in plan.moved]
            self._catalog.commit(records)
        self._tell("renamed", old, new=new)

    def subscribe(self, name: str) -> None:
        """Add a name to the subscriptions; there need not be such a mailbox.

        RFC 3501 §6.3.6. Durable: the subscription.
        Raises: Invalid, LimitReached, Busy, StorageFailed.
        """
        name = names.normalize_new(name)
        with self._changing():
            subscriptions = self._catalog.state.subscriptions
            if name in subscriptions:
                return
            if len(subscriptions) >= namespace.MAX_SUBSCRIPTIONS:
                raise LimitReached(f"there cannot be more than {namespace.MAX_SUBSCRIPTIONS} subscriptions")
            self._catalog.commit([namestate.subscribed(name)])
        self._tell("subscribed", name)

    def unsubscribe(self, name: str) -> None:
        """Take a name off the subscriptions; it need not have been there.

        RFC 3501 §6.3.7. Durable: the removal.
        Raises: Invalid, LimitReached, Busy, StorageFailed.
        """
        name = names.normalize_new(name)
        with self._changing():
            if name not in self._catalog.state.subscriptions:
                return
            self._catalog.commit([namestate.unsubscribed(name)])
        self._tell("unsubscribed", name)

    def change_acl(
        self,
        name: str,
        change: Callable[[Acl], Acl],
        note: Callable[[frozenset[str], bool], None],
        permit: Permit = _permit_all,
    ) -> None:
        """Give a name another access control list.

        ``note`` is told to whom the account's lists give something: those who are new before they can see
        it, all there are once the list is written or was so already.
        Locks: takes the account's lock, and holds it while ``note`` runs. Durable: the list.
        Raises: NotFound, LimitReached, Busy, StorageFailed.
        """
        name = names.normalize(name)
        with self._changing():
            permit(self._catalog.state.entries)
            entry = self._catalog.state.entries.get(name)
            if entry is None:
                raise NotFound(f"there is no mailbox {name}")
            acl = change(entry.acl)
            if acl == entry.acl:
                note(self._grantees(), False)
                return
            added = acl.grantees() - entry.acl.grantees()
            if added:
                note(added, False)
            self._catalog.commit([namestate.name_set(replace(entry, acl=acl))])
            if entry.acl.grantees() - acl.grantees():
                note(self._grantees(), True)
        if self._pool.auditor is not None:
            self._pool.auditor.tell_acl(self.id, name, entry.acl, acl)

    def set_days(self, name: str, days: int | None) -> MailboxEntry:
        """Say how many days messages stay in a mailbox: 0 for ever, None as the rules for all say.

        Locks: takes the account's lock. Durable: the days. Raises: NotFound, Busy, StorageFailed.
        """
        name = names.normalize(name)
        with self._changing():
            entry = self._catalog.state.entries.get(name)
            if entry is None or entry.no_select:
                raise NotFound(f"there is no mailbox {name}")
            if entry.days != days:
                entry = replace(entry, days=days)
                self._catalog.commit([namestate.name_set(entry)])
            return entry

    def note_grants(self, note: Callable[[frozenset[str], bool], None]) -> None:
        """Tell ``note`` to whom the account's lists give something.

        Locks: takes the account's lock, and holds it while ``note`` runs.
        """
        with self._changing():
            note(self._grantees(), True)

    def tidy(self) -> None:
        """Remove what a crash may have left: directories that no name leads to.

        Locks: takes the account's lock.
        """
        self._is_tidy = False
        with self._changing():
            return

    # -- within

    def _tell(self, kind: str, *names: str, **pairs: object) -> None:
        """Let the log know what was done to mailboxes, where it wants to."""
        if self._pool.auditor is not None:
            for name in names:
                self._pool.auditor.tell_names(self.id, kind, name, **pairs)

    def found(self) -> None:
        """Make the account's directory complete: its lock, its catalog and its INBOX.

        Locks: takes the account's lock. Durable: the account.
        Raises: Corrupt when there are mailboxes but no catalog, NotFound, Moved, StorageFailed.
        """
        with directories.needed(self._directory):
            raw.close(raw.open_file(self.path / "lock", raw.WRITE | os.O_CREAT))
            with self._lock.hold():
                try:
                    self._catalog.settle()
                except NotFound:
                    directories.check_empty(self.path)
                    self._catalog.create([namestate.validity_used(int(time.time()) - 1)])
                    self._catalog.refresh()
                if INBOX not in self._catalog.state.entries:
                    made = self._make([INBOX])
                    self._catalog.commit([namestate.name_set(entry) for entry in made])

    def is_founded(self) -> bool:
        """Whether the account has its catalog and its INBOX."""
        try:
            self._follow()
        except NotFound:
            return False
        return INBOX in self._listing

    @contextmanager
    def _changing(self, deadline_s: float = DEADLINE_S) -> Iterator[None]:
        """Hold the account's lock with the catalog as it is now; the first time, clean up behind a crash."""
        with self._holding(deadline_s):
            self._catalog.settle()
            if not self._is_tidy:
                if self._catalog.is_damaged():  # what has no name now may have one behind the damage
                    raise Corrupt("the catalog is damaged in the middle; no change is made to it")
                self._is_tidy = True
                named = {entry.id for entry in self._catalog.state.entries.values()}
                directories.remove_abandoned(self.path, named | self._catalog.state.doomed)
                self._sweep()
            try:
                yield
            except (Denied, Exists, Invalid, NotFound):
                raise
            except BaseException:
                self._is_tidy = False
                raise

    @contextmanager
    def _holding(self, deadline_s: float) -> Iterator[None]:
        try:
            self._lock.acquire(deadline_s)
        except NotFound as error:
            raise gone(self._directory, str(error)) from None
        try:
            yield
        finally:
            self._lock.release()

    def _make(
        self,
        wanted: Sequence[str],
        special_use: str | None = None,
        uid_validity: int | None = None,
        least_modseq: int = 0,
    ) -> list[MailboxEntry]:
        """Make the directories of new mailboxes; nothing leads to them until the catalog does.

        The last one has the special use, the UIDVALIDITY and the HIGHESTMODSEQ that are given.

        Locks: the account's lock is held. Durable: the directories.
        """
        last = self._catalog.state.uid_validity
        made = []
        for name in wanted:
            mailbox_id = namestate.format_id(secrets.randbits(64) or 1)
            is_kept = uid_validity is not None and name is wanted[-1]
            if not is_kept:
                last = max(last + 1, int(time.time()))
                last += last == uid_validity
            own = uid_validity if uid_validity is not None and is_kept else last
            if own >= 1 << 32:
                raise LimitReached("no UIDVALIDITY is left to give")
            modseq = least_modseq if is_kept else 0
            Mailbox.create(self.path / mailbox_id, own, least_modseq=modseq).close()
            acl = namespace.inherited_acl(self._catalog.state.entries, name)
            made.append(MailboxEntry(name, mailbox_id, own, acl=acl))
        if made and special_use is not None:
            made[-1] = replace(made[-1], special_use=special_use)
        return made

    def _remake(self, entry: MailboxEntry, uid_validity: int | None = None, modseq: int = 0) -> MailboxEntry:
        """Put a mailbox with this UIDVALIDITY, or a new one, in the place of one that never held a message.

        The old directory goes out of the way while its lock is held, so that nobody can append to it any
        more. Until then no record dooms it: what a crash leaves of it is removed only if it is empty still.
        Locks: the account's lock is held; takes the mailbox's. Durable: the mailbox.
        Raises: Exists when it was used, Busy, Corrupt, StorageFailed.
        """
        old = self.open_entry(entry)
        trash = self.path / (TRASH + entry.id)
        try:
            with old.transaction() as tx:
                tx.frames()  # adopts what a dead writer has left
                if old.uid_next != 1:
                    raise Exists(
                        f"{entry.name}, UIDVALIDITY {entry.uid_validity}, exists already, and was used"
                    )
                if entry.uid_validity == uid_validity and old.highest_modseq >= modseq:
                    return entry
                (made,) = self._make([entry.name], entry.special_use, uid_validity, modseq)
                made = replace(made, acl=entry.acl, attributes=entry.attributes, days=entry.days)
                self._catalog.commit(self._catalog.state.remade(entry, made))
                raw.rename(old.path, trash)
        finally:
            old.release()
        self._pool.forget(old.path)
        self._quota.forget(entry.id)
        directories.remove_tree(trash)
        return made

    def _grantees(self) -> frozenset[str]:
        return all_grantees(entry.acl for entry in self._catalog.state.entries.values())

    def _sweep(self) -> None:
        """Remove the directories of deleted mailboxes, those that are retained when their time is over; one
        that is busy is left for the next time.

        Locks: the account's lock is held; takes each mailbox's.
        """
        directories.remove_deleted(self.path, self.lifetimes.retain_s)
        records: list[Record] = []
        for mailbox_id in sorted(self._catalog.state.doomed):
            try:
                directories.remove_mailbox(self.path, mailbox_id, bool(self.lifetimes.retain_s))
                self._pool.forget(self.path / mailbox_id)
                self._quota.forget(mailbox_id)
            except Busy:
                self._is_tidy = False
                continue
            records.append(namestate.swept(mailbox_id))
        if records:
            raw.sync_directory(self.path)  # once the catalog has forgotten it, it must not come back
            self._catalog.commit(records)

    def _follow(self) -> None:
        catalog = self._catalog
        try:
            changed = catalog.refresh()
        except NotFound as error:
            raise gone(self._directory, str(error)) from None
        if catalog.pending:
            self._settle()
            changed = True
        if not changed and self._listed_serial == catalog.serial:
            return
        with catalog.applying:
            entries = catalog.state.entries
            self._listing = MappingProxyType({name: entries[name] for name in names.sorted_names(entries)})
            self._subscribed = frozenset(catalog.state.subscriptions)
            self._listed_serial = catalog.serial

    def _settle(self) -> None:
        """A change of names waits to be released: its author is at it, or has died, or the power took the
        release."""
        try:
            with self._lock.hold(0):
                self._catalog.settle()
        except (MStoreError, AssertionError):
            pass  # who holds the lock sees to it; or it is we, higher up in the order of locks
