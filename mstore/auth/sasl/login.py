"""LOGIN: name and password, each asked for; older than PLAIN, and in no RFC."""

from __future__ import annotations

from mstore.auth.judge import Judge
from mstore.auth.sasl.mechanism import Exchange, Identity, malformed, read_name
from mstore.auth.sasl.plain import MAX_PASSWORD_BYTES


def exchange(judge: Judge) -> Exchange:
    """Ask for both; some clients send the name along at once."""
    initial = judge.question.initial
    login = read_name((yield b"Username:") if initial is None else initial)
    if not login:
        raise malformed("a name is empty")
    password = yield b"Password:"
    if not password or len(password) > MAX_PASSWORD_BYTES or b"\0" in password:
        raise malformed("a password is empty, too long or contains NUL")
    judge.check_password(login, password)
    return Identity(login)
