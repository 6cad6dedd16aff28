from pathlib import Path

import pytest

from mstore.base.errors import Invalid
from mstore.moving.foreign import ForeignMailbox, ForeignMessage
from mstore.moving.mbox import Mbox

FROM = b"From joe@example.org Fri Feb 13 23:31:30 2009\n"


def everything(key: str, uid: int | None) -> bool:
    return True


def only(path: Path, text: bytes, name: str | None = None) -> ForeignMailbox:
    file = path / "box"
    file.write_bytes(text)
    [found] = Mbox(file, name).mailboxes()
    return found


def read(path: Path, text: bytes) -> list[ForeignMessage]:
    return list(only(path, text).messages(everything))


def test_messages_and_their_dates(tmp_path: Path) -> None:
    first, second = read(tmp_path, FROM + b"Subject: a\n\none\n\n" + FROM + b"Subject: b\n\ntwo\n")
    assert first.read() == b"Subject: a\r\n\r\none\r\n"
    assert second.read() == b"Subject: b\r\n\r\ntwo\r\n"
    assert first.date == 1234567890
    assert first.key != second.key


@pytest.mark.parametrize(
    "line, date",
    [
        (b"From a Fri Feb 13 23:31:30 2009", 1234567890),
        (b"From a Fri Feb 13 23:31 2009", 1234567860),
        (b"From a Fri Feb 13 23:31:30 2009 +0100", 1234564290),
        (b"From a Fri Feb 13 23:31:30 +0100 2009", 1234564290),
        (b"From MAILER-DAEMON Fri Feb 13 23:31:30 GMT 2009", 1234567890),
    ],
)
def test_dates_of_from_lines(tmp_path: Path, line: bytes, date: int) -> None:
    [message] = read(tmp_path, line + b"\nSubject: a\n\none\n")
    assert message.date == date


def test_lines_that_only_look_like_a_beginning(tmp_path: Path) -> None:
    body = b"Hello\n\nFrom here on nothing\nFrom x Fri Feb 13 23:31:30 2009\n>From the start\n>>From it\n"
    [message] = read(tmp_path, FROM + b"Subject: a\n\n" + body)
    assert message.read() == (
        b"Subject: a\r\n\r\nHello\r\n\r\nFrom here on nothing\r\nFrom x Fri Feb 13 23:31:30 2009\r\n"
        b"From the start\r\n>From it\r\n"
    )


def test_a_content_length_that_fits_is_believed(tmp_path: Path) -> None:
    body = b"one\n\n" + FROM + b">From as it is\n"
    head = b"Subject: a\nContent-Length: %d\n\n" % len(body)
    first, second = read(tmp_path, FROM + head + body + b"\n" + FROM + b"Subject: b\n\ntwo\n")
    assert first.read() == b"Subject: a\r\n\r\n" + body.replace(b"\n", b"\r\n")
    assert second.read() == b"Subject: b\r\n\r\ntwo\r\n"


def test_a_content_length_that_does_not_fit_is_not(tmp_path: Path) -> None:
    text = FROM + b"Subject: a\nContent-Length: 999999\n\none\n\n" + FROM + b"Subject: b\n\ntwo\n"
    first, second = read(tmp_path, text)
    assert (first.read(), second.read()) == (b"Subject: a\r\n\r\none\r\n", b"Subject: b\r\n\r\ntwo\r\n")


def test_what_programs_note_in_headers(tmp_path: Path) -> None:
    text = (
        FROM + b"Subject: a\nX-IMAPbase: 1257774532 00000041 work $Label1\nStatus: RO\nX-Status: AFDT\n"
        b"X-Keywords: work\n $Label1\nX-UID: 7\nX-Other: stays\n\none\n\n"
        + FROM + b"Subject: b\nX-UID: 41\nStatus: O\n\ntwo\n"
    )  # fmt: skip
    found = only(tmp_path, text)
    assert (found.uid_validity, found.uid_next, found.count) == (1257774532, 42, 2)
    first, second = found.messages(everything)
    assert first.read() == b"Subject: a\r\nX-Other: stays\r\n\r\none\r\n"
    assert first.flags == (
        rb"\Seen", rb"\Answered", rb"\Flagged", rb"\Deleted", rb"\Draft", b"work", b"$Label1"
    )  # fmt: skip
    assert (first.uid, second.uid, second.flags) == (7, 41, ())


