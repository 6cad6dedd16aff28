"""An account at work: does what clients ask, keeps the reference beside it, and notes both in the disk's log.

Flag changes are not synced until ``upkeep`` is called: what a worker does within a second does not happen by
itself here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.base.flags import TOMBSTONE
from mstore.base.ids import AccountId, Uid
from mstore.files import raw
from mstore.store import copy as copying
from mstore.store.append import NewMessage, append
from mstore.store.lifetimes import Lifetimes
from mstore.store.mailbox import Mailbox
from mstore.store.store import Store
from mstore.store.undelete import Recoverable, open_expunged
from tests.crash import reference
from tests.crash.reference import Box, Effect, Messages, Operation
from tests.kit.powercut import Recorder
from tests.kit.record import Record

FLAG_BITS = {b"seen": 1, b"answered": 2, b"flagged": 4, b"deleted": 8, b"draft": 16}


RECORD = Record(AccountId("aa000000000000aa"))
READER = AccountId("bb000000000000bb")
"""Somebody else, with a \\Seen of his own."""
SEEN_BY_READER = b"seen by the reader"
RETAIN_S = 7 * 86400
ACCOUNT_PATH = f"{RECORD.id[:2]}/{RECORD.id}"


class Deferred(blocking.Plain):
    """What is to be done later, or beside, is done when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.meanwhile: Callable[[], None] | None = None
        """Done by others at a ``moment``, a call that may take long and is made without holding the lock."""
        self.moment = ""

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        if function.__name__ == self.moment and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return function(*args)

    def spawn(self, function: Callable[..., object], *args: Any) -> None:
        self.waiting.append((function, args))

    def later(self, seconds: float, function: Callable[..., object], *args: Any) -> None:
        self.waiting.append((function, args))

    def run(self) -> None:
        """Do all of it."""
        while self.waiting:
            function, args = self.waiting.pop(0)
            function(*args)


@contextlib.contextmanager
def deferring() -> Iterator[Deferred]:
    """Wait in this way within the block."""
    deferred = Deferred()
    blocking.install(deferred)
    try:
        yield deferred
    finally:
        blocking.install(blocking.Plain())


class Failed(Exception):
    """The engine and the reference disagree while all is well: a bug, or a wrong test."""


