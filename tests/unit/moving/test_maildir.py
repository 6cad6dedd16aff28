import os
from pathlib import Path

import pytest

from mstore.base.errors import Invalid
from mstore.moving.foreign import ForeignMessage
from mstore.moving.maildir import Maildir

MESSAGE = b"Subject: one\n\nbody\n"


def everything(key: str, uid: int | None) -> bool:
    return True


def make(path: Path, sub: str, name: str, content: bytes = MESSAGE, date: int = 1_000_000_000) -> None:
    for each in ("cur", "new", "tmp"):
        (path / each).mkdir(parents=True, exist_ok=True)
    (path / sub / name).write_bytes(content)
    os.utime(path / sub / name, (date, date))


def read(path: Path, name: str = "INBOX") -> list[ForeignMessage]:
    found = {mailbox.name: mailbox for mailbox in Maildir(path).mailboxes()}
    return list(found[name].messages(everything))


def test_flags_keywords_dates_and_line_ends(tmp_path: Path) -> None:
    make(tmp_path, "cur", "1.a.host:2,FRSTDPab", date=1_234_567_890)
    make(tmp_path, "new", "2.b.host", b"Subject: x\r\n\r\ncrlf\r\n")
    (tmp_path / "dovecot-keywords").write_text("0 $Label1\n1 work\n")
    first, second = read(tmp_path)
    assert set(first.flags) == {
        rb"\Flagged", rb"\Answered", rb"\Seen", rb"\Deleted", rb"\Draft", b"$Forwarded", b"$Label1", b"work",
    }  # fmt: skip
    assert first.date == 1_234_567_890 and first.uid is None
    assert first.read() == b"Subject: one\r\n\r\nbody\r\n"
    assert second.flags == () and second.read() == b"Subject: x\r\n\r\ncrlf\r\n"


@pytest.mark.parametrize(
    "file, text",
    [
        ("dovecot-uidlist", "3 V1257774532 N40 Gabc\n39 W20 :1.a.host,S=19\n7 :2.b.host\n"),
        ("dovecot-uidlist", "1 1257774532 40\n39 1.a.host,S=19\n7 2.b.host\n"),
        ("courierimapuiddb", "1 1257774532 40\n39 1.a.host,S=19\n7 2.b.host\n"),
    ],
)
def test_uids_of_dovecot_and_courier(tmp_path: Path, file: str, text: str) -> None:
    make(tmp_path, "cur", "1.a.host,S=19:2,S")
    make(tmp_path, "cur", "2.b.host:2,")
    make(tmp_path, "new", "0.new.host")
    (tmp_path / file).write_text(text)
    [inbox] = Maildir(tmp_path).mailboxes()
    assert (inbox.uid_validity, inbox.uid_next, inbox.count) == (1257774532, 40, 3)
    assert [(message.uid, message.key) for message in inbox.messages(everything)] == [
        (7, "2.b.host"), (39, "1.a.host,S=19"), (None, "0.new.host"),
    ]  # fmt: skip


def test_a_damaged_list_of_uids_counts_as_none(tmp_path: Path) -> None:
    make(tmp_path, "cur", "1.a.host:2,S")
    (tmp_path / "dovecot-uidlist").write_text("3 Vxyz\n")
    [inbox] = Maildir(tmp_path).mailboxes()
    assert inbox.uid_validity is None and [message.uid for message in inbox.messages(everything)] == [None]


def test_names_of_all_layouts(tmp_path: Path) -> None:
    make(tmp_path, "cur", "1.a.host:2,")
    for name in (".Sent", ".Work.2024", ".Entw&APw-rfe", ".Grün"):
        make(tmp_path / name, "cur", "1.a.host:2,")
    make(tmp_path / "Lists" / "python", "cur", "1.a.host:2,")
    assert [mailbox.name for mailbox in Maildir(tmp_path).mailboxes()] == [
        "INBOX", "Entwürfe", "Grün", "Lists/python", "Sent", "Work/2024",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "file, text",
    [
        ("subscriptions", "Sent\nWork.2024\nEntw&APw-rfe\n"),
        ("subscriptions", "V\t2\n\nSent\nWork\t2024\nEntw&APw-rfe\n"),
        ("courierimapsubscribed", "INBOX.Sent\nINBOX.Work.2024\nINBOX.Entw&APw-rfe\n"),
    ],
)
def test_subscriptions(tmp_path: Path, file: str, text: str) -> None:
    make(tmp_path, "cur", "1.a.host:2,")
    (tmp_path / file).write_text(text)
    assert Maildir(tmp_path).subscriptions() == ["Sent", "Work/2024", "Entwürfe"]


def test_a_message_that_its_server_renames_is_found_again(tmp_path: Path) -> None:
    make(tmp_path, "new", "1.a.host")
    [message] = read(tmp_path)
    os.rename(tmp_path / "new" / "1.a.host", tmp_path / "cur" / "1.a.host:2,S")
    assert message.read() == b"Subject: one\r\n\r\nbody\r\n"


def test_what_is_no_maildir_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no directory cur"):
        Maildir(tmp_path)
