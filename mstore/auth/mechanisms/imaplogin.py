"""One IMAP LOGIN on a server elsewhere, up to its tagged response: all that the mechanism ``rimap`` speaks.

What the server says is limited in every way, and nothing a user typed can become a command: a name or a
password goes as a quoted string where all of it may, and otherwise as a literal (RFC 3501 §4.3).
"""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple, Protocol

from mstore.auth.driver import StartTls
from mstore.base.errors import Unavailable

MAX_LINE_BYTES = 16_384
MAX_ANSWER_BYTES = 131_072
_RECEIVE_BYTES = 4096

_PLAIN = re.compile(rb"[\x20-\x7e]{0,900}")
_LITERAL = re.compile(rb"\{([0-9]{1,9})\}\r\n\Z")
_NON_SYNCHRONISING = frozenset((b"LITERAL+", b"LITERAL-"))
"""The second of these allows 4,096 bytes (RFC 7888 §5), which is more than a question to authproxyd has."""
_CAPABILITY = re.compile(rb"(?:\A\* |\[)CAPABILITY ([^\]\r\n]*)", re.IGNORECASE)
_CODE = re.compile(rb"\[([A-Z-]+)[ \]]", re.IGNORECASE)
_TROUBLE = frozenset((b"UNAVAILABLE", b"SERVERBUG", b"INUSE", b"PRIVACYREQUIRED"))
"""Response codes of a NO that says nothing about the password (RFC 5530 §3)."""


