"""A message of a hundred megabytes, with a line of one megabyte and NULs in it: in, and out in every form."""

from __future__ import annotations

import re

from tests.kit.clients import Imap, raw
from tests.kit.imapgrammar import check_response
from tests.kit.instance import PASSWORD, Instance
from tests.system.test_delivery import LIMIT_S, bounded_memory

LINE = b"0123456789" * 7 + b"\r\n"
HEAD = b"From: Joe <joe@example.org>\r\nSubject: monster\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
TEXT = b"--b\r\nContent-Type: text/plain\r\n\r\n" + b"x" * (1 << 20) + b"\r\n"
BINARY = b"--b\r\nContent-Type: application/octet-stream\r\n\r\n" + b"\0\r\n" * 1000
SIZE = 100 << 20
FORMS = (
    b"ENVELOPE",
    b"BODY",
    b"BODYSTRUCTURE",
    b"RFC822.SIZE",
    b"PREVIEW",
    b"BODY.PEEK[HEADER]",
    b"BODY.PEEK[HEADER.FIELDS (SUBJECT)]",
    b"BODY.PEEK[1]",
    b"BODY.PEEK[2.MIME]",
    b"BODY.PEEK[2]<104000000.1000>",
    b"BODY.PEEK[]<50000000.1000000>",
    b"BINARY.SIZE[2]",
    b"BINARY.PEEK[2]<0.1000>",
)


def monster() -> bytes:
    """Exactly as large as a message may be."""
    parts = [HEAD, TEXT, BINARY]
    end = b"\r\n--b--\r\n"
    room = SIZE - sum(map(len, parts)) - len(end)
    return b"".join([*parts, LINE * (room // len(LINE)), b"y" * (room % len(LINE)), end])


def test_a_hundred_megabytes_come_and_go_in_little_memory(store: Instance) -> None:
    message = monster()
    assert len(message) == SIZE
    with bounded_memory(store, "imapd"):
        client = store.imap("joe")
        client.socket.settimeout(LIMIT_S)
        client.append(message)
        assert client.select() == 1
        for form in FORMS:
            response = fetch(client, form)
            check_response(response)
            assert len(response) < 2 << 20, form
        # NUL is no character of a literal.
        whole = message.replace(b"\0", b"\x80")
        for form, expected in ((b"BODY.PEEK[]", whole), (b"BODY.PEEK[TEXT]", whole[len(HEAD) :])):
            response = fetch(client, form)
            literal = re.match(rb"[^{]*\{([0-9]+)\}\r\n", response)
            assert literal is not None and int(literal[1]) == len(expected)
            assert response[literal.end() : literal.end() + len(expected)] == expected
        client.logout()


def test_one_byte_more_is_refused_before_it_is_sent(store: Instance) -> None:
    with raw(store.imap_address) as connection, connection.makefile("rb") as lines:
        assert lines.readline().startswith(b"* OK")
        connection.sendall(b"a LOGIN joe %b\r\nb APPEND INBOX {%d}\r\n" % (PASSWORD.encode(), SIZE + 1))
        while not (line := lines.readline()).startswith(b"b "):
            assert line
        assert line.startswith(b"b NO [TOOBIG] ")


def fetch(client: Imap, form: bytes) -> bytes:
    """The one FETCH response."""
    answer = client.command(b"FETCH 1 " + form)
    return answer[: answer.rfind(b"\r\n", 0, len(answer) - 2) + 2]
