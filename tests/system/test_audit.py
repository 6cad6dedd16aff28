"""The story of messages through all daemons, as an administrator reads it in the logs."""

from __future__ import annotations

import os
import pwd
from typing import Any

from tests.kit import loglines
from tests.kit.instance import Instance

MESSAGE = b"From: a@example.org\r\nMessage-ID: <%d@example.org>\r\nSubject: x\r\n\r\nHello\r\n"
AUDIT = (
    "mail-delivered",
    "mail-appended",
    "mail-copied",
    "mail-moved",
    "mail-flagged",
    "mail-expunged",
    "mailbox-created",
    "mailbox-deleted",
    "mailbox-renamed",
    "mailbox-subscribed",
    "acl-changed",
)


def story(instance: Instance) -> list[dict[str, Any]]:
    return list(loglines.stories(instance.ms_path / "log", *AUDIT))


def brief(lines: list[dict[str, Any]], *fields: str) -> list[tuple[str, ...]]:
    return [tuple(line.get(field, "-") for field in ("event", *fields)) for line in lines]


def test_a_message_is_followed_from_its_delivery_to_its_end() -> None:
    with Instance(("joe", "ann"), ("audit-log all",)) as instance:
        for number in range(1, 6):
            instance.deliver("joe", MESSAGE % number)
        deliveries = list(loglines.stories(instance.ms_path / "log", "delivery"))
        delivered = story(instance)
        assert brief(delivered, "owner", "mailbox", "uids", "message_id", "to") == [
            ("mail-delivered", "joe", "INBOX", str(n), f"<{n}@example.org>", "joe") for n in range(1, 6)
        ]
        for line, audit in zip(deliveries, delivered, strict=True):
            same = ("id", "session", "sender", "to", "message_id")
            assert [line[field] for field in same] == [audit[field] for field in same]

        imap = instance.imap("joe")
        (session,) = {line["session"] for line in loglines.stories(instance.ms_path / "log", "login")}
        imap.command(b"CREATE Work/Old")
        imap.command(b"SUBSCRIBE Work/Old")
        imap.command(b"SELECT INBOX")
        imap.command(b"STORE 1:2 +FLAGS (\\Flagged $Later)")
        imap.command(b"COPY 2:3 Work")
        imap.command(b"MOVE 1,3 Work/Old")
        imap.command(b"UID STORE 2 +FLAGS.SILENT (\\Deleted)")
        imap.command(b"UID FETCH 4 BODY[]")
        imap.command(b"EXPUNGE")
        imap.command(b"RENAME Work/Old Gone")
        imap.command(b"SETACL Gone ann lrs")
        imap.command(b"DELETE Gone")
        imap.append(MESSAGE % 9, "Work")
        told = story(instance)[5:]
        for line in told:
            assert (line["user"], line["peer"], line["session"]) == ("joe", "127.0.0.1", session)
        shown = brief(told, "mailbox", "uids", "from_mailbox", "from_uids", "add", "new")
        assert [tuple(value for value in row if value != "-") for row in shown] == [
            ("mailbox-created", "Work"),
            ("mailbox-created", "Work/Old"),
            ("mailbox-subscribed", "Work/Old"),
            ("mail-flagged", "INBOX", "1:2", r"\Flagged $Later"),
            ("mail-copied", "Work", "1:2", "INBOX", "2:3"),
            ("mail-moved", "Work/Old", "1:2", "INBOX", "1,3"),
            ("mail-flagged", "INBOX", "2", r"\Deleted"),
            ("mail-flagged", "INBOX", "4", r"\Seen"),
            ("mail-expunged", "INBOX", "2"),
            ("mailbox-renamed", "Work/Old", "Gone"),
            ("acl-changed", "Gone"),
            ("mailbox-deleted", "Gone"),
            ("mail-appended", "Work", "3"),
        ]
        imap.close()

        before = len(story(instance))
        pop3 = instance.pop3("joe")
        pop3.command(b"DELE 1")
        pop3.command(b"DELE 2")
        pop3.command(b"QUIT")
        (line,) = story(instance)[before:]
        assert (line["daemon"], line["event"], line["user"]) == ("pop3d", "mail-expunged", "joe")
        assert (line["uids"], line["messages"], line["mailbox"]) == ("4:5", "2", "INBOX")
        logins = loglines.stories(instance.ms_path / "log", "login")
        assert line["session"] in {login["session"] for login in logins if login["daemon"] == "pop3d"}

        before = len(story(instance))
        instance.msadm("mailbox", "create", "ann", "Plans")
        instance.msadm("acl", "set", "ann", "Plans", "joe", "lr")
        (instance.path / "mbox").write_bytes(
            b"From x Thu Jan  1 00:00:00 2026\n" + (MESSAGE % 7).replace(b"\r\n", b"\n")
        )
        (instance.path / "mbox").chmod(0o644)
        instance.msadm("import", "mbox", "ann", str(instance.path / "mbox"), "--mailbox", "Plans")
        instance.msadm("mailbox", "delete", "ann", "Plans", "--yes")
        told = story(instance)[before:]
        me = pwd.getpwuid(os.getuid()).pw_name
        assert {(line["daemon"], line["via"], line["user"]) for line in told} == {("msadm", "msadm", me)}
        assert "mail-appended" in {line["event"] for line in told}
        assert brief(told, "owner")[0] == ("mailbox-created", "ann")
        assert brief(told, "mailbox")[-1] == ("mailbox-deleted", "Plans")
        assert (instance.ms_path / "log" / "msadm.log").stat().st_uid == instance.mail_path.stat().st_uid


def test_without_the_option_there_are_no_such_lines() -> None:
    with Instance(workers=1) as instance:
        instance.deliver("joe", MESSAGE % 1)
        imap = instance.imap("joe")
        imap.command(b"CREATE x")
        imap.command(b"SELECT INBOX")
        imap.command(b"MOVE 1 x")
        imap.close()
        assert story(instance) == []
        assert len(list(loglines.stories(instance.ms_path / "log", "delivery"))) == 1
