"""One LMTP connection, from greeting to end: read a command, run its row of the table, reply.

Replies of commands that arrived together go out together (RFC 2920 §3.2). The envelope lives here, between
MAIL and the end of DATA; what is not acknowledged by then was not delivered, and is the client's still.
"""

from __future__ import annotations

from mstore.base import blocking
from mstore.lmtp.commands import COMMANDS
from mstore.lmtp.deliver import Envelope
from mstore.lmtp.incoming import Incoming
from mstore.lmtp.reply import Refusal, format_reply
from mstore.net.service import Service
from mstore.net.stream import LineTooLong, Stream, StreamFailed, TimedOut

COMMAND_LIMIT_BYTES = 4096
"""More than RFC 5321 §4.5.3.1.4 asks for; the lines of a message have no limit."""
ERRORS_LIMIT = 20

_WRONG = frozenset({b"500", b"501", b"502", b"503", b"504", b"555"})
_STOPPING = format_reply(421, "4.3.2", "server is shutting down")


class Session:
    """A conversation with one client; the worker makes the stream and closes it."""

    __slots__ = (
        "_errors",
        "_is_cut",
        "ended",
        "envelope",
        "hello",
        "idle",
        "incoming",
        "service",
        "stopping",
        "stream",
        "user",
    )

    def __init__(self, stream: Stream, service: Service) -> None:
        self.stream = stream
        self.service = service
        self.hello = ""
        self.envelope: Envelope | None = None
        self.incoming: Incoming | None = None
        """The message that is being handed in."""
        self.user: str | None = None
        self.idle = False
        self.ended = False
        self.stopping = False
        self._errors = 0
        self._is_cut = False

    def run(self) -> None:
        """Converse until the client goes, is silent for too long, or makes too many errors."""
        stream = self.stream
        stream.timeout_s = self.service.settings.lmtpd_timeout
        try:
            stream.write(f"220 {self.service.settings.server_name} LMTP M-Store ready\r\n".encode())
            stream.flush()
            while not self.ended:
                self._serve_one()
            if self._is_cut:
                stream.drain()
            stream.flush()
        except TimedOut:
            self._say_last(format_reply(421, "4.4.2", "you were silent for too long"))
        except StreamFailed:
            pass
        finally:
            self.end_transaction()

    def begin_message(self, envelope: Envelope) -> Incoming:
        """The message of a transaction begins to come in."""
        incoming = self.incoming = Incoming(self.service, envelope, self.hello)
        return incoming

    def end_transaction(self) -> None:
        """Nothing is under way any more; a message that was not delivered is dropped."""
        incoming, self.incoming, self.envelope = self.incoming, None, None
        if incoming is not None:
            incoming.close()

    def end_soon(self) -> None:
        """End the conversation after the reply under way, because it is out of step."""
        self.ended = self._is_cut = True

    def stop(self) -> None:
        """Take leave of an idle client; of a busy one when its command is done."""
        self.stopping = True
        if self.idle and not self.ended:
            self.ended = True
            self._say_last(_STOPPING)
            self.stream.interrupt()

    def _serve_one(self) -> None:
        stream = self.stream
        if not stream.has_line():
            stream.flush()
        self.idle = True
        try:
            line = stream.read_line(COMMAND_LIMIT_BYTES)
        except LineTooLong:
            self._reply(format_reply(500, "5.5.2", "line is too long"), False)
            return
        finally:
            self.idle = False
        if not line or self.ended:
            self.ended = True
            return
        blocking.breathe()
        self.service.counters.add("commands")
        self._dispatch(line)
        if self.stopping and not self.ended:
            self.ended = True
            stream.write(_STOPPING)

    def _dispatch(self, line: bytes) -> None:
        verb, _, argument = line.rstrip(b"\r\n").partition(b" ")
        command = COMMANDS.get(verb.upper())
        if command is None:
            self._reply(format_reply(500, "5.5.1", "command is not known"), False)
            return
        try:
            reply = command.run(self, argument)
        except Refusal as refusal:
            reply = refusal.reply
        except StreamFailed:
            raise
        except Exception as error:
            self.service.log.exception("fault", error, command=verb[:4])
            reply = format_reply(451, "4.3.0", "internal error, try again later")
        self._reply(reply, command.gathers)

    def _reply(self, reply: bytes, gathers: bool) -> None:
        """Send a reply; count those that tell of a client which does not know what it is doing."""
        if reply:
            self.stream.write(reply)
        if reply[:3] in _WRONG:
            self._errors += 1
            self.service.counters.add("errors")
            if self._errors >= ERRORS_LIMIT:
                self.end_soon()
                self.stream.write(format_reply(421, "4.7.0", "too many errors"))
        if not gathers:
            self.stream.flush()

    def _say_last(self, words: bytes) -> None:
        try:
            self.stream.write(words)
            self.stream.flush()
        except StreamFailed:
            pass
