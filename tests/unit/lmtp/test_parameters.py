"""What stands behind the address of MAIL and RCPT."""

from __future__ import annotations

import pytest

from mstore.lmtp.parameters import Mailing, check_rcpt_parameters, parse_mail_parameters
from mstore.lmtp.reply import Refusal


def test_mail_tells_size_body_and_encoding() -> None:
    assert parse_mail_parameters(b"") == Mailing()
    assert parse_mail_parameters(b"size=12 BODY=8BITMIME") == Mailing(12)
    assert parse_mail_parameters(b"BODY=binarymime SMTPUTF8 SIZE=0") == Mailing(0, True, True)
    assert parse_mail_parameters(b"RET=HDRS ENVID=QQ314159+2B") == Mailing()


@pytest.mark.parametrize(
    "data",
    [
        b"NOTIFY=NEVER",
        b"NOTIFY=SUCCESS,FAILURE,DELAY",
        b"notify=failure ORCPT=rfc822;joe+2Bx@example.org",
        "ORCPT=utf-8;zoë@example.org".encode(),
    ],
)
def test_parameters_of_delivery_notifications_are_read(data: bytes) -> None:
    check_rcpt_parameters(data)


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"=1", b"501 5.5.4"),
        (b"SIZE=1 size=2", b"501 5.5.4"),
        (b"S\xffZE=1", b"501 5.5.4"),
        (b"SIZE=1=2", b"501 5.5.4"),
        (b"-A=1", b"501 5.5.4"),
        (b"SIZE=1\x00", b"501 5.5.4"),
        (b"SIZE", b"501 5.5.4"),
        (b"SIZE=12x", b"501 5.5.4"),
        (b"SIZE=" + b"1" * 21, b"501 5.5.4"),
        (b"BODY", b"501 5.5.4"),
        (b"BODY=9BIT", b"501 5.5.4"),
        (b"SMTPUTF8=yes", b"501 5.5.4"),
        (b"RET=ALL", b"501 5.5.4"),
        (b"ENVID=", b"501 5.5.4"),
        (b"ENVID=+2g", b"501 5.5.4"),
        (b"ENVID=" + b"x" * 101, b"501 5.5.4"),
        (b"AUTH=<>", b"555 5.5.4"),
        (b"NOTIFY=NEVER", b"555 5.5.4"),
    ],
)
def test_what_mail_does_not_take(data: bytes, reply: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_mail_parameters(data)
    assert caught.value.reply.startswith(reply)


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"NOTIFY=NEVER,SUCCESS", b"501 5.5.4"),
        (b"NOTIFY=", b"501 5.5.4"),
        (b"NOTIFY", b"501 5.5.4"),
        (b"ORCPT=joe", b"501 5.5.4"),
        (b"ORCPT=;joe", b"501 5.5.4"),
        (b"ORCPT=rfc822;jo+e", b"501 5.5.4"),
        (b"ORCPT=rfc822;" + b"x" * 501, b"501 5.5.4"),
        (b"SIZE=1", b"555 5.5.4"),
    ],
)
def test_what_rcpt_does_not_take(data: bytes, reply: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        check_rcpt_parameters(data)
    assert caught.value.reply.startswith(reply)