class World:
    """One account, in use by one process."""

    def __init__(
        self,
        root: Path,
        recorder: Recorder | None,
        waiting: Deferred,
        settles: bool = False,
        begun: list[World] | None = None,
        retains: bool = False,
    ) -> None:
        """``retains``: what is expunged can be brought back. ``settles``: somebody died here before, and what
        he left is dealt with first, by an append. ``begun`` has this world even if it dies while it opens its
        mailboxes."""
        self.retain_s = RETAIN_S if retains else 0
        self.store = Store({"main": root}, Lifetimes(self.retain_s))
        if begun is not None:
            begun.append(self)
        self.waiting = waiting
        self.recorder = recorder
        self.reference = reference.Account()
        self.done: list[Operation] = []
        self.errors: list[MStoreError] = []
        self.is_over = False
        """What is expunged now need not be retained: its time is over."""
        self._open: dict[str, Mailbox] = {}
        self._written = 0
        if not (root / ACCOUNT_PATH).exists():
            self._found()
            return
        self.account = self.store.account(RECORD)
        for name, entry in self.account.mailboxes().items():
            box = self.reference.boxes[name] = Box(entry.id, entry.uid_validity)
            if not entry.no_select:
                mailbox = self.mailbox(name)
                if settles:
                    append(mailbox, [NewMessage(make_content(f"{name} settles", 90), 1)])
                box.messages = seen_by_reader(mailbox.path, messages_of(mailbox))
                box.uid_next = mailbox.uid_next
                box.retained = retained_in(mailbox.path)
        self.reference.subscriptions = self.account.subscriptions()
        self.origin = self.reference.copy()

    def _found(self) -> None:
        self.origin = self.reference.copy()
        effect = reference.changed(lambda account: None)

        def work() -> None:
            self.account = self.store.account(RECORD)
            self._learn(effect, ["INBOX"])

        self._do("a new account", [effect], work)

    def close(self) -> None:
        """Let go of everything, as a process does that ends."""
        for mailbox in self._open.values():
            mailbox.rest()
        self._open.clear()
        self.waiting.waiting.clear()
        self.store.close()

    def mailbox(self, name: str, reader: AccountId | None = None) -> Mailbox:
        """A mailbox, kept open, whose changes are noted as they become visible."""
        key = name if reader is None else f"{name} of {reader}"
        found = self._open.get(key)
        if found is None or found.deleted:
            mailbox = found = self._open[key] = self.account.open(name, reader)
            mailbox.listen(lambda: self._saw(mailbox))
            self._saw(mailbox)
        return found

    def _saw(self, mailbox: Mailbox) -> None:
        if self.recorder is not None:
            full = mailbox.columns.full
            live = full.uid[: mailbox.columns.count][
                full.flags[: mailbox.columns.count] & np.uint64(TOMBSTONE) == 0
            ]
            self.recorder.mark(
                "seen", str(mailbox.id), frozenset(live.tolist()), mailbox.highest_modseq, mailbox.uid_next
            )

    def _do(
        self, name: str, effects: list[Effect], work: Callable[[], Any], settles: Iterable[str] = ()
    ) -> Any:
        operation = Operation(name, effects, frozenset(settles))
        self.done.append(operation)
        if self.recorder is not None:
            self.recorder.mark("begin")
        try:
            result = work()
        except MStoreError as error:
            operation.failed = True
            self.errors.append(error)
            self._end()
            return None
        for effect in effects:
            effect.apply(self.reference)
        self._end()
        return result

    def _end(self) -> None:
        if self.recorder is not None:
            self.recorder.mark("end")

    # -- what clients do

    def append(
        self, name: str, count: int = 1, size: int = 150, flags: int = 0, keywords: tuple[bytes, ...] = ()
    ) -> None:
        """Messages arrive, as one."""
        box, mailbox = self.reference.boxes[name], self.mailbox(name)
        names = names_of(flags) | frozenset(keywords)
        new, messages = [], Messages()
        for place in range(count):
            self._written += 1
            content = make_content(f"{name} {box.uid_next + place} {self._written}", size)
            new.append(NewMessage(content, 1_700_000_000 + self._written, flags, keywords))
            messages[box.uid_next + place] = content, names
        uids = self._do(
            f"append {count} to {name}", [reference.added(box.id, messages)], lambda: append(mailbox, new)
        )
        check(uids is None or uids == list(messages), f"UIDs {uids} where {list(messages)} were due")

    def keep(self, name: str, *uids: int) -> None:
        """Messages arrive with UIDs of their own, as one."""
        box, mailbox = self.reference.boxes[name], self.mailbox(name)
        new, messages = [], Messages()
        for uid in uids:
            self._written += 1
            content = make_content(f"{name} {uid} {self._written}", 150)
            new.append(NewMessage(content, 1, 4, uid=Uid(uid), save_date=1_600_000_000))
            messages[uid] = content, names_of(4)
        self._do(f"keep {uids} in {name}", [reference.added(box.id, messages)], lambda: append(mailbox, new))

    def raise_uid_next(self, name: str, uid_next: int) -> None:
        """UIDs below this are used up."""
        box, mailbox = self.reference.boxes[name], self.mailbox(name)

        def apply(account: reference.Account) -> None:
            found = account.find(box.id)
            if found is not None:
                found.uid_next = uid_next

        def work() -> None:
            with mailbox.transaction() as tx:
                tx.raise_uid_next(uid_next)

        self._do(f"UIDNEXT {uid_next} in {name}", [reference.changed(apply)], work)

    def remake(self, name: str, uid_validity: int) -> None:
        """A mailbox that never held anything is made anew with a UIDVALIDITY from elsewhere."""
        effect = reference.changed(lambda account: None)

        def work() -> None:
            self.account.create(name, uid_validity=uid_validity)
            self._learn(effect, [name])

        self._do(f"remake {name}", [effect], work)
        self._open.pop(name, None)

    def flags(self, name: str, uids: Iterable[int], op: str, *names: bytes) -> None:
        """Flags change."""
        box, mailbox = self.reference.boxes[name], self.mailbox(name)
        chosen = sorted(set(uids) & box.messages.keys())
        every = frozenset(FLAG_BITS) | frozenset(mailbox.keywords)
        more = frozenset(names if op != "remove" else ())
        less = frozenset({"set": every, "add": (), "remove": names}[op])
        flags = {uid: box.messages[uid][1] for uid in chosen}  # of what does not change nothing is written
        real = [uid for uid in chosen if flags[uid] - less | more != flags[uid]]
        effect = reference.flagged(box.id, real, more, less)

        def work() -> None:
            with mailbox.transaction() as tx:
                wanted = [b"\\" + flag if flag in FLAG_BITS else flag for flag in names]
                tx.flags(rows_of(mailbox, chosen), op, tx.keyword_bits(wanted))

        self._do(f"{op} flags in {name}", [effect], work)

    def read(self, name: str, uids: Iterable[int], yes: bool = True) -> None:
        """Somebody else sets or clears his own \\Seen."""
        box, mailbox = self.reference.boxes[name], self.mailbox(name, READER)
        chosen = sorted(set(uids) & box.messages.keys())
        mine = [SEEN_BY_READER]
        effect = reference.flagged(box.id, chosen, mine if yes else (), () if yes else mine)

        def work() -> None:
            with mailbox.transaction() as tx:
                tx.flags(rows_of(mailbox, chosen), "add" if yes else "remove", 1)

        self._do(f"\\Seen of one's own in {name}", [effect], work)

    def post(self, name: str, size: int = 150) -> None:
        """Somebody else appends a message that he has seen."""
        box, mailbox = self.reference.boxes[name], self.mailbox(name, READER)
        self._written += 1
        uid, content = box.uid_next, make_content(f"{name} {box.uid_next} {self._written}", size)
        effects = [reference.added(box.id, {uid: (content, frozenset([b"flagged"]))})]
        effects.append(reference.flagged(box.id, [uid], [SEEN_BY_READER], ()))
        new = [NewMessage(content, 1_700_000_000 + self._written, 5)]
        self._do(f"a reader's append to {name}", effects, lambda: append(mailbox, new))

    def copy_as_reader(self, source: str, uids: Iterable[int], target: str) -> None:
        """Somebody else copies messages: what he has seen, he has seen there as well."""
        box, other = self.reference.boxes[source], self.reference.boxes[target]
        chosen = sorted(set(uids) & box.messages.keys())
        here, there = self.mailbox(source, READER), self.mailbox(target, READER)
        messages: Messages = {}
        seen: list[int] = []
        for uid, (content, names) in enumerate((box.messages[uid] for uid in chosen), other.uid_next):
            messages[uid] = content, names - {b"seen", SEEN_BY_READER}
            seen += [uid] if SEEN_BY_READER in names else []
        effects = [reference.added(other.id, messages)]
        effects.append(reference.flagged(other.id, seen, [SEEN_BY_READER], ()))
        work = lambda: copying.copy(rows_of(here, chosen), here, there)  # noqa: E731
        self._do(f"a reader's copy from {source} to {target}", effects, work)

    def expunge(self, name: str, uids: Iterable[int]) -> None:
        """Messages are removed."""
        box, mailbox = self.reference.boxes[name], self.mailbox(name)
        chosen = sorted(set(uids) & box.messages.keys())

        def work() -> None:
            with mailbox.transaction() as tx:
                tx.expunge(rows_of(mailbox, chosen))

        effect = reference.removed(box.id, chosen, moved=self.is_over)
        self._do(f"expunge in {name}", [effect], work, [box.id] if chosen else [])

    def copy(self, source: str, uids: Iterable[int], target: str, move: bool = False) -> None:
        """Messages are copied or moved."""
        box, other = self.reference.boxes[source], self.reference.boxes[target]
        chosen = sorted(set(uids) & box.messages.keys())
        here, there = self.mailbox(source), self.mailbox(target)
        messages = {other.uid_next + place: box.messages[uid] for place, uid in enumerate(chosen)}
        effects = [reference.added(other.id, messages)] if chosen else []
        if move and chosen:
            effects.append(reference.removed(box.id, chosen, moved=True))
        function = copying.move if move else copying.copy
        self._do(
            f"{'move' if move else 'copy'} from {source} to {target}",
            effects,
            lambda: function(rows_of(here, chosen), here, there),
            [box.id] if move and chosen else [],
        )

    def undelete(self, name: str, uids: Iterable[int], target: str) -> None:
        """Expunged messages are brought back, as one."""
        box, other = self.reference.boxes[name], self.reference.boxes[target]
        chosen = sorted(set(uids) & box.retained.keys())
        here, there = self.mailbox(name), self.mailbox(target)
        messages: Messages = {}
        for uid, (content, names) in enumerate((box.retained[uid] for uid in chosen), other.uid_next):
            messages[uid] = content, names - {b"deleted", SEEN_BY_READER}

        def work() -> None:
            with open_expunged(here) as found:
                uids = found.entries["uid"]
                check(set(chosen) <= set(uids.tolist()), f"of {chosen} only {uids} can be brought back")
                found.bring_back(np.flatnonzero(np.isin(uids, chosen)).tolist(), there, lambda pairs: None)

        self._do(f"undelete from {name} to {target}", [reference.added(other.id, messages)], work)

    def checkpoint(self, name: str) -> None:
        """A new generation begins."""
        mailbox = self.mailbox(name)
        self._do(f"checkpoint of {name}", [], mailbox.checkpoint, [self.reference.boxes[name].id])

    def beside(self, name: str, upkeep: str, others: Callable[[], None]) -> None:
        """Others go on while a checkpoint or a compaction is under way."""
        mailbox = self.mailbox(name)
        self.waiting.meanwhile = others
        self.waiting.moment = "sync" if upkeep == "checkpoint" else "_copy"
        settled = [self.reference.boxes[name].id] if upkeep == "checkpoint" else []
        if upkeep == "checkpoint":
            mailbox.checkpoint()
        else:
            mailbox.compact(thorough=True)
        check(self.waiting.meanwhile is None, f"nothing happened beside the {upkeep}")
        self._do(f"{upkeep} of {name}, beside others", [], lambda: None, settled)

    def compact(self, name: str) -> None:
        """The bytes of expunged messages are given back."""
        mailbox = self.mailbox(name)
        self._do(
            f"compaction of {name}",
            [],
            lambda: mailbox.compact(thorough=True),
        )

    def upkeep(self) -> None:
        """All that a worker does later or beside: flag changes are synced."""

        def work() -> None:
            self.waiting.run()
            for mailbox in self._open.values():
                if not mailbox.deleted:
                    mailbox.flush()

        self._do("upkeep", [], work, [box.id for box in self.reference.boxes.values()])

    def create(self, *names: str) -> None:
        """A mailbox is made; all that are to come of it are named, superiors first."""
        effect = reference.changed(lambda account: None)

        def work() -> None:
            self.account.create(names[-1])
            self._learn(effect, names)

        self._do(f"create {names[-1]}", [effect], work)

    def _learn(self, effect: Effect, names: Iterable[str]) -> None:
        """What the engine chose itself: id and UIDVALIDITY of what it made."""
        armed = self.recorder is not None and self.recorder.armed
        if self.recorder is not None:
            self.recorder.armed = False
        entries = self.account.mailboxes()
        if self.recorder is not None:
            self.recorder.armed = armed
        found = [name for name in names if name in entries]
        made = {name: Box(entries[name].id, entries[name].uid_validity) for name in found}
        effect.apply = lambda account: account.boxes.update(
            {name: box.copy() for name, box in made.items()}
        )

    def delete(self, name: str) -> None:
        """A mailbox is removed that has none beneath it."""
        def apply(account: reference.Account) -> None:
            box = account.boxes.pop(name, None)
            if box is not None and box.messages:
                account.deleted[f"{box.id} {name}"] = box

        self._do(f"delete {name}", [reference.changed(apply)], lambda: self.account.delete(name))
        self._open.pop(name, None)
        self._open.pop(f"{name} of {READER}", None)

    def rename(self, old: str, new: str) -> None:
        """A mailbox gets another name, with all beneath it."""
        def apply(account: reference.Account) -> None:
            for name in list(account.boxes):
                if name == old or name.startswith(old + "/"):
                    account.boxes[new + name[len(old) :]] = account.boxes.pop(name)

        self._do(f"rename {old} to {new}", [reference.changed(apply)], lambda: self.account.rename(old, new))
        self._open.clear()

    def rename_inbox(self, new: str) -> None:
        """INBOX gives its messages to a new mailbox."""
        inbox = self.reference.boxes["INBOX"]
        moved = {place: what for place, (_, what) in enumerate(sorted(inbox.messages.items()), 1)}
        made = reference.changed(lambda account: None)
        filled = reference.changed(lambda account: None)
        emptied = reference.removed(inbox.id, list(inbox.messages), moved=True)

        def fill(account: reference.Account) -> None:
            if new in account.boxes:
                account.boxes[new].messages.update(moved)
                account.boxes[new].uid_next = len(moved) + 1

        def work() -> None:
            try:
                self.account.rename("INBOX", new)
            finally:
                self._learn(made, [new])
                filled.apply = fill

        self._do(f"rename INBOX to {new}", [made, filled, emptied], work, [inbox.id])

    def subscribe(self, name: str, yes: bool = True) -> None:
        """A name is subscribed, or no longer."""
        def apply(account: reference.Account) -> None:
            names = frozenset([name])
            account.subscriptions = (account.subscriptions | names) if yes else account.subscriptions - names

        work = self.account.subscribe if yes else self.account.unsubscribe
        self._do(f"{'' if yes else 'un'}subscribe {name}", [reference.changed(apply)], lambda: work(name))


