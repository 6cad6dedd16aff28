"""UTF-8 in quotes and in names, strictly (RFC 6855 §3); ENABLE and what it decides (RFC 9051 §6.3.1)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.imap.session import Session
from mstore.net.stream import Stream
from tests.kit.dialogue import site
from tests.kit.imapelements import Illegal
from tests.kit.imapgrammar import Listener, check_response
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport
from tests.kit.transport import Client, Served
from tests.kit.waiting import waiting_by_threads

WORDS = (b"UTF8=ACCEPT", b"IMAP4rev2")
MALFORMED = (
    b"\xe4",  # Latin-1
    b"\xc3",  # cut short
    b"\xc0\xaf",  # overlong
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",  # a surrogate
    b"\xed\xa0\xbd\xed\xb8\x80",  # two of them
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\xf8\x88\x80\x80\x80",
    b"\x80",
    b"\xff\xfe",
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    with waiting_by_threads(), site(tmp_path, {}) as host:
        yield host


def converse(host: MailHost, *commands: bytes) -> list[bytes]:
    """The tagged answers to commands, whose tags are ``t``."""
    lines = [b"t %b\r\n" % command for command in (b"LOGIN joe secret", *commands)]
    transport = ScriptedTransport([b"".join(lines)])
    Session(Stream(transport), host.service()).run()
    return [line for line in b"".join(transport.sent).split(b"\r\n") if line.startswith(b"t ")][1:]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("wrong", MALFORMED)
def test_malformed_utf8_in_quotes_is_bad(word: bytes, wrong: bytes, host: MailHost) -> None:
    quoted = b'"a' + wrong + b'"'
    answers = converse(
        host,
        b"ENABLE " + word,
        b"CREATE " + quoted,
        b"SELECT " + quoted,
        b'LIST "" ' + quoted,
        b"LIST " + quoted + b" *",
        b'LIST "" (INBOX ' + quoted + b")",
        b"ID (" + quoted + b" NIL)",
        b"GETQUOTA " + quoted,
        b"SELECT INBOX",
        b"SEARCH SUBJECT " + quoted,
        b"UID COPY 1 " + quoted,
        b"APPEND " + quoted + b" {1+}\r\nx",
    )
    assert [answer.split()[1] for answer in answers] == [b"OK", *[b"BAD"] * 7, b"OK", *[b"BAD"] * 3]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("wrong", MALFORMED)
def test_a_literal_that_is_no_utf8_is_no_name(word: bytes, wrong: bytes, host: MailHost) -> None:
    literal = b"{%d+}\r\n%b" % (len(wrong), wrong)
    answers = converse(host, b"ENABLE " + word, b"CREATE " + literal, b'LIST "" ' + literal, b"NOOP")
    assert answers[1].startswith(b"t NO [CANNOT]")
    assert [answer[:4] for answer in answers[2:]] == [b"t OK", b"t OK"]


def test_before_enable_only_ascii_stands_in_quotes(host: MailHost) -> None:
    quoted = '"ä"'.encode()
    answers = converse(host, b"ID (" + quoted + b" NIL)", b"SELECT INBOX", b"SEARCH SUBJECT " + quoted)
    assert answers[0].startswith(b"t BAD")
    assert answers[2].startswith(b"t BAD")
    transport = ScriptedTransport([b"t LOGIN joe " + quoted + b"\r\n"])
    Session(Stream(transport), host.service()).run()
    assert b"\r\nt BAD " in b"".join(transport.sent)


@pytest.mark.parametrize("character", ["\u0000", "\u0007", "\u007f", "\u0085", "\u009f", "\u2028", "\u2029"])
def test_names_have_no_control_characters_nor_line_separators(character: str, host: MailHost) -> None:
    name = ("a" + character + "b").encode()
    answers = converse(host, b"ENABLE UTF8=ACCEPT", b"CREATE {%d+}\r\n%b" % (len(name), name), b"NOOP")
    assert answers[1][:5] in (b"t NO ", b"t BAD"), answers
    assert answers[2].startswith(b"t OK")


@pytest.mark.parametrize("word", WORDS)
def test_it_is_enabled_before_a_mailbox_is_selected(word: bytes, host: MailHost) -> None:
    answers = converse(host, b"SELECT INBOX", b"ENABLE " + word, b"UNSELECT", b"ENABLE " + word)
    assert [answer.split()[1] for answer in answers] == [b"OK", b"BAD", b"OK", b"OK"]
    # What is enabled already may be said again.
    answers = converse(host, b"ENABLE " + word, b"SELECT INBOX", b"ENABLE CONDSTORE " + word)
    assert [answer.split()[1] for answer in answers] == [b"OK", b"OK", b"OK"]


def test_enabling_changes_no_capabilities(host: MailHost) -> None:
    client = Client(Served(lambda stream: Session(stream, host.service())))
    client.receive()
    client.command(b"a LOGIN joe secret")
    before = client.command(b"b CAPABILITY")
    assert client.command(b"c ENABLE imap4REV2 utf8=accept") == [
        b"* ENABLED IMAP4rev2 UTF8=ACCEPT",
        b"c OK ENABLE completed",
    ]
    assert client.command(b"b CAPABILITY") == before
    assert {b"IMAP4rev1", b"IMAP4rev2", b"UTF8=ACCEPT"} <= set(before[0].split())
    # Both in force: a charset is refused, and the answer is ESEARCH.
    client.command(b"d SELECT INBOX")
    assert client.command(b"e SEARCH CHARSET UTF-8 ALL")[0].startswith(b"e BAD")
    assert client.command(b"f SEARCH ALL")[0] == b'* ESEARCH (TAG "f")'
    client.close()


def test_the_strict_client_takes_utf8_in_quotes_only_where_it_is_enabled() -> None:
    name = '* LIST () "/" "ä"\r\n'.encode()
    listener = Listener()
    with pytest.raises(Illegal):
        listener.check(name)
    listener.check(b"* ENABLED UTF8=ACCEPT\r\n")
    listener.check(name)
    with pytest.raises(Illegal):
        listener.check(b'* LIST () "/" "\xe4"\r\n')
    with pytest.raises(Illegal):
        listener.check('* OK ä\r\n'.encode())
    listener.check(b"t OK UNAUTHENTICATE completed\r\n")
    with pytest.raises(Illegal):
        listener.check(name)


@pytest.mark.parametrize(
    "response",
    [
        b"* 1 RECENT\r\n",
        b"* SEARCH 1\r\n",
        b"* OK [UNSEEN 1] x\r\n",
        b"* STATUS x (RECENT 1)\r\n",
        b"* 1 FETCH (FLAGS (\\Recent))\r\n",
        b'* 1 FETCH (BODY ("MESSAGE" "GLOBAL" NIL NIL NIL "7BIT" 1))\r\n',
    ],
)
def test_the_strict_client_refuses_what_imap4rev2_has_no_more(response: bytes) -> None:
    check_response(response)
    with pytest.raises(Illegal):
        check_response(response, frozenset((b"IMAP4rev2",)))


@pytest.mark.parametrize(
    "response",
    [
        b'* LIST () "/" x ("OLDNAME" ("y z"))\r\n',
        b"* NO [HASCHILDREN] x\r\n",
        b"* 1 FETCH (RFC822.SIZE 4294967296)\r\n",
        b'* 1 FETCH (BODY[]<4294967296> "")\r\n',
    ],
)
def test_the_strict_client_knows_what_only_imap4rev2_has(response: bytes) -> None:
    check_response(response, frozenset((b"IMAP4rev2",)))
    with pytest.raises(Illegal):
        check_response(response)
