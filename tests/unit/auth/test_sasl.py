import pytest

from mstore.auth.sasl import Credentials, start
from mstore.base.errors import Invalid, NotFound


def test_plain_takes_all_from_the_initial_response() -> None:
    assert start("plain").step(b"\0joe\0se cret") == Credentials(b"", b"joe", b"se cret")
    assert start("PLAIN").step(b"boss\0joe\0x") == Credentials(b"boss", b"joe", b"x")


def test_plain_without_initial_response_asks_with_an_empty_challenge() -> None:
    exchange = start("PLAIN")
    assert exchange.step(None) == b""
    assert exchange.step(b"\0joe\0x") == Credentials(b"", b"joe", b"x")


@pytest.mark.parametrize("response", [b"", b"joe", b"joe\0x", b"\0\0x", b"\0joe\0", b"a\0b\0c\0d", b"\0j\xff\0x", b"\0joe\0" + b"x" * 1025])  # fmt: skip  # noqa: E501
def test_malformed_plain_is_refused(response: bytes) -> None:
    with pytest.raises(Invalid):
        start("PLAIN").step(response)


def test_login_asks_for_name_and_password() -> None:
    exchange = start("LOGIN")
    assert exchange.step(None) == b"Username:"
    assert exchange.step(b"joe") == b"Password:"
    assert exchange.step(b"se cret") == Credentials(b"", b"joe", b"se cret")


def test_login_takes_the_name_as_initial_response() -> None:
    exchange = start("LOGIN")
    assert exchange.step(b"joe") == b"Password:"


@pytest.mark.parametrize("response", [b"", b"a\0b", b"\xff", b"x" * 1025])
def test_malformed_login_is_refused_at_both_steps(response: bytes) -> None:
    with pytest.raises(Invalid):
        start("LOGIN").step(response)
    exchange = start("LOGIN")
    exchange.step(b"joe")
    with pytest.raises(Invalid):
        exchange.step(response)


def test_an_unknown_mechanism_is_not_found() -> None:
    with pytest.raises(NotFound):
        start("SCRAM-SHA-256")


def test_credentials_do_not_show_the_password() -> None:
    assert "se cret" not in repr(Credentials(b"", b"joe", b"se cret"))
