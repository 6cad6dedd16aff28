"""One POP3 connection, from greeting to end: read a command, check its state, run its row of the table.

States are RFC 1939's: AUTHORIZATION until a maildrop is open, TRANSACTION after that, UPDATE within QUIT.
Answers to commands that arrived together go out together (RFC 2449 §6.6). Whatever ends a session without
QUIT removes no message, and frees the maildrop at once.
"""

from __future__ import annotations

from collections.abc import Callable

from mstore.auth.client import Accepted
from mstore.base import blocking, clock
from mstore.base.errors import Moved, MStoreError, NotFound
from mstore.base.ids import make_session_id
from mstore.net.nologin import read_nologin
from mstore.net.pace import pace_of
from mstore.net.penalty import Penalty
from mstore.net.service import Service, tell_nobody
from mstore.net.stream import Disconnected, LineTooLong, Stream, StreamFailed
from mstore.pop3.commands import COMMANDS
from mstore.pop3.login import log_in, make_greeting
from mstore.pop3.maildrop import Maildrop, NoSuchMessage
from mstore.pop3.reply import ALERT, TEMPORARY, Refusal, format_error, refusal_of
from mstore.store.acts import Actor, act_as

LINE_LIMIT_BYTES = 512
"""RFC 2449 §4 asks for 255; long passwords fit as well."""
ERRORS_LIMIT = 20
STOPPING = format_error("server is shutting down", TEMPORARY)
KICKED = format_error("an administrator has ended this session")


