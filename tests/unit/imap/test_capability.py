"""What is announced, by connection, state and settings."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mstore.base.values import CAPABILITIES, CAPABILITIES_FOR, DORMANT_FOR
from mstore.base.values import DORMANT as DORMANT_KIND
from mstore.imap.capability import (
    ALWAYS,
    DORMANT,
    capabilities,
    may_send_password,
    mechanisms,
    switched_off,
)
from mstore.imap.state import AUTHENTICATED, NOT_AUTHENTICATED, SELECTED
from mstore.net.stream import Stream
from tests.kit.dialogue import site
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport

BASE = b" ".join(ALWAYS) + b" APPENDLIMIT=104857600"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    with site(tmp_path, {}) as host:
        yield host


def service(host: MailHost, tls: object = None, **settings: Any) -> Any:
    return host.service(tls=tls, settings=replace(host.settings, **settings))


def test_each_word_stands_there_once() -> None:
    words = BASE.split(b" ")
    assert words[0] == b"IMAP4rev1" and len(set(words)) == len(words)


def test_after_login_only_what_can_still_be_used(host: MailHost) -> None:
    for state in (AUTHENTICATED, SELECTED):
        assert capabilities(service(host, tls=object()), False, state) == BASE


def test_starttls_is_there_while_it_can_be_used(host: MailHost) -> None:
    able = service(host, tls=object())
    assert capabilities(able, False, NOT_AUTHENTICATED) == BASE + b" STARTTLS"
    assert capabilities(able, True, NOT_AUTHENTICATED) == BASE
    assert capabilities(service(host), False, NOT_AUTHENTICATED) == BASE


def test_passwords_may_be_kept_to_tls(host: MailHost) -> None:
    strict = service(host, cleartext_login_enable=False)
    assert not may_send_password(strict, tls=False)
    assert may_send_password(strict, tls=True)
    announced = capabilities(strict, False, NOT_AUTHENTICATED)
    assert announced == BASE + b" LOGINDISABLED X-LOGIN-COMMAND-DISABLED"
    assert capabilities(strict, True, NOT_AUTHENTICATED) == BASE


def test_mechanisms_are_announced_before_login_alone(host: MailHost) -> None:
    sasl = ("CRAM-MD5", "PLAIN")
    announced = capabilities(service(host), False, NOT_AUTHENTICATED, sasl=sasl)
    assert announced == BASE + b" AUTH=CRAM-MD5 AUTH=PLAIN"
    assert capabilities(service(host), False, AUTHENTICATED, sasl=sasl) == BASE


def test_a_mechanism_may_be_switched_off(host: MailHost) -> None:
    stream = Stream(ScriptedTransport([]))
    assert mechanisms(service(host), stream) == ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")
    off = {"plain": False, "scram-sha-256": False, "cram-md5": False}
    assert mechanisms(service(host, sasl_enable=off), stream) == ("LOGIN",)
    assert mechanisms(service(host, sasl_enable=off, cleartext_login_enable=False), stream) == ()


@pytest.mark.parametrize("tls", [False, True])
def test_anonymous_is_offered_when_it_is_switched_on_without_tls_too(host: MailHost, tls: bool) -> None:
    on = service(host, sasl_enable={"anonymous": True}, cleartext_login_enable=False)
    assert "ANONYMOUS" in mechanisms(on, Stream(ScriptedTransport([]), tls=tls))
    off = service(host)
    assert "ANONYMOUS" not in mechanisms(off, Stream(ScriptedTransport([]), tls=tls))


def test_words_may_be_switched_off_for_all_and_for_some(host: MailHost) -> None:
    some = (("j*@example.org", frozenset({b"IDLE"})), ("joe@*", frozenset({b"ID"})))
    off = service(host, imapd_disable_capability=frozenset({b"CHILDREN"}), imapd_disable_capability_for=some)
    assert switched_off(off) == DORMANT | {b"CHILDREN"}
    assert switched_off(off, "ann@example.org") == DORMANT | {b"CHILDREN"}
    assert switched_off(off, "Joe@example.org") == DORMANT | {b"CHILDREN", b"IDLE", b"ID"}
    announced = capabilities(off, True, SELECTED, switched_off(off, "jim@example.org")).split(b" ")
    assert set(BASE.split(b" ")) - set(announced) == {b"CHILDREN", b"IDLE"}


def test_literal_minus_stands_in_for_literal_plus(host: MailHost) -> None:
    words = capabilities(service(host), True, SELECTED, DORMANT | {b"LITERAL+"}).split(b" ")
    assert b"LITERAL-" in words and b"LITERAL+" not in words
    words = capabilities(service(host), True, SELECTED, DORMANT | {b"LITERAL+", b"LITERAL-"}).split(b" ")
    assert b"LITERAL-" not in words and b"LITERAL+" not in words


@pytest.mark.parametrize("words", [[], ["IMAP4rev1"], ["auth=plain"], ["STARTTLS"], ["no way"], ["x*"]])
def test_what_cannot_be_switched_off_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError):
        CAPABILITIES.parse(words)
    with pytest.raises(ValueError):
        CAPABILITIES_FOR.parse(["*", *words])
    assert CAPABILITIES.parse(["notify", "COMPRESS=DEFLATE"]) == {b"NOTIFY", b"COMPRESS=DEFLATE"}
    assert CAPABILITIES_FOR.show(CAPABILITIES_FOR.parse(["J*", "Id", "x"])) == "j* ID X"


def test_what_is_dormant_may_be_switched_on_for_all_and_for_some(host: MailHost) -> None:
    on = service(host, imapd_enable_capability=frozenset({b"UIDONLY"}))
    assert switched_off(on) == switched_off(on, "joe") == frozenset()
    assert b"UIDONLY" in capabilities(on, True, SELECTED, switched_off(on, "joe")).split(b" ")
    some = service(host, imapd_enable_capability_for=(("j*", frozenset({b"UIDONLY"})),))
    assert switched_off(some) == switched_off(some, "ann") == DORMANT
    assert switched_off(some, "Joe") == frozenset()
    both = service(
        host,
        imapd_enable_capability=frozenset({b"UIDONLY"}),
        imapd_disable_capability_for=(("joe", frozenset({b"UIDONLY"})),),
    )
    assert switched_off(both, "joe") == {b"UIDONLY"}


@pytest.mark.parametrize("words", [[], ["IDLE"], ["STARTTLS"], ["UIDONLY", "IDLE"]])
def test_only_what_is_dormant_can_be_switched_on(words: list[str]) -> None:
    with pytest.raises(ValueError):
        DORMANT_KIND.parse(words)
    with pytest.raises(ValueError):
        DORMANT_FOR.parse(["*", *words])
    assert DORMANT_KIND.parse(["uidonly"]) == DORMANT
    assert DORMANT_FOR.show(DORMANT_FOR.parse(["J*", "uidonly"])) == "j* UIDONLY"
