"""What the audit log is told: each act with who did it, where and to which messages; nothing that failed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mstore.base.errors import OverQuota
from mstore.base.flags import DELETED, FLAGGED, SEEN
from mstore.base.log import Log
from mstore.base.logoptions import ACTS
from mstore.store.access import Access
from mstore.store.acts import DELIVERED, Actor, acting
from mstore.store.append import NewMessage, append
from mstore.store.audit import Auditor
from mstore.store.copy import copy, move
from mstore.store.mailbox import Mailbox
from mstore.store.replace import replace
from mstore.store.rights import parse_rights
from tests.kit.loglines import Keeper
from tests.kit.mailhost import MailHost

JOE = Actor({"user": "joe", "session": "1f", "peer": "192.0.2.1"})


def message(number: int) -> NewMessage:
    return NewMessage(b"Message-ID: <%d@x>\r\n\r\n%b" % (number, b"x" * number), 1)


class World:
    """A site with joe and ann, whose audit log is kept."""

    def __init__(self, root: Path, kinds: frozenset[str], each: bool) -> None:
        self.host = MailHost(root)
        self.keeper = Keeper()
        self.host.store.auditor = Auditor(Log(self.keeper), self.host.store, self.host.accounts, kinds, each)
        for name in ("joe", "ann"):
            self.host.add(name)
        self._open: list[Mailbox] = []

    def open(self, user: str, name: str = "INBOX") -> Mailbox:
        mailbox: Mailbox = self.host.account(user).open(name)
        self._open.append(mailbox)
        return mailbox

    def access(self, user: str) -> Access:
        return Access(self.host.store, self.host.accounts, self.host.accounts.find(user))

    def told(self) -> list[dict[str, Any]]:
        """What was told since the last time, without who did it where that was joe."""
        lines, self.keeper.lines = [pairs for _, pairs in self.keeper.lines], []
        return [{key: value for key, value in line.items() if JOE.pairs.get(key) != value} for line in lines]

    def close(self) -> None:
        for mailbox in self._open:
            mailbox.release()
        self.host.close()


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    kinds, each = getattr(request, "param", (frozenset(ACTS), False))
    made = World(tmp_path, kinds, each)
    with acting(JOE):
        yield made
    made.close()


HERE = {"owner": "joe", "mailbox": "INBOX"}


def test_messages_that_come_are_told_one_by_one(world: World) -> None:
    inbox = world.open("joe")
    append(inbox, [message(1), message(2)])
    came = {"event": "mail-appended", "user": "joe", "session": "1f", "peer": "192.0.2.1", **HERE}
    assert [pairs for _, pairs in world.keeper.lines] == [
        {**came, "uids": 1, "message_id": b"<1@x>", "size": message(1).size},
        {**came, "uids": 2, "message_id": b"<2@x>", "size": message(2).size},
    ]
    world.told()
    with acting(Actor({"to": "joe@x", "sender": ""}, DELIVERED)):
        append(inbox, [NewMessage(b"no id", 1)])
    assert world.told() == [
        {"event": "mail-delivered", "to": "joe@x", "sender": "", **HERE, "uids": 3, "size": 5}
    ]


def test_flags_copies_moves_and_expunges_are_a_line_each(world: World) -> None:
    inbox = world.open("joe")
    world.host.account("joe").create("Work")
    work = world.open("joe", "Work")
    append(inbox, [message(n) for n in range(1, 6)])
    world.told()
    sizes = [message(n).size for n in range(6)]
    with inbox.transaction() as tx:
        tx.flags([0], "add", SEEN)
        tx.flags([0, 1, 3], "add", FLAGGED | tx.keyword_bits([b"$Later"]))
        tx.flags([1], "set", DELETED)
    with inbox.transaction() as tx:
        tx.flags([2], "remove", SEEN)  # It is not there.
    count = {"messages": 1, "size": sizes[1]}
    assert world.told() == [
        {"event": "mail-flagged", **HERE, "uids": b"1", **count, "add": rb"\Seen"},
        {
            "event": "mail-flagged", **HERE, "uids": b"1:2,4", "messages": 3,
            "size": sizes[1] + sizes[2] + sizes[4], "add": rb"\Flagged $Later",
        },
        {"event": "mail-flagged", **HERE, "uids": b"2", "messages": 1, "size": sizes[2], "set": rb"\Deleted"},
    ]  # fmt: skip
    there = {"owner": "joe", "mailbox": "Work", "from_mailbox": "INBOX"}
    copy(np.array([0, 2]), inbox, work)
    move(np.array([3]), inbox, work)
    assert world.told() == [
        {
            "event": "mail-copied", **there, "uids": b"1:2", "from_uids": b"1,3", "messages": 2,
            "size": sizes[1] + sizes[3],
        },
        {
            "event": "mail-moved", **there, "uids": b"3", "from_uids": b"4", "messages": 1, "size": sizes[4],
        },
    ]  # fmt: skip
    move(np.array([4]), inbox, inbox)
    again = {**HERE, "from_mailbox": "INBOX", "uids": b"6", "from_uids": b"5"}
    assert world.told() == [{"event": "mail-moved", **again, "messages": 1, "size": sizes[5]}]
    with inbox.transaction() as tx:
        tx.expunge([0, 1])
    assert world.told() == [
        {"event": "mail-expunged", **HERE, "uids": b"1:2", "messages": 2, "size": sizes[1] + sizes[2]}
    ]
    replace(2, inbox, work, message(5))
    told = sorted(line["event"] for line in world.told())  # which mailbox tells first is by their ids
    assert told == ["mail-appended", "mail-expunged"]


@pytest.mark.parametrize("world", [(frozenset(ACTS), True)], indirect=True)
def test_a_line_for_each_message_where_that_is_wanted(world: World) -> None:
    inbox = world.open("joe")
    append(inbox, [message(n) for n in range(1, 4)])
    world.told()
    with inbox.transaction() as tx:
        tx.expunge([0, 2])
    assert world.told() == [
        {"event": "mail-expunged", **HERE, "uids": n, "message_id": b"<%d@x>" % n, "size": message(n).size}
        for n in (1, 3)
    ]
    world.host.account("ann").create("In")
    copy(np.array([1]), inbox, world.open("ann", "In"))
    (_, line) = world.told()
    assert (line["owner"], line["mailbox"], line["uids"]) == ("ann", "In", 1)
    assert (line["from_owner"], line["from_uids"], line["message_id"]) == ("joe", 2, b"<2@x>")


def test_what_failed_is_not_told(world: World) -> None:
    inbox = world.open("joe")
    append(inbox, [message(1)])
    world.told()
    with pytest.raises(RuntimeError), inbox.transaction() as tx:
        tx.flags([0], "add", SEEN)
        tx.commit()
        tx.expunge([0])
        raise RuntimeError
    assert [line["event"] for line in world.told()] == ["mail-flagged"], "that was committed"
    record = world.host.accounts.find("joe")
    world.host.accounts.set_quota(record, 10, None)
    world.host.account("joe")
    with pytest.raises(OverQuota):
        append(inbox, [message(2)])
    assert world.told() == []


def test_of_several_who_share_a_round_each_did_his_own(world: World) -> None:
    inbox = world.open("joe")
    lock = inbox.lock
    lock.acquire(1)

    def put(number: int) -> None:
        with acting(Actor({"user": f"user{number}"})):
            append(inbox, [message(number)])

    threads = [threading.Thread(target=put, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    lock.release(keep_open=True)
    for thread in threads:
        thread.join()
    told = [(line["user"], line["message_id"]) for line in world.told()]
    assert sorted(told) == [(f"user{number}", b"<%d@x>" % number) for number in range(5)]


def test_what_nobody_does_is_maintenance(world: World) -> None:
    inbox = world.open("joe")
    append(inbox, [message(1)])
    world.told()

    def tidy() -> None:
        with inbox.transaction() as tx:
            tx.expunge([0])

    thread = threading.Thread(target=tidy)
    thread.start()
    thread.join()
    (line,) = world.told()
    assert line["via"] == "maintenance" and line["event"] == "mail-expunged" and "user" not in line


def test_mailboxes_and_lists(world: World) -> None:
    joe = world.access("joe")
    joe.create("a/b")
    joe.subscribe("a/b")
    joe.subscribe("a/b")
    joe.rename("a", "c")
    joe.set_acl("c/b", "ann", "=", parse_rights("lrs"))
    joe.set_acl("c/b", "ann", "=", parse_rights("lrs"))
    joe.set_acl("c/b", "anyone", "+", parse_rights("l"))
    joe.delete_acl("c/b", "ann")
    joe.unsubscribe("a/b")
    moved = world.open("joe", "c/b")
    append(moved, [message(1)])
    joe.delete("c/b")
    assert world.told() == [
        {"event": event, "owner": "joe", "mailbox": name, **more}
        for event, name, more in (
            ("mailbox-created", "a", {}),
            ("mailbox-created", "a/b", {}),
            ("mailbox-subscribed", "a/b", {}),
            ("mailbox-renamed", "a", {"new": "c"}),
            ("acl-changed", "c/b", {"identifier": "ann", "rights": "lrs", "before": ""}),
            ("acl-changed", "c/b", {"identifier": "anyone", "rights": "l", "before": ""}),
            ("acl-changed", "c/b", {"identifier": "ann", "rights": "", "before": "lrs"}),
            ("mailbox-unsubscribed", "a/b", {}),
            ("mail-appended", "c/b", {"uids": 1, "message_id": b"<1@x>", "size": message(1).size}),
            ("mailbox-deleted", "c/b", {}),
        )
    ]


@pytest.mark.parametrize("world", [(frozenset({"expunged", "deleted"}), False)], indirect=True)
def test_only_what_is_wanted_is_told(world: World) -> None:
    joe = world.access("joe")
    joe.create("x")
    joe.set_acl("x", "ann", "=", parse_rights("l"))
    joe.subscribe("x")
    inbox = world.open("joe")
    append(inbox, [message(1)])
    with inbox.transaction() as tx:
        tx.flags([0], "add", SEEN)
        tx.expunge([0])
    joe.delete("x")
    assert [line["event"] for line in world.told()] == ["mail-expunged", "mailbox-deleted"]


def test_without_an_auditor_nothing_is_noted(tmp_path: Path) -> None:
    host = MailHost(tmp_path)
    host.add("joe")
    inbox = host.account("joe").open("INBOX")
    with inbox.transaction() as tx:
        assert tx._acts is None
    inbox.release()
    host.close()


def test_a_fault_in_telling_undoes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = world.open("joe")

    def fail(*_: object) -> None:
        raise RuntimeError("nobody is at home")

    monkeypatch.setattr(Auditor, "_place", fail)
    assert append(inbox, [message(1)]) == [1]
    (line,) = world.told()
    assert line["event"] == "audit-failed" and "nobody is at home" in line["error"]
