"""msadm undelete, msadm upkeep: what is expunged comes back while it is retained, and goes by rule."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mstore.accounts import Accounts
from mstore.store.account import Account
from mstore.store.append import NewMessage, append
from mstore.store.store import Store
from tests.kit.mail import make_messages
from tests.unit.cli.conftest import Admin

DAY_S = 86400


def content(number: int, sender: str = "ann@example.com") -> bytes:
    text = f"From: {sender}\r\nSubject: =?utf-8?q?caf=C3=A9_{number}?=\r\nDate: 5 May 2025 10:00:00 +0000"
    return f"{text}\r\n\r\nmessage {number}\r\n".encode()


def configure(admin: Admin, *lines: str) -> None:
    with admin.config.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


@pytest.fixture
def keeping(admin: Admin) -> Admin:
    configure(admin, "retain-expunged 7")
    admin.add("joe")
    return admin


def deliver(account: Account, mailbox: str, *messages: NewMessage) -> None:
    opened = account.open(mailbox)
    append(opened, messages)
    opened.release()


def expunge(account: Account, mailbox: str, *uids: int) -> None:
    opened = account.open(mailbox)
    with opened.transaction() as tx:
        tx.expunge([opened.index.row_of(uid) for uid in uids])
    opened.release()


def contents(account: Account, mailbox: str) -> dict[int, bytes]:
    opened = account.open(mailbox)
    opened.refresh()
    found = {opened.columns.uid.item(row): opened.read(row) for row in opened.index.live_rows().tolist()}
    opened.release()
    return found


def test_what_was_expunged_comes_back_once(keeping: Admin) -> None:
    account = keeping.account()
    deliver(account, "INBOX", *(NewMessage(content(number), 1) for number in range(1, 6)))
    expunge(account, "INBOX", 2, 4)
    (second, fourth) = keeping.json("undelete", "joe", "--list")
    assert (second["uid"], fourth["uid"], second["subject"]) == (2, 4, "café 2")
    assert (second["mailbox"], second["still_in"], second["size_bytes"]) == ("INBOX", None, len(content(2)))
    assert second["from"] == "ann@example.com"
    assert second["until"] > second["expunged"]
    assert "café 4" in keeping.ok("undelete", "joe", "--dry-run")
    assert contents(account, "INBOX").keys() == {1, 3, 5}
    assert "--yes" in keeping.fails("undelete", "joe")
    done = keeping.json("undelete", "joe", "--yes")
    assert [(lost["uid"], lost["new_uid"]) for lost in done] == [(2, 6), (4, 7)]
    assert contents(account, "INBOX") == {
        1: content(1), 3: content(3), 5: content(5), 6: content(2), 7: content(4)
    }  # fmt: skip
    assert keeping.ok("undelete", "joe", "--yes") == "nothing to bring back\n"
    assert [lost["still_in"] for lost in keeping.json("undelete", "joe", "--list")] == ["INBOX", "INBOX"]
    chosen = ("--again", "--uid", "4", "--mailbox", "INBOX", "--into", "Rescued", "--yes")
    assert keeping.ok("undelete", "joe", *chosen) == "Rescued: 1 messages brought back\n"
    assert contents(account, "Rescued") == {1: content(4)}
    assert "no problem" in keeping.ok("check")


def test_only_what_is_asked_for(keeping: Admin) -> None:
    account = keeping.account()
    account.create("Work")
    deliver(account, "INBOX", NewMessage(content(1), 1), NewMessage(content(2, "bob@example.org"), 1))
    deliver(account, "Work", NewMessage(content(3), 1))
    expunge(account, "INBOX", 1, 2)
    expunge(account, "Work", 1)

    def uids(*words: str) -> list[tuple[str, int]]:
        return [(lost["mailbox"], lost["uid"]) for lost in keeping.json("undelete", "joe", "--list", *words)]

    assert uids() == [("INBOX", 1), ("INBOX", 2), ("Work", 1)]
    assert uids("--mailbox", "Work") == uids("--subject", "CAFÉ 3") == [("Work", 1)]
    assert uids("--from", "bob") == uids("--mailbox", "inbox", "--uid", "2:*") == [("INBOX", 2)]
    assert uids("--since", "1h") == uids("--since", "2020-01-01") == uids()
    assert uids("--since", "2100-01-01T00:00") == []
    assert "no mailbox" in keeping.fails("undelete", "joe", "--mailbox", "Nowhere")
    assert "neither a date" in keeping.fails("undelete", "joe", "--since", "yesterday")
    assert "no set of UIDs" in keeping.fails("undelete", "joe", "--mailbox", "Work", "--uid", "x")
    assert "--mailbox" in keeping.fails("undelete", "joe", "--uid", "1")
    assert "no user" in keeping.fails("undelete", "nobody")


def test_a_deleted_mailbox_is_made_again(keeping: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    account = keeping.account()
    account.create("Work/2025")
    deliver(account, "Work/2025", NewMessage(content(1), 1, 5, (b"blue",)), NewMessage(content(2), 1))
    expunge(account, "Work/2025", 2)
    keeping.ok("mailbox", "delete", "joe", "Work/2025", "--yes")
    keeping.ok("mailbox", "create", "joe", "Empty")
    keeping.ok("mailbox", "delete", "joe", "Empty", "--yes")
    assert "no problem" in keeping.ok("check")
    assert keeping.json("quota", "show", "joe")[0]["used_messages"] == 0
    found = keeping.json("undelete", "joe", "--list")
    assert [(lost["mailbox"], lost["mailbox_deleted"], lost["uid"]) for lost in found] == [
        ("Work/2025", True, 1), ("Work/2025", True, 2)
    ]  # fmt: skip
    keeping.ok("undelete", "joe", "--mailbox", "Work/2025", "--yes")
    assert contents(account, "Work/2025") == {1: content(1), 2: content(2)}
    assert keeping.ok("undelete", "joe", "--yes") == "nothing to bring back\n"
    (kept,) = account.path.glob("deleted-*")  # an empty one is not kept
    assert '"Work/2025"' in keeping.ok("dump", str(kept / "deleted"))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 5)
    keeping.ok("upkeep", "joe")
    assert kept.exists(), "a clock that is set back takes nothing away"
    monkeypatch.undo()
    monkeypatch.setattr(time, "time", lambda: now() + 7.5 * DAY_S)
    keeping.ok("upkeep", "joe")
    assert not list(account.path.glob("deleted-*"))
    assert "no problem" in keeping.ok("check")


def test_nothing_is_retained_unless_it_is_asked_for(admin: Admin) -> None:
    admin.add("joe")
    account = admin.account()
    account.create("Work")
    deliver(account, "Work", NewMessage(content(1), 1))
    admin.ok("mailbox", "delete", "joe", "Work", "--yes")
    deliver(account, "INBOX", NewMessage(content(1), 1), NewMessage(content(2), 1))
    expunge(account, "INBOX", 1)
    admin.ok("compact", "joe")
    assert admin.json("undelete", "joe", "--list") == []


def test_dump_shows_what_is_retained(keeping: Admin) -> None:
    account = keeping.account()
    deliver(account, "INBOX", *make_messages(3))
    expunge(account, "INBOX", 2)
    opened = account.open("INBOX")
    opened.checkpoint()
    text = keeping.ok("dump", str(opened.path / f"index.{opened.journal.info.generation}"))
    opened.release()
    (line,) = [line for line in text.splitlines() if "RetainedEntry" in line]
    assert " uid=2 " in line
    assert "RetainedDay" in text


def test_compact_can_be_told_to_keep_nothing(keeping: Admin) -> None:
    account = keeping.account()
    deliver(account, "INBOX", *make_messages(3))
    expunge(account, "INBOX", 1, 2)
    assert keeping.ok("compact", "joe") == "nothing to give back\n"
    assert len(keeping.json("undelete", "joe", "--list")) == 2
    assert "given back" in keeping.ok("compact", "joe", "--retained")
    assert keeping.json("undelete", "joe", "--list") == []
    assert "no problem" in keeping.ok("check")


def test_upkeep_expunges_what_is_old(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(admin, "retain-expunged 7", r"auto-expunge \trash 30", "auto-expunge News 3")
    admin.add("joe")
    account = admin.account()
    account.furnish()
    account.create("News")
    now = int(time.time())
    for mailbox in ("INBOX", "Trash", "News"):
        days = (40, 31, 29, 4, 2)
        old = [NewMessage(content(day), 1, save_date=now - day * DAY_S) for day in days]
        deliver(account, mailbox, *old)
    rules = {box["name"]: box["auto_expunge_days"] for box in admin.json("mailbox", "list", "joe")}
    assert (rules["Trash"], rules["News"], rules["INBOX"]) == (30, 3, None)
    done = {box["name"]: box["expunged"] for box in admin.json("upkeep")}
    assert done["user/joe/Trash"] == 2
    assert done["user/joe/News"] == 4
    assert sum(done.values()) == 6
    assert contents(account, "INBOX").keys() == {1, 2, 3, 4, 5}
    assert contents(account, "Trash").keys() == {3, 4, 5}
    assert admin.ok("upkeep", "joe") == ""
    lost = admin.json("undelete", "joe", "--list", "--mailbox", "Trash")
    assert [message["uid"] for message in lost] == [1, 2], "the user may not have seen it coming"
    assert "no user" in admin.fails("upkeep", "nobody")


def test_one_mailbox_of_one_user_has_days_of_its_own(admin: Admin, tmp_path: Path) -> None:
    configure(admin, r"auto-expunge \Trash 30")
    now = int(time.time())
    for user in ("joe", "ann"):
        admin.add(user)
        account = admin.account(user)
        account.furnish()
        for mailbox in ("INBOX", "Trash", "Junk"):
            deliver(
                account,
                mailbox,
                *(NewMessage(content(day), 1, save_date=now - day * DAY_S) for day in (40, 9, 5)),
            )
    joe, ann = admin.account(), admin.account("ann")
    assert admin.ok("mailbox", "days", "joe", r"\trash", "7") == "messages stay in Trash 7 days\n"
    assert admin.json("mailbox", "days", "user/joe/INBOX", "8") == {
        "name": "user/joe/INBOX", "auto_expunge_days": 8, "auto_expunge_own": True,
    }  # fmt: skip
    assert admin.ok("mailbox", "days", "ann", "Trash", "forever") == "messages stay in Trash for ever\n"
    admin.ok("mailbox", "rename", "joe", "Trash", "Bin")
    shown = {box["name"]: box["auto_expunge_days"] for box in admin.json("mailbox", "list", "joe")}
    assert (shown["INBOX"], shown["Bin"], shown["Junk"]) == (8, 7, None)
    admin.ok("upkeep")
    assert [len(contents(joe, name)) for name in ("INBOX", "Bin", "Junk")] == [1, 1, 3]
    assert [len(contents(ann, name)) for name in ("INBOX", "Trash", "Junk")] == [3, 3, 3]
    admin.ok("backup", str(tmp_path / "b"))
    admin.ok("user", "remove", "joe", "--yes")
    admin.ok("restore", str(tmp_path / "b"), "joe")
    assert admin.account().entry("Bin").days == 7
    assert admin.ok("mailbox", "days", "joe", "Bin", "default") == "messages stay in Bin 30 days\n"
    assert admin.json("mailbox", "days", "joe", "INBOX", "default")["auto_expunge_days"] is None
    for word in ("0", "-1", "x", "99999999"):
        assert "no number of days" in admin.fails("mailbox", "days", "joe", "Bin", "--", word)
    assert "no mailbox user/joe/Nowhere" in admin.fails("mailbox", "days", "joe", "Nowhere", "3")
    admin.ok("mailbox", "delete", "ann", "Junk", "--yes")
    assert r"no mailbox for \Junk yet" in admin.fails("mailbox", "days", "ann", r"\Junk", "3")
    assert "no problem" in admin.ok("check")


def test_days_of_ones_own_hold_when_a_mailbox_is_opened_without_any_rule(admin: Admin) -> None:
    admin.add("joe")
    deliver(admin.account(), "INBOX", NewMessage(content(1), 1, save_date=1), NewMessage(content(2), 1))
    admin.ok("mailbox", "days", "joe", "INBOX", "3")
    record = Accounts(admin.settings.db_path).find("joe")
    assert record is not None
    store = Store.of(admin.settings, expires=True)
    opened = store.account(record).open("INBOX")
    assert opened.columns.uid[opened.index.live_rows()].tolist() == [2]
    opened.release()
    store.close()


def test_bad_rules_are_refused(admin: Admin, tmp_path: Path) -> None:
    configure(admin, r"auto-expunge \Rubbish 30", "auto-expunge Trash", "auto-expunge Junk 0")
    output = admin.fails("upkeep")
    assert r"'\\Rubbish' is none of" in output or r"\Rubbish" in output
    assert "takes a mailbox or a special use and a number of days" in output
    assert "'0' is not a number of days" in output
