"""msadm backup and msadm restore, on stores in directories."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mstore.accounts import Accounts
from mstore.accounts.passwords import Passwords
from mstore.backup import pack, save
from mstore.backup.restore import UID_STEP
from mstore.base.errors import StorageFailed
from mstore.base.flags import SEEN
from mstore.base.ids import AccountId, Uid
from mstore.store.account import Account
from mstore.store.annotation import Subject
from mstore.store.append import NewMessage, append
from mstore.store.store import Store
from tests.kit.backups import look, seen_by
from tests.unit.cli.conftest import Admin


def open_account(admin: Admin, user: str = "joe") -> tuple[Store, Account]:
    record = Accounts(admin.settings.db_path).find(user)
    assert record is not None
    store = Store(admin.settings.mailstores)
    return store, store.account(record)


def seen(admin: Admin, user: str = "joe") -> dict[str, Any]:
    store, account = open_account(admin, user)
    found = look(account)
    store.close()
    return found


def deliver(admin: Admin, name: str, *texts: str, size: int = 10) -> None:
    store, account = open_account(admin)
    mailbox = account.open(name)
    for number, text in enumerate(texts):
        content = f"Subject: {text}\r\n\r\n{text * size}\r\n".encode()
        append(mailbox, [NewMessage(content, 1_600_000_000 + number, number & 31, (b"work", b"$x")[:number])])
    mailbox.release()
    store.close()


def expunge(admin: Admin, name: str, *uids: int) -> None:
    store, account = open_account(admin)
    mailbox = account.open(name)
    with mailbox.transaction() as tx:
        tx.expunge([mailbox.index.row_of(uid) for uid in uids])
    mailbox.release()
    store.close()


def furnish(admin: Admin) -> None:
    """An account with a bit of everything."""
    admin.add("joe")
    admin.add("ann")
    admin.ok("alias", "add", "postmaster", "joe")
    admin.ok("group", "add", "staff")
    admin.ok("group", "join", "staff", "joe")
    admin.ok("quota", "set", "joe", "--storage", "10M")
    for name in ("a/b/c", "Sent", "x/y"):
        admin.ok("mailbox", "create", "joe", name)
    admin.ok("mailbox", "delete", "joe", "x", "--yes")
    admin.ok("acl", "set", "joe", "a/b", "ann", "lrs")
    deliver(admin, "INBOX", "one", "two", "three", "four")
    deliver(admin, "a/b", "five", "large", size=500_000)
    expunge(admin, "INBOX", 2)
    store, account = open_account(admin)
    account.subscribe("a/b")
    account.subscribe("nowhere")
    account.annotate(Subject(0, int(account.entry("a").id, 16)), {"/private/comment": b"\x00mine"})
    account.annotate(Subject(), {"/private/comment": b"of the account"})
    account.annotate(Subject(), {"/private/specialuse": b"\\Sent"}, account.entry("Sent"))
    store.close()


def other_store(admin: Admin, tmp_path: Path) -> Admin:
    path = tmp_path / "other"
    path.mkdir()
    other = Admin(path)
    other.ok("init")
    return other


def assert_sound(admin: Admin) -> None:
    assert admin.json("check") is not None


@pytest.fixture
def backups(tmp_path: Path) -> str:
    return str(tmp_path / "backups")


def test_a_removed_account_comes_back_as_it_was(admin: Admin, backups: str) -> None:
    furnish(admin)
    before = seen(admin)
    made = admin.json("backup", backups)
    assert (made["messages"], made["new_messages"], made["left_out"], made["passwords"]) == (5, 5, [], True)
    keys = Passwords(admin.settings.db_path).keys(Accounts(admin.settings.db_path).find("joe").id)  # type: ignore[union-attr]
    admin.ok("user", "remove", "joe", "--yes")
    assert "no backup of jim" in admin.fails("restore", backups, "jim")
    done = admin.json("restore", backups, "joe")
    assert done == {"backup": made["id"], "restored": [{"name": "joe", "messages": 5}]}
    assert seen(admin) == before
    (record,) = [found for found in admin.json("user", "list") if found["name"] == "joe"]
    assert record["quota_bytes"] == 10 << 20
    assert Passwords(admin.settings.db_path).keys(record["id"]) == keys
    assert "postmaster" in admin.ok("alias", "list")
    assert "joe" in admin.ok("group", "list", "staff")
    (inbox,) = [found for found in admin.json("mailbox", "list", "joe") if found["name"] == "INBOX"]
    assert inbox["uid_next"] == 5 + UID_STEP
    assert_sound(admin)


def test_an_account_that_holds_mail_is_not_filled_again(admin: Admin, backups: str) -> None:
    furnish(admin)
    admin.ok("backup", backups)
    assert "Say --yes" in admin.fails("restore", backups, "joe")
    assert "was used" in admin.fails("restore", backups, "joe", "--yes")
    assert admin.json("restore", backups, "ann", "--yes")["restored"] == [{"name": "ann", "messages": 0}]


def test_a_whole_store_comes_back_in_an_empty_one(admin: Admin, tmp_path: Path, backups: str) -> None:
    furnish(admin)
    admin.ok("mailbox", "create", "shared/news")
    made = admin.json("backup", backups)
    assert len(made["accounts"]) == 3
    admin.ok("backup", backups, "ann")  # one of less than all is not meant by --all
    other = other_store(admin, tmp_path)
    done = other.json("restore", backups, "--all", "--yes")
    assert (done["backup"], len(done["restored"])) == (made["id"], 3)
    assert seen(other) == seen(admin)
    assert other.json("user", "list") == admin.json("user", "list")
    assert other.json("group", "list") == admin.json("group", "list")
    assert other.ok("acl", "show", "joe", "a/b") == admin.ok("acl", "show", "joe", "a/b")
    assert [found["name"] for found in other.json("mailbox", "list", "shared/")] == ["shared/news"]
    assert_sound(other)
    assert "accounts already" in other.fails("restore", backups, "--all", "--yes")


def test_app_passwords_come_back_with_all_that_serves_the_mechanisms(
    admin: Admin, tmp_path: Path, backups: str
) -> None:
    joe = admin.add("joe")["id"]
    admin.ok("user", "app-password", "add", "joe", "phone")
    before = Passwords(admin.settings.db_path).apps(joe)
    assert before[0].keys.scram and before[0].keys.secret
    admin.ok("backup", backups)
    admin.ok("user", "remove", "joe", "--yes")
    assert not Passwords(admin.settings.db_path).apps(joe)
    admin.ok("restore", backups, "joe")
    assert Passwords(admin.settings.db_path).apps(joe) == before
    other = other_store(admin, tmp_path)
    other.ok("restore", backups, "--all", "--yes")
    assert Passwords(other.settings.db_path).apps(joe) == before


def test_the_second_backup_reads_only_what_is_new(admin: Admin, backups: str) -> None:
    furnish(admin)
    first = admin.json("backup", backups)
    deliver(admin, "INBOX", "five")
    with mock.patch.object(pack.Writer, "add", autospec=True, side_effect=pack.Writer.add) as added:
        second = admin.json("backup", backups)
    assert added.call_count == 1
    assert (second["messages"], second["new_messages"]) == (6, 1)
    listed = admin.json("backup", "list", backups)
    assert [backup["id"] for backup in listed] == [first["id"], second["id"]]
    assert second["id"] in admin.ok("backup", "list", backups)
    assert admin.json("backup", "verify", backups) == {"backups": 2, "problems": []}
    assert "2 backups are sound" in admin.ok("backup", backups, "--verify")
    admin.ok("user", "remove", "joe", "--yes")
    done = admin.json("restore", backups, "--at", first["id"], "joe")
    assert done["restored"][0]["messages"] == 5
    assert "no backup of joe from 2020-01-01" in admin.fails(
        "restore", backups, "--at", "2020-01-01", "joe", "--yes"
    )
    assert "neither" in admin.fails("restore", backups, "--at", "soon", "joe", "--yes")


def test_an_interrupted_backup_is_continued(admin: Admin, backups: str) -> None:
    furnish(admin)
    first = admin.json("backup", backups)
    deliver(admin, "INBOX", *"abcdef")
    read = save.Mailbox.read

    def fail(mailbox: Any, row: int) -> bytes:
        if row == 7:
            raise StorageFailed("the disk is gone")
        return read(mailbox, row)

    with mock.patch.object(save.Mailbox, "read", fail):
        assert "the disk is gone" in admin.fails("backup", backups)
    assert [backup["id"] for backup in admin.json("backup", "list", backups)] == [first["id"]]
    assert admin.json("backup", "verify", backups)["problems"] == []
    (left,) = Path(backups, "packs").glob("*.new")
    with open(left, "ab") as file:
        file.write(b"MSbk torn")
    second = admin.json("backup", backups)
    assert (second["messages"], second["new_messages"]) == (11, 3)
    assert admin.json("backup", "verify", backups) == {"backups": 2, "problems": []}
    assert not [name for name in os.listdir(backups) if name.startswith("incoming-")]
    before = seen(admin)
    admin.ok("user", "remove", "joe", "--yes")
    admin.ok("restore", backups, "joe")
    assert seen(admin) == before


def test_uidvalidities_made_meanwhile_are_in_nobodys_way(admin: Admin, backups: str) -> None:
    admin.add("joe")
    store, account = open_account(admin)
    for name in ("A", "B/b", "C"):
        account.create(name)
    account.delete("B")
    store.close()
    before = seen(admin)
    admin.ok("backup", backups)
    admin.ok("user", "remove", "joe", "--yes")
    with mock.patch("time.time", return_value=before["boxes"]["A"][3]):
        admin.add("joe")  # its INBOX has the UIDVALIDITY that A has in the backup
    with mock.patch("time.time", return_value=before["boxes"]["C"][3]):
        admin.ok("restore", backups, "joe", "--yes")
    assert seen(admin) == before


def test_a_mailbox_comes_back_and_nothing_is_doubled(admin: Admin, backups: str) -> None:
    furnish(admin)
    before = seen(admin)["boxes"]
    admin.ok("backup", backups)
    expunge(admin, "INBOX", 1, 4)
    deliver(admin, "INBOX", "later")
    done = admin.json("restore", backups, "joe", "inbox", "--yes")
    assert done["restored"] == [{"name": "joe INBOX", "messages": 2}]
    now = seen(admin)["boxes"]["INBOX"][-1]
    assert [message[0] for message in now] == [3, 5, 6, 7]
    assert [message[1:] for message in now[2:]] == [
        message[1:] for message in before["INBOX"][-1] if message[0] in (1, 4)
    ]
    assert admin.json("restore", backups, "joe", "INBOX", "--yes")["restored"][0]["messages"] == 0
    admin.ok("mailbox", "delete", "joe", "Sent", "--yes")
    admin.ok("restore", backups, "joe", "Sent", "--yes")
    admin.ok("mailbox", "delete", "joe", "a/b", "--yes")
    admin.ok("restore", backups, "joe", "a/b", "--yes")
    now = seen(admin)["boxes"]
    assert now["a/b"][3:] == before["a/b"][3:]
    assert now["Sent"] == before["Sent"]
    assert_sound(admin)


def test_single_messages_come_back(admin: Admin, backups: str) -> None:
    furnish(admin)
    before = seen(admin)["boxes"]["INBOX"]
    admin.ok("backup", backups)
    expunge(admin, "INBOX", 1, 3)
    assert "no message 2 in INBOX" in admin.fails("restore", backups, "joe", "INBOX", "2", "--yes")
    assert "no UID" in admin.fails("restore", backups, "joe", "INBOX", "0", "--yes")
    assert "no mailbox nowhere" in admin.fails("restore", backups, "joe", "nowhere", "--yes")
    admin.ok("restore", backups, "joe", "INBOX", "3", "4", "--yes")
    now = seen(admin)["boxes"]["INBOX"][-1]
    assert [message[0] for message in now] == [4, 5]
    assert now[1][1:] == before[-1][1][1:]


def test_what_others_have_seen_comes_back(admin: Admin, backups: str) -> None:
    furnish(admin)
    (ann,) = [AccountId(user["id"]) for user in admin.json("user", "list") if user["name"] == "ann"]
    store, account = open_account(admin)
    for name, *uids in (("INBOX", 3, 4), ("a/b", 1)):
        mailbox = account.open(name, ann)
        with mailbox.transaction() as tx:
            tx.flags([mailbox.index.row_of(uid) for uid in uids], "add", SEEN)
        mailbox.release()
    store.close()
    admin.ok("backup", backups)

    def now(name: str) -> list[int]:
        store, account = open_account(admin)
        found = seen_by(account, name, ann)
        store.close()
        return found

    deliver(admin, "INBOX", "later")  # 5
    expunge(admin, "INBOX", 3, 1)
    admin.ok("restore", backups, "joe", "INBOX", "1", "3", "--yes")  # become 6 and 7
    assert now("INBOX") == [4, 7]
    admin.ok("mailbox", "delete", "joe", "a/b", "--yes")
    admin.ok("restore", backups, "joe", "a/b", "--yes")
    assert now("a/b") == [1]
    admin.ok("user", "remove", "joe", "--yes")
    admin.ok("restore", backups, "joe")
    assert now("INBOX") == [3, 4] and now("a/b") == [1]
    assert_sound(admin)


def test_an_interrupted_restore_goes_on_mailbox_by_mailbox(admin: Admin, backups: str) -> None:
    furnish(admin)
    before = seen(admin)["boxes"]["INBOX"]
    admin.ok("backup", backups)
    admin.ok("mailbox", "create", "joe", "INBOX2")
    admin.ok("user", "remove", "joe", "--yes")
    record = admin.add("joe")
    store, account = open_account(admin)
    account.create("INBOX", uid_validity=before[3], least_modseq=5)
    mailbox = account.open("INBOX")
    uid, flags, words, internal_date, save_date, email_id, content = before[-1][0]
    append(mailbox, [NewMessage(content, internal_date, flags, tuple(words), email_id, Uid(uid), save_date)])
    mailbox.release()
    store.close()
    admin.ok("restore", backups, "joe", "INBOX", "--yes")  # by its name: the account has another id
    assert seen(admin)["boxes"]["INBOX"][3:] == before[3:]
    assert record["id"] not in admin.json("backup", "list", backups)[0]["accounts"]


def test_damage_is_told_and_never_restored(admin: Admin, backups: str) -> None:
    furnish(admin)
    made = admin.json("backup", backups)
    (path,) = Path(backups, "packs").glob("*.pack")
    data = bytearray(path.read_bytes())
    data[data.index(b"Subject: three")] ^= 1
    path.write_bytes(data)
    expunge(admin, "INBOX", 3)
    assert f"backup {made['id']}, joe: message 3 of INBOX is damaged" in admin.fails(
        "backup", "verify", backups
    )
    assert "damaged" in admin.fails("restore", backups, "joe", "INBOX", "3", "--yes")
    path.write_bytes(data[:100])
    assert "1.pack is damaged, or cut, at byte 0" in admin.fails("backup", "verify", backups)
    (manifest,) = Path(backups, made["id"]).glob(f"{admin.json('user', 'list')[1]['id']}.jsonl")
    manifest.write_bytes(manifest.read_bytes().replace(b'"uid":3', b'"uid":9'))
    assert "its checksum is another" in admin.fails("restore", backups, "joe", "INBOX", "3", "--yes")
    again = admin.json("backup", backups)  # what cannot be trusted is read anew
    assert again["new_messages"] == 4
    expunge(admin, "INBOX", 4)
    shutil.rmtree(Path(backups, "packs"))
    assert "2.pack is missing" in admin.fails("restore", backups, "joe", "INBOX", "4", "--yes")


def test_a_damaged_message_of_the_store_is_left_out(admin: Admin, backups: str) -> None:
    furnish(admin)
    store, account = open_account(admin)
    segment = account.path / account.entry("INBOX").id / "messages.1"
    store.close()
    data = bytearray(segment.read_bytes())
    data[data.index(b"Subject: three")] ^= 1
    segment.write_bytes(data)
    result = admin.run("backup", backups)
    assert result.exit_code == 1
    assert "left out: joe: message 3 of INBOX: " in result.output
    (backup,) = admin.json("backup", "list", backups)
    assert backup["messages"] == 4
    assert admin.json("backup", "verify", backups)["problems"] == []
    assert "no message 3" in admin.fails("restore", backups, "joe", "INBOX", "3", "--yes")


def test_what_a_backup_holds_is_for_its_owner_alone(admin: Admin, backups: str) -> None:
    furnish(admin)
    made = admin.json("backup", backups)
    for path in Path(backups).rglob("*"):
        if path.name != "lock":
            assert path.stat().st_mode & 0o077 == 0, path
    databases = Path(backups, made["id"])
    with sqlite3.connect(databases / "passwords.db") as copy:
        assert len(copy.execute("SELECT * FROM password").fetchall()) == 2
    assert json.loads((databases / "backup.json").read_bytes())["whole"]


def test_a_directory_that_holds_something_else_is_left_alone(admin: Admin, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").touch()
    assert "something else" in admin.fails("backup", str(tmp_path / "photos"))
    assert "no backups" in admin.fails("backup", "list", str(tmp_path / "photos"))
    assert "no backups" in admin.fails("restore", str(tmp_path / "photos"), "joe")
    assert "missing" in admin.fails("backup", str(tmp_path / "no" / "where"))
    assert os.listdir(tmp_path / "photos") == ["cat"]
    assert "USER, or --all" in admin.fails("restore", str(tmp_path))
