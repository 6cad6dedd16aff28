"""The totals of mailboxes that nobody reads just now, for STATUS: kept as long as their journals hold still.

A client that shows a tree of folders asks for the counts of all of them again and again, and next to nothing
has changed. Whatever changes a mailbox, and whoever does, adds to its journal, or begins another. So a
journal that was followed to its end, and is the same file of the same length still, says that the totals are
what they were: one ``stat`` instead of opening the mailbox. Of a journal with something behind its last valid
group nothing is kept: what is released there later changes no length.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mstore.store.change import MailboxStatus

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

KEPT_COUNTS = 8192
"""Of so many mailboxes; those of 8,192 take some 6 MB."""


class Counts:
    """What is known of the totals of mailboxes, by any key that tells them apart."""

    def __init__(self, limit: int = KEPT_COUNTS) -> None:
        self._limit = limit
        self._known: dict[str, tuple[str, tuple[int, ...], MailboxStatus]] = {}
        """The journal, what ``stat`` told of it, and the totals; what was asked for last stands last."""

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: str) -> MailboxStatus | None:
        """The totals as they are now; None where they are not known. Takes no lock and opens nothing."""
        return self.find_all({key: key}).get(key)

    def find_all(self, keys: Mapping[str, str]) -> dict[str, MailboxStatus]:
        """The same of many, by names that the caller has for the keys; of those that are known."""
        known, stat = self._known, os.stat
        found = {}
        for name, key in keys.items():
            one = known.pop(key, None)
            if one is None:
                continue
            path, stamp, status = one
            try:
                now = stat(path)
            except OSError:
                continue
            if (now.st_ino, now.st_size, now.st_ctime_ns) == stamp:
                known[key] = one
                found[name] = status
        return found

    def take(self, key: str, mailbox: Mailbox) -> MailboxStatus:
        """The totals of an open mailbox, as of its last refresh, and as of now if they are to be kept."""
        with mailbox.applying:
            status, stamp = mailbox.status(), mailbox.journal.stamp()
        if stamp is None:
            self.forget(key)
        else:
            self._known.pop(key, None)
            self._known[key] = os.fspath(mailbox.journal.path), stamp, status
            if len(self._known) > self._limit:
                del self._known[next(iter(self._known))]
        return status

    def renew(self, key: str, mailbox: Mailbox) -> None:
        """Take the totals of an open mailbox anew where it has changed, if anybody has asked for them: to
        open it when they are asked for again would cost far more."""
        known = self._known.get(key)
        if known is not None and known[1][1] != mailbox.journal.end:
            self.take(key, mailbox)

    def forget(self, key: str) -> None:
        """Have the mailbox itself asked the next time."""
        self._known.pop(key, None)

    def clear(self) -> None:
        """Know nothing."""
        self._known.clear()