def test_the_message_that_is_none_is_left_out(tmp_path: Path) -> None:
    pseudo = (
        b"From MAILER-DAEMON Fri Feb 13 23:31:30 2009\nFrom: Mail System Internal Data\n"
        b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1257774532 0000000003\n"
        b"Status: RO\n\nThis text is part of the internal format\n\n"
    )
    found = only(tmp_path, pseudo + FROM + b"Subject: a\n\none\n")
    assert (found.uid_validity, found.uid_next) == (1257774532, 4)
    assert [message.read() for message in found.messages(everything)] == [b"Subject: a\r\n\r\none\r\n"]


def test_the_key_stays_when_flags_change_and_tells_equal_messages_apart(tmp_path: Path) -> None:
    before = read(tmp_path, FROM + b"Subject: a\n\none\n\n" + FROM + b"Subject: a\n\none\n")
    after = read(tmp_path, FROM + b"Subject: a\nStatus: RO\n\none\n\n" + FROM + b"Subject: a\n\none\n")
    assert [message.key for message in before] == [message.key for message in after]
    assert before[0].key != before[1].key


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    for name in ("inbox", "lists/python", "Sent"):
        (tmp_path / name).write_bytes(FROM + b"Subject: a\n\none\n")
    (tmp_path / "notes.txt").write_text("no mail")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / ".subscriptions").write_text("Sent\nlists/python\n")
    source = Mbox(tmp_path)
    assert [(found.name, found.count) for found in source.mailboxes()] == [
        ("Sent", 1), ("empty", 0), ("INBOX", 1), ("lists/python", 1),
    ]  # fmt: skip
    assert source.subscriptions() == ["Sent", "lists/python"]


def test_what_is_no_mbox_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="does not begin with a From line"):
        only(tmp_path, b"hello\n")
    with pytest.raises(Invalid, match="no such file"):
        Mbox(tmp_path / "missing")
    with pytest.raises(Invalid, match="is a directory"):
        Mbox(tmp_path, "name")


def test_headers_of_mail_programs_are_taken_out_wherever_they_stand(tmp_path: Path) -> None:
    head = b"STATUS: RO\nX-Status: F\nSubject: a\n folded\nx-uid: 12\nX-Keywords:\n work\n $Label1\n\n"
    body = b"Status: R\n\n>Fro\n>From x\n> From\n\nContent-Length: 3\n"
    [message] = read(tmp_path, FROM + head + body)
    assert message.uid == 12
    assert message.flags == (rb"\Seen", rb"\Flagged", b"work", b"$Label1")
    assert message.read() == (b"Subject: a\n folded\n\n" + body.replace(b">From x", b"From x")).replace(
        b"\n", b"\r\n"
    )
    [bare] = read(tmp_path, FROM + b"Status: O\nX-UID: 3\n\nbody\n")
    assert (bare.uid, bare.read()) == (3, b"\r\nbody\r\n")


def test_what_is_not_wanted_is_asked_about_once_and_not_given(tmp_path: Path) -> None:
    asked: list[tuple[str, int | None]] = []

    def second(key: str, uid: int | None) -> bool:
        asked.append((key, uid))
        return uid == 2

    text = b"".join(FROM + b"X-UID: %d\nSubject: a\n\none\n\n" % uid for uid in (1, 2, 3))
    found = list(only(tmp_path, text).messages(second))
    assert [message.uid for message in found] == [2] and [uid for _, uid in asked] == [1, 2, 3]
    assert len({key for key, _ in asked}) == 3
