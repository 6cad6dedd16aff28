"""A message while it is handed in: its spool, its trace fields, and what it is when all of it is there."""

from __future__ import annotations

from mstore.base import clock
from mstore.base.errors import MStoreError
from mstore.files.spool import Spool
from mstore.lmtp.content import UTF8, Content
from mstore.lmtp.deliver import Envelope, make_trace
from mstore.mail.crlf import LineEnds
from mstore.mail.transfer import encode_binary
from mstore.net.service import Service


class Incoming:
    """The message of one transaction, which comes in one piece (DATA) or in several (BDAT)."""

    __slots__ = ("_directory", "_is_binary", "_limit_bytes", "_spools", "content", "received_bytes")

    def __init__(self, service: Service, envelope: Envelope) -> None:
        settings, mailing = service.settings, envelope.mailing
        trace = make_trace(service, envelope, int(clock.now()))
        self._limit_bytes = settings.message_size_limit + len(trace)
        self._directory = settings.spool_path
        self._is_binary = mailing.is_binary
        self._spools = [Spool(self._directory, self._limit_bytes)]
        beyond_ascii = UTF8 if mailing.utf8 else settings.allow8bitheaders
        self.content = Content(self._spools[0], trace, beyond_ascii, self._is_binary)
        self.received_bytes = 0
        """What came by BDAT so far."""

    def complete(self) -> Spool:
        """The whole message, as it is to be stored; what was binary is in base64 (RFC 3030 §3).

        Raises: MStoreError, what has gone wrong with it.
        """
        self.content.finish()
        if self.content.problem is not None:
            raise self.content.problem
        spool = self._spools[0]
        if not self._is_binary:
            return spool
        encoded = Spool(self._directory, self._limit_bytes * 2)
        self._spools.append(encoded)
        line_ends = LineEnds()
        for piece in encode_binary(spool.buffer()):
            encoded.append(line_ends.feed(piece))
        return encoded

    @property
    def problem(self) -> MStoreError | None:
        """What has gone wrong so far."""
        return self.content.problem

    def close(self) -> None:
        """Give everything back; may be called more than once."""
        for spool in self._spools:
            spool.close()
