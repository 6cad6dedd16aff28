"""What may stand behind the address of MAIL and RCPT: one row for each parameter.

RFC 1870 (SIZE), RFC 6152 and 3030 (BODY), RFC 6531 (SMTPUTF8), RFC 4954 (AUTH), RFC 3461 (RET, ENVID, NOTIFY,
ORCPT). Those of delivery status notifications are read and have no effect: whoever hands in the mail makes
them from our replies, so DSN is not announced. Nor has AUTH an effect: mail is not handed on from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mstore.lmtp.reply import Refusal

T = TypeVar("T")

_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e\x80-\xff]*))?")
_XTEXT = re.compile(rb"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
_NOTIFY = frozenset((b"SUCCESS", b"FAILURE", b"DELAY"))
_ENVID_LIMIT_BYTES = 100
_ORCPT_LIMIT_BYTES = 500
_AUTH_LIMIT_BYTES = 500
BODIES = (b"7BIT", b"8BITMIME", b"BINARYMIME")


@dataclass(slots=True)
class Mailing:
    """What MAIL says of the message to come."""

    size_bytes: int = 0
    """As announced; 0 where it was not."""
    is_binary: bool = False
    """It comes by BDAT, and its bodies may be anything (RFC 3030 §3)."""
    utf8: bool = False
    """Its addresses and its header may be in UTF-8 (RFC 6531 §3.4)."""


def parse_mail_parameters(data: bytes, has_auth: bool = False) -> Mailing:
    """The parameters of MAIL; ``has_auth`` tells whether AUTH is announced, and may be one of them.

    Raises: Refusal.
    """
    return _parse(data, _OF_MAIL_WITH_AUTH if has_auth else _OF_MAIL, Mailing())


def check_rcpt_parameters(data: bytes) -> None:
    """Pass the parameters of RCPT, none of which changes what is done.

    Raises: Refusal.
    """
    _parse(data, _OF_RCPT, None)


def _parse(data: bytes, table: Mapping[bytes, Callable[[T, bytes | None], None]], into: T) -> T:
    seen = set[bytes]()
    for word in data.split():
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise Refusal(501, "5.5.4", "syntax error in parameters")
        keyword = match[1].upper()
        if keyword in seen:
            raise Refusal(501, "5.5.4", f"{keyword.decode()} is given twice")
        seen.add(keyword)
        read = table.get(keyword)
        if read is None:
            raise Refusal(555, "5.5.4", f"parameter {keyword.decode()} is not known")
        read(into, match[2])
    return into


def _read_size(mailing: Mailing, value: bytes | None) -> None:
    if value is None or not value.isdigit() or len(value) > 20:
        raise Refusal(501, "5.5.4", "SIZE is a number of bytes")
    mailing.size_bytes = int(value)


def _read_body(mailing: Mailing, value: bytes | None) -> None:
    body = (value or b"").upper()
    if body not in BODIES:
        raise Refusal(501, "5.5.4", "BODY is 7BIT, 8BITMIME or BINARYMIME")
    mailing.is_binary = body == b"BINARYMIME"


def _read_utf8(mailing: Mailing, value: bytes | None) -> None:
    if value is not None:
        raise Refusal(501, "5.5.4", "SMTPUTF8 has no value")
    mailing.utf8 = True


def _check_ret(_: object, value: bytes | None) -> None:
    if value is None or value.upper() not in (b"FULL", b"HDRS"):
        raise Refusal(501, "5.5.4", "RET is FULL or HDRS")


def _check_envid(_: object, value: bytes | None) -> None:
    if not value or len(value) > _ENVID_LIMIT_BYTES or _XTEXT.fullmatch(value) is None:
        raise Refusal(501, "5.5.4", "ENVID is not xtext")


def _check_auth(_: object, value: bytes | None) -> None:
    if not value or len(value) > _AUTH_LIMIT_BYTES or (value != b"<>" and _XTEXT.fullmatch(value) is None):
        raise Refusal(501, "5.5.4", "AUTH is xtext, or <>")


def _check_notify(_: object, value: bytes | None) -> None:
    words = (value or b"").upper().split(b",")
    if words != [b"NEVER"] and not _NOTIFY.issuperset(words):
        raise Refusal(501, "5.5.4", "NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY")


def _check_orcpt(_: object, value: bytes | None) -> None:
    kind, semicolon, address = (value or b"").partition(b";")
    good = semicolon and re.fullmatch(rb"[A-Za-z0-9-]+", kind) and len(address) <= _ORCPT_LIMIT_BYTES
    if not good or not (kind.lower() == b"utf-8" or _XTEXT.fullmatch(address)):
        raise Refusal(501, "5.5.4", "ORCPT is a type, a semicolon and an address")


_OF_MAIL: Mapping[bytes, Callable[[Mailing, bytes | None], None]] = {
    b"SIZE": _read_size,
    b"BODY": _read_body,
    b"SMTPUTF8": _read_utf8,
    b"RET": _check_ret,
    b"ENVID": _check_envid,
}
_OF_MAIL_WITH_AUTH: Mapping[bytes, Callable[[Mailing, bytes | None], None]] = {
    **_OF_MAIL,
    b"AUTH": _check_auth,
}
_OF_RCPT: Mapping[bytes, Callable[[None, bytes | None], None]] = {
    b"NOTIFY": _check_notify,
    b"ORCPT": _check_orcpt,
}
