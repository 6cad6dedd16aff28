import os
import shutil
from pathlib import Path

import pytest

from mstore.accounts import Accounts
from mstore.store import namestate
from mstore.store.account import Account
from mstore.store.namestate import MailboxEntry
from mstore.store.store import Store
from tests.unit.cli.conftest import Admin
from tests.unit.cli.test_mailbox import deliver


@pytest.fixture
def account(admin: Admin) -> Account:
    admin.add("joe")
    admin.ok("mailbox", "create", "joe", "a/b")
    for mailbox in ("INBOX", "a", "a/b"):
        deliver(admin, "joe", mailbox)
    record = Accounts(admin.settings.db_path).find("joe")
    assert record is not None
    return Store(admin.settings.mailstores).account(record)


def problems(admin: Admin, *words: str) -> str:
    result = admin.run("check", *words)
    assert result.exit_code == 1, result.output
    return result.output


def test_a_sound_store_has_no_problems(admin: Admin, account: Account) -> None:
    assert admin.ok("check") == "1 account checked, no problems\n"
    nothing = {"problems": [], "left": [], "no_directory_yet": []}
    assert admin.json("check", "joe", "--quick") == {"accounts": 1} | nothing


def test_damage_to_a_message_is_found(admin: Admin, account: Account) -> None:
    path = next((account.path / account.entry("a/b").id).glob("messages.*"))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert "(a/b)" in problems(admin)
    assert "(a/b)" in problems(admin, "joe")
    assert admin.json("check", "--quick")["problems"] == []


def test_a_damaged_catalog_is_found(admin: Admin, account: Account) -> None:
    path = account.path / "catalog"
    whole = path.read_bytes()
    path.write_bytes(whole + b"torn")
    output = admin.ok("check")
    assert "4 bytes behind the last valid group (the next change deals with it)" in output
    assert output.endswith("1 account checked, no problems\n")
    left = admin.json("check")["left"]
    assert [found["text"] for found in left] == ["4 bytes behind the last valid group"]
    path.write_bytes(whole[:40])
    assert problems(admin) == f"{path}: the catalog is cut off\n1 account checked, 1 problem\n"
    path.unlink()
    assert problems(admin) == f"{path}: the account has no catalog\n1 account checked, 1 problem\n"


def test_damage_in_the_middle_of_a_catalog_is_nothing_that_the_next_change_deals_with(
    admin: Admin, account: Account
) -> None:
    path = account.path / "catalog"
    data = bytearray(path.read_bytes())
    data[data.index(b"INBOX")] ^= 1
    path.write_bytes(data)
    output = problems(admin)
    assert "catalog: damaged at byte " in output
    assert "behind the last valid group" not in output
    assert "damaged in the middle" in admin.fails("mailbox", "create", "joe", "c")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_what_may_not_be_read_is_a_problem_of_its_mailbox_alone(admin: Admin, account: Account) -> None:
    path = account.path / account.entry("a/b").id
    path.chmod(0)
    try:
        output = problems(admin)
        refusal = admin.fails("compact", "joe", "a/b")
    finally:
        path.chmod(0o700)
    assert output == f"{path}: (a/b) lock cannot be read: Permission denied\n1 account checked, 1 problem\n"
    assert refusal == "user/joe/a/b: cannot look at lock: Permission denied\n"


def test_a_journal_that_is_gone_is_a_problem_of_its_mailbox_alone(admin: Admin, account: Account) -> None:
    path = account.path / account.entry("a/b").id
    mailbox = account.open("a/b")
    mailbox.checkpoint()
    mailbox.release()
    (path / "journal.2").unlink()
    output = problems(admin)
    assert output == f"{path}: (a/b) journal.2 is missing\n1 account checked, 1 problem\n"


def test_directories_and_names_must_agree(admin: Admin, account: Account) -> None:
    shutil.copytree(account.path / account.entry("a").id, account.path / ("e" * 16))
    (account.path / "core").touch()
    (account.path / f"trash-{'d' * 16}").mkdir()
    shutil.rmtree(account.path / account.entry("a/b").id)
    output = problems(admin)
    assert f"{'e' * 16}: no name leads to this mailbox" in output
    assert "core: does not belong here" in output
    assert "a removal was interrupted" in output
    assert "the directory of 'a/b' is missing" in output
    assert "3 problems" in output


def test_an_interrupted_delete_is_found(
    admin: Admin, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Account, "_sweep", lambda self: None)
    account.delete("a/b")
    assert "not yet removed" in admin.ok("check")