class Connection(Protocol):
    """What the dialogue needs of a socket."""

    def recv(self, n: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def settimeout(self, seconds: float | None, /) -> None: ...


class Tls(NamedTuple):
    """How to use TLS: ``offered``, ``required``, ``immediate`` or ``off``, and how to start it."""

    mode: str
    start: StartTls
    host: str


class Dialogue:
    """A connection to an IMAP server, with a time by which all must be over."""

    def __init__(self, connection: Connection, tls: Tls, deadline_s: float) -> None:
        self._connection: Any = connection
        self._tls = tls
        self._deadline_s = deadline_s
        self._input = b""
        self._received = 0
        self._tag = 0

    @property
    def connection(self) -> Any:
        """The connection as it is by now, to be closed."""
        return self._connection

    def login(self, name: bytes, password: bytes) -> bool:
        """Whether the server lets somebody in; returns as soon as it has said so.

        Raises: Unavailable when it does not say, OSError when the connection fails or takes too long.
        """
        if self._tls.mode == "immediate":
            self._start_tls()
        capabilities = self._greeting() or self._ask_capabilities()
        if self._tls.mode in ("offered", "required"):
            if b"STARTTLS" in capabilities:
                self._command(b"STARTTLS")
                if self._input:
                    # put there by somebody who wants it to be taken for something said under TLS
                    raise Unavailable("says more than it may before TLS begins")
                self._start_tls()
                capabilities = self._ask_capabilities()
            elif self._tls.mode == "required":
                raise Unavailable("does not offer STARTTLS")
        if b"LOGINDISABLED" in capabilities:
            raise Unavailable("allows no LOGIN on such a connection (LOGINDISABLED)")
        return self._log_in(name, password, capabilities)

    def _start_tls(self) -> None:
        self._limit_time()
        self._connection = self._tls.start(self._connection, self._tls.host)

    def _greeting(self) -> frozenset[bytes]:
        line = self._read_response()
        if line[:5].upper() != b"* OK ":
            raise Unavailable(f"greets with {_show(line)}")
        return _capabilities(line)

    def _ask_capabilities(self) -> frozenset[bytes]:
        found = _capabilities(*self._command(b"CAPABILITY"))
        if not found:
            raise Unavailable("does not tell its capabilities")
        return found

    def _command(self, command: bytes) -> list[bytes]:
        tag = self._send(command)
        lines = self._read_until(tag)
        if _status(lines[-1], tag) != b"OK":
            raise Unavailable(f"answers {command.decode()} with {_show(lines[-1])}")
        return lines

    def _log_in(self, name: bytes, password: bytes, capabilities: frozenset[bytes]) -> bool:
        pieces = _login_pieces(name, password, bool(_NON_SYNCHRONISING & capabilities))
        tag = self._send(pieces[0])
        for piece in pieces[1:]:
            line = self._read_until(tag, continued=True)[-1]
            if not line.startswith(b"+"):
                return self._judge(line, tag)
            self._sendall(piece)
        return self._judge(self._read_until(tag)[-1], tag)

    def _judge(self, line: bytes, tag: bytes) -> bool:
        status = _status(line, tag)
        if status == b"OK":
            return True
        code = _CODE.search(line[:200])
        if status != b"NO" or (code is not None and code[1].upper() in _TROUBLE):
            raise Unavailable(f"answers LOGIN with {_show(line)}")
        return False

    def _send(self, command: bytes) -> bytes:
        self._tag += 1
        tag = b"M%d" % self._tag
        self._sendall(tag + b" " + command + b"\r\n")
        return tag

    def _sendall(self, data: bytes) -> None:
        self._limit_time()
        self._connection.sendall(data)

    def _read_until(self, tag: bytes, continued: bool = False) -> list[bytes]:
        """All responses up to the tagged one, or up to a request to go on."""
        lines = [self._read_response()]
        while not lines[-1].startswith(tag + b" "):
            line = lines[-1]
            if line[:6].upper() == b"* BYE ":
                raise Unavailable(f"says {_show(line)}")
            if line.startswith(b"+"):
                if continued:
                    break
                raise Unavailable("asks for more where there is no more")
            if not line.startswith(b"* "):
                raise Unavailable(f"is no IMAP server: {_show(line)}")
            lines.append(self._read_response())
        return lines

    def _read_response(self) -> bytes:
        """A response with its literals, which begin a line that goes on."""
        response = self._read_line()
        while found := _LITERAL.search(response[-MAX_LINE_BYTES:]):
            response += self._read_bytes(int(found[1])) + self._read_line()
        return response

    def _read_line(self) -> bytes:
        while (end := self._input.find(b"\n")) < 0:
            if len(self._input) > MAX_LINE_BYTES:
                raise Unavailable("sends a line that is too long")
            self._receive()
        line, self._input = self._input[: end + 1], self._input[end + 1 :]
        return line

    def _read_bytes(self, size: int) -> bytes:
        if size > MAX_ANSWER_BYTES:
            raise Unavailable("says too much")
        while len(self._input) < size:
            self._receive()
        found, self._input = self._input[:size], self._input[size:]
        return found

    def _receive(self) -> None:
        self._limit_time()
        data = self._connection.recv(_RECEIVE_BYTES)
        if not data:
            raise Unavailable("closed the connection")
        self._received += len(data)
        if self._received > MAX_ANSWER_BYTES:
            raise Unavailable("says too much")
        self._input += data

    def _limit_time(self) -> None:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left_s)


def _login_pieces(name: bytes, password: bytes, may_go_on: bool) -> list[bytes]:
    """LOGIN in the pieces between which the server must be waited for; the last one ends the line.

    With ``may_go_on`` (RFC 7888) there is only one. The first piece is sent with a line end of its own.
    """
    pieces = [b"LOGIN"]
    for value in (name, password):
        if _PLAIN.fullmatch(value):
            pieces[-1] += b' "' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        elif may_go_on:
            pieces[-1] += b" {%d+}\r\n" % len(value) + value
        else:
            pieces[-1] += b" {%d}" % len(value)
            pieces.append(value)
    return [pieces[0], *(piece + b"\r\n" for piece in pieces[1:])]


def _capabilities(*lines: bytes) -> frozenset[bytes]:
    for line in lines:
        if found := _CAPABILITY.search(line):
            return frozenset(found[1].upper().split())
    return frozenset()


def _status(line: bytes, tag: bytes) -> bytes:
    words = line[len(tag) + 1 :].split(None, 1)
    return words[0].upper() if words else b""


def _show(line: bytes) -> str:
    """What the server said, for the log."""
    return repr(line[:200].decode("utf-8", "replace").strip())
