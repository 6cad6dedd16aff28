"""Mailboxes shared by an administrator with msadm and by users over IMAP, in real daemons."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kit.clients import Imap, WrongAnswer
from tests.kit.instance import PASSWORD, Instance

MESSAGE = b"Subject: a bug\r\n\r\nIt bites.\r\n"


def test_what_msadm_shares_is_there_for_running_sessions(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann", "boss"], options=["admin-users boss"], workers=2)
    store.start()
    ann, other = store.imap("ann"), store.imap("ann")
    assert b"shared/" not in ann.command(b'LIST "" "*"')
    lmtp = store.lmtp()
    with pytest.raises(WrongAnswer, match=r"550 5\.1\.1"):
        lmtp.deliver(["shared+bugs"], MESSAGE)
    lmtp.close()

    store.msadm("mailbox", "create", "shared/bugs")
    store.msadm("group", "add", "staff")
    store.msadm("acl", "set", "shared/bugs", "anyone", "p")
    store.msadm("acl", "set", "shared/bugs", "group:staff", "lrs")
    store.deliver("shared+bugs", MESSAGE)
    with pytest.raises(WrongAnswer):
        ann.select("shared/bugs")
    store.msadm("group", "join", "staff", "ann")
    for session in (ann, other):
        assert b'"/" shared/bugs\r\n' in session.command(b'LIST "" "*"')
    assert ann.select("shared/bugs") == 1
    assert b"It bites" in ann.command(b"FETCH 1 BODY[]")
    other.select("shared/bugs")
    assert b"\\Seen" in other.command(b"FETCH 1 FLAGS")

    store.msadm("group", "join", "staff", "joe")
    joe = store.imap("joe")
    joe.select("shared/bugs")
    assert b"\\Seen" not in joe.command(b"FETCH 1 FLAGS")
    with pytest.raises(WrongAnswer, match="NOPERM"):
        joe.command(b"DELETE shared/bugs")
    store.msadm("acl", "delete", "shared/bugs", "group:staff")
    assert b"shared/bugs" not in store.imap("joe").command(b'LIST "" "*"')

    listed = store.msadm("mailbox", "list", "shared/").stdout.split()
    assert listed[6:9] == ["shared/bugs", "1", "1"]
    for session in (ann, other, joe):
        session.close()
    store.stop()
    store.assert_sound()


def test_what_users_share_over_imap_reaches_the_other_worker(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann", "boss"], options=["admin-users boss"], workers=2)
    store.start()
    sessions = [store.imap("ann") for _ in range(6)]
    joe, boss = store.imap("joe"), store.imap("boss")
    joe.command(b"CREATE plans")
    joe.command(b"SETACL plans ann lrs")
    for session in sessions:
        assert b"user/joe/plans" in session.command(b'LIST "" "user/*"')
        assert b"MYRIGHTS user/joe/plans" in session.command(b"MYRIGHTS user/joe/plans")
    boss.command(b"CREATE shared/news")
    boss.command(b"SETACL shared/news anyone lr")
    for session in sessions:
        assert b"shared/news" in session.command(b'LIST "" "*"')
    joe.command(b"DELETEACL plans ann")
    for session in sessions:
        assert b"user/joe/plans" not in session.command(b'LIST "" "*"')
        with pytest.raises(WrongAnswer, match="NONEXISTENT"):
            session.select("user/joe/plans")
        session.close()
    for refused in ("shared", "/shared", "user/joe"):
        with pytest.raises(WrongAnswer):
            Imap(store.imap_address, refused, PASSWORD)
    for session in (joe, boss):
        session.close()
    store.stop()
    store.assert_sound()