def test_what_a_writer_that_died_left_in_a_journal_is_not_wrong(admin: Admin, account: Account) -> None:
    directory = account.path / account.entry("a").id
    journal = directory / "journal.1"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[64:100])
    assert "(a) journal.1 is torn or pending" in admin.ok("check")
    journal.write_bytes(whole)
    deliver(admin, "joe", "a")
    both = journal.read_bytes()
    journal.write_bytes(both[: len(whole)])
    assert "(a) a whole group of frames is unpublished" in admin.ok("check")
    journal.write_bytes(both[:80] + b"damage" + both[86:])
    assert "(a) journal.1 is torn or pending" in problems(admin)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: [namestate.name_removed("INBOX", a.id)], "there is no INBOX"),
        (lambda a: [namestate.name_removed("a")], "is there without 'a'"),
        (lambda a: [namestate.name_set(MailboxEntry("x", namestate.NO_MAILBOX, 0, True))], "nothing beneath"),
        (lambda a: [namestate.name_set(MailboxEntry("a/c", a.id, a.uid_validity))], "2 names lead to"),
        (lambda a: [namestate.name_set(MailboxEntry("a", a.id, a.uid_validity + 99))], "UIDVALIDITY is"),
        (lambda a: [namestate.name_set(MailboxEntry("inbox/c", a.id, a.uid_validity))], "canonical form"),
        (lambda a: [namestate.name_set(MailboxEntry("a//c", a.id, a.uid_validity))], "cannot be"),
    ],
)
def test_names_keep_their_rules(admin: Admin, account: Account, change: object, reason: str) -> None:
    entry = account.entry("a")
    with account._changing():
        account._catalog.commit(change(entry))  # type: ignore[operator]
    assert reason in problems(admin)


def test_directories_without_an_account_are_found(admin: Admin, account: Account) -> None:
    mail = account.path.parent.parent
    (mail / "ff").mkdir(exist_ok=True)
    shutil.copytree(account.path, mail / "ff" / ("f" * 16))
    assert "no account has this directory" in problems(admin)
    assert admin.ok("check", "joe") == "1 account checked, no problems\n"


def test_a_missing_mailstore_and_a_damaged_database_are_found(admin: Admin, account: Account) -> None:
    shutil.rmtree(admin.settings.mailstores["second"])
    assert "second: the directory of mailstore second is missing" in problems(admin)
    path = admin.settings.db_path / "passwords" / "passwords.db"
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    assert str(path) in problems(admin)


def test_an_account_that_was_never_used_is_no_problem(admin: Admin) -> None:
    Accounts(admin.settings.db_path).add("new", "main")
    assert admin.ok("check") == "no directory yet: new\nno accounts checked, no problems\n"
    for number in range(11):
        Accounts(admin.settings.db_path).add(f"x{number:02}", "main")
    first, _ = admin.ok("check").splitlines()
    assert first.startswith("no directory yet: new, x00, ") and first.endswith(", x08 and 2 more")
    found = admin.json("check")
    assert (found["problems"], len(found["no_directory_yet"])) == ([], 12)


def test_a_directory_that_was_there_and_is_gone_is_a_problem(admin: Admin, account: Account) -> None:
    admin.ok("acl", "set", "joe", "a", "anyone", "lr")
    shutil.rmtree(account.path)
    text = "the directory of joe is gone (accounts.db says that it shares mailboxes)"
    assert f"{account.path}: {text}" in problems(admin)
    target = "main" if admin.add("ann")["mailstore"] == "second" else "second"
    admin.ok("mailbox", "create", "ann", "b")
    admin.ok("user", "move", "ann", target)
    (gone,) = admin.settings.mailstores[target].glob("??/" + "[0-9a-f]" * 16)
    shutil.rmtree(gone)
    assert f"{gone}: the directory of ann is gone (" in problems(admin, "ann")


def test_what_is_torn_is_told_once(admin: Admin, account: Account) -> None:
    mailbox = account.open("a")
    mailbox.checkpoint()
    deliver(admin, "joe", "a")
    mailbox.release()
    with (account.path / account.entry("a").id / "journal.2").open("ab") as file:
        file.write(b"torn")
    assert admin.ok("check").count("torn or pending") == 1


def test_check_changes_nothing(admin: Admin, account: Account) -> None:
    def snapshot() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in account.path.rglob("*") if path.is_file()}

    before = snapshot()
    admin.ok("check")
    assert snapshot() == before


def test_a_grant_that_no_listing_shows_is_a_problem(admin: Admin) -> None:
    record = admin.add("joe")
    admin.ok("acl", "set", "joe", "INBOX", "anyone", "lr")
    assert "no problems" in admin.ok("check")
    accounts = Accounts(admin.settings.db_path)
    accounts.note_grants(record["id"], [], True)
    assert "shares with anyone" in admin.fails("check")
    admin.ok("acl", "set", "joe", "INBOX", "anyone", "lr")
    assert "no problems" in admin.ok("check")
    accounts.note_grants(record["id"], ["anonymous", "anyone"], True)
    assert "no problems" in admin.ok("check", "joe")


def test_lists_that_name_who_is_gone_are_no_problem(admin: Admin, account: Account) -> None:
    admin.add("ann")
    admin.ok("group", "add", "staff")
    admin.ok("acl", "set", "joe", "a", "group:staff", "lr")
    admin.ok("acl", "set", "joe", "a", "ann", "lr")
    admin.ok("group", "remove", "staff", "--yes")
    admin.ok("user", "remove", "ann", "--yes")
    assert admin.ok("check") == "1 account checked, no problems\n"
