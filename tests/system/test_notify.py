"""NOTIFY over real sockets and two workers: what others do is told between commands, wherever they do it."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.clients import Imap, closed
from tests.kit.instance import Instance, free_port
from tests.kit.transport import DeflatedSocket

MESSAGE = b"Subject: news\r\n\r\nHear, hear.\r\n"
LIMIT_S = 60.0
TLS = Path(__file__).parents[1] / "kit" / "tls"


@contextmanager
def quiet(session: Imap, for_s: float = 0.3) -> Iterator[None]:
    """After the block nothing comes for a moment."""
    yield
    session.socket.settimeout(for_s)
    try:
        line = session.line()
    except TimeoutError:
        return
    finally:
        session.socket.settimeout(LIMIT_S)
    raise AssertionError(f"nothing expected, got {line!r}")


def two_workers(store: Instance, user: str) -> tuple[Imap, list[Imap]]:
    """A session, and enough others for one of them to be in the other worker."""
    return store.imap(user), [store.imap(user) for _ in range(8)]


def test_changes_of_other_workers_lmtp_and_msadm_are_told(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann", "boss"], options=["admin-users boss"], workers=2)
    store.start()
    joe, others = two_workers(store, "joe")
    joe.command(b"CREATE work")
    answer = joe.command(
        b"NOTIFY SET STATUS (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange))"
        b" (subtree (INBOX work shared/bugs) (MessageNew MessageExpunge MailboxName))"
    )
    assert b"* STATUS INBOX (MESSAGES 0 UIDNEXT 1 " in answer and b"* STATUS work (MESSAGES 0 " in answer

    store.deliver("joe", MESSAGE)
    began = time.monotonic()
    assert joe.line().startswith(b"* STATUS INBOX (MESSAGES 1 UIDNEXT 2 ")
    assert time.monotonic() - began < 5
    for number, other in enumerate(others, 1):
        other.append(MESSAGE, "work")
        assert joe.line().startswith(b"* STATUS work (MESSAGES %d UIDNEXT %d " % (number, number + 1))
        other.command(b"CREATE work/%d" % number)
        assert joe.line() == b'* LIST (\\HasChildren) "/" work\r\n'
        assert joe.line() == b'* LIST (\\HasNoChildren) "/" work/%d\r\n' % number
        assert joe.line().startswith(b"* STATUS work/%d (MESSAGES 0 " % number)

    with quiet(joe):
        store.msadm("mailbox", "create", "shared/bugs")
        store.deliver("ann", MESSAGE)
    store.msadm("acl", "set", "shared/bugs", "joe", "lr")
    lines = {joe.line() for _ in range(2)}
    assert b'* LIST (\\HasNoChildren) "/" shared/bugs\r\n' in lines, lines
    store.msadm("acl", "set", "shared/bugs", "anyone", "p")
    store.deliver("shared+bugs", MESSAGE)
    while not (line := joe.line()).startswith(b"* STATUS shared/bugs (MESSAGES 1 "):
        assert line.startswith((b"* STATUS shared/bugs", b"* LIST")), line

    assert joe.select() == 1
    store.deliver("joe", MESSAGE)
    assert joe.line() == b"* 2 EXISTS\r\n"
    assert joe.line().endswith(b" RECENT\r\n")
    assert joe.line().startswith(b"* 2 FETCH (UID 2 FLAGS (")
    for other in others:
        assert other.select() == 2
        other.command(b"STORE 2 +FLAGS.SILENT (\\Flagged)")
        other.command(b"STORE 2 -FLAGS.SILENT (\\Flagged)")
    others[0].command(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
    others[0].command(b"EXPUNGE")
    while (line := joe.line()) != b"* 1 EXPUNGE\r\n":
        assert b" FETCH (UID " in line, line
    joe.command(b"NOOP")  # News of the other message may come behind.

    joe.idle()
    others[-1].append(MESSAGE, "work")
    assert joe.line().startswith(b"* STATUS work (MESSAGES 9 ")
    joe.done()
    joe.command(b"UNAUTHENTICATE")
    with quiet(joe):
        others[-1].append(MESSAGE, "work")
    store.stop()
    for session in (joe, *others):
        rest = closed(session.socket)
        assert not rest or b"BYE" in rest
        session.close()
    store.assert_log_clean()
    store.assert_sound()


def test_news_and_commands_never_mix(make_store: Callable[..., Instance]) -> None:
    """Over TLS and compressed, while others change everything all the time: whole lines, right numbers."""
    store = make_store(["joe"], workers=2)
    store.start()
    writer = store.imap("joe")
    writer.select()
    sessions = []
    for how in ("plain", "deflate"):
        session = store.imap("joe")
        if how == "deflate":
            session.command(b"COMPRESS DEFLATE")
            session.socket = DeflatedSocket(session.socket)
        session.select()
        session.command(
            b"NOTIFY SET (selected-delayed (MessageNew (UID BODY.PEEK[HEADER.FIELDS (Subject)]) "
            b"MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge FlagChange MailboxName))"
        )
        sessions.append(session)
    writer.command(b"CREATE other")
    for turn in range(15):
        writer.start(b"APPEND INBOX {%d+}\r\n%s" % (len(MESSAGE), MESSAGE))
        writer.start(b"APPEND other {%d+}\r\n%s" % (len(MESSAGE), MESSAGE))
        if turn % 3 == 2:
            writer.start(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
            writer.start(b"EXPUNGE")
        last = writer.start(b"NOOP")
        for session in sessions:
            tags = [session.start(b"UID FETCH 1:* (FLAGS)") for _ in range(3)]
            for tag in tags:
                _check(session.finish(tag))
        writer.finish(last)
    for session in sessions:
        _check(session.command(b"NOOP"))
        count = session.command(b"UID SEARCH ALL").split(b"SEARCH", 1)[1].split(b"\r\n")[0].split()
        assert len(count) == 10
        session.close()
    writer.close()
    store.stop()
    store.assert_log_clean()


def _check(answer: bytes) -> None:
    """Every line is one of those that may come, and literals are whole."""
    lines = answer.split(b"\r\n")
    while lines:
        line = lines.pop(0)
        if line.endswith(b"}"):
            size = int(line[line.rindex(b"{") + 1 : -1])
            text = b"\r\n".join(lines)
            assert text[size : size + 1] == b")", answer
            lines = text[size:].split(b"\r\n")[1:]
        elif line:
            assert line.startswith((b"* ", b"a")) and not line.count(b"* ") > 1, (line, answer)


def test_a_slow_client_is_told_what_is_and_not_what_was(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], workers=1)
    store.start()
    joe, other = store.imap("joe"), store.imap("joe")
    joe.command(b"NOTIFY SET (inboxes (MessageNew MessageExpunge))")
    for _ in range(200):
        other.append(b"x\r\n")
    seen = 0
    while seen < 200:
        line = joe.line()
        assert line.startswith(b"* STATUS INBOX (MESSAGES "), line
        seen = int(line.split()[4])
    for session in (joe, other):
        session.close()
    store.stop()
    store.assert_log_clean()


def test_news_come_over_tls(make_store: Callable[..., Instance], tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        shutil.copy(TLS / name, tmp_path / name)
    port = free_port()
    options = [f"tls-certificate {tmp_path}/cert.pem", f"tls-key {tmp_path}/key.pem"]
    store = make_store(["joe"], options=[*options, f"imapd-tls-listen 127.0.0.1:{port}"], workers=2)
    store.start()
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    connection = context.wrap_socket(
        socket.create_connection(("localhost", port), LIMIT_S), server_hostname="localhost"
    )
    connection.sendall(
        b"a LOGIN joe secret\r\nb SELECT INBOX\r\n"
        b"c NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MailboxName))\r\n"
    )
    _hear(connection, b"c OK NOTIFY")
    store.deliver("joe", MESSAGE)
    _hear(connection, b"* 1 EXISTS")
    other = store.imap("joe")
    other.select()
    other.command(b"CREATE work")
    _hear(connection, b'"/" work')
    other.command(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
    other.command(b"EXPUNGE")
    _hear(connection, b"* 1 EXPUNGE")
    other.close()
    store.stop()
    _hear(connection, b"* BYE")
    connection.close()


def _hear(connection: ssl.SSLSocket, text: bytes) -> None:
    heard = b""
    while text not in heard:
        data = connection.recv(65536)
        assert data, heard
        heard += data
