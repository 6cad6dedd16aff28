"""authproxyd's side of the one-command protocol.

A client sends ``AUTHENTICATE login password`` CRLF; it gets ``OK`` or ``NO``, a space and a text, without a
line end, and the connection is closed. The login has no space in it; the password is the rest of the line.
A line is at most 4 KB, and who does not send it within half a minute is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import mstore
from mstore.auth.driver import Mechanism
from mstore.auth.gate import CLOSING, Gate, OpenGate, Turned
from mstore.auth.mechanism import available_mechanisms, find_driver
from mstore.auth.verdict import REFUSED, UNAVAILABLE, Verdict
from mstore.base import blocking
from mstore.base.errors import MStoreError
from mstore.base.log import Log

MAX_LINE_BYTES = 4096
TIMEOUT_S = 30.0
LOCAL = "local"
"""The peer, as the gate knows those whose address nobody tells."""

BAD_COMMAND = Verdict(False, "the command is: AUTHENTICATE login password")

_log = Log()


class Connection(Protocol):
    """What serving a client needs of a socket."""

    def recv(self, n: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


class Server:
    """Answers clients by one mechanism; shared by all connections of a process."""

    def __init__(self, mechanism: Mechanism, timeout_s: float = TIMEOUT_S, gate: Gate | None = None) -> None:
        self._mechanism = mechanism
        self._gate = gate or OpenGate()
        self._timeout_s = timeout_s

    def handle(self, connection: Connection, judged: Callable[[Verdict], object]) -> None:
        """Serve one client and close its connection; ``judged`` is told what is answered, before it is."""
        try:
            line = self._read_line(connection)
            if line is None:
                return
            verdict = self._judge(line)
            judged(verdict)
            connection.settimeout(self._timeout_s)
            connection.sendall(format_answer(verdict))
        except OSError:
            pass  # The client has left.
        finally:
            connection.close()

    def _judge(self, line: bytes) -> Verdict:
        credentials = parse_command(line)
        if credentials is None:
            return BAD_COMMAND
        login, password = credentials
        try:
            name = login.decode()
        except UnicodeDecodeError:
            return REFUSED
        if not password:
            return REFUSED
        admission = self._gate.admit(LOCAL, name)
        if isinstance(admission, Turned):
            return Verdict(False, admission.text)
        if admission > 0 and not blocking.sleep(admission):
            return Verdict(False, CLOSING.text)
        try:
            verdict = self._mechanism.verify(name, password)
        except MStoreError as error:
            _log.error("login-unavailable", error=str(error))
            return UNAVAILABLE
        self._gate.note(LOCAL, name, verdict.ok)
        return verdict

    def _read_line(self, connection: Connection) -> bytes | None:
        deadline = time.monotonic() + self._timeout_s
        line = b""
        while b"\n" not in line:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            connection.settimeout(left_s)
            data = connection.recv(MAX_LINE_BYTES + 1 - len(line))
            if not data:
                return line or None
            line += data
            if len(line) > MAX_LINE_BYTES:
                return line
        return line


def parse_command(line: bytes) -> tuple[bytes, bytes] | None:
    """Login and password of a command line, or None when it is not one."""
    if len(line) > MAX_LINE_BYTES:
        return None
    text, end, _ = line.partition(b"\n")
    if not end:
        return None
    command, _, arguments = text.removesuffix(b"\r").partition(b" ")
    login, space, password = arguments.partition(b" ")
    if command.upper() != b"AUTHENTICATE" or not login or not space or b"\r" in password or b"\0" in text:
        return None
    return login, password


def format_answer(verdict: Verdict) -> bytes:
    """The answer as it goes over the wire: one word, perhaps a text, no line end."""
    word = "OK" if verdict.ok else "NO"
    return f"{word} {verdict.text}".rstrip().encode()


def version_text() -> str:
    """What ``authproxyd -v`` prints on standard error: the version, and the mechanisms there are here."""
    found = available_mechanisms()
    names = [name for name, missing in found.items() if not missing]
    lines = [
        f"M-Store authproxyd {mstore.__version__}",
        f"authentication mechanisms: {' '.join(names)}",
        f"run as the superuser: {' '.join(name for name in names if find_driver(name).needs_superuser)}",
        *(f"not available here: {name}: {missing}" for name, missing in found.items() if missing),
    ]
    return "\n".join(lines) + "\n"
