"""One LMTP connection, from greeting to end: read a command, run its row of the table, reply.

Replies of commands that arrived together go out together (RFC 2920 §3.2). The envelope lives here, between
MAIL and the end of DATA; what is not acknowledged by then was not delivered, and is the client's still.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mstore.base import blocking
from mstore.base.ids import make_session_id
from mstore.lmtp.commands import COMMANDS, SENDERS, STRANGERS, Command
from mstore.lmtp.deliver import Client, Envelope
from mstore.lmtp.incoming import Incoming
from mstore.lmtp.login import AUTH_LIMIT_BYTES
from mstore.lmtp.reply import Refusal, format_reply
from mstore.net.pace import pace_of
from mstore.net.penalty import Penalty
from mstore.net.service import Service, tell_nobody
from mstore.net.stream import Disconnected, LineTooLong, Stream, StreamFailed, TimedOut

COMMAND_LIMIT_BYTES = 4096
"""More than RFC 5321 §4.5.3.1.4 asks for; the lines of a message have no limit."""
ERRORS_LIMIT = 20

_WRONG = frozenset({b"500", b"501", b"502", b"503", b"504", b"530", b"538", b"555"})
_STOPPING = format_reply(421, "4.3.2", "server is shutting down")
_KICKED = format_reply(421, "4.3.2", "an administrator has ended this session")


class Session:
    """A conversation with one client; the worker makes the stream and closes it."""

    __slots__ = (
        "_commands",
        "_errors",
        "_farewell",
        "_is_cut",
        "_line_limit",
        "_pace",
        "ended",
        "envelope",
        "hello",
        "id",
        "idle",
        "incoming",
        "on_login",
        "penalty",
        "service",
        "stopping",
        "stream",
        "user",
    )

    def __init__(self, stream: Stream, service: Service) -> None:
        self.stream = stream
        self.service = service
        self.id = make_session_id()
        """Its name in the log."""
        self.envelope: Envelope | None = None
        self.incoming: Incoming | None = None
        """The message that is being handed in."""
        self.penalty: Penalty | None = None
        self.on_login: Callable[[], object] = tell_nobody
        """Called when the client has logged in, before it is told so."""
        self.idle = False
        self.ended = False
        self.stopping = b""
        """The last words to a client whose session is to end."""
        self._errors = 0
        self._farewell = b""
        self._is_cut = False
        self._pace = pace_of(service.settings.lmtpd_commands_per_second)
        self.begin()

    def run(self) -> None:
        """Converse until the client goes, is silent for too long, or makes too many errors."""
        stream = self.stream
        try:
            stream.write(f"220 {self.service.settings.server_name} LMTP M-Store ready\r\n".encode())
            stream.flush()
            while not self.ended:
                self._serve_one()
            if self._farewell:
                stream.write(self._farewell)
            if self._is_cut:
                stream.drain()
            stream.flush()
        except TimedOut:
            self._say_last(format_reply(421, "4.4.2", "you were silent for too long"))
        except StreamFailed:
            pass
        finally:
            self.end_transaction()

    def begin(self) -> None:
        """Know nothing of the client, as at the beginning, and over TCP again when TLS has begun."""
        self.end_transaction()
        self.hello = ""
        self.user: str | None = None
        """The account by which the client has logged in, over TCP."""
        self._commands: Mapping[bytes, Command]
        settings = self.service.settings
        if self.service.trusted:
            self._commands, self._line_limit = COMMANDS, COMMAND_LIMIT_BYTES
            self.stream.timeout_s = settings.lmtpd_timeout
        else:
            self._commands, self._line_limit = STRANGERS, AUTH_LIMIT_BYTES
            self.stream.timeout_s = min(settings.login_timeout, settings.lmtpd_timeout)

    def enter(self, user: str, by: str | None, mechanism: str) -> None:
        """The client has logged in and may hand in mail; ``by`` acts as somebody else."""
        self.user = user
        self.on_login()
        self.penalty = None
        self._errors = 0
        self._commands, self._line_limit = SENDERS, COMMAND_LIMIT_BYTES
        self.stream.timeout_s = self.service.settings.lmtpd_timeout
        self.service.log.info(
            "login", session=self.id, user=user, by=by, mechanism=mechanism, peer=self.stream.peer
        )
        self.service.counters.add_of("logins", mechanism.lower())

    def describe_client(self) -> Client:
        """Who hands in a message."""
        stream = self.stream
        return Client(self.hello, "" if self.service.trusted else stream.peer, stream.tls, self.user, self.id)

    def begin_message(self, envelope: Envelope) -> Incoming:
        """The message of a transaction begins to come in."""
        incoming = self.incoming = Incoming(self.service, envelope)
        return incoming

    def end_transaction(self) -> None:
        """Nothing is under way any more; a message that was not delivered is dropped."""
        self.service.follower.leave(self, "transaction ended")
        incoming, self.incoming, self.envelope = self.incoming, None, None
        if incoming is not None:
            incoming.close()

    def end_soon(self, farewell: bytes = b"") -> None:
        """End the conversation after the reply under way, against the client's will."""
        self.ended = self._is_cut = True
        self._farewell = farewell

    def ask(self, question: bytes, limit: int) -> bytes:
        """Send a line and wait for the client's answer, which is a line of its own, without its end.

        Raises: Disconnected at the end of input, LineTooLong, TimedOut.
        """
        self.stream.write(question)
        line = self._read_line(limit)
        if not line:
            raise Disconnected("connection closed by the client")
        return line.rstrip(b"\r\n")

    def stop(self) -> None:
        """Take leave of an idle client; of a busy one when its command is done."""
        self._end(_STOPPING)

    def kick(self) -> None:
        """The same, because an administrator wants it."""
        self._end(_KICKED)

    def _end(self, last_words: bytes) -> None:
        self.stopping = last_words
        if self.idle and not self.ended:
            self.ended = True
            self._say_last(last_words)
            self.stream.interrupt()

    def _read_line(self, limit: int) -> bytes:
        """The next line, when everything that the client waits for has been sent; nothing at the end."""
        stream = self.stream
        if not stream.has_line():
            stream.flush()
        self.idle = True
        try:
            line = stream.read_line(limit)
        finally:
            self.idle = False
        return b"" if self.ended else line

    def _serve_one(self) -> None:
        try:
            line = self._read_line(self._line_limit)
        except LineTooLong:
            self._reply(format_reply(500, "5.5.2", "line is too long"), False)
            return
        if not line:
            self.ended = True
            return
        blocking.breathe()
        if self._pace is not None:
            self._pace.keep(self.service, self)
        self.service.counters.add("commands")
        self._dispatch(line)
        if self.stopping and not self.ended:
            self.ended = True
            self.stream.write(self.stopping)

    def _dispatch(self, line: bytes) -> None:
        verb, _, argument = line.rstrip(b"\r\n").partition(b" ")
        command = self._commands.get(verb.upper())
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
            self.service.log.exception("fault", error, session=self.id, user=self.user, command=verb[:4])
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
                self.end_soon(format_reply(421, "4.7.0", "too many errors"))
        if not gathers:
            self.stream.flush()

    def _say_last(self, words: bytes) -> None:
        try:
            self.stream.write(words)
            self.stream.flush()
        except StreamFailed:
            pass
