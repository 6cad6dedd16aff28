"""Brings foreign mail into an account; may be interrupted and begun again, and again for what is new.

Nothing arrives twice. Every message gets an id (EMAILID) that follows from where it comes from, so that a
mailbox itself tells what is there already; what was there once, and has been expunged since, stands in a list
beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path

from mstore.base.errors import Exists, Invalid, MStoreError, OverQuota, StorageFailed, Unavailable
from mstore.base.flags import SYSTEM_FLAGS
from mstore.base.ids import Uid
from mstore.moving.foreign import ForeignMailbox, ForeignMessage, Source
from mstore.store import names
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.mailbox import Mailbox
from mstore.store.specialuse import holder

_BATCH_BYTES = 8 << 20
_BATCH = 1000
_BITS = {name.lower(): 1 << bit for bit, name in enumerate(SYSTEM_FLAGS)}


@dataclass
class Report:
    """What has become of one mailbox."""

    name: str
    messages: int = 0
    """So many arrived."""
    already: int = 0
    """So many had arrived before."""
    renumbered: int = 0
    """So many of those that arrived could not keep their UIDs."""
    keeps_uids: bool = False
    problems: list[str] = field(default_factory=list)


def list_path(run_path: Path, account_id: str) -> Path:
    """Where the ids of what has arrived in an account are kept."""
    return run_path / f"import-{account_id}.done"


def forget(run_path: Path, account_id: str) -> None:
    """Remove what imports into an account have left there, once the account is gone. Raises: OSError."""
    path = list_path(run_path, account_id)
    for each in (path, path.with_suffix(".lock")):
        each.unlink(missing_ok=True)


class Arrivals:
    """The ids of messages that have arrived, in a file that is only added to."""

    def __init__(self, path: Path) -> None:
        """Raises: OSError."""
        self._file = open(path, "a+", encoding="ascii")  # noqa: SIM115
        self._file.seek(0)
        self._known = {int(line, 16) for line in self._file if len(line) == 17}

    def __contains__(self, email_id: int) -> bool:
        return email_id in self._known

    def add(self, email_ids: Iterable[int]) -> None:
        """Note some more; should that be lost, the mailboxes tell. Raises: OSError."""
        for email_id in email_ids:
            if email_id not in self._known:
                self._known.add(email_id)
                self._file.write(f"{email_id:016x}\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Import:
    """One source's way into one account."""

    def __init__(
        self,
        account: Account,
        source: Source,
        arrivals: Arrivals,
        into: str = "",
        advance: Callable[[int], None] = lambda count: None,
        dry: bool = False,
    ) -> None:
        """``into`` is the mailbox below which all is put; ``advance`` is told of messages dealt with."""
        self._account = account
        self._source = source
        self._arrivals = arrivals
        self._into = into
        self._advance = advance
        self._dry = dry

    def name_of(self, foreign: str) -> str:
        """What a mailbox is called here. Raises: Invalid, LimitReached."""
        return names.normalize(f"{self._into}/{foreign}" if self._into else foreign)

    def bring(self, foreign: ForeignMailbox) -> Report:
        """Bring in a mailbox with all messages that have not come yet.

        Durable: what the report counts. Raises: OverQuota, StorageFailed, Unavailable; what concerns one
        mailbox or message alone is in the report.
        """
        report = Report(foreign.name)
        try:
            report.name = self.name_of(foreign.name)
            mailbox = self._open(report.name, foreign)
        except (OverQuota, StorageFailed, Unavailable):
            raise
        except MStoreError as error:
            report.problems.append(f"{foreign.name}: {error}")
            return report
        try:
            self._fill(mailbox, foreign, report)
        except (OverQuota, StorageFailed, Unavailable):
            raise
        except (MStoreError, OSError) as error:
            report.problems.append(f"{report.name}: {error}")
        finally:
            if mailbox is not None:
                mailbox.release()
        return report

    def subscribe(self) -> list[str]:
        """Subscribe to what is subscribed there, of what is here; gives the names."""
        done = []
        for foreign in self._source.subscriptions():
            try:
                name = self.name_of(foreign)
            except MStoreError:
                continue
            if name in self._account.mailboxes() and name not in self._account.subscriptions():
                if not self._dry:
                    self._account.subscribe(name)
                done.append(name)
        return done

    def _open(self, name: str, foreign: ForeignMailbox) -> Mailbox | None:
        """The mailbox, which takes over the other's UIDVALIDITY where nothing has ever been in it."""
        entries = self._account.mailboxes()
        entry = entries.get(name)
        if self._dry:
            return self._account.open(name) if entry is not None and not entry.no_select else None
        theirs = foreign.uid_validity
        if entry is None or entry.no_select:
            self._create(name, foreign)
        elif theirs is not None and theirs != entry.uid_validity:
            with suppress(Exists, Invalid):  # It has been used, and keeps its own UIDVALIDITY.
                self._account.create(name, uid_validity=theirs)
        return self._account.open(name)

    def _create(self, name: str, foreign: ForeignMailbox) -> None:
        """Make a mailbox, with the other's UIDVALIDITY unless another one here has the same."""
        use = None if self._into else foreign.special_use
        if use is not None and holder(self._account.mailboxes(), use) is not None:
            use = None
        if foreign.uid_validity is not None:
            with suppress(Exists, Invalid):
                self._account.create(name, use, uid_validity=foreign.uid_validity)
                return
        with suppress(Exists):  # Somebody else may be faster.
            self._account.create(name, use)

    def _fill(self, mailbox: Mailbox | None, foreign: ForeignMailbox, report: Report) -> None:
        there: set[int] = set()
        if mailbox is not None:
            report.keeps_uids = mailbox.uid_validity == foreign.uid_validity
            if not self._dry:
                with mailbox.transaction() as tx:
                    tx.frames()  # What an import that was killed has left is there, or is not, from here on.
            there = set(mailbox.columns.email_id[mailbox.index.live_rows()].tolist())
        messages = foreign.messages(partial(self._is_wanted, foreign, there, report))
        if mailbox is None or self._dry:
            for _ in messages:
                pass  # None is wanted; who asks for them counts them.
            return
        batch: list[NewMessage] = []
        size = 0
        for message in messages:
            try:
                content = message.read()
            except (MStoreError, OSError) as error:
                if isinstance(error, Unavailable):
                    raise
                report.problems.append(f"{report.name}: {error}")
                self._advance(1)
                continue
            made = _make(message, content, self._id_of(foreign, message.key, message.uid))
            made.prepare()  # Now, while another server sends the next.
            batch.append(made)
            size += len(content)
            if size >= _BATCH_BYTES or len(batch) >= _BATCH:
                self._append(mailbox, batch, report)
                batch, size = [], 0
        self._append(mailbox, batch, report)
        if report.keeps_uids and foreign.uid_next is not None and foreign.uid_next > mailbox.uid_next:
            with mailbox.transaction() as tx:
                tx.raise_uid_next(foreign.uid_next)

    def _is_wanted(
        self, foreign: ForeignMailbox, there: set[int], report: Report, key: str, uid: int | None
    ) -> bool:
        """Whether a message has not come yet, and is to; the others are counted here."""
        email_id = self._id_of(foreign, key, uid)
        if email_id in there or email_id in self._arrivals:
            report.already += 1
        elif self._dry:
            report.messages += 1
        else:
            return True
        self._advance(1)
        return False

    def _append(self, mailbox: Mailbox, batch: list[NewMessage], report: Report) -> None:
        """Append some messages, in one transaction, with their UIDs as far as these are free."""
        if not batch:
            return
        batch.sort(key=_uid_order)  # A server may answer in another order than that of UIDs (RFC 9051 §7).
        free = mailbox.uid_next
        for message in batch:
            uid = message.uid
            if uid is not None and not (report.keeps_uids and uid >= free):
                message.uid = None
                report.renumbered += 1
            free = (free if message.uid is None else message.uid) + 1
        append(mailbox, batch)
        self._arrivals.add([message.email_id for message in batch])
        report.messages += len(batch)
        self._advance(len(batch))

    def _id_of(self, foreign: ForeignMailbox, key: str, uid: int | None) -> int:
        where = [self._source.identity, foreign.name, key]
        if uid is not None and key == str(uid):
            where.append(str(foreign.uid_validity))
        digest = blake2b("\0".join(where).encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1


def _uid_order(message: NewMessage) -> tuple[bool, int]:
    return message.uid is None, message.uid or 0


def _make(message: ForeignMessage, content: bytes, email_id: int) -> NewMessage:
    flags, keywords = 0, []
    for flag in dict.fromkeys(message.flags):
        bit = _BITS.get(flag.lower())
        if bit is not None:
            flags |= bit
        elif not flag.startswith(b"\\"):
            keywords.append(flag)
    uid = None if message.uid is None else Uid(message.uid)
    return NewMessage(content, message.date, flags, tuple(keywords), email_id, uid=uid)
