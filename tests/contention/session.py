"""One session of a contention run: does random things to the mailboxes of an account, believes what it is
told as a client does, and notes the outcome of every operation for the reference model.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import gevent
import numpy as np
import numpy.typing as npt

from mstore.base.errors import Busy, Exists, Expunged, LimitReached, NotFound
from mstore.base.flags import SYSTEM_FLAGS, TOMBSTONE
from mstore.store import copy as copying
from mstore.store.account import Account
from mstore.store.append import append
from mstore.store.compact import compact
from mstore.store.mailbox import Mailbox
from mstore.store.view import View
from tests.contention.model import Note, names_of
from tests.kit.mail import make_content, make_message

FLAGS = (b"\\Seen", b"\\Answered", b"\\Flagged", b"\\Deleted", b"urgent", b"later", b"$Forwarded")
DEADLINE_S = 20.0
MOST_MESSAGES = 60
"""What a mailbox is kept to by those who expunge."""


class Session:
    """A client with one selected mailbox."""

    def __init__(self, account: Account, seed: str, numbers: Iterable[int], notes: list[Note]) -> None:
        self.account = account
        self.name = seed
        self.random = random.Random(seed)
        self.numbers = iter(numbers)
        self.notes = notes
        self.mailbox: Mailbox | None = None
        self.view: View
        self.uids: list[int] = []
        self.flags: list[int] = []
        self.done = self.turns = 0

    # -- what a client does and believes

    def select(self) -> None:
        """Select some mailbox; what was selected is given up."""
        self.unselect()
        while self.mailbox is None:
            try:
                self.mailbox = self.account.open(self.random.choice(self.listed()))
            except NotFound:
                continue  # renamed or deleted since it was listed
        self.view = self.mailbox.view(recent=self.random.random() < 0.5)
        self.mailbox.listen(self.noticed)
        self.uids = self.view.uids.tolist()
        self.flags = self.flags_of(self.view.rows)

    def unselect(self) -> None:
        """Be in no mailbox."""
        if self.mailbox is not None:
            self.mailbox.unlisten(self.noticed)
            self.mailbox.release()
            self.mailbox = None

    def noticed(self) -> None:
        """Called after each change: looks, and must not wait."""
        assert self.view.count <= self.view.mailbox.index.columns.count

    def flags_of(self, rows: npt.NDArray[Any]) -> list[int]:
        assert self.mailbox is not None
        return [bits & ~TOMBSTONE for bits in self.mailbox.columns.full.flags[rows].tolist()]

    def hear(self, expunges: bool) -> None:
        """Be told what is new; all that is told must be legal, and must lead to the view there is."""
        assert self.mailbox is not None
        self.mailbox.refresh()
        view = self.view
        changes = view.pending(expunges)
        assert expunges or not changes.expunged_seqs, "EXPUNGE while sequence numbers are in use"
        assert changes.expunged_seqs == sorted(set(changes.expunged_seqs), reverse=True)
        for seq, uid in zip(changes.expunged_seqs, changes.expunged_uids, strict=True):
            assert self.uids.pop(seq - 1) == uid
            self.flags.pop(seq - 1)
        if changes.exists is not None:
            assert changes.exists > len(self.uids)
            new = slice(len(self.uids), changes.exists)
            self.uids += view.uids[new].tolist()
            self.flags += self.flags_of(view.rows[new])
        assert view.count == len(self.uids)
        assert self.uids == view.uids.tolist() == sorted(set(self.uids)), "UIDs do not ascend"
        seqs = changes.fetch_seqs.tolist()
        assert view.rows[changes.fetch_seqs - 1].tolist() == changes.fetch_rows.tolist()
        for seq, bits in zip(seqs, self.flags_of(changes.fetch_rows), strict=True):
            self.flags[seq - 1] = bits

    def end(self) -> None:
        """Nobody changes anything any more: what was told is what is."""
        assert self.mailbox is not None
        if self.mailbox.refresh() or not self.mailbox.deleted:
            self.hear(expunges=True)
            assert not self.view.pending(True)
            index = self.mailbox.index
            live = index.live_rows()
            assert self.uids == index.columns.full.uid[live].tolist()
            assert self.flags == self.flags_of(live)
            told = [names_of(self.mailbox.keywords, bits) for bits in self.flags]
            self.note("end", self.mailbox.id, index.highest_modseq, list(zip(self.uids, told, strict=True)))
        self.unselect()

    # -- operations

    def run(self, turns: int) -> None:
        """Do so many random things."""
        self.select()
        actions = (
            [self.append] * 5 + [self.store] * 6 + [self.expunge] * 3 + [self.copy] * 2 + [self.move] * 3
            + [self.read] * 3 + [self.reselect, self.checkpoint, self.compact]
            + [self.rename, self.create, self.delete]
        )  # fmt: skip
        for _ in range(turns):
            assert self.mailbox is not None
            action = self.random.choice(actions)
            try:
                action()
                self.done += 1
            except (NotFound, Expunged):
                pass  # deleted, renamed or expunged by another: nothing happened; the model holds us to that
            except Busy as error:
                raise AssertionError(f"{action.__name__} waited too long") from error
            if self.mailbox is None or self.mailbox.deleted:
                self.select()
            self.hear(expunges=self.random.random() < 0.6)
            self.turns += 1
            gevent.sleep(0)

    def note(self, *what: Any) -> None:
        self.notes.append((self.name, *what))

    def listed(self) -> list[str]:
        return [entry.name for entry in self.account.mailboxes().values() if not entry.no_select]

    def some_rows(self, most: int) -> npt.NDArray[Any]:
        """Rows of some messages of the view, neighbours or not."""
        count = len(self.uids)
        if not count:
            return np.empty(0, np.int64)
        if self.random.random() < 0.5:
            first = self.random.randrange(count)
            places = list(range(first, min(count, first + self.random.randint(1, most))))
        else:
            places = sorted(self.random.sample(range(count), min(count, self.random.randint(1, most))))
        return self.view.rows[places].astype(np.int64)

    def uids_of(self, mailbox: Mailbox, rows: npt.NDArray[Any]) -> list[int]:
        uids: list[int] = mailbox.columns.full.uid[rows].tolist()
        return uids

    def state_of(self, mailbox: Mailbox, uids: list[int]) -> list[tuple[int, frozenset[bytes]]]:
        """MODSEQ and flags of messages just added, as they are now; another may have changed them."""
        found = []
        for uid in uids:
            full, row = mailbox.columns.full, mailbox.index.row_of(uid)
            found.append((full.modseq.item(row), names_of(mailbox.keywords, full.flags.item(row))))
        return found

    def append(self) -> None:
        """Append a few messages to some mailbox."""
        target = self.account.open(self.random.choice(self.listed()))
        try:
            numbers = [next(self.numbers) for _ in range(self.random.choice((1, 1, 1, 2, 5)))]
            names = frozenset(self.random.sample(FLAGS, self.random.randint(0, 3)))
            bits = sum(1 << place for place, name in enumerate(SYSTEM_FLAGS) if name in names)
            keywords = tuple(sorted(name for name in names if name[:1] != b"\\"))
            messages = [make_message(n, self.random.choice((200, 3000)), bits, keywords) for n in numbers]
            sizes = [message.size for message in messages]
            uids: list[int] = list(append(target, messages))
            states = self.state_of(target, uids)
            self.note("append", target.id, names, list(zip(uids, numbers, sizes, states, strict=True)))
        finally:
            target.release()

    def store(self) -> None:
        """Change flags, as STORE does."""
        assert self.mailbox is not None
        rows = self.some_rows(12)
        if not len(rows):
            return
        op = self.random.choice(("add", "add", "remove", "set"))
        names = frozenset(self.random.sample(FLAGS, self.random.randint(1, 3)))
        unchanged_since = self.view.modseq if self.random.random() < 0.25 else None
        with self.mailbox.transaction(DEADLINE_S) as tx:
            bits = tx.keyword_bits(sorted(names))
            changed = tx.flags(rows, op, bits, unchanged_since)
        asked, really = self.uids_of(self.mailbox, rows), self.uids_of(self.mailbox, changed)
        self.note("flags", self.mailbox.id, tx.modseq, op, names, asked, unchanged_since, really)
        if self.random.random() < 0.5 and len(changed):
            self.view.silence(changed, tx.modseq)
            for seq in self.view.seqs_of_rows(changed).tolist():
                before = self.flags[seq - 1]
                self.flags[seq - 1] = {"set": bits, "add": before | bits, "remove": before & ~bits}[op]

    def expunge(self) -> None:
        """Expunge some messages; more when the mailbox has grown."""
        assert self.mailbox is not None
        rows = self.some_rows(6 if len(self.uids) < MOST_MESSAGES else 40)
        if not len(rows):
            return
        with self.mailbox.transaction(DEADLINE_S) as tx:
            gone = tx.expunge(rows).tolist()
        self.note("expunge", self.mailbox.id, tx.modseq, self.uids_of(self.mailbox, rows), gone)

    def copy(self) -> None:
        """Copy messages into some mailbox, perhaps the same; those already expunged as well."""
        self._hand_over(copying.copy, "copy")

    def move(self) -> None:
        """Move messages into some mailbox, perhaps the same."""
        self._hand_over(copying.move, "move")

    def _hand_over(self, how: Any, what: str) -> None:
        assert self.mailbox is not None
        rows = self.some_rows(8)
        source, target = self.mailbox, self.account.open(self.random.choice(self.listed()))
        try:
            pairs = how(rows, source, target)
            old, new = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            assert new == sorted(set(new))
            left = [source.columns.full.modseq.item(source.index.row_of(uid)) for uid in old]
            states = self.state_of(target, new)
            self.note(what, source.id, target.id, list(zip(old, new, left, states, strict=True)))
        finally:
            target.release()

    def read(self) -> None:
        """Read a message that the client knows of, expunged by another or not."""
        assert self.mailbox is not None
        if not self.uids:
            return
        place = self.random.randrange(len(self.uids))
        row, uid = int(self.view.rows[place]), self.uids[place]
        try:
            content = self.mailbox.read(row)
        except Expunged:
            assert self.mailbox.columns.full.flags.item(row) & TOMBSTONE, f"UID {uid} is not there to be read"
            return
        number = int(content.split(b"Subject: message ", 1)[1].split(b"\r", 1)[0])
        assert content == make_content(number, 200) or content == make_content(number, 3000)
        self.note("read", self.mailbox.id, uid, number)

    def reselect(self) -> None:
        """Go to another mailbox."""
        self.select()

    def checkpoint(self) -> None:
        """Begin a new generation now."""
        assert self.mailbox is not None
        self.mailbox.checkpoint()

    def compact(self) -> None:
        """Give back all that is dead."""
        assert self.mailbox is not None
        compact(self.mailbox, thorough=True)
        self.note("compacted", self.mailbox.id)

    def create(self) -> None:
        """Make a mailbox of a name that nobody had."""
        if len(self.listed()) < 7:
            name = f"made-{self.name}-{self.done}-{self.random.getrandbits(20)}"
            self.note("created", name, self.account.create(name).id)

    def rename(self) -> None:
        """Rename some mailbox to a name that nobody had."""
        old = self.random.choice([name for name in self.listed() if name != "INBOX"])
        new = f"named-{self.name}-{self.done}-{self.random.getrandbits(20)}"
        try:
            self.account.rename(old, new)
        except (Exists, LimitReached) as error:
            raise AssertionError(f"{old} could not become {new}") from error
        self.note("renamed", old, new)

    def delete(self) -> None:
        """Delete a mailbox that was made on the way."""
        names = [name for name in self.listed() if name.startswith("made-")]
        if len(names) > 2:
            name = self.random.choice(names)
            self.account.delete(name)
            self.note("deleted", name)
