"""Whatever an account holds, it is the same when it has left as files and come into another account."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.base.ids import AccountId
from mstore.files import raw
from mstore.moving.arriving import Arrivals, Import
from mstore.moving.foreign import Source
from mstore.moving.leaving import MaildirTarget, MboxTarget, Target, leave, messages_of
from mstore.moving.maildir import Maildir
from mstore.moving.mbox import Mbox
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.checkaccount import check_account
from mstore.store.store import Store
from tests.crash.world import RECORD, Record
from tests.kit.dying import Quick

OTHER = Record(AccountId("cc000000000000cc"), "main")
NAMES = ["INBOX", "a", "a/b", "ä&b/c", "v1.2", "cur", "x y", "日本"]
LINES = st.sampled_from(
    [b"", b"text", b"From joe Mon Jan  1 10:00:00 2024", b">From here", b">>From", b"Status: RO", b"X-UID: 9",
     b"\xff\x00\x80", b" folded", b"Content-Length: 5", b"."]
)  # fmt: skip
HEADERS = st.lists(
    st.sampled_from([b"Date: x", b"Subject: x", b"From: a@example.org", b"X-Y: 1\r\n folded"]), max_size=3
)


def make_content(header: list[bytes], body: list[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in [*header, b"", *body])


MESSAGES = st.tuples(
    st.builds(make_content, HEADERS, st.lists(LINES, max_size=6)),
    st.integers(1, (1 << 32) - 1),
    st.integers(0, 31),
    st.sets(st.sampled_from([b"work", b"$Junk", b"$Label1"]), max_size=3).map(
        lambda found: tuple(sorted(found))
    ),
)
BOXES = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.lists(MESSAGES, max_size=5), st.sets(st.integers(0, 4))), max_size=5
)


def fill(account: Account, boxes: dict[str, Any], subscribed: set[str]) -> None:
    for name, (messages, gone) in boxes.items():
        if name not in account.mailboxes():
            account.create(name)
        mailbox = account.open(name)
        append(mailbox, [NewMessage(*message) for message in messages])
        rows = [row for at, row in enumerate(mailbox.index.live_rows().tolist()) if at in gone]
        if rows:
            with mailbox.transaction() as tx:
                tx.expunge(rows)
        mailbox.release()
    for name in subscribed & account.mailboxes().keys():
        account.subscribe(name)


def look(account: Account, empty_too: bool) -> dict[str, Any]:
    """All that an export carries; an mbox file has no place for the numbers of an empty mailbox."""
    found: dict[str, Any] = {"subscribed": sorted(account.subscriptions())}
    for name, entry in account.mailboxes().items():
        if entry.no_select:
            continue
        mailbox = account.open_entry(entry)
        messages = [(each.uid, sorted(each.flags), each.date, each.content) for each in messages_of(mailbox)]
        numbers = (mailbox.uid_validity, mailbox.uid_next) if messages or empty_too else None
        found[name] = (numbers, messages)
        mailbox.release()
    return found


def arrive(account: Account, source: Source, arrivals: Arrivals) -> int:
    """Import; gives how many messages have come."""
    count = 0
    for foreign in source.mailboxes():
        report = Import(account, source, arrivals).bring(foreign)
        assert not report.problems
        count += report.messages
    Import(account, source, arrivals).subscribe()
    return count


@pytest.mark.parametrize(("target", "source"), [(MaildirTarget, Maildir), (MboxTarget, Mbox)])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(boxes=BOXES, subscribed=st.sets(st.sampled_from(NAMES)))
def test_what_arrives_is_what_left(
    target: type[Any], source: type[Any], boxes: dict[str, Any], subscribed: set[str]
) -> None:
    root = Path(tempfile.mkdtemp())
    before = raw.install(Quick())
    store = Store({"main": root / "mail"})
    (root / "mail").mkdir()
    (root / "out").mkdir()
    try:
        account, other = store.account(RECORD), store.account(OTHER)
        fill(account, boxes, subscribed)
        expected = look(account, target is MaildirTarget)
        leaving: Target = target(root / "out")
        for _ in range(2):  # What is there already is left as it is.
            list(leave(account, leaving, lambda name, count: lambda advance: None))
        arrivals = Arrivals(root / "done")
        count = arrive(other, source(root / "out"), arrivals)
        assert count == sum(len(box[1]) for name, box in expected.items() if name != "subscribed")
        assert look(other, target is MaildirTarget) == expected
        assert arrive(other, source(root / "out"), arrivals) == 0
        arrivals.close()
        assert check_account(other.path, OTHER.id) == []
    finally:
        store.close()
        raw.install(before)
        shutil.rmtree(root)
