"""One whole command from the stream: its lines, and its literals, synchronising or not, within limits.

A literal is asked for only when its command is going to take it (RFC 3501 §7.5). What a client sends
unasked (RFC 7888 §3) is read even if it is to be refused, because the next command begins behind it. So
after every refusal the stream stands at the beginning of a command, or the session ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from mstore.base.errors import MStoreError, TooBig
from mstore.base.limitoptions import LINE_BYTES, LITERALS_BYTES
from mstore.files.spool import Spool
from mstore.imap.errors import Bad, Bye, No
from mstore.imap.grammar.cursor import Literal
from mstore.net.stream import CHUNK_BYTES, Disconnected, LineTooLong, Stream

if TYPE_CHECKING:
    from mstore.net.service import Service

EARLY_LITERALS_BYTES = 8192
"""All literals of one command together, before login."""
SPOOL_ABOVE_BYTES = 256 * 1024
HELD_BYTES = 4 << 20
"""So much of small messages of one command is held in memory; more of them are gathered in a spool."""
MESSAGES_BYTES = 256 << 20
"""All messages of one command together, unless a single one may be larger."""
MOST_SPOOLS = 100
"""So many large messages may come in one command."""
DISCARD_BYTES = 256 << 20
"""The longest unasked literal that is read only to be refused; a longer one ends the session."""
EARLY_DISCARD_BYTES = 64 << 10
UNASKED_BYTES = 1 << 62
"""With LITERAL+ what comes unasked may be as large as what is asked for."""
UNASKED_MINUS_BYTES = 4096
"""With LITERAL- alone (RFC 7888 §5 "4096")."""

_ANNOUNCED = re.compile(rb"\{([0-9]{1,20})(\+?)\}\r?\n\Z")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one command may bring."""

    line_bytes: int
    literals_bytes: int
    discard_bytes: int
    message_bytes: int = 0
    """The size of one literal that is a message; 0 where no message may come."""
    unasked_bytes: int = UNASKED_BYTES
    """The size of a literal that comes unasked; below zero where none may (RFC 7888 §5)."""


EARLY_LIMITS = Limits(LINE_BYTES, EARLY_LITERALS_BYTES, EARLY_DISCARD_BYTES)
COMMAND_LIMITS = Limits(LINE_BYTES, LITERALS_BYTES, DISCARD_BYTES)


@lru_cache(maxsize=16)
def limits_of(service: Service) -> tuple[Limits, Limits]:
    """How much a command may bring at this site, before and after login."""
    line, literals = service.settings.imapd_line_limit, service.settings.imapd_literals_limit
    early = replace(EARLY_LIMITS, line_bytes=min(line, EARLY_LIMITS.line_bytes))
    return early, replace(COMMAND_LIMITS, line_bytes=line, literals_bytes=literals)


@lru_cache(maxsize=16)
def with_message(limits: Limits, size_bytes: int) -> Limits:
    """The same for a command that brings messages of at most this size."""
    return replace(limits, message_bytes=size_bytes)


