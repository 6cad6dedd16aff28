"""Clients that enable what they see: imaplib and neomutt UTF8=ACCEPT, and one by hand IMAP4rev2."""

from __future__ import annotations

import imaplib
import os
import pty
import shutil
import signal
import time

import pytest

from tests.kit.instance import PASSWORD, Instance

MESSAGE = "From: Zoë <zoë@tëst.example>\r\nSubject: Grüße\r\n\r\nText\r\n".encode()


def test_the_standard_library_speaks_utf8(store: Instance) -> None:
    imap = imaplib.IMAP4(*store.imap_address)
    assert imap.login("joe", PASSWORD)[0] == "OK"
    assert imap.append("INBOX", None, None, MESSAGE)[0] == "NO"
    assert imap.enable("UTF8=ACCEPT") == ("OK", [b"ENABLE completed"])
    assert imap.create('"Entwürfe & mehr"')[0] == "OK"
    assert imap.list('""', "E*")[1] == ['(\\HasNoChildren) "/" "Entwürfe & mehr"'.encode()]
    assert imap.status('"Entwürfe & mehr"', "(MESSAGES)")[1] == ['"Entwürfe & mehr" (MESSAGES 0)'.encode()]
    # Its own way to say UTF8 puts the parentheses into the literal; this is what is meant.
    imap.send(b"x APPEND INBOX UTF8 (~{%d+}\r\n%b)\r\n" % (len(MESSAGE), MESSAGE))
    assert imap.readline().startswith(b"x OK")
    assert imap.select("INBOX")[1] == [b"1"]
    assert imap.search(None, "SUBJECT", '"grüße"')[1] == [b"1"]
    data = imap.fetch("1", "(BODY.PEEK[])")[1]
    assert data[0] is not None and data[0][1] == MESSAGE  # type: ignore[union-attr]
    assert imap.copy("1", '"Entwürfe & mehr"')[0] == "OK"
    imap.logout()
    # To who has not enabled it names are what they have always been.
    imap = imaplib.IMAP4(*store.imap_address)
    imap.login("joe", PASSWORD)
    assert imap.list('""', "E*")[1] == [b'(\\HasNoChildren) "/" "Entw&APw-rfe &- mehr"']
    assert imap.select('"Entw&APw-rfe &- mehr"')[1] == [b"1"]
    imap.logout()


def test_a_session_of_imap4rev2_from_beginning_to_end(store: Instance) -> None:
    client = store.imap("joe")
    client.command(b"ENABLE IMAP4rev2")
    client.command('CREATE "Entwürfe"'.encode())
    client.command(b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGE), MESSAGE))
    opened = client.command(b"SELECT inbox")
    assert b"* 1 EXISTS\r\n" in opened
    assert b'* LIST (\\HasNoChildren) "/" INBOX ("OLDNAME" (inbox))\r\n' in opened
    assert b"RECENT" not in opened and b"UNSEEN" not in opened
    assert b" ALL 1\r\n" in client.command('SEARCH SUBJECT "grüße"'.encode())
    assert MESSAGE in client.command(b"FETCH 1 BODY[]")
    assert b"[COPYUID " in client.command('MOVE 1 "Entwürfe"'.encode())
    assert 'STATUS "Entwürfe" (MESSAGES 1'.encode() in client.command(
        'STATUS "Entwürfe" (MESSAGES SIZE DELETED)'.encode()
    )
    client.logout()


@pytest.mark.skipif(shutil.which("neomutt") is None, reason="neomutt is not installed")
def test_neomutt_copies_between_mailboxes_beyond_ascii(store: Instance) -> None:
    client = store.imap("joe")
    client.command(b"ENABLE UTF8=ACCEPT")
    client.command('CREATE "Entwürfe"'.encode())
    client.command(b"APPEND INBOX UTF8 (~{%d+}\r\n%b)" % (len(MESSAGE), MESSAGE))
    rc = store.path / "muttrc"
    rc.write_text(
        f'set folder="imap://joe@127.0.0.1:{store.imap_address[1]}/" spoolfile="+INBOX"\n'
        f'set imap_pass="{PASSWORD}"\n'
        "set ssl_starttls=no ssl_force_tls=no imap_authenticators=login confirmappend=no confirmcreate=no\n"
        "set charset=utf-8 sleep_time=0 quit=yes move=no delete=no record= postponed= beep=no\n"
        'push "<copy-message><kill-line>=Entwürfe<enter><copy-message><kill-line>=Übung/neu<enter><quit>"\n'
    )
    pid, terminal = pty.fork()
    if not pid:
        os.environ.update(HOME=str(store.path), TERM="xterm", LC_ALL="C.UTF-8", LINES="24", COLUMNS="80")
        os.execvp("neomutt", ["neomutt", "-n", "-F", str(rc)])
    screen = b""
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            screen += piece
        else:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    for name in ("Entwürfe", "Übung/neu"):
        assert client.select(f'"{name}"') == 1, screen[-3000:]
        assert client.bodies() == [MESSAGE]
    client.logout()
