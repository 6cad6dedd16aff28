"""PLAIN (RFC 4616): name and password in one message.

The password is taken as bytes: LOGIN and PASS come this way too, and on some sites passwords are older than
UTF-8.
"""

from __future__ import annotations

from mstore.auth.judge import Judge
from mstore.auth.sasl.mechanism import Exchange, Identity, malformed, read_name, take_first

MAX_PASSWORD_BYTES = 1024


def exchange(judge: Judge) -> Exchange:
    """Take ``authzid NUL authcid NUL passwd``."""
    parts = (yield from take_first(judge)).split(b"\0")
    if len(parts) != 3:
        raise malformed()
    authzid, login, password = read_name(parts[0]), read_name(parts[1]), parts[2]
    if not login or not password:
        raise malformed("a name or password is empty")
    if len(password) > MAX_PASSWORD_BYTES:
        raise malformed("a password is too long")
    judge.check_password(login, password)
    return Identity(login, authzid)
