"""The mail of a site as one process sees it: finds the directory of an account and shares its object.

An account lives in ``<mailstore path>/<first two digits of its id>/<id>/``. The directory is made at first
use. Objects are kept while somebody holds them, and the last few hundred beyond that, so accounts that come
and go do not pile up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from mstore.base.errors import NotFound, StorageFailed, Unavailable
from mstore.base.ids import AccountId
from mstore.base.options import Settings
from mstore.files import raw
from mstore.store import moving
from mstore.store.account import Account
from mstore.store.directory import is_mailbox_id, remove_account
from mstore.store.lifetimes import FOR_EVER, Lifetimes
from mstore.store.notify import Notifier
from mstore.store.pool import Pool
from mstore.store.quota import Limits

if TYPE_CHECKING:
    from mstore.store.audit import Auditor

KEPT_ACCOUNTS = 256


class Record(Protocol):
    """What is needed of an account's record."""

    @property
    def id(self) -> AccountId: ...
    @property
    def mailstore(self) -> str: ...
    @property
    def quota_bytes(self) -> int | None: ...
    @property
    def quota_messages(self) -> int | None: ...


class Store:
    """The mailstores of a site; one object for each process."""

    def __init__(
        self,
        mailstores: Mapping[str, Path],
        lifetimes: Lifetimes = FOR_EVER,
        expires: bool = False,
    ) -> None:
        """``expires``: a mailbox that is opened loses what its lifetime is over, where there is a rule."""
        self._mailstores = dict(mailstores)
        self.auditor: Auditor | None = None
        """Who is told what is done to mail; to be set before any account is opened."""
        self.lifetimes = lifetimes
        self._expires = expires
        self._pool: Pool | None = None
        self._live: WeakValueDictionary[AccountId, Account] = WeakValueDictionary()
        self._kept: OrderedDict[AccountId, Account] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings, expires: bool = False) -> Store:
        """The mailstores that the configuration names."""
        return cls(settings.mailstores, Lifetimes.of(settings), expires)

    def account(self, record: Record) -> Account:
        """The account of a record, with at least an INBOX; the same object for all sessions of this process.

        The limits that the record says are those of the account from now on.
        Durable: the directory, when it had to be made.
        Raises: Unavailable for a mailstore that is not configured, Moved when the record is out of date or
        the account is just being moved, Corrupt, StorageFailed.
        """
        account = self._live.get(record.id)
        if account is None or account.mailstore != record.mailstore:
            account = self._open(record, account)
        account.limits = Limits(record.quota_bytes, record.quota_messages)
        self._kept[record.id] = account
        self._kept.move_to_end(record.id)
        if len(self._kept) > KEPT_ACCOUNTS:
            self._kept.popitem(last=False)
        return account

    def rest(self) -> None:
        """Close descriptors that nobody needs at this moment; to be called every few seconds."""
        if self._pool is not None:
            self._pool.rest()

    @property
    def notifier(self) -> Notifier:
        """What tells this process of changes that others make; first used after any fork."""
        return self._mailboxes().notifier

    def path_of(self, record: Record) -> Path:
        """Where the directory of an account is, or would be.

        Raises: Unavailable for a mailstore that is not configured.
        """
        return moving.path_of(self._mailstore(record.mailstore), record.id)

    def remove(self, record: Record) -> None:
        """Remove an account's directory with all its mail.

        Durable: the removal.
        Raises: Unavailable, Busy, StorageFailed.
        """
        self._kept.pop(record.id, None)
        self._live.pop(record.id, None)
        remove_account(self.path_of(record))
        moving.forget(moving.path_of(path, record.id) for path in self._mailstores.values())

    def move(self, record: Record, mailstore: str, switch: Callable[[], None]) -> None:
        """Move an account to another mailstore while it is in use; ``switch`` makes its record say so.

        Should this fail or be stopped, ``settle`` is to be called with the record as it is then.
        Durable: the move. Raises: Unavailable, Busy, NotFound, LimitReached, StorageFailed.
        """
        target = moving.path_of(self._mailstore(mailstore), record.id)
        moving.move_account(self.account(record).path, target, switch)

    def settle(self, record: Record) -> None:
        """Finish or take back a move that was interrupted; nothing happens where there was none.

        Locks: none; the account must not be moved just now. Durable: the result.
        Raises: Unavailable, Corrupt, StorageFailed.
        """
        elsewhere = [path for name, path in self._mailstores.items() if name != record.mailstore]
        moving.settle(self.path_of(record), [moving.path_of(path, record.id) for path in elsewhere])

    def unfinished_moves(self, mailstore: str) -> Iterator[Path]:
        """What moves that are under way, or were interrupted, have left in a mailstore."""
        for shard in self._shards(mailstore):
            yield from moving.unfinished(shard)

    def left_behind(self, record: Record) -> Path | None:
        """What a move from another mailstore has left there to tell that the account was moved."""
        elsewhere = [path for name, path in self._mailstores.items() if name != record.mailstore]
        return next(filter(Path.is_dir, (moving.away_of(path, record.id) for path in elsewhere)), None)

    def directories(self, mailstore: str) -> Iterator[Path]:
        """The directories of accounts that a mailstore holds, whether or not there are such accounts."""
        for shard in self._shards(mailstore):
            yield from sorted(path for path in shard.iterdir() if is_mailbox_id(path.name))

    def close(self) -> None:
        """Let go of all accounts; the files of a mailbox close when its last user releases it."""
        self._kept.clear()
        self._live.clear()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _open(self, record: Record, before: Account | None) -> Account:
        """Open an account; the one that was open in the mailstore it has left is forgotten."""
        account = Account(self.path_of(record), record.id, self._mailboxes(), record.mailstore)
        if not account.is_founded():
            self._found(account)
        if before is not None and self._live.get(record.id) is before:
            del self._live[record.id]
            self._mailboxes().forget_account(before.path)
        return self._live.setdefault(record.id, account)

    def _mailboxes(self) -> Pool:
        if self._pool is None:
            self._pool = Pool(Notifier(), self.lifetimes, self._expires, self.auditor)
        return self._pool

    def _shards(self, mailstore: str) -> list[Path]:
        try:
            found = sorted(self._mailstore(mailstore).iterdir())
        except FileNotFoundError:
            raise NotFound(f"the directory of mailstore {mailstore} is missing") from None
        except OSError as error:
            raise StorageFailed(f"cannot read mailstore {mailstore}: {error.strerror}") from None
        return [shard for shard in found if len(shard.name) == 2 and shard.is_dir()]

    def _mailstore(self, name: str) -> Path:
        try:
            return self._mailstores[name]
        except KeyError:
            raise Unavailable(f"there is no mailstore {name} in the configuration") from None

    def _found(self, account: Account) -> None:
        shard = account.path.parent
        if not shard.parent.is_dir():
            raise Unavailable(f"the mailstore's directory {shard.parent} is missing")
        for path in (shard, account.path):
            try:
                raw.mkdir(path)
            except FileExistsError:
                pass
        # also where they were there: whoever made them may have been stopped before this
        raw.sync_directory(shard.parent)
        raw.sync_directory(shard)
        account.found()
