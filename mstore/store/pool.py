"""The open mailboxes of a process: one object for each, shared, and kept for a while when nobody uses it.

A client that logs in, looks and leaves, or a second delivery, then finds the table in memory and only the
tail of the journal to read. Of what is kept only the latest have descriptors open, and its size in all is
bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from mstore.base import blocking
from mstore.base.errors import StorageFailed
from mstore.base.ids import AccountId
from mstore.store.change import MailboxStatus
from mstore.store.counts import Counts
from mstore.store.expiry import expire_beside
from mstore.store.lifetimes import FOR_EVER, Lifetimes
from mstore.store.mailbox import Mailbox
from mstore.store.namestate import MailboxEntry
from mstore.store.notify import Notifier
from mstore.store.quota import Quota, Quotas

if TYPE_CHECKING:
    from mstore.store.audit import Auditor

KEPT_MAILBOXES = 256
KEPT_ROWS = 250_000
IDLE_MAILBOXES = 64
MOST_OPENED = 256
_FEWEST_ROWS = 500
"""What a small mailbox counts for, since its object has a size too."""
_OF_READER = "/reader/"


def _key(path: Path | str, reader: AccountId | None) -> str:
    return str(path) if reader is None else f"{path}{_OF_READER}{reader}"


class Pool:
    """All mailboxes of a process, by their directories."""

    def __init__(
        self,
        notifier: Notifier | None = None,
        lifetimes: Lifetimes = FOR_EVER,
        expires: bool = False,
        auditor: Auditor | None = None,
    ) -> None:
        """``expires``: a mailbox that is opened by its name loses what its lifetime is over."""
        self._notifier = notifier
        self.lifetimes = lifetimes
        self._expires = expires
        self.auditor = auditor
        """Who is told what is done to mail; None: nobody."""
        self._live: WeakValueDictionary[str, Mailbox] = WeakValueDictionary()
        self._kept: OrderedDict[str, tuple[Mailbox, int]] = OrderedDict()
        self._kept_rows = 0
        self._idle: OrderedDict[str, Mailbox] = OrderedDict()
        self._opening: dict[str, blocking.Event] = {}
        self._opened = 0
        """How often since the last ``rest`` a mailbox was opened."""
        self._quotas = Quotas(self._open_for)
        self._counts = Counts()

    @property
    def notifier(self) -> Notifier:
        """What tells this process of changes that others make."""
        if self._notifier is None:
            self._notifier = Notifier()
        return self._notifier

    def quota(self, directory: str) -> Quota:
        """Usage and limits of the account in a directory."""
        return self._quotas.of(directory)

    def open(
        self,
        path: Path | str,
        reader: AccountId | None = None,
        quota: Quota | None = None,
        entry: MailboxEntry | None = None,
    ) -> Mailbox:
        """The mailbox in a directory, with the caller counted as a user: ``release()`` it when done.

        With a ``reader`` it is an object of that reader's own, shared by all sessions of his. ``quota`` is
        its account's, ``entry`` what led to it.
        Raises: NotFound, Corrupt, Busy, StorageFailed.
        """
        key = _key(path, reader)
        mailbox = self._live.get(key)
        if mailbox is not None and mailbox.is_stale:
            # whoever may hold it still goes on with it: rows of an open mailbox never get other numbers
            self._drop(key)
            mailbox.rest()
            mailbox = None
        while mailbox is None or mailbox.deleted:
            # opening may wait for the disk, and two at once would make two objects of one mailbox
            opened = self._opening.get(key)
            if opened is None:
                mailbox = self._open(key, Path(path), reader, quota)
                break
            opened.wait()
            mailbox = self._live.get(key)
        mailbox.retain()
        self._keep(key, mailbox)
        self._opened += 1
        if self._opened > MOST_OPENED:
            self.rest()
        if self._expires and entry is not None:
            expire_beside(mailbox, self.lifetimes.days_in(entry))
        return mailbox

    def status(
        self,
        path: str,
        reader: AccountId | None = None,
        quota: Quota | None = None,
        entry: MailboxEntry | None = None,
    ) -> MailboxStatus:
        """The totals of the mailbox that ``open`` would open; it need not be opened while nothing changes.

        Raises: NotFound, Moved, Corrupt, Busy, StorageFailed.
        """
        key = _key(path, reader)
        if not self._expires or entry is None or self.lifetimes.days_in(entry) is None:
            status = self._counts.find(key)
            if status is not None:
                return status
        mailbox = self.open(path, reader, quota, entry)
        try:
            mailbox.refresh()
            if mailbox.deleted:
                raise mailbox.gone()
            return self._counts.take(key, mailbox)
        finally:
            mailbox.release()

    def known(self, paths: Mapping[str, str]) -> dict[str, MailboxStatus]:
        """By the caller's names the totals, as owners see them, of those that need not be opened now."""
        return {} if self._expires else self._counts.find_all(paths)

    def rest(self) -> None:
        """Close the descriptors of the mailboxes in use: of thousands selected, few are busy."""
        self._opened = 0
        for mailbox in list(self._live.values()):
            if mailbox.users:
                mailbox.rest()

    def forget(self, path: Path) -> None:
        """Keep a mailbox that was removed no longer."""
        own = str(path)
        for key in [key for key in self._live if key == own or key.startswith(own + _OF_READER)]:
            self._drop(key)
            self._live.pop(key, None)

    def forget_account(self, path: Path) -> None:
        """Keep no mailbox of an account that was moved or removed, so that its files are given back."""
        below = f"{path}/"
        for key in [key for key in self._live if key.startswith(below)]:
            mailbox = self._live.pop(key)
            mailbox.deleted = True
            self._drop(key)
            mailbox.announce()

    def close(self) -> None:
        """Keep nothing any more, and end the watches.

        Durable: what was changed, flags of the last second as well.
        """
        for mailbox in list(self._live.values()):
            if not mailbox.users:
                mailbox.close()
                continue
            try:
                mailbox.flush()
            except StorageFailed:
                pass
        self._idle.clear()
        self._kept.clear()
        self._kept_rows = 0
        self._counts.clear()
        self._quotas.close()
        if self._notifier is not None:
            self._notifier.close()
            self._notifier = None

    def _open_for(self, path: str, quota: Quota) -> Mailbox:
        return self.open(path, None, quota)

    def _open(self, key: str, path: Path, reader: AccountId | None, quota: Quota | None) -> Mailbox:
        event = self._opening[key] = blocking.make_event()
        try:
            mailbox = Mailbox(path, self.notifier, reader, quota, self.lifetimes.retain_s)
            mailbox.on_idle = self._rest_later
            mailbox.on_claim = self._forget_counts
            mailbox.auditor = self.auditor
            self._live[key] = mailbox
            return mailbox
        finally:
            del self._opening[key]
            event.set()

    def _keep(self, key: str, mailbox: Mailbox) -> None:
        self._drop(key)
        rows = max(_FEWEST_ROWS, mailbox.index.messages)
        if rows > KEPT_ROWS // 2:
            return
        self._kept[key] = mailbox, rows
        self._kept_rows += rows
        while len(self._kept) > KEPT_MAILBOXES or self._kept_rows > KEPT_ROWS:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._kept_rows -= kept[1]
        idle = self._idle.pop(key, None)
        if idle is not None and not idle.users:
            idle.rest()

    def _forget_counts(self, mailbox: Mailbox) -> None:
        self._counts.forget(_key(mailbox.path, mailbox.reader))

    def _rest_later(self, mailbox: Mailbox) -> None:
        """The last user is gone: the next one may come soon, so a few keep their descriptors for a while."""
        key = _key(mailbox.path, mailbox.reader)
        if mailbox.deleted:
            mailbox.rest()
            return
        self._counts.renew(key, mailbox)
        if key not in self._kept:
            mailbox.rest()
            return
        self._idle[key] = mailbox
        self._idle.move_to_end(key)
        if len(self._idle) > IDLE_MAILBOXES:
            _, oldest = self._idle.popitem(last=False)
            if not oldest.users:
                oldest.rest()
