"""msadm import and export, on a message store of this process."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from mstore.base import config
from mstore.base.options import Settings
from mstore.cli.place import open_site
from mstore.files.layout import TYPE_APPENDED
from mstore.moving.leaving import messages_of
from mstore.store.transaction import Transaction
from tests.unit.cli.conftest import Admin

MESSAGE = b"From: a@example.org\nSubject: number %d\n\nbody\nFrom here on\n"


def make_maildir(path: Path, count: int = 3, uid_validity: int = 1257774532) -> None:
    for sub in ("cur", "new", "tmp"):
        (path / sub).mkdir(parents=True)
    lines = [f"3 V{uid_validity} N50 Gabc"]
    for number in range(1, count + 1):
        file = path / "cur" / f"{number}.a.host:2,{'S' * (number % 2)}{'a' if number == 2 else ''}"
        file.write_bytes(MESSAGE % number)
        os.utime(file, (1_000_000_000 + number, 1_000_000_000 + number))
        lines.append(f"{number * 10} :{number}.a.host")
    (path / "dovecot-uidlist").write_text("\n".join(lines) + "\n")
    (path / "dovecot-keywords").write_text("0 work\n")


def add(path: Path, name: str, content: bytes) -> None:
    (path / "new" / name).write_bytes(content)


def summary(admin: Admin, user: str) -> dict[str, Any]:
    """All there is in an account, as far as an export keeps it."""
    found: dict[str, Any] = {}
    with open_site(admin.config) as (_, access):
        account = access.place(f"user/{user}/INBOX").account
        for name, entry in account.mailboxes().items():
            mailbox = account.open_entry(entry)
            messages = [(m.uid, sorted(m.flags), m.date, m.content) for m in messages_of(mailbox)]
            found[name] = (mailbox.uid_validity if messages else 0, messages)
            mailbox.release()
        found["subscribed"] = sorted(account.subscriptions())
    return found


def test_a_maildir_with_its_uids_flags_and_dates(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "M")
    make_maildir(tmp_path / "M" / ".Work.2024", 1, 77)
    make_maildir(tmp_path / "M" / ".twin", 1, 77)
    (tmp_path / "M" / "subscriptions").write_text("Work.2024\nmissing\n")
    report = admin.json("import", "maildir", "joe", str(tmp_path / "M"))
    assert [(m["name"], m["messages"], m["keeps_uids"]) for m in report["mailboxes"]] == [
        ("INBOX", 3, True), ("Work/2024", 1, True), ("twin", 1, False),
    ]  # fmt: skip
    assert report["subscribed"] == ["Work/2024"] and report["failure"] is None
    validity, messages = summary(admin, "joe")["INBOX"]
    assert validity == 1257774532
    assert [(uid, flags, date) for uid, flags, date, _ in messages] == [
        (10, [rb"\Seen"], 1_000_000_001), (20, [b"work"], 1_000_000_002), (30, [rb"\Seen"], 1_000_000_003),
    ]  # fmt: skip
    assert messages[0][3] == (MESSAGE % 1).replace(b"\n", b"\r\n")
    assert admin.run("check").exit_code == 0


def test_nothing_of_an_import_is_left_when_the_account_is_removed(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "M")
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    run = admin.path / "ms" / "run"
    assert list(run.glob("import-*.done"))
    admin.ok("user", "remove", "joe", "--yes")
    assert not list(run.glob("import-*"))


def test_again_brings_only_what_is_new(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "M")
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    add(tmp_path / "M", "9.new.host", b"Subject: new\n\nx\n")
    assert "1 messages imported, 3 there before" in admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    assert [uid for uid, *_ in summary(admin, "joe")["INBOX"][1]] == [10, 20, 30, 50]
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    assert len(summary(admin, "joe")["INBOX"][1]) == 4


def test_what_was_expunged_since_does_not_come_back_nor_twice_without_the_list(
    admin: Admin, tmp_path: Path
) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "M")
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    [done] = admin.settings.run_path.glob("import-*.done")
    _expunge(admin, "joe", 20)
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    assert [uid for uid, *_ in summary(admin, "joe")["INBOX"][1]] == [10, 30]
    done.unlink()
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    assert [uid for uid, *_ in summary(admin, "joe")["INBOX"][1]] == [10, 30, 50]  # 20 is new again


def _expunge(admin: Admin, user: str, uid: int) -> None:
    with open_site(admin.config) as (_, access):
        mailbox = access.place(f"user/{user}/INBOX").account.open("INBOX")
        with mailbox.transaction() as tx:
            rows = mailbox.index.live_rows()
            tx.expunge(rows[mailbox.columns.full.uid[rows] == uid])
        mailbox.release()


def test_a_mailbox_in_use_keeps_its_own_uids(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "first", 1)
    make_maildir(tmp_path / "second", 2)
    (tmp_path / "second" / "dovecot-uidlist").write_text("3 V7 N9\n5 :1.a.host\n6 :2.a.host\n")
    admin.ok("import", "maildir", "joe", str(tmp_path / "first"))
    (tmp_path / "second" / "cur" / "1.a.host:2,S").rename(tmp_path / "second" / "cur" / "7.a.host:2,S")
    output = admin.ok("import", "maildir", "joe", str(tmp_path / "second"))
    assert "INBOX: 2 messages imported, new UIDs" in output


def test_a_dry_run_changes_nothing(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "M")
    before = summary(admin, "joe")
    assert "INBOX: 3 messages to import" in admin.ok(
        "import", "maildir", "joe", str(tmp_path / "M"), "--dry-run"
    )
    assert summary(admin, "joe") == before


def test_below_a_mailbox(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "M")
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"), "--into", "Old")
    assert len(summary(admin, "joe")["Old/INBOX"][1]) == 3


def test_over_quota_says_so_and_goes_on_later(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "M", 3)
    admin.ok("quota", "set", "joe", "--messages", "2")
    result = admin.run("import", "maildir", "joe", str(tmp_path / "M"))
    assert result.exit_code == 1 and "goes on from here" in result.output
    admin.ok("quota", "set", "joe", "--messages", "none")
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    assert [uid for uid, *_ in summary(admin, "joe")["INBOX"][1]] == [10, 20, 30]


def test_an_mbox(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    line = b"From a Fri Feb 13 23:31:30 2009\n"
    text = line + b"X-IMAPbase: 77 9\nX-UID: 9\nStatus: RO\n" + MESSAGE % 1 + b"\n" + line + MESSAGE % 2
    (tmp_path / "box").write_bytes(text)
    admin.ok("import", "mbox", "joe", str(tmp_path / "box"), "--mailbox", "Old/2009")
    validity, messages = summary(admin, "joe")["Old/2009"]
    assert (validity, [uid for uid, *_ in messages]) == (77, [9, 10])
    assert re.search("there is no user", admin.fails("import", "mbox", "ann", str(tmp_path / "box")))


def test_what_goes_out_comes_in_as_it_was(admin: Admin, tmp_path: Path) -> None:
    for user in ("joe", "ann", "bob"):
        admin.add(user)
    make_maildir(tmp_path / "M")
    for number, name in enumerate((".Work.2024", ".Work", ".Entw&APw-rfe", ".a&AC4-b"), 1):
        make_maildir(tmp_path / "M" / name, 2, number)
    (tmp_path / "M" / "subscriptions").write_text("Work.2024\nEntw&APw-rfe\n")
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    before = summary(admin, "joe")
    assert {"Work/2024", "Entwürfe", "a.b"} <= set(before)
    for form, user in (("maildir", "ann"), ("mbox", "bob")):
        out = tmp_path / form
        admin.ok("export", form, "joe", str(out))
        admin.ok("export", form, "joe", str(out))
        admin.ok("import", form, user, str(out))
        assert summary(admin, user) == before, form
    assert admin.run("check").exit_code == 0


def test_an_empty_file_of_a_password_and_nobody_there(admin: Admin, tmp_path: Path) -> None:
    admin.add("joe")
    (tmp_path / "empty").write_bytes(b"")
    command = ("import", "imap", "joe", "localhost:1", "--security", "none")
    assert "localhost:1" in admin.fails(*command, "--password-file", str(tmp_path / "empty"))


def test_the_configuration_is_read_once(
    admin: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "M")
    read: list[Path] = []

    def load(path: Path) -> Settings:
        read.append(path)
        return real(path)

    real = config.load
    monkeypatch.setattr(config, "load", load)
    admin.ok("import", "maildir", "joe", str(tmp_path / "M"))
    admin.ok("undelete", "joe", "--list")
    admin.ok("rebuild", "joe", "INBOX")
    assert read == [admin.config] * 3


def test_what_an_import_has_written_that_was_killed_is_not_brought_again(
    admin: Admin, tmp_path: Path
) -> None:
    admin.add("joe")
    make_maildir(tmp_path / "M")
    pid = os.fork()
    if pid == 0:  # It dies with the messages on disk, just before the journal tells of them.
        write = Transaction._write

        def die(tx: Transaction, records: list[Any], modseq: int, sync_first: bool) -> None:
            if any(record[0] == TYPE_APPENDED for record in records):
                os._exit(9)
            write(tx, records, modseq, sync_first)

        try:
            Transaction._write = die  # type: ignore[method-assign]
            admin.run("import", "maildir", "joe", str(tmp_path / "M"))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    [report] = admin.json("import", "maildir", "joe", str(tmp_path / "M"))["mailboxes"]
    assert (report["messages"], report["already"], report["problems"]) == (0, 3, [])
    validity, messages = summary(admin, "joe")["INBOX"]
    assert validity == 1257774532 and [message[0] for message in messages] == [10, 20, 30]
    assert admin.run("check").exit_code == 0
