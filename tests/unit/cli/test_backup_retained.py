"""Backups of what was expunged and can be brought back: it can be so again after a restore."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from mstore.base.flags import SEEN
from mstore.base.ids import AccountId
from mstore.store.append import NewMessage
from tests.kit.backups import seen_by
from tests.unit.cli.conftest import Admin
from tests.unit.cli.test_undelete import DAY_S, configure, content, contents, deliver

NOW_MS = int(time.time() * 1000)
OLD_MS = NOW_MS - 3 * DAY_S * 1000


def expunge(admin: Admin, mailbox: str, time_ms: int, *uids: int) -> None:
    opened = admin.account().open(mailbox)
    with opened.transaction() as tx:
        tx.time_ms = time_ms
        tx.expunge([opened.index.row_of(uid) for uid in uids])
    opened.release()


@pytest.fixture
def used(admin: Admin) -> Admin:
    """Messages, some of them expunged three days ago, some just now, and a deleted mailbox."""
    configure(admin, "retain-expunged 7")
    admin.add("joe")
    account = admin.account()
    messages = [NewMessage(content(number), number, number & 31, (b"work",)) for number in range(1, 9)]
    deliver(account, "INBOX", *messages)
    expunge(admin, "INBOX", OLD_MS, 2)
    expunge(admin, "INBOX", OLD_MS + 5, 4)
    expunge(admin, "INBOX", NOW_MS, 8)
    admin.ok("mailbox", "create", "joe", "Gone")
    deliver(account, "Gone", NewMessage(content(20), 20), NewMessage(content(21), 21))
    expunge(admin, "Gone", OLD_MS, 1)
    admin.ok("mailbox", "delete", "joe", "Gone", "--yes")
    return admin


def retain(admin: Admin, days: int) -> None:
    text = admin.config.read_text()
    admin.config.write_text(re.sub(r"retain-expunged \d+", f"retain-expunged {days}", text))


def lost(admin: Admin) -> list[dict[str, Any]]:
    """What can be brought back; when it went, to the minute."""
    found = admin.json("undelete", "joe", "--list")
    return [each | {"expunged": each["expunged"][:16], "until": each["until"][:16]} for each in found]


def begin_anew(admin: Admin) -> None:
    admin.ok("user", "remove", "joe", "--yes")


def test_what_could_be_brought_back_can_be_so_after_a_restore(used: Admin, tmp_path: Path) -> None:
    before = lost(used)
    assert [(each["mailbox"], each["uid"]) for each in before] == [
        ("INBOX", 2), ("INBOX", 4), ("INBOX", 8), ("Gone", 1), ("Gone", 2),
    ]  # fmt: skip
    told = used.ok("backup", str(tmp_path / "b"))
    assert "5 messages" in told and "and 5 that were expunged, 10 of them new" in told
    assert used.json("backup", "list", str(tmp_path / "b"))[0]["retained"] == 5
    begin_anew(used)
    assert used.ok("restore", str(tmp_path / "b"), "joe", "--yes").startswith("joe: 5 messages restored")
    assert lost(used) == before
    account = used.account()
    assert contents(account, "INBOX").keys() == {1, 3, 5, 6, 7} and "Gone" not in account.mailboxes()
    assert account.usage().messages == 5
    done = used.json("undelete", "joe", "--yes")
    assert sorted(each["into"] for each in done) == ["Gone", "Gone", "INBOX", "INBOX", "INBOX"]
    assert sorted(contents(account, "Gone").values()) == [content(20), content(21)]
    came = list(contents(account, "INBOX").values())
    assert came[5:] == [content(2), content(4), content(8)]
    assert "no problem" in used.ok("check")


def test_a_second_backup_has_their_bytes_already(used: Admin, tmp_path: Path) -> None:
    used.ok("backup", str(tmp_path / "b"))
    expunge(used, "INBOX", NOW_MS, 1)
    again = used.json("backup", str(tmp_path / "b"))
    assert (again["messages"], again["retained"], again["new_messages"]) == (4, 6, 0)
    assert used.ok("backup", "verify", str(tmp_path / "b")) == "2 backups are sound\n"


def test_damage_to_what_is_retained_is_found(used: Admin, tmp_path: Path) -> None:
    used.ok("backup", str(tmp_path / "b"))
    pack = tmp_path / "b" / "packs" / "1.pack"
    data = bytearray(pack.read_bytes())
    at = data.index(content(21))
    data[at] ^= 1
    pack.write_bytes(data)
    assert "message 2 of Gone is damaged" in used.fails("backup", "verify", str(tmp_path / "b"))


def test_what_is_over_and_what_is_not_retained_stays_away(used: Admin, tmp_path: Path) -> None:
    used.ok("backup", str(tmp_path / "b"))
    begin_anew(used)
    retain(used, 2)
    used.ok("restore", str(tmp_path / "b"), "joe", "--yes")
    assert [(each["mailbox"], each["uid"]) for each in lost(used)] == [("INBOX", 8), ("Gone", 2)]
    short = used.json("backup", str(tmp_path / "c"))
    assert (short["messages"], short["retained"]) == (5, 2)
    begin_anew(used)
    retain(used, 0)
    used.ok("restore", str(tmp_path / "b"), "joe", "--yes")
    assert lost(used) == []
    assert used.json("backup", str(tmp_path / "d"))["retained"] == 0
    assert "no problem" in used.ok("check")


def test_a_uid_or_the_name_of_a_deleted_mailbox_brings_it_back_at_once(used: Admin, tmp_path: Path) -> None:
    used.ok("backup", str(tmp_path / "b"))
    assert used.ok("restore", str(tmp_path / "b"), "joe", "INBOX", "4", "5", "--yes").startswith(
        "joe INBOX: 1 messages"
    )
    account = used.account()
    assert contents(account, "INBOX")[9] == content(4)
    used.ok("restore", str(tmp_path / "b"), "joe", "Gone", "--yes")
    assert contents(account, "Gone") == {2: content(21)}
    assert "has no message 3" in used.fails("restore", str(tmp_path / "b"), "joe", "Gone", "3", "--yes")
    used.ok("restore", str(tmp_path / "b"), "joe", "Gone", "1", "--yes")
    assert sorted(contents(account, "Gone").values()) == [content(20), content(21)]


def test_who_had_seen_what_was_expunged_has_so_again(admin: Admin, tmp_path: Path) -> None:
    configure(admin, "retain-expunged 7")
    admin.add("joe")
    ann = AccountId(admin.add("ann")["id"])
    account = admin.account()
    for name in ("INBOX", "Gone"):
        if name == "Gone":
            admin.ok("mailbox", "create", "joe", name)
        deliver(account, name, *(NewMessage(content(number), number) for number in range(1, 5)))
        as_ann = account.open(name, ann)
        with as_ann.transaction() as tx:
            tx.flags([as_ann.index.row_of(uid) for uid in (1, 3)], "add", SEEN)
        as_ann.release()
    expunge(admin, "INBOX", NOW_MS, 2, 3)
    admin.ok("mailbox", "delete", "joe", "Gone", "--yes")
    admin.ok("backup", str(tmp_path / "b"))
    begin_anew(admin)
    admin.ok("restore", str(tmp_path / "b"), "joe", "--yes")
    account = admin.account()
    assert seen_by(account, "INBOX", ann) == [1]
    done = {
        (each["mailbox"], each["uid"]): each["new_uid"] for each in admin.json("undelete", "joe", "--yes")
    }
    assert seen_by(account, "INBOX", ann) == [1, done["INBOX", 3]]
    assert seen_by(account, "Gone", ann) == sorted([done["Gone", 1], done["Gone", 3]])
    assert "no problem" in admin.ok("check")


def test_a_mailbox_that_is_made_anew_retains_as_well(used: Admin, tmp_path: Path) -> None:
    used.ok("mailbox", "rename", "joe", "INBOX", "Old")
    used.ok("backup", str(tmp_path / "b"))
    begin_anew(used)
    used.add("joe")
    used.ok("restore", str(tmp_path / "b"), "joe", "INBOX", "--yes")
    found = [each["uid"] for each in used.json("undelete", "joe", "--list") if each["mailbox"] == "INBOX"]
    assert found == [2, 4, 8]