class Reader:
    """Reads the literals of one command, and the lines behind them; made only for commands with literals."""

    __slots__ = (
        "_gathered",
        "_held_bytes",
        "_limits",
        "_make_spool",
        "_refusal",
        "_spools",
        "_stream",
        "_taken_bytes",
        "data",
        "literals",
    )

    def __init__(
        self,
        stream: Stream,
        limits: Limits,
        make_spool: Callable[[], Spool],
        refusal: Exception | None = None,
    ) -> None:
        self._stream = stream
        self._limits = limits
        self._make_spool = make_spool
        self._refusal = refusal
        self._taken_bytes = self._held_bytes = 0
        self._spools: list[Spool] = []
        self._gathered: Spool | None = None
        """Holds small messages."""
        self.data = b""
        self.literals: list[Literal] = []

    def read(self, line: bytes) -> None:
        """From a first line that announces a literal to the end of the command: fills data and literals.

        Raises: the refusal it was made with, or its own (Bad, No), once the stream stands behind the
        command; Bye; Disconnected; TimedOut.
        """
        parts = [line]
        size_bytes = len(line)
        while (match := _ANNOUNCED.search(parts[-1])) is not None:
            self._read_literal(int(match[1]), asks=not match[2])
            if not self._stream.has_input():
                self._stream.acknowledge()
            try:
                line = self._stream.read_line(self._limits.line_bytes)
            except LineTooLong as error:
                self._refuse(Bad("line too long"))
                line = error.tail
            if not line:
                raise Disconnected("connection closed by the client")
            size_bytes += len(line)
            if size_bytes > self._limits.line_bytes:
                self._refuse(Bad("command too long"))
            if self._refusal is not None:
                parts.clear()
            parts.append(line)
        if self._refusal is not None:
            self.close()
            raise self._refusal
        self.data = b"".join(parts)

    def close(self) -> None:
        """Give back what large literals hold."""
        for spool in self._spools:
            spool.close()
        self._spools = []
        self.literals = []

    def _refuse(self, refusal: Exception) -> None:
        if self._refusal is None:
            self._refusal = refusal

    def _read_literal(self, size: int, asks: bool) -> None:
        limits = self._limits
        self._taken_bytes += size
        if limits.message_bytes and size > limits.message_bytes:
            self._refuse(No("Message too big", b"TOOBIG"))
        elif not asks and size > limits.unasked_bytes:
            self._refuse(Bad("literal too long to come unasked", b"TOOBIG"))
        elif self._taken_bytes > limits.literals_bytes + limits.message_bytes:
            if not limits.message_bytes:
                self._refuse(Bad("literal too long"))
            elif self._taken_bytes > limits.literals_bytes + max(limits.message_bytes, MESSAGES_BYTES):
                self._refuse(No("Too much for one command", b"LIMIT"))
        if size > SPOOL_ABOVE_BYTES and limits.message_bytes and len(self._spools) >= MOST_SPOOLS:
            self._refuse(No("Too many large messages for one command", b"LIMIT"))
        if asks:
            if self._refusal is not None:
                # A client that asks is told no; it then sends neither the literal nor the rest.
                self.close()
                raise self._refusal
            self._stream.write(b"+ OK\r\n")
        self._stream.flush()
        if self._refusal is not None:
            self._discard(size)
        elif not limits.message_bytes:
            self.literals.append(self._stream.read_exact(size))
        elif size <= SPOOL_ABOVE_BYTES:
            self._read_small_message(size)
        else:
            self._read_message(size)

    def _read_small_message(self, size: int) -> None:
        data = self._stream.read_exact(size)
        if self._held_bytes + size <= HELD_BYTES:
            self._held_bytes += size
            self.literals.append(data)
            return
        try:
            if self._gathered is None or self._gathered.size + size > self._limits.message_bytes:
                self._gathered = self._make_spool()
                self._spools.append(self._gathered)
            self.literals.append(self._gathered.append_part(data))
        except MStoreError as error:
            self._refuse(error)

    def _read_message(self, size: int) -> None:
        spool = self._make_spool()
        self._spools.append(spool)
        self.literals.append(spool)
        left = size
        try:
            for chunk in self._stream.read_chunks(size, CHUNK_BYTES):
                left -= len(chunk)
                spool.append(chunk)
        except TooBig:
            self._refuse(No("Message too big", b"TOOBIG"))
        except Disconnected:
            raise
        except MStoreError as error:
            self._refuse(error)
        if left:
            self._discard(left)

    def _discard(self, size: int) -> None:
        if size > self._limits.discard_bytes:
            raise Bye("Literal too big", b"TOOBIG")
        for _ in self._stream.read_chunks(size, CHUNK_BYTES):
            pass


def announces_literal(line: bytes) -> bool:
    """Whether a literal follows this line."""
    return _ANNOUNCED.search(line) is not None
