"""Lean clients over plain sockets: the same code speaks to both servers, and every answer is looked at.

They understand just enough of each protocol to know where an answer ends and whether it is the right one.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from pathlib import Path

Address = tuple[str, int] | Path


class WrongAnswer(Exception):
    """The server did not say what the work needs; the figures would mean nothing."""


class Line:
    """A connection that is read line by line."""

    def __init__(
        self, address: Address, timeout_s: float = 120.0, context: ssl.SSLContext | None = None
    ) -> None:
        if isinstance(address, Path):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout_s)
            self.socket.connect(str(address))
        else:
            self.socket = socket.create_connection(address, timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket)
        self._buffer = b""

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        data = self.socket.recv(262144)
        if not data:
            raise WrongAnswer("the server closed the connection")
        return data

    def line(self) -> bytes:
        while (at := self._buffer.find(b"\n")) < 0:
            self._buffer += self.receive()
        line, self._buffer = self._buffer[: at + 1], self._buffer[at + 1 :]
        return line

    def until(self, mark: bytes) -> bytes:
        """Everything up to and including the line that begins with the mark; for large answers."""
        needle = b"\r\n" + mark
        tail = b"\r\n" + self._buffer
        parts = [tail]
        while True:
            at = tail.find(needle)
            if at >= 0 and tail.find(b"\n", at + 2) >= 0:
                break
            data = self.receive()
            parts.append(data)
            tail = tail[-400:] + data
        whole = b"".join(parts)
        end = whole.find(b"\n", whole.rfind(needle) + 2) + 1
        self._buffer = whole[end:]
        return whole[2:end]

    def close(self) -> None:
        self.socket.close()


class Imap(Line):
    """An IMAP connection."""

    def __init__(
        self, address: Address, timeout_s: float = 120.0, context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(address, timeout_s, context)
        self._tag = 0
        expect(self.line(), b"* OK")

    def start(self, command: bytes) -> bytes:
        """Send a command without waiting; gives its tag."""
        self._tag += 1
        tag = b"a%d" % self._tag
        self.send(b"%s %s\r\n" % (tag, command))
        return tag

    def finish(self, tag: bytes) -> bytes:
        """The whole answer; the command must have succeeded."""
        answer = self.until(tag + b" ")
        last = answer[answer.rfind(b"\n", 0, len(answer) - 1) + 1 :]
        expect(last, tag + b" OK")
        return answer

    def command(self, command: bytes) -> bytes:
        return self.finish(self.start(command))

    def login(self, user: str, password: str) -> None:
        self.command(b"LOGIN %s %s" % (user.encode(), password.encode()))

    def select(self, mailbox: str = "INBOX") -> int:
        """Select; gives the number of messages."""
        found = re.search(rb"\* (\d+) EXISTS", self.command(b"SELECT " + mailbox.encode()))
        if not found:
            raise WrongAnswer("SELECT without EXISTS")
        return int(found[1])

    def append(self, message: bytes, mailbox: str = "INBOX") -> None:
        """One APPEND with a non-synchronizing literal."""
        self.command(b"APPEND %s {%d+}\r\n%s" % (mailbox.encode(), len(message), message))

    def append_all(
        self,
        messages: Iterable[bytes],
        many: bool = True,
        mailbox: str = "INBOX",
        dates: Iterable[bytes] | None = None,
    ) -> None:
        """Append many, with internal dates where given: in one command (RFC 3502), or pipelined."""
        name = mailbox.encode()
        stamps = (b"" for _ in iter(int, 1)) if dates is None else (b' "%s"' % date for date in dates)
        parts = (b"%s {%d+}\r\n%s" % (stamp, len(m), m) for m, stamp in zip(messages, stamps, strict=False))
        if many:
            self.command(b"APPEND %s%s" % (name, b"".join(parts)))
            return
        self.pipeline((b"APPEND %s%s" % (name, part) for part in parts), 8)

    def pipeline(self, commands: Iterable[bytes], depth: int) -> None:
        """Commands with so many in flight; all must succeed."""
        tags: deque[bytes] = deque()
        for command in commands:
            tags.append(self.start(command))
            if len(tags) >= depth:
                self.finish(tags.popleft())
        for tag in tags:
            self.finish(tag)

    def idle(self) -> None:
        """Begin IDLE; returns when the server waits with us."""
        self.idle_tag = self.start(b"IDLE")
        expect(self.line(), b"+")

    def logout(self) -> None:
        answer = self.command(b"LOGOUT")
        if b"* BYE" not in answer:
            raise WrongAnswer(repr(answer[-200:]))
        self.close()


class Lmtp(Line):
    """An LMTP connection that pipelines the envelope, as MTAs do."""

    def __init__(self, address: Address, timeout_s: float = 120.0) -> None:
        super().__init__(address, timeout_s)
        expect(self.line(), b"220")
        self.send(b"LHLO bench.example\r\n")
        self.reply(b"250")

    def reply(self, code: bytes) -> bytes:
        while True:
            line = self.line()
            expect(line, code)
            if line[3:4] != b"-":
                return line

    def deliver(self, recipients: list[str], message: bytes) -> None:
        """Hand one message (without lone dots) over; returns when every recipient is acknowledged."""
        envelope = b"".join(b"RCPT TO:<%s>\r\n" % r.encode() for r in recipients)
        self.send(b"MAIL FROM:<sender@bench.example>\r\n%sDATA\r\n" % envelope)
        for _ in range(len(recipients) + 1):
            self.reply(b"250")
        self.reply(b"354")
        self.send(message + b".\r\n")
        for _ in recipients:
            self.reply(b"250")

    def quit(self) -> None:
        self.send(b"QUIT\r\n")
        self.reply(b"221")
        self.close()


class Pop3(Line):
    """A POP3 connection."""

    def __init__(self, address: Address, timeout_s: float = 120.0) -> None:
        super().__init__(address, timeout_s)
        expect(self.line(), b"+OK")

    def command(self, command: bytes) -> bytes:
        self.send(command + b"\r\n")
        line = self.line()
        expect(line, b"+OK")
        return line

    def many(self, command: bytes) -> bytes:
        """A command with an answer of several lines; gives them without the final dot."""
        self.send(command + b"\r\n")
        expect(self.line(), b"+OK")
        return self.until(b".\r\n")[:-3]


def expect(line: bytes, start: bytes) -> None:
    """The line begins so, or the work is void."""
    if not line.startswith(start):
        raise WrongAnswer(f"expected {start!r}, got {line[:300]!r}")
