"""``pop3d-login-delay``: who is back too soon is told [LOGIN-DELAY] (RFC 2449 §6.5, §8.1.1)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.pop3.session import Session
from mstore.store.maildrop import LAST_FILE
from mstore.store.store import Store
from tests.kit.mailhost import MailHost
from tests.kit.scripted import converse

LOGIN = b"USER joe\r\nPASS secret\r\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    host = MailHost(tmp_path, pop3d_login_delay=60)
    host.add("joe")
    yield host
    host.close()


def answers(host: MailHost, script: bytes) -> list[bytes]:
    return converse(Session, host.service(), script).split(b"\r\n")[1:-1]


def last_file(host: MailHost) -> Path:
    return host.store.path_of(host.accounts.find("joe")) / LAST_FILE


def test_the_second_session_comes_too_soon(host: MailHost) -> None:
    assert answers(host, LOGIN + b"QUIT\r\n")[1].startswith(b"+OK maildrop")
    refused = answers(host, LOGIN + b"STAT\r\n")
    assert refused[1].startswith(b"-ERR [LOGIN-DELAY] ")
    assert refused[2].startswith(b"-ERR "), "nobody is logged in"


def test_after_the_delay_the_maildrop_is_open_again(host: MailHost) -> None:
    answers(host, LOGIN + b"QUIT\r\n")
    past = time.time() - 61
    os.utime(last_file(host), (past, past))
    assert answers(host, LOGIN)[1].startswith(b"+OK maildrop")


def test_a_refused_session_does_not_lengthen_the_wait(host: MailHost) -> None:
    answers(host, LOGIN + b"QUIT\r\n")
    past = time.time() - 5
    os.utime(last_file(host), (past, past))
    answers(host, LOGIN)
    assert last_file(host).stat().st_mtime == pytest.approx(past, abs=0.01)


def test_another_process_knows_of_the_session(host: MailHost) -> None:
    answers(host, LOGIN + b"QUIT\r\n")
    host.store.close()
    host.store = Store(host.settings.mailstores)
    assert answers(host, LOGIN)[1].startswith(b"-ERR [LOGIN-DELAY] ")


def test_a_wrong_password_is_told_first(host: MailHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mstore.base.blocking.sleep", lambda seconds: None)
    answers(host, LOGIN + b"QUIT\r\n")
    assert answers(host, b"USER joe\r\nPASS wrong\r\n")[1].startswith(b"-ERR [AUTH] ")


def test_the_delay_is_announced(host: MailHost) -> None:
    assert b"LOGIN-DELAY 60" in answers(host, b"CAPA\r\n")


def test_a_clock_set_back_makes_nobody_wait_for_longer(host: MailHost) -> None:
    answers(host, LOGIN + b"QUIT\r\n")
    future = time.time() + 10_000
    os.utime(last_file(host), (future, future))
    assert b"in 60 seconds" in answers(host, LOGIN)[1]
