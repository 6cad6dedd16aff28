from pathlib import Path

from mstore.accounts import Accounts
from mstore.store.append import NewMessage, append
from mstore.store.store import Store
from tests.unit.cli.conftest import Admin


def deliver(admin: Admin, user: str, mailbox: str) -> None:
    record = Accounts(admin.settings.db_path).find(user)
    assert record is not None
    opened = Store(admin.settings.mailstores).account(record).open(mailbox)
    append(opened, [NewMessage(b"Subject: x\r\n\r\ntext\r\n", 1_700_000_000)])
    opened.release()


def names(admin: Admin, user: str) -> list[str]:
    return [mailbox["name"] for mailbox in admin.json("mailbox", "list", user)]


def test_mailboxes_are_listed_with_what_is_in_them(admin: Admin) -> None:
    admin.add("joe")
    deliver(admin, "joe", "INBOX")
    (inbox,) = admin.json("mailbox", "list", "joe")
    assert (inbox["name"], inbox["messages"], inbox["unseen"], inbox["size_bytes"]) == ("INBOX", 1, 1, 20)
    assert "INBOX" in admin.ok("mailbox", "list", "JOE@example.com")


def test_mailboxes_are_created_renamed_and_deleted(admin: Admin) -> None:
    admin.add("joe")
    assert admin.ok("mailbox", "create", "joe", "a/bü") == "created a/bü\n"
    assert admin.ok("mailbox", "rename", "joe", "a", "c") == "renamed a to c\n"
    assert names(admin, "joe") == ["INBOX", "c", "c/bü"]
    assert "--yes" in admin.fails("mailbox", "delete", "joe", "c/bü")
    assert admin.ok("mailbox", "delete", "joe", "c", "--yes") == "deleted c\n"
    assert names(admin, "joe") == ["INBOX", "c", "c/bü"]
    admin.ok("mailbox", "delete", "joe", "c/bü", "--yes")
    assert names(admin, "joe") == ["INBOX"]


def test_what_cannot_be_is_one_clear_line(admin: Admin) -> None:
    admin.add("joe")
    for words, reason in (
        (("create", "joe", "inbox"), "exists already"),
        (("create", "joe", "a//b"), "'/'"),
        (("delete", "joe", "nowhere", "--yes"), "no mailbox user/joe/nowhere"),
        (("delete", "joe", "INBOX", "--yes"), "cannot be deleted"),
        (("rename", "joe", "nowhere", "x"), "no mailbox user/joe/nowhere"),
        (("list", "jim"), "no user jim"),
    ):
        output = admin.fails("mailbox", *words)
        assert output.startswith("Error: "), output
        assert reason in output


def test_a_mailbox_that_is_not_there_is_answered_with_the_nearest(admin: Admin) -> None:
    admin.add("joe")
    admin.add("joan")
    for name in ("Sent Items", "Archive/2026", "Receipts"):
        admin.ok("mailbox", "create", "joe", name)
    admin.ok("mailbox", "create", "joan", "Sent")
    admin.ok("mailbox", "create", "shared/bugs")
    admin.ok("group", "add", "staff")
    for words, near in (
        (("mailbox", "delete", "joe", "sent item", "--yes"), "Sent Items"),
        (("mailbox", "delete", "user/joe/SENT ITEM", "--yes"), "user/joe/Sent Items"),
        (("mailbox", "rename", "joe", "Archive/2025", "x"), "Archive/2026"),
        (("mailbox", "delete", "shared/bug", "--yes"), "shared/bugs"),
        (("acl", "show", "joe", "Reciepts"), "Receipts"),
        (("acl", "set", "joe", "Reciepts", "joan", "lr"), "Receipts"),
        (("acl", "delete", "joe", "Reciepts", "joan"), "Receipts"),
        (("compact", "joe", "Reciepts"), "Receipts"),
        (("rebuild", "joe", "Reciepts"), "Receipts"),
        (("undelete", "joe", "--mailbox", "Reciepts"), "Receipts"),
        (("group", "join", "stuff", "joe"), "staff"),
    ):
        output = admin.fails(*words)
        assert output.startswith("Error: ") and output.endswith(f"; did you mean {near}?\n"), output
    for words in (("mailbox", "delete", "joe", "zzz", "--yes"), ("mailbox", "delete", "shared/zzz", "--yes")):
        output = admin.fails(*words)
        assert "there is no mailbox" in output and "did you mean" not in output


def test_the_mailbox_of_a_backup_as_well(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    admin.ok("mailbox", "create", "joe", "Receipts")
    admin.ok("backup", str(tmp_path / "backup"))
    output = admin.fails("restore", str(tmp_path / "backup"), "joe", "Reciepts")
    assert output.endswith("has no mailbox Reciepts of joe; did you mean Receipts?\n")


def test_a_missing_mailstore_is_said_to_be_missing(admin: Admin) -> None:
    record = admin.add("joe")
    path = admin.settings.mailstores[record["mailstore"]]
    path.rename(path.with_name("elsewhere"))
    assert "missing" in admin.fails("mailbox", "list", "joe")
