"""What is found when the store comes up again, and whether all of it is sound and goes on working."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mstore.base.errors import MStoreError
from mstore.files import raw
from mstore.store.append import NewMessage, append
from mstore.store.check import check_mailbox
from mstore.store.checkaccount import check_account
from mstore.store.directory import DELETED, deleted_mailboxes
from mstore.store.lifetimes import Lifetimes
from mstore.store.mailbox import Mailbox
from mstore.store.store import Store
from mstore.store.undelete import open_deleted
from tests.crash.reference import Messages
from tests.crash.world import (
    ACCOUNT_PATH,
    RECORD,
    RETAIN_S,
    Failed,
    check,
    make_content,
    messages_in,
    messages_of,
    retained_in,
    seen_by_reader,
)
from tests.kit.dying import Quick


@dataclass
class SeenMailbox:
    """A mailbox after it was opened again."""

    messages: Messages = field(default_factory=dict)
    settled: Messages = field(default_factory=dict)
    """After the next writer has dealt with what the last one left."""
    uid_validity: int = 0
    uid_next: int = 0
    modseq: int = 0
    retained: Messages = field(default_factory=dict)
    """What can be brought back."""
    settled_retained: Messages = field(default_factory=dict)
    """The same after the next writer."""
    problems: list[str] = field(default_factory=list)


@dataclass
class SeenAccount:
    """An account after it was opened again."""

    names: dict[str, tuple[str, int, bool]] = field(default_factory=dict)
    """Id, UIDVALIDITY, and whether there are messages."""
    subscriptions: frozenset[str] = frozenset()
    deleted: dict[str, Messages] = field(default_factory=dict)
    """What can be brought back of deleted mailboxes, by their ids and names."""
    problems: list[str] = field(default_factory=list)


@contextlib.contextmanager
def booted(boot: bytes) -> Iterator[None]:
    """The machine was started with this boot id."""
    before = raw.install(Quick(boot))
    try:
        yield
    finally:
        raw.install(before)


def _told(problems: list[str], error: BaseException) -> None:
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__}: {error}"
    known = isinstance(error, Failed | MStoreError)
    problems.append(text if known else f"{text} ({where.filename}:{where.lineno})")


def look_into_mailbox(path: Path, rebooted: bool) -> SeenMailbox:
    """Open a mailbox, read everything, and go on with it: an append, a change of flags, an expunge.

    Unless the machine was ``rebooted``, what a dead writer left stays until the next writer comes."""
    seen = SeenMailbox()
    try:
        mailbox = Mailbox(path)
        try:
            seen.messages = messages_of(mailbox)
            seen.messages = seen_by_reader(path, seen.messages)
            seen.uid_validity, seen.uid_next = mailbox.uid_validity, mailbox.uid_next
            seen.modseq = mailbox.highest_modseq
            seen.retained = retained_in(path)
            _check_totals(mailbox, seen.messages)
            rows = mailbox.index.live_rows()
            for row, blob in zip(rows.tolist(), mailbox.derived(rows, [0])[0], strict=True):
                subject = mailbox.read(row).split(b"\r\n", 1)[0][len(b"Subject: ") :]
                check(subject in blob, f"what was computed of row {row} is another message's")
            if rebooted:
                _no_problem(path)
            expected = _go_on(mailbox, seen)
            seen.settled_retained = retained_in(path)
            check(not rebooted or seen.settled == seen.messages, "not everything was settled on opening")
        finally:
            mailbox.close()
        _no_problem(path)
        again = Mailbox(path)
        try:
            check(messages_of(again) == expected, "what was done after the restart is not there")
        finally:
            again.close()
    except Exception as error:
        _told(seen.problems, error)
    return seen


def _no_problem(path: Path) -> None:
    problems = check_mailbox(path)
    check(not problems, "; ".join(str(problem.text) for problem in problems))


def _check_totals(mailbox: Mailbox, messages: Messages) -> None:
    status = mailbox.status()
    flags = [flags for _, flags in messages.values()]
    counted = (
        len(messages),
        sum(b"seen" not in names for names in flags),
        sum(b"deleted" in names for names in flags),
        sum(len(content) for content, _ in messages.values()),
    )
    told = (status.messages, status.unseen, status.deleted, status.size_bytes)
    check(counted == told, f"the totals are {told}, counted are {counted}")
    check(status.uid_next > max(messages, default=0), "UIDNEXT is not above every UID")


def _go_on(mailbox: Mailbox, seen: SeenMailbox) -> Messages:
    content = make_content("after", 120)
    (uid,) = append(mailbox, [NewMessage(content, 1, 0, (b"later",))])
    check(uid >= seen.uid_next, f"UID {uid} where UIDNEXT was {seen.uid_next}")
    expected = messages_of(mailbox)
    check(expected.get(uid) == (content, frozenset([b"later"])), "a new message is not as it was sent")
    settled = {other: what for other, what in expected.items() if other != uid}
    seen.settled = seen_by_reader(mailbox.path, settled)
    rows = mailbox.index.live_rows()
    with mailbox.transaction() as tx:
        tx.flags(rows[-1:], "add", 4)
    expected[uid] = content, frozenset([b"later", b"flagged"])
    check(mailbox.highest_modseq > seen.modseq, "MODSEQ does not go on")
    if len(rows) > 1:
        with mailbox.transaction() as tx:
            (gone,) = tx.expunge(np.array(rows[:1])).tolist()
        del expected[gone]
    check(messages_of(mailbox) == expected, "what was done after the restart is not seen")
    return expected


def look_into_account(root: Path, rebooted: bool, retains: bool = False) -> SeenAccount:
    """Open an account, list its names, and go on with it: a mailbox made and removed."""
    seen = SeenAccount()
    path = root / ACCOUNT_PATH
    store = Store({"main": root}, Lifetimes(RETAIN_S if retains else 0))
    try:
        account = store.account(RECORD)
        seen.subscriptions = account.subscriptions()
        for name, entry in account.mailboxes().items():
            seen.names[name] = str(entry.id), entry.uid_validity, not entry.no_select
            if not entry.no_select:
                mailbox = account.open(name)
                if not rebooted:
                    append(mailbox, [NewMessage(make_content("the next writer", 100), 1)])
                mailbox.release()
        account.create("after/all of it")
        account.subscribe("after/all of it")
        _no_problem_of_account(path)
        for found in deleted_mailboxes(path):
            with open_deleted(found) as there:
                key = f"{found.path.name.removeprefix(DELETED)} {found.name}"
                seen.deleted[key] = messages_in(there)
        account.delete("after/all of it")
        account.delete("after")
        account.unsubscribe("after/all of it")
        _no_problem_of_account(path)
        store.close()
        store = Store({"main": root})
        again = store.account(RECORD)
        names = {name: (str(entry.id), entry.uid_validity) for name, entry in again.mailboxes().items()}
        check(names == {name: what[:2] for name, what in seen.names.items()}, "the names do not stay")
        check(again.subscriptions() == seen.subscriptions, "the subscriptions do not stay")
    except Exception as error:
        _told(seen.problems, error)
    finally:
        store.close()
    return seen


def _no_problem_of_account(path: Path) -> None:
    problems = check_account(path, RECORD.id)
    check(not problems, "; ".join(str(problem) for problem in problems))
