"""How much mail an account holds and may hold: counted by each writer, enforced before anything is written.

An account's usage is the sum of its mailboxes' slots (``files.usage``). A slot is never below what its
mailbox holds: who adds writes it before, who removes writes it after; should a writer die in between, the
slot is marked as *at most so much* and is counted anew by the next writer or by ``settle``. In an account
with limits who adds holds the lock of the usage while he sums up and writes his slot, so that the sum cannot
pass a limit by a byte whoever else delivers. Without limits nothing is summed up: one write, no lock.

After a start of the machine the file is begun anew. Mailboxes that were not written to since are counted when
the first to be limited, or to ask for the sum, comes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from mstore.base import blocking
from mstore.base.errors import Busy, Corrupt, NotFound, OverQuota
from mstore.base.ids import AccountId, MailboxId
from mstore.files.layout import SLOT_EXACT, SLOT_GONE, SLOT_MOST
from mstore.files.lock import QUOTA_BYTE, RANK_QUOTA, Lock
from mstore.files.usage import Slots, UsageFile, read_slots
from mstore.store.catalog import Catalog
from mstore.store.directory import needed

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

T = TypeVar("T")

FILE_NAME = "quota"
OPEN_FILES = 128
_ATTEMPTS = 5
_PATIENCE_S = 2.0
"""How long a refusal waits for those whose slots may yet become smaller."""
_COUNTING_S = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account may hold; None: any amount."""

    size_bytes: int | None = None
    messages: int | None = None

    def __bool__(self) -> bool:
        return self.size_bytes is not None or self.messages is not None


class Usage(NamedTuple):
    """What an account holds."""

    size_bytes: int
    messages: int


class Uncounted(Busy):
    """The account's mail has to be counted first; then it may be tried again."""


NO_LIMITS = Limits()


