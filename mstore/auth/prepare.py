"""The rules for passwords, and the one form in which two spellings of a password are the same.

A password is text in UTF-8, 1 to 1024 bytes, without control characters. It is prepared by SASLprep
(RFC 4013), as mechanisms ask for: what a keyboard composes and what it writes in two characters is one
password, and a wide space is a space. What SASLprep refuses (it knows no characters younger than Unicode
3.2, so no emoji) is taken as it is.
"""

from __future__ import annotations

from mstore.base.errors import Invalid, LimitReached

MAX_PASSWORD_BYTES = 1024


def prepare(password: bytes) -> bytes:
    """The form of a password of which verifiers and keys are made."""
    if password.isascii():
        return password
    from passlib.utils import saslprep  # most passwords do without

    try:
        prepared: str = saslprep(password.decode())
    except ValueError:  # UnicodeDecodeError is one
        return password
    return prepared.encode() or password


def is_possible(password: bytes) -> bool:
    """Whether this can be anybody's password; verifiers from elsewhere may be of any bytes but NUL."""
    return 0 < len(password) <= MAX_PASSWORD_BYTES and b"\0" not in password


def check_new_password(password: bytes) -> None:
    """Pass what may become a password.

    Raises: Invalid, LimitReached.
    """
    if not password:
        raise Invalid("the password is empty")
    if len(password) > MAX_PASSWORD_BYTES:
        raise LimitReached(f"a password cannot be longer than {MAX_PASSWORD_BYTES} bytes")
    try:
        text = password.decode()
    except UnicodeDecodeError:
        raise Invalid("the password is not in UTF-8") from None
    if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text):
        raise Invalid("the password contains a control character")
