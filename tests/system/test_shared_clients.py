"""Two clients of the standard library over one shared mailbox: rights, \\Seen of one's own, IDLE, quotas."""

from __future__ import annotations

import imaplib
import time
from collections.abc import Callable

from tests.kit.instance import PASSWORD, Instance

MESSAGE = b"Subject: a bug\r\n\r\nIt bites.\r\n"


def log_in(store: Instance, user: str) -> imaplib.IMAP4:
    client = imaplib.IMAP4(*store.imap_address, timeout=30)
    assert client.login(user, PASSWORD)[0] == "OK"
    return client


def flags_of(client: imaplib.IMAP4, number: str) -> set[bytes]:
    (line,) = client.fetch(number, "(FLAGS)")[1]
    assert isinstance(line, bytes)
    return set(imaplib.ParseFlags(line))


def wait_for(client: imaplib.IMAP4, ending: bytes) -> bytes:
    """The next line with this in it, of those that come in IDLE."""
    end = time.monotonic() + 20
    while ending not in (line := client.readline()):
        assert line and time.monotonic() < end, f"{ending!r} has not come"
    return line


def test_two_clients_share_a_mailbox_with_rights_given_by_msadm(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann", "boss"], options=["admin-users boss"], workers=2)
    store.start()
    store.msadm("mailbox", "create", "shared/bugs")
    store.msadm("acl", "set", "shared/bugs", "joe", "lrswite")
    store.msadm("acl", "set", "shared/bugs", "ann", "lrsw")
    joe, ann = log_in(store, "joe"), log_in(store, "ann")
    for capability in ("ACL", "RIGHTS=TEXK", "NAMESPACE", "QUOTA", "QUOTA=RES-STORAGE", "QUOTASET"):
        assert capability in {name.upper() for name in joe.capabilities}
    assert joe.namespace()[1] == [b'(("" "/")) (("user/" "/")) (("shared/" "/"))']
    assert joe.append("shared/bugs", "", "", MESSAGE)[0] == "OK"
    assert joe.append("shared/bugs", "", "", MESSAGE)[0] == "OK"
    assert ann.append("shared/bugs", "", "", MESSAGE) == (
        "NO",
        [b"[NOPERM] you have no right 'i' to shared/bugs"],
    )
    assert ann.myrights("shared/bugs")[1] == [b"shared/bugs lrsw"]
    assert joe.select("shared/bugs") == ("OK", [b"2"])
    assert "READ-WRITE" in joe.untagged_responses
    assert ann.select("shared/bugs")[1] == [b"2"]

    # \Seen is each one's own
    assert ann.fetch("1", "(BODY[TEXT])")[0] == "OK"
    assert b"\\Seen" in flags_of(ann, "1") and b"\\Seen" not in flags_of(joe, "1")
    assert joe.search(None, "UNSEEN")[1] == [b"1 2"] and ann.search(None, "UNSEEN")[1] == [b"2"]
    assert ann.store("1", "+FLAGS", "(\\Deleted)") == (
        "NO",
        [b"[NOPERM] you have no right to change these flags"],
    )
    assert ann.expunge()[0] == "NO"
    ann.logout()
    ann = log_in(store, "ann")
    ann.select("shared/bugs")
    assert b"\\Seen" in flags_of(ann, "1"), "it outlasts the session"

    # what the other does is told in IDLE, and what he reads is not
    ann.send(b"i1 IDLE\r\n")
    wait_for(ann, b"+ ")
    joe.fetch("2", "(BODY[TEXT])")
    joe.append("shared/bugs", "", "", MESSAGE)
    assert wait_for(ann, b"* ") == b"* 3 EXISTS\r\n"
    joe.noop()
    joe.store("2", "+FLAGS.SILENT", "(\\Flagged)")
    told = wait_for(ann, b"FETCH")
    assert b"\\Flagged" in told and b"\\Seen" not in told
    joe.store("3", "+FLAGS.SILENT", "(\\Deleted)")
    joe.expunge()
    wait_for(ann, b"* 3 EXPUNGE")

    # rights that are taken away are gone at once
    store.msadm("acl", "delete", "shared/bugs", "ann")
    joe.append("shared/bugs", "", "", MESSAGE)
    assert b"* BYE" in wait_for(ann, b"* ")
    ann.shutdown()
    ann = log_in(store, "ann")
    assert ann.myrights("shared/bugs") == ("NO", [b"[NONEXISTENT] there is no mailbox shared/bugs"])
    assert ann.myrights("shared/nothing") == ("NO", [b"[NONEXISTENT] there is no mailbox shared/nothing"])
    _quotas(store, ann)
    joe.logout()
    ann.logout()
    store.stop()


def _quotas(store: Instance, ann: imaplib.IMAP4) -> None:
    """A limit that an administrator sets over IMAP holds for a session that is there already."""
    boss = log_in(store, "boss")
    assert boss.setquota("user/ann", "(MESSAGE 1)") == ("OK", [b"user/ann (MESSAGE 0 1)"])
    assert ann.append("INBOX", "", "", MESSAGE)[0] == "OK"
    kind, text = ann.append("INBOX", "", "", MESSAGE)
    assert kind == "NO" and text[0].startswith(b"[OVERQUOTA]")
    assert ann.getquotaroot("INBOX")[0] == "NO"
    assert boss.getquota("user/ann")[1] == [b"user/ann (MESSAGE 1 1)"]
    boss.logout()