class Session:
    """A conversation with one client; the worker makes the stream and closes it."""

    __slots__ = (
        "_errors",
        "_is_cut",
        "_pace",
        "_user_given",
        "claimed",
        "ended",
        "id",
        "idle",
        "maildrop",
        "on_login",
        "penalty",
        "service",
        "stamp",
        "stopping",
        "stream",
        "user",
        "utf8",
    )

    def __init__(self, stream: Stream, service: Service) -> None:
        self.stream = stream
        self.service = service
        self.id = make_session_id()
        """Its name in the log."""
        self.claimed = b""
        self.maildrop: Maildrop | None = None
        self.user: str | None = None
        self.utf8 = False
        """The client takes headers that are not ASCII (RFC 6856 §2.1)."""
        self.stamp = b""
        """The timestamp in the greeting, where APOP is offered."""
        self.penalty: Penalty | None = None
        self.on_login: Callable[[], object] = tell_nobody
        """Called when the client has logged in, before it is told so."""
        self.idle = False
        self.ended = False
        self.stopping = b""
        """The last words to a client whose session is to end."""
        self._errors = 0
        self._is_cut = False
        self._pace = pace_of(service.settings.pop3d_commands_per_second)
        self._user_given: str | None = None

    def preauthenticate(self, user: str) -> None:
        """Begin as this user in the TRANSACTION state, without a login; called before ``run``."""
        self._user_given = user

    def run(self) -> None:
        """Converse until the client goes, is silent for too long, or makes too many errors."""
        stream = self.stream
        stream.timeout_s = self.service.settings.login_timeout
        try:
            closed = read_nologin(self.service.settings.nologin_path)
            if closed is not None:
                stream.write(format_error(closed, ALERT))
                self.cut()
            elif self._user_given is not None:
                self._begin_as(self._user_given)
            else:
                self.ok(make_greeting(self))
            while not self.ended:
                self._serve_one()
            self.leave()
            if self._is_cut:
                stream.drain()
            stream.flush()
        except StreamFailed:
            pass  # Also when the client was silent for too long: RFC 1939 §3 asks to send no response then.
        finally:
            self.leave()

    def stop(self) -> None:
        """Take leave of an idle client; of a busy one when its command is done. No message is removed."""
        self._end_soon(STOPPING)

    def kick(self) -> None:
        """The same, because an administrator wants it."""
        self._end_soon(KICKED)

    def _end_soon(self, last_words: bytes) -> None:
        self.stopping = last_words
        if self.idle and not self.ended:
            self.ended = True
            try:
                self.stream.write(self.stopping)
                self.stream.flush()
            except StreamFailed:
                pass
            self.stream.interrupt()

    def enter(self, user: str, maildrop: Maildrop, by: str | None, mechanism: str) -> None:
        """The client is who it says, and owns its maildrop from now on; ``by`` acts as somebody else."""
        self.user = user
        self.on_login()
        self.maildrop = maildrop
        self.penalty = None
        self._errors = 0
        self.stream.timeout_s = self.service.settings.pop3d_autologout
        if self.service.settings.audit_log:
            act_as(Actor({"user": user, "by": by, "session": self.id, "peer": self.stream.peer}))
        self.service.follower.enter(self, user, "logged in")
        self.service.log.info(
            "login", session=self.id, user=user, by=by, mechanism=mechanism, peer=self.stream.peer
        )
        self.service.counters.add_of("logins", mechanism.lower())

    def leave(self) -> None:
        """Free the maildrop, if there is one."""
        maildrop, self.maildrop = self.maildrop, None
        if maildrop is None:
            return
        try:
            maildrop.close()
        except MStoreError as error:
            self.report("close", error)

    def cut(self) -> None:
        """End the session against the client's will, after the answer under way."""
        self.ended = self._is_cut = True

    def report(self, step: str, error: MStoreError) -> None:
        """Let the administrator know of something that failed on our side, or that he has taken away."""
        about = {
            "session": self.id, "user": self.user, "step": step, "peer": self.stream.peer, "error": str(error)
        }  # fmt: skip
        if isinstance(error, Moved | NotFound):
            self.service.log.info("maildrop-gone", **about)
            return
        self.service.counters.add("errors")
        self.service.log.error("maildrop-failed", **about)

    def ok(self, text: str) -> None:
        """Answer +OK."""
        self.stream.write(f"+OK {text}\r\n".encode() if text else b"+OK\r\n")

    def send(self, data: bytes) -> None:
        """Send part of a response."""
        self.stream.write(data)

    def read_line(self, limit: int) -> bytes:
        """The next line without its end, when everything that the client waits for has been sent.

        Raises: Disconnected at the end of input, LineTooLong, TimedOut.
        """
        if not self.stream.has_line():
            self.stream.flush()
        self.idle = True
        try:
            line = self.stream.read_line(limit)
        finally:
            self.idle = False
        if not line or self.ended:
            raise Disconnected("connection closed by the client")
        return line.rstrip(b"\r\n")

    def _begin_as(self, user: str) -> None:
        """Greet somebody who need not log in with what is said to others when they have."""
        try:
            log_in(self, Accepted(user, user), "PREAUTH")
        except Refusal as refusal:
            self._refuse(refusal)
            self.cut()

    def _serve_one(self) -> None:
        try:
            line = self.read_line(LINE_LIMIT_BYTES)
        except LineTooLong:
            self._refuse(Refusal("line is too long", wrong=True))
            return
        blocking.breathe()
        if self._pace is not None:
            self._pace.keep(self.service, self)
        self.service.counters.add("commands")
        try:
            self._dispatch(line)
        except Refusal as refusal:
            self._refuse(refusal)
        except StreamFailed:
            raise
        except NoSuchMessage as error:
            self._refuse(Refusal(str(error)))
        except MStoreError as error:
            self.report("command", error)
            self._refuse(refusal_of(error))
        except Exception as error:
            self.service.counters.add("errors")
            self.service.log.exception("fault", error, session=self.id, user=self.user, command=line[:4])
            self._refuse(Refusal("internal error", TEMPORARY, wrong=True))
        if self.stopping and not self.ended:
            self.ended = True
            self.stream.write(self.stopping)

    def _dispatch(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        command = COMMANDS.get(verb)
        if command is None:
            raise Refusal("command is not known", wrong=True)
        state = "authorization" if self.maildrop is None else "transaction"
        if state not in command.states:
            raise Refusal(f"command is not allowed in the {state.upper()} state", wrong=True)
        began = clock.steady()
        try:
            # Blanks may belong to a password, and to nothing else.
            command.run(self, argument if verb == b"PASS" else argument.strip(b" \t"))
        finally:
            self.service.counters.observe(command.kind, clock.steady() - began)

    def _refuse(self, refusal: Refusal) -> None:
        self.stream.write(format_error(refusal.text, refusal.code))
        if refusal.wrong:
            self._errors += 1
            self.service.counters.add("errors")
            if self._errors >= ERRORS_LIMIT:
                self.cut()
