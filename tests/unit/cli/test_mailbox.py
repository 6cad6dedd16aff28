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


def test_a_missing_mailstore_is_said_to_be_missing(admin: Admin) -> None:
    record = admin.add("joe")
    path = admin.settings.mailstores[record["mailstore"]]
    path.rename(path.with_name("elsewhere"))
    assert "missing" in admin.fails("mailbox", "list", "joe")
