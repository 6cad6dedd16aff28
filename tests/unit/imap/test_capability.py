"""What is announced, by connection, state and settings."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mstore.imap.capability import capabilities, may_send_password, mechanisms
from mstore.imap.state import AUTHENTICATED, NOT_AUTHENTICATED, SELECTED
from tests.kit.dialogue import site
from tests.kit.mailhost import MailHost

BASE = (
    b"IMAP4rev1 LITERAL+ SASL-IR ID IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN"
    b" ENABLE CONDSTORE QRESYNC MOVE MULTIAPPEND UNAUTHENTICATE SAVEDATE OBJECTID REPLACE PREVIEW BINARY"
    b" CATENATE"
    b" ESEARCH SEARCHRES WITHIN PARTIAL MULTISEARCH CONTEXT=SEARCH I18NLEVEL=1 INPROGRESS"
    b" SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS"
    b" ACL RIGHTS=texk QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE QUOTASET APPENDLIMIT=104857600"
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    with site(tmp_path, {}) as host:
        yield host


def service(host: MailHost, tls: object = None, **settings: Any) -> Any:
    return host.service(tls=tls, settings=replace(host.settings, **settings))


def test_after_login_only_what_can_still_be_used(host: MailHost) -> None:
    for state in (AUTHENTICATED, SELECTED):
        assert capabilities(service(host, tls=object()), False, state) == BASE


def test_starttls_is_there_while_it_can_be_used(host: MailHost) -> None:
    able = service(host, tls=object())
    assert capabilities(able, False, NOT_AUTHENTICATED) == BASE + b" STARTTLS AUTH=PLAIN"
    assert capabilities(able, True, NOT_AUTHENTICATED) == BASE + b" AUTH=PLAIN"
    assert capabilities(service(host), False, NOT_AUTHENTICATED) == BASE + b" AUTH=PLAIN"


def test_passwords_may_be_kept_to_tls(host: MailHost) -> None:
    strict = service(host, cleartext_login_enable=False)
    assert not may_send_password(strict, tls=False)
    assert may_send_password(strict, tls=True)
    announced = capabilities(strict, False, NOT_AUTHENTICATED)
    assert announced == BASE + b" LOGINDISABLED X-LOGIN-COMMAND-DISABLED"
    assert capabilities(strict, True, NOT_AUTHENTICATED) == BASE + b" AUTH=PLAIN"


def test_a_mechanism_may_be_switched_off(host: MailHost) -> None:
    assert mechanisms(service(host), tls=True) == (b"PLAIN",)
    assert mechanisms(service(host, sasl_enable={"plain": False}), tls=True) == ()