def check(holds: bool, text: str) -> None:
    """Raise ``Failed`` when something does not hold."""
    if not holds:
        raise Failed(text)


def make_content(text: str, size: int) -> bytes:
    """A small message whose every part says which it is."""
    return f"Subject: {text}\r\n\r\n{(text + '. ') * (size // len(text) + 1)}"[:size].encode() + b"\r\n"


def names_of(bits: int, keywords: list[bytes] | None = None) -> frozenset[bytes]:
    """The flags and keywords that bits stand for."""
    found = {name for name, bit in FLAG_BITS.items() if bits & bit}
    check(not bits & 0xE0, f"internal flags are visible: {bits:#x}")
    check(bits >> 8 + len(keywords or []) == 0, f"a flag without a name: {bits:#x}")
    return frozenset(found | {name for place, name in enumerate(keywords or []) if bits >> 8 + place & 1})


def rows_of(mailbox: Mailbox, uids: Iterable[int]) -> Any:
    """The rows of messages."""
    all_uids = mailbox.columns.full.uid[: mailbox.columns.count]
    return np.searchsorted(all_uids, np.array(sorted(uids), np.uint32)).astype(np.int64)


def messages_of(mailbox: Mailbox) -> Messages:
    """All that a mailbox holds."""
    columns, keywords = mailbox.columns, mailbox.keywords
    return {
        columns.full.uid.item(row): (mailbox.read(row), names_of(columns.full.flags.item(row), keywords))
        for row in mailbox.index.live_rows().tolist()
    }


