"""Every limit in the list: what reaches it passes, what goes one step beyond is refused, and nothing else is.

Limits that need more than one command to be reached have tests of their own, named here.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mstore.imap.limits import LIMITS
from mstore.imap.session import Session
from tests.kit.dialogue import make_message, site
from tests.kit.mailhost import MailHost
from tests.kit.transport import Client, Served
from tests.kit.waiting import waiting_by_threads

ROOT = Path(__file__).parents[3]
Make = Callable[[int], bytes]


def each(count: int, make: Callable[[int], bytes] = lambda number: b"%d" % number) -> bytes:
    return b" ".join(make(number) for number in range(1, count + 1))


def literals(size: int) -> bytes:
    """A search for a text of so many bytes; its line is short."""
    return b"SEARCH TEXT {%d+}\r\n" % size + b"x" * size


COMMANDS: dict[str, Make] = {
    "bytes of a line, and of all lines of a command": lambda n: b"NOOP".ljust(n - 4, b" ") + b"x",
    "bytes of all literals of a command": literals,
    "a number that is none of bytes or MODSEQs": lambda n: b"SEARCH LARGER %d" % n,
    "levels of a search key": lambda n: b"SEARCH " + b"(" * n + b"SEEN" + b")" * n,
    "search keys": lambda n: b"SEARCH " + each(n, lambda _: b"SEEN"),
    "sort criteria": lambda n: b"SORT (" + each(n, lambda _: b"DATE") + b") UTF-8 ALL",
    "items of FETCH": lambda n: b"FETCH 1 (" + each(n, lambda m: b"BODY.PEEK[%d]" % m) + b")",
    "header fields of a section": lambda n: (
        b"FETCH 1 BODY.PEEK[HEADER.FIELDS (" + each(n, lambda m: b"X-%d" % m) + b")]"
    ),
    "levels of a part number": lambda n: b"FETCH 1 BODY.PEEK[" + b".".join([b"1"] * n) + b"]",
    "messages whose numbers QRESYNC matches to UIDs": lambda n: (
        b"SELECT INBOX (QRESYNC (1 1 (1:%d 1:%d)))" % (n, n)
    ),
    "patterns of LIST": lambda n: b'LIST "" (' + each(n) + b")",
    "characters of a pattern": lambda n: b'LIST "" ' + b"x" * n,
    "parts of CATENATE": lambda n: b"APPEND INBOX CATENATE (" + each(n, lambda _: b"URL /;UID=9") + b")",
    "names and sources of ESEARCH": lambda n: b"ESEARCH IN (mailboxes (" + each(n) + b")) ALL",
    "groups of mailboxes of NOTIFY": lambda n: b"NOTIFY SET " + each(n, lambda m: b"(subtree %d NONE)" % m),
    "events of a group": lambda n: (
        b"NOTIFY SET (personal (" + each(n, lambda m: (b"MessageNew", b"MessageExpunge")[m % 2]) + b"))"
    ),
    "annotations in a command": lambda n: (
        b'GETMETADATA "" (' + each(n, lambda m: b"/private/%d" % m) + b")"
    ),
    "bytes of an annotation's name": lambda n: b'GETMETADATA "" /private/' + b"x" * (n - 9),
    "fields of ID": lambda n: b"ID (" + each(n, lambda m: b'"%d" "x"' % m) + b")",
    "bytes of a field's name in ID": lambda n: b'ID ("' + b"x" * n + b'" "x")',
    "bytes of a field's value in ID": lambda n: b'ID ("name" "' + b"x" * n + b'")',
    "bytes of a keyword": lambda n: b"STORE 1 +FLAGS (" + b"k" * n + b")",
    "keywords of a mailbox (messages that bring more come without)": lambda n: (
        b"STORE 1 +FLAGS (" + each(n, lambda m: b"k%d" % m) + b")"
    ),
    "bytes of what ends IDLE": lambda n: b"IDLE\r\n" + b"DONE".ljust(n),
    "bytes of a mailbox name": lambda n: b"CREATE " + b"/".join([b"x" * 99] * 20)[:n],
    "levels of a mailbox name": lambda n: b"CREATE " + b"/".join([b"x"] * n),
    "bytes of an annotation": lambda n: b'SETMETADATA "" (/private/x {%d+}\r\n%b)' % (n, b"x" * n),
}
LENIENT = {"bytes of what ends IDLE", "bytes of a line, and of all lines of a command"}
"""What reaches these is bad otherwise."""
ELSEWHERE = {
    "bytes of all literals before login": "tests/unit/imap/test_limits.py",
    "bytes of a refused literal read away before login": "tests/wire/imap/literal-too-big-early.txt",
    "bad commands in a row before login": "tests/unit/imap/test_limits.py",
    "bytes of an unasked literal without LITERAL+": "tests/wire/imap/literal-minus.txt",
    "bytes of a refused literal that are read away": "tests/unit/imap/test_reader.py",
    "bytes of a MULTIAPPEND, unless a message may be larger": "tests/unit/imap/test_reader.py",
    "large messages of a MULTIAPPEND": "tests/unit/imap/test_reader.py",
    "bytes of a SASL response": "tests/unit/imap/test_limits.py",
    "mailboxes of ESEARCH": "tests/unit/imap/test_limits.py",
    "bad commands in a row": "tests/wire/imap/bad-commands-end.txt",
    "failed logins": "tests/wire/imap/login-fails-too-often.txt",
    "searches whose results are followed": "tests/wire/imap/search-update.txt",
    "bytes that COMPRESS expands beyond their share": "tests/unit/net/test_deflate.py",
    "mailboxes of an account": "tests/unit/imap/test_limits.py",
    "subscriptions": "tests/unit/imap/test_limits.py",
    "entries of an access control list": "tests/unit/store/test_sharing.py",
    "annotations of a mailbox": "tests/unit/store/test_annotation.py",
    "bytes of all annotations of an account": "tests/unit/store/test_annotation.py",
    "levels of parts": "tests/unit/mail/test_mime.py",
    "parts of a message": "tests/unit/mail/test_mime.py",
    "bytes of a header": "tests/unit/mail/test_mime.py",
    "bytes of all headers in a message": "tests/unit/mail/test_mime.py",
    "bytes of a boundary": "tests/unit/mail/test_mime.py",
    "parameters of a field, and pieces of one (RFC 2231)": "tests/unit/mail/test_params.py",
    "addresses of a field": "tests/unit/mail/test_address.py",
    "references of a message": "tests/unit/mail/test_sortkeys.py",
}
VALUES = {limit.what: limit for limit in LIMITS}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    with waiting_by_threads(), site(tmp_path, {}) as host:
        yield host


def connect(host: MailHost) -> Client:
    client = Client(Served(lambda stream: Session(stream, host.service())))
    client.receive()
    return client


@pytest.fixture
def client(host: MailHost) -> Iterator[Client]:
    client = connect(host)
    client.command(b"l LOGIN joe secret")
    message = make_message(1)
    client.command(b"m APPEND INBOX {%d+}\r\n%b" % (len(message), message))
    client.command(b"q ENABLE QRESYNC")
    client.command(b"s SELECT INBOX")
    yield client
    client.close()
    client.served.join()


def answer(client: Client, command: bytes) -> str:
    """The tagged answer, without its tag, or the BYE."""
    last = client.command(b"t " + command)[-1]
    return last.decode("ascii", "replace").removeprefix("t ").removeprefix("* ")


def test_every_limit_has_a_test() -> None:
    assert len(VALUES) == len(LIMITS) and set(COMMANDS).isdisjoint(ELSEWHERE)
    assert set(COMMANDS) | set(ELSEWHERE) == set(VALUES)
    assert all((ROOT / path).is_file() for path in ELSEWHERE.values())


@pytest.mark.parametrize("what", COMMANDS)
def test_a_limit_can_be_reached_and_not_passed(client: Client, what: str) -> None:
    limit, make = VALUES[what], COMMANDS[what]
    code = re.sub(r"\]$", "", limit.beyond)
    reached = answer(client, make(limit.value))
    if what not in LENIENT:
        assert not reached.startswith(("BAD", code)), reached
    beyond = answer(client, make(limit.value + 1))
    assert beyond.startswith(code), beyond
    assert answer(client, b"NOOP") == "OK NOOP completed"


def test_a_line_of_the_greatest_length_is_read(client: Client) -> None:
    line = VALUES["bytes of a line, and of all lines of a command"].value
    command = b"SEARCH TEXT " + b"x" * (line - len(b"t SEARCH TEXT \r\n"))
    assert answer(client, command).startswith("OK")
    assert answer(client, command + b"x") == "BAD line too long"


def test_what_ends_idle_may_not_be_longer(client: Client) -> None:
    assert answer(client, b"IDLE\r\nDONE") == "OK IDLE completed"
    assert answer(client, b"IDLE\r\n" + b"x" * 9000) == "BAD line too long"


def test_lines_and_literals_may_be_as_long_as_the_options_say(tmp_path: Path) -> None:
    line, literals_bytes = 100_000, 70_000
    with waiting_by_threads(), site(tmp_path, {}) as host:
        settings = replace(host.settings, imapd_line_limit=line, imapd_literals_limit=literals_bytes)
        client = Client(Served(lambda stream: Session(stream, host.service(settings=settings))))
        client.receive()
        assert answer(client, b"NOOP".ljust(70_000)) == "BAD line too long"
        assert answer(client, b"LOGIN joe secret").startswith("OK")
        assert answer(client, b"SELECT INBOX").startswith("OK")
        fitting = b"UID FETCH " + b",".join([b"1"] * 45_000) + b" UID"
        assert 65_536 < len(fitting) < line
        assert answer(client, fitting).startswith("OK")
        assert answer(client, b"NOOP".ljust(line)) == "BAD line too long"
        assert answer(client, literals(literals_bytes)).startswith("OK")
        assert answer(client, literals(literals_bytes + 1)) == "BAD literal too long"
        assert answer(client, b"NOOP").startswith("OK")


def test_limits_before_login(host: MailHost) -> None:
    client = connect(host)
    assert answer(client, b"LOGIN {8000+}\r\n" + b"x" * 8000 + b" {193+}\r\n" + b"x" * 193) == (
        "BAD literal too long"
    )
    assert answer(client, b"AUTHENTICATE PLAIN\r\n" + b"A" * 16388) == "BAD line too long"
    for _ in range(7):
        assert answer(client, b"NONSENSE").startswith("BAD")
    client.send(b"u NONSENSE\r\n")
    assert [line[:5] for line in client.rest()] == [b"u BAD", b"* BYE"]


@pytest.mark.parametrize(
    ("module", "constant", "commands"),
    [
        ("mstore.store.namespace", "MAX_MAILBOXES", (b"CREATE a", b"CREATE b")),
        ("mstore.store.namespace", "MAX_SUBSCRIPTIONS", (b"SUBSCRIBE a", b"SUBSCRIBE b", b"SUBSCRIBE c")),
        (
            "mstore.imap.commands.multisearch",
            "MAX_MAILBOXES",
            (b"ESEARCH IN (mailboxes (a b)) ALL", b"ESEARCH IN (mailboxes (a b c)) ALL"),
        ),
    ],
)
def test_numbers_of_mailboxes(
    client: Client, monkeypatch: pytest.MonkeyPatch, module: str, constant: str, commands: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(f"{module}.{constant}", 2)
    *fitting, last = commands
    for command in fitting:
        assert answer(client, command).startswith("OK"), command
    assert answer(client, last).startswith("NO [LIMIT]")


def test_what_has_no_limit_of_its_own_is_limited_by_its_line(client: Client) -> None:
    for command in (
        b"ENABLE " + each(10_000),
        b"FETCH " + b",".join([b"1"] * 30_000) + b" UID",
        b"UID FETCH " + b",".join(b"%d:*" % number for number in range(1, 8000)) + b" UID",
        b"STATUS INBOX (" + each(7000, lambda _: b"MESSAGES") + b")",
        b"STORE 1 +FLAGS (" + each(7000, lambda _: b"\\Seen") + b")",
        b"CANCELUPDATE " + each(6000, lambda number: b'"%d"' % number),
        b"SETACL INBOX anyone " + b"lrs" * 20_000,
        b'LIST "" INBOX RETURN (' + each(5000, lambda _: b"CHILDREN") + b")",
    ):
        assert answer(client, command).startswith("OK"), command[:40]
    assert answer(client, b"STORE 1 +FLAGS (" + each(100, lambda number: b"k%d" % number) + b")").startswith(
        "NO [LIMIT]"
    )
    assert answer(client, b"CREATE x (" + b"USE (" * 30).startswith("BAD")
    assert answer(client, b"SEARCH " + b"NOT " * 10_000 + b"SEEN").startswith("BAD")
    assert answer(client, b"SEARCH " + b"OR " * 10_000 + b"SEEN").startswith("BAD")
