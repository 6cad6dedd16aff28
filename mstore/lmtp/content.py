"""The content of a message on its way into a spool: line ends, header, trace fields.

After a failure the rest is taken and dropped, so that the conversation stays in step, and what went wrong is
remembered.
"""

from __future__ import annotations

import re

from mstore.base.errors import MStoreError
from mstore.files.spool import Spool
from mstore.mail.crlf import LineEnds

HEADER_LIMIT_BYTES = 1 << 20

UTF8 = "utf8"
"""Of the choices of ``allow8bitheaders``, the one that SMTPUTF8 brings with it."""

_RETURN_PATH = re.compile(rb"^return-path[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.I | re.M)
_STRIPPED = bytes(
    b if b < 0x80 else (b & 0x7F if 0x20 <= b & 0x7F <= 0x7E else ord("?")) for b in range(256)
)
"""Takes the high bit off; what would become a control character (a line end, even) becomes "?" instead."""


class BadContent(MStoreError):
    """The message breaks a rule of the site or of the format (554 5.6.0)."""


def take_beyond_ascii(header: bytes, beyond_ascii: str) -> bytes:
    """A header that is not ASCII as it is to be stored, by the choice made in ``allow8bitheaders``.

    Raises: BadContent.
    """
    if beyond_ascii == UTF8:
        try:
            header.decode()
        except UnicodeDecodeError:
            raise BadContent("header holds characters that are not UTF-8") from None
        return header
    if beyond_ascii == "on":
        return header.translate(_STRIPPED)
    raise BadContent("header holds characters that are not ASCII")


class Content:
    """Fills a spool with the message as it will be stored: trace fields, header, body, CRLF line ends.

    What is binary has its line ends left alone; its header must have the right ones.
    """

    __slots__ = ("_beyond_ascii", "_head", "_in_header", "_line_ends", "_spool", "_trace", "problem")

    def __init__(self, spool: Spool, trace: bytes, beyond_ascii: str, is_binary: bool = False) -> None:
        self.problem: MStoreError | None = None
        self._spool = spool
        self._trace = trace
        self._beyond_ascii = beyond_ascii
        self._head = bytearray()
        self._in_header = True
        self._line_ends = None if is_binary else LineEnds()

    def feed(self, data: bytes) -> None:
        """Take the next piece; never raises, see ``problem``."""
        if self.problem is not None:
            return
        try:
            self._take(self._line_ends.feed(data) if self._line_ends else data)
        except MStoreError as error:
            self.problem = error
            self._head.clear()

    def finish(self) -> None:
        """The message is complete: a header that was not ended by an empty line is all there is."""
        if self.problem is None and self._in_header:
            try:
                self._take_header(bytes(self._head))
            except MStoreError as error:
                self.problem = error

    def _take(self, data: bytes) -> None:
        if not self._in_header:
            self._spool.append(data)
            return
        head = self._head
        known = max(len(head) - 3, 0)
        head += data
        if head.startswith(b"\r\n"):
            end = 0
        else:
            blank = head.find(b"\r\n\r\n", known)
            end = blank + 2 if blank >= 0 else -1
        if end < 0:
            if len(head) > HEADER_LIMIT_BYTES:
                raise BadContent(f"header is larger than {HEADER_LIMIT_BYTES} bytes")
            return
        self._take_header(bytes(head[:end]))
        self._spool.append(bytes(head[end:]))
        head.clear()

    def _take_header(self, header: bytes) -> None:
        """Check the header, and put it behind the trace fields.

        A Return-Path of the sender's is replaced by ours (RFC 5321 §4.4 "exactly one such line appears").
        """
        if len(header) > HEADER_LIMIT_BYTES:
            raise BadContent(f"header is larger than {HEADER_LIMIT_BYTES} bytes")
        if not header.isascii():
            header = take_beyond_ascii(header, self._beyond_ascii)
        if b"\nreturn-path" in b"\n" + header.lower():
            header = _RETURN_PATH.sub(b"", header)
        self._in_header = False
        self._spool.append(self._trace + header)
