import pytest

from mstore.accounts import Accounts
from mstore.base.errors import OverQuota
from mstore.store.append import NewMessage, append
from mstore.store.store import Store
from tests.unit.cli.conftest import Admin


def deliver(admin: Admin, user: str, size: int) -> None:
    record = Accounts(admin.settings.db_path).find(user)
    assert record is not None
    inbox = Store(admin.settings.mailstores).account(record).open("INBOX")
    append(inbox, [NewMessage(b"Subject: x\r\n\r\n".ljust(size, b"x"), 1_700_000_000)])
    inbox.release()


def entry(name: str, used: tuple[int, int], limits: tuple[int | None, int | None]) -> dict[str, object]:
    return {
        "name": name,
        "root": f"user/{name}",
        "limit_bytes": limits[0],
        "limit_messages": limits[1],
        "used_bytes": used[0],
        "used_messages": used[1],
    }


def test_limits_are_set_shown_and_hold(admin: Admin) -> None:
    admin.add("joe")
    admin.add("jim")
    deliver(admin, "joe", 1500)
    assert admin.json("quota", "set", "joe", "--storage", "2K") == [entry("joe", (1500, 1), (2048, None))]
    with pytest.raises(OverQuota):
        deliver(admin, "joe", 549)
    deliver(admin, "joe", 548)
    assert admin.json("quota", "set", "user/joe", "--messages", "2") == [entry("joe", (2048, 2), (2048, 2))]
    admin.json("quota", "set", "joe", "--storage", "NONE")
    with pytest.raises(OverQuota):
        deliver(admin, "joe", 20)
    found = admin.json("quota", "list")
    assert entry("joe", (2048, 2), (None, 2)) in found
    assert entry("jim", (0, 0), (None, None)) in found
    assert admin.json("quota", "show", "joe") == [entry("joe", (2048, 2), (None, 2))]
    assert admin.json("quota", "recompute", "joe") == [entry("joe", (2048, 2), (None, 2))]
    assert admin.json("quota", "recompute") == found
    line = admin.ok("quota", "show", "joe").splitlines()[1].split()
    assert line == ["user/joe", "2K", "-", "2", "2"]
    assert admin.run("check").exit_code == 0


def test_shared_mailboxes_have_a_quota_too(admin: Admin) -> None:
    admin.ok("mailbox", "create", "shared/bugs")
    (found,) = admin.json("quota", "set", "shared/", "--storage", "1G")
    assert (found["root"], found["limit_bytes"]) == ("shared", 1 << 30)


def test_what_cannot_be_is_one_clear_line(admin: Admin) -> None:
    admin.add("joe")
    assert "no user" in admin.fails("quota", "show", "jim")
    assert "--storage" in admin.fails("quota", "set", "joe", "--storage", "lots")
    assert "--messages" in admin.fails("quota", "set", "joe", "--messages", "-1")
    assert "--messages" in admin.fails("quota", "set", "joe", "--messages", "1K")
    assert "--storage" in admin.fails("quota", "set", "joe")
    assert "quota" in admin.fails("quota", "set", "joe", "--storage", "9999999999G")
    assert "--quota-messages" in admin.fails("user", "add", "jim", "--quota-messages", "x")


def test_a_recomputation_puts_right_what_is_wrong(admin: Admin) -> None:
    admin.add("joe")
    deliver(admin, "joe", 500)
    assert admin.json("quota", "show", "joe")[0]["used_bytes"] == 500
    record = Accounts(admin.settings.db_path).find("joe")
    assert record is not None
    account = Store(admin.settings.mailstores).account(record)
    account._quota.note(account.entry("INBOX").id, 100, 1)
    assert "its slot says 100" in admin.fails("check")
    assert admin.json("quota", "recompute", "joe")[0]["used_bytes"] == 500
    assert admin.run("check").exit_code == 0