def retained_in(path: Path) -> Messages:
    """All that can be brought back of a mailbox."""
    found = Recoverable(path)
    try:
        return messages_in(found)
    finally:
        found.close()


def messages_in(found: Recoverable) -> Messages:
    """The messages that were found, with their contents and flags."""
    return {
        int(entry["uid"]): (
            raw.pread(found.segments.fd(int(entry["segment"])), int(entry["size"]), int(entry["offset"])),
            names_of(int(entry["flags"]), found.index.keywords),
        )
        for entry in found.entries
    }


def seen_by_reader(path: Path, messages: Messages) -> Messages:
    """The same messages, with what somebody else has seen of them."""
    mailbox = Mailbox(path, reader=READER)
    try:
        seen = {uid for uid, names in messages_flags(mailbox) if b"seen" in names}
    finally:
        mailbox.close()
    return {
        uid: (content, names | {SEEN_BY_READER} if uid in seen else names)
        for uid, (content, names) in messages.items()
    }


def messages_flags(mailbox: Mailbox) -> Iterator[tuple[int, frozenset[bytes]]]:
    """UID and flags of all that a mailbox holds."""
    columns, keywords = mailbox.columns, mailbox.keywords
    for row in mailbox.index.live_rows().tolist():
        yield columns.full.uid.item(row), names_of(columns.full.flags.item(row), keywords)