class Quota:
    """Usage and limits of one account; one object for each process."""

    __slots__ = (
        "__weakref__",
        "_account_id",
        "_directory",
        "_family",
        "_file",
        "_lock",
        "_settling",
        "is_limited",
        "limits",
        "put",
    )

    def __init__(self, directory: str, family: Quotas) -> None:
        self._directory = directory
        self._account_id = AccountId(os.path.basename(directory))
        self._family = family
        self._file = UsageFile(f"{directory}/{FILE_NAME}", self._account_id)
        self.put = self._file.put
        """Like ``note``, and False where that would have to take the lock."""
        self._lock = Lock(f"{directory}/lock", RANK_QUOTA, self._account_id, QUOTA_BYTE)
        self._settling = blocking.make_mutex()
        self.limits = NO_LIMITS
        self.is_limited = False

    def set_limits(self, limits: Limits) -> None:
        """Enforce these limits from now on, in this process."""
        self.limits = limits
        self.is_limited = bool(limits)

    # -- for the writer of a mailbox

    def note(
        self, mailbox: MailboxId, size_bytes: int, messages: int, state: int = SLOT_EXACT
    ) -> None:
        """Write what a mailbox holds, or (``SLOT_MOST``) what it holds at most until its change is done.

        Locks: the mailbox's is held; takes the usage's when this is the first write.
        Raises: StorageFailed, Busy.
        """
        if self._file.put(mailbox, size_bytes, messages, state):
            return
        self._acquire()
        try:
            self._file.put_first(self._slots(), mailbox, size_bytes, messages, state)
        finally:
            self._lock.release(keep_open=True)

    def reserve(self, mailbox: MailboxId, wanted: tuple[int, int], new: tuple[int, int]) -> None:
        """Let a mailbox grow to the bytes and messages wanted, ``new`` of which come now, or refuse.

        Locks: the mailbox's is held; takes the usage's for a moment.
        Raises: OverQuota, Uncounted, StorageFailed, Busy.
        """
        limits, (new_bytes, new_messages) = self.limits, new
        self._acquire()
        try:
            slots = self._slots()
            if not slots.complete:
                raise Uncounted("the account's mail is being counted; try again")
            others_bytes, others_messages = slots.total(without=self._file.find(slots, mailbox))
            if limits.size_bytes is not None and others_bytes + wanted[0] > limits.size_bytes:
                raise OverQuota("the quota on storage is used up", new_bytes > limits.size_bytes)
            if limits.messages is not None and others_messages + wanted[1] > limits.messages:
                raise OverQuota("the quota on messages is used up", new_messages > limits.messages)
            self._file.put_first(slots, mailbox, *wanted, SLOT_MOST)
        finally:
            self._lock.release(keep_open=True)

    def forget(self, mailbox: MailboxId) -> None:
        """Count a mailbox no longer that was deleted; its slot is free when its directory is gone.

        Locks: takes the usage's. Raises: StorageFailed, Busy.
        """
        if not os.path.exists(self._file.path):
            return
        self._acquire()
        try:
            self._free(self._slots(), mailbox)
        finally:
            self._lock.release(keep_open=True)

    # -- for everybody, without a lock

    def usage(self) -> Usage:
        """What the account holds; mailboxes not counted yet are counted first.

        Locks: takes those of mailboxes, one by one, when it has to count.
        Raises: Busy, NotFound, Moved, Corrupt, StorageFailed.
        """
        for _ in range(_ATTEMPTS):
            try:
                slots = read_slots(self._file.path)
                if slots.complete:
                    return Usage(*slots.total())
            except (FileNotFoundError, Corrupt):
                pass
            self.settle()
        raise Uncounted("the account's mail is being counted; try again")

    def recount(self) -> Usage:
        """Count all mailboxes anew.

        Locks: takes the usage's, then those of the mailboxes, one by one.
        Raises: Busy, NotFound, Moved, Corrupt, StorageFailed.
        """
        with needed(self._directory):
            self._acquire()
            try:
                self._file.replace()
            finally:
                self._lock.release(keep_open=True)
        return self.usage()

    def settle(self) -> bool:
        """Count what is not sure; whether there was anything, so that who was refused may try again.

        Locks: takes those of mailboxes, one by one, and the usage's.
        Raises: Busy, NotFound, Moved, Corrupt, StorageFailed.
        """
        if not self._settling.acquire(True, _COUNTING_S):
            raise Uncounted("the account's mail is being counted; try again")
        try:
            with needed(self._directory):
                return self._settle()
        finally:
            self._settling.release()

    def _settle(self) -> bool:
        self._acquire()
        try:
            slots, serial = self._slots(), self._file.serial
        finally:
            self._lock.release(keep_open=True)
        states = slots.states()
        named = self._named()
        if slots.complete:
            unsure = {mailbox for mailbox, state in states.items() if state == SLOT_MOST}
        else:
            unsure = {mailbox for mailbox in named if states.get(mailbox) != SLOT_EXACT}
        unnamed = states.keys() - named
        for mailbox in sorted(unsure & named):
            self._count(mailbox, skip_busy=slots.complete)
        if unnamed or not slots.complete:
            self._tidy(unnamed, serial)
        return bool(unsure) or not slots.complete or any(states[mailbox] != SLOT_GONE for mailbox in unnamed)

    def _tidy(self, unnamed: set[MailboxId], serial: int) -> None:
        """Named mailboxes are counted, in the file of this serial; what is not named counts for nothing."""
        self._acquire()
        try:
            slots = self._slots()
            for mailbox in unnamed:
                self._free(slots, mailbox)
            if not slots.complete and self._file.serial == serial:
                self._file.complete()
        finally:
            self._lock.release(keep_open=True)

    def _count(self, mailbox_id: MailboxId, skip_busy: bool) -> None:
        try:
            mailbox = self._family.open_mailbox(f"{self._directory}/{mailbox_id}", self)
        except NotFound:
            return  # deleted meanwhile
        try:
            with mailbox.transaction(_PATIENCE_S if skip_busy else _COUNTING_S) as tx:
                tx.frames()  # what a dead writer has left whole is adopted, and counts
                tx.count()
        except NotFound:
            return
        except Busy:
            if not skip_busy:
                raise
        finally:
            mailbox.release()

    def _named(self) -> set[MailboxId]:
        catalog = Catalog(self._directory, self._account_id)
        catalog.refresh()
        return {entry.id for entry in catalog.state.entries.values() if not entry.no_select}

    # -- within

    def _acquire(self) -> None:
        """Take the lock of the usage; its file is another one when the account was away and came back."""
        try:
            self._lock.acquire()
        except NotFound:
            self._lock.acquire()

    def _slots(self) -> Slots:
        if not self._file.is_open:
            self._family.opened(self)
        with needed(self._directory):
            return self._file.slots()

    def _free(self, slots: Slots, mailbox: MailboxId) -> None:
        self._file.free(slots, mailbox, for_good=not os.path.exists(f"{self._directory}/{mailbox}"))

    def rest(self) -> None:
        """Close the descriptors, unless they are in use just now; they come back by themselves."""
        if not self._lock.is_held:
            self._file.close()
            self._lock.rest()


class Quotas:
    """The quotas of a process, by the directories of their accounts; few of them have descriptors open."""

    def __init__(self, open_mailbox: Callable[[str, Quota], Mailbox]) -> None:
        self.open_mailbox = open_mailbox
        self._live: WeakValueDictionary[str, Quota] = WeakValueDictionary()
        self._open: OrderedDict[Quota, None] = OrderedDict()

    def of(self, directory: str) -> Quota:
        """The quota of the account in a directory, shared by all of this process."""
        quota = self._live.get(directory)
        if quota is None:
            quota = self._live.setdefault(directory, Quota(directory, self))
        return quota

    def opened(self, quota: Quota) -> None:
        """Take note that a quota has opened its files; the one that did so first closes its own."""
        self._open[quota] = None
        self._open.move_to_end(quota)
        if len(self._open) > OPEN_FILES:
            self._open.popitem(last=False)[0].rest()

    def close(self) -> None:
        """Close all descriptors."""
        while self._open:
            self._open.popitem()[0].rest()


def again(quota: Quota | None, refusal: OverQuota | Uncounted, attempt: Callable[[], T]) -> T:
    """Somebody was refused: what may have been too much by mistake is counted, and it is tried again.

    Locks: no mailbox's may be held. Raises: OverQuota, Busy, and whatever the attempt does.
    """
    problem: OverQuota | Uncounted = refusal
    for _ in range(_ATTEMPTS):
        if quota is None or (isinstance(problem, OverQuota) and problem.hopeless):
            break
        if not quota.settle() and not isinstance(problem, Uncounted):
            break
        try:
            return attempt()
        except (OverQuota, Uncounted) as error:
            problem = error
    raise problem
