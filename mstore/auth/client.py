"""What the protocols call to check a password: one question to authproxyd over its socket.

One connection for each question, as the protocol has it: ``AUTHENTICATE login password`` CRLF, an answer
without a line end, the end of the connection. The password is neither kept nor logged.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mstore.auth.verdict import UNAVAILABLE
from mstore.base import blocking
from mstore.base.errors import Unavailable

TIMEOUT_S = 30.0
ABSENT_S = 5.0
"""How long authproxyd may be gone before that is told, for it is when it is restarted."""
PAUSE_S = 0.05
MAX_LINE_BYTES = 4096
MAX_ANSWER_BYTES = 4096

_UNSENDABLE = (b"\r", b"\n", b"\0")


class Connection(Protocol):
    """What a question needs of a socket."""

    def recv(self, n: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AuthResult:
    """Whether the password is right, and what authproxyd said."""

    ok: bool
    text: str


def connect_plain(path: str, timeout_s: float) -> Connection:
    """Connect to a Unix socket by blocking; workers bring their own."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


class AuthClient:
    """Asks authproxyd; holds nothing between questions, so all sessions of a process share one."""

    def __init__(
        self,
        socket_path: str | os.PathLike[str],
        connect: Callable[[str, float], Connection] = connect_plain,
        timeout_s: float = TIMEOUT_S,
        absent_s: float = ABSENT_S,
    ) -> None:
        self.socket_path = Path(socket_path)
        self._connect = connect
        self._timeout_s = timeout_s
        self._absent_s = absent_s

    def check(self, name: bytes, password: bytes) -> AuthResult:
        """Whether ``name`` may log in with ``password``.

        What the protocol cannot carry (a space in the name, a line end) is no account's and is refused
        unasked.
        Raises: Unavailable when authproxyd does not answer, or not by its protocol.
        """
        line = b"AUTHENTICATE %b %b\r\n" % (name, password)
        if not name or b" " in name or len(line) > MAX_LINE_BYTES or any(c in line[:-2] for c in _UNSENDABLE):
            return AuthResult(False, "")
        try:
            answer = self._ask_until_answered(line)
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise Unavailable(f"the authentication service cannot be reached: {reason}") from None
        word, text = answer[:2], answer[2:].decode(errors="replace").strip()
        if word == b"OK" and answer[2:3] in (b"", b" "):
            return AuthResult(True, text)
        if word == b"NO" and text == UNAVAILABLE.text:
            raise Unavailable("the authentication service cannot judge just now; its log says why")
        if word == b"NO":
            return AuthResult(False, text)
        raise Unavailable("the authentication service gave no answer")

    def _ask_until_answered(self, line: bytes) -> bytes:
        """Ask again where nobody is there, or who was ended before answering, until somebody should be."""
        until = time.monotonic() + self._absent_s
        while True:
            try:
                answer = self._ask(line)
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() >= until:
                    raise
            else:
                if answer or time.monotonic() >= until:
                    return answer
            blocking.sleep(PAUSE_S)

    def _ask(self, line: bytes) -> bytes:
        deadline = time.monotonic() + self._timeout_s
        connection = self._connect(os.fspath(self.socket_path), self._timeout_s)
        try:
            connection.settimeout(self._timeout_s)
            # an answer may be there already when the other side closes without having read all
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(line)
            answer = b""
            while len(answer) <= MAX_ANSWER_BYTES:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError("timed out")
                connection.settimeout(left_s)
                try:
                    data = connection.recv(MAX_ANSWER_BYTES)
                except ConnectionResetError:
                    break
                if not data:
                    break
                answer += data
            return answer
        finally:
            connection.close()
