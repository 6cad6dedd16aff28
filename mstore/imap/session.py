"""One IMAP connection: greeting; read a command, run it, report news, reply; the end.

The session reads one command at a time and finishes it before the next, so pipelined commands cannot
disturb each other (RFC 3501 §5.5); answers are sent when no further command is at hand. Which commands
there are stands in ``commands``; what goes wrong in one ends that command, not the session, unless the
client's side of the protocol is lost.

One greenlet runs ``run``. Others may call ``stop``, and those of ``pushing`` write news while it waits:
during IDLE, and after NOTIFY between commands.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mstore.auth.client import Accepted
from mstore.base import blocking, clock
from mstore.base.errors import MStoreError
from mstore.base.ids import make_session_id
from mstore.files.spool import Spool
from mstore.imap import reader, respond, state
from mstore.imap.capability import LITERAL_MINUS, LITERAL_PLUS, capabilities, mechanisms, switched_off
from mstore.imap.commands import COMMANDS, Command
from mstore.imap.commands.login import log_in
from mstore.imap.errors import Bad, Bye, CommandFailed, No, no_for, uid_required
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.extensions import IMAP4REV2, UTF8
from mstore.net.nologin import read_nologin
from mstore.net.pace import pace_of
from mstore.net.service import tell_nobody
from mstore.net.stream import LineTooLong, StreamFailed, TimedOut
from mstore.store.acl import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from mstore.imap.notifying import Notifying
    from mstore.imap.pushing import Pusher
    from mstore.imap.selected import Selected
    from mstore.net.penalty import Penalty
    from mstore.net.service import Service
    from mstore.net.stream import Stream
    from mstore.store.access import Access
    from mstore.store.mailbox import Mailbox

_HEAD = re.compile(rb"([^\x00-\x20\x7f-\xff(){%*\"\\+]+) ([A-Za-z0-9\-]+)(?= |\r?\n|\Z)")
_TAG = re.compile(rb"([^\x00-\x20\x7f-\xff(){%*\"\\+]+)")
_SUB = re.compile(rb" ([A-Za-z]+)(?= |\r?\n|\Z)")
EARLY_BAD_LIMIT = 10
BAD_LIMIT = 50
"""So many commands in a row that are no commands end the session."""
STOPPING = "Server shutting down"
KICKED = "An administrator has ended this session"
CONDSTORE, QRESYNC, UIDONLY = b"CONDSTORE", b"QRESYNC", b"UIDONLY"
FAULT_LIMIT = 3
"""So many faults of ours do."""


class Session:
    """The server's side of one connection."""

    __slots__ = (
        "__weakref__",
        "_bad",
        "_faults",
        "_id",
        "_said_goodbye",
        "_stopping",
        "_user_given",
        "access",
        "command",
        "enabled",
        "idle",
        "notifying",
        "on_login",
        "pace",
        "penalty",
        "pusher",
        "record",
        "selected",
        "service",
        "state",
        "stream",
        "tag",
        "user",
        "utf8",
    )

    def __init__(self, stream: Stream, service: Service) -> None:
        self.stream = stream
        self.service = service
        self.state: int = state.NOT_AUTHENTICATED
        self.on_login: Callable[[], object] = tell_nobody
        """Called when the client has logged in, before it is told so."""
        self.idle = False
        """Waiting for the client: nothing is lost when the session ends now."""
        self.user: str | None = None
        self.record: Any = None
        self.access: Access | None = None
        self.selected: Selected | None = None
        self.enabled: frozenset[bytes] = frozenset()
        """The extensions that the client has enabled (RFC 5161)."""
        self.utf8 = False
        """Mailbox names are told in UTF-8 (RFC 6855 §3, RFC 9051 §5.1)."""
        self.pusher: Pusher | None = None
        """What writes news while the session waits: during IDLE, and after NOTIFY SET."""
        self.notifying: Notifying | None = None
        """What the client is told since NOTIFY; None: what everybody is told."""
        self.penalty: Penalty | None = None
        """What failed logins have cost so far."""
        self.pace = pace_of(service.settings.imapd_commands_per_second)
        """How fast commands may come; None where that is not limited."""
        self.command: Command
        """The command that runs, and whose reply is still to be sent: that of its ``tag``.

        A search may have put a row of its own here, in which it uses numbers.
        """
        self.tag = b"*"
        self._bad = 0
        self._faults = 0
        self._said_goodbye = False
        self._stopping = ""
        """Why the session is to end."""
        self._id = ""
        self._user_given: str | None = None

    # -- for workers -------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """A name for this session in the log."""
        if not self._id:
            self._id = make_session_id()
        return self._id

    def preauthenticate(self, user: str) -> None:
        """Begin as this user, who need not log in (RFC 3501 §7.1.4); called before ``run``."""
        self._user_given = user

    def run(self) -> None:
        """Serve the client from the greeting to the end; leaves the closing of the stream to the caller."""
        stream = self.stream
        try:
            stream.timeout_s = self.service.settings.login_timeout
            if self._greet():
                self._serve()
            stream.flush()
        except TimedOut:
            if self.pusher is None or self.pusher.close():
                self.say_goodbye("Autologout; idle for too long")
        except StreamFailed:
            pass
        except MStoreError as error:
            self.service.log.error(
                "session-failed", session=self.id, user=self.user, peer=stream.peer, error=str(error)
            )
        finally:
            self.state = state.LOGGED_OUT
            self.stop_notifying()
            if self.pusher is not None:
                self.pusher.end()
            self.leave_mailbox()
            self._dismiss()

    def stop(self) -> None:
        """End the session as soon as no command is cut by it; called from another greenlet, never waits."""
        self._end(STOPPING)

    def kick(self) -> None:
        """The same, because an administrator wants it."""
        self._end(KICKED)

    def _end(self, why: str) -> None:
        self._stopping = why
        if self.idle:
            blocking.spawn(self._end_waiting)

    def _end_waiting(self) -> None:
        """End a session that waits for its client; a client that takes no data may keep this waiting."""
        pusher = self.pusher
        with nullcontext() if pusher is None else pusher.alone():
            if self.idle:
                self.say_goodbye(self._stopping)
                self.stream.interrupt()

    # -- for commands ------------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview) -> None:
        """Queue responses, or parts of one; a view is of no more concern afterwards."""
        self.stream.write(data)

    @property
    def mailstore(self) -> Access:
        """The mail of the site as the user may see it; only after login."""
        assert self.access is not None
        return self.access

    @property
    def mailbox(self) -> Selected:
        """The selected mailbox; only in commands whose states are SELECTED."""
        assert self.selected is not None
        return self.selected

    @property
    def uid_only(self) -> bool:
        """Whether the client does without message numbers (RFC 9586)."""
        return UIDONLY in self.enabled

    def capabilities(self) -> bytes:
        """What is announced as things stand."""
        service, stream = self.service, self.stream
        sasl = mechanisms(service, stream) if self.state == state.NOT_AUTHENTICATED else ()
        return capabilities(service, stream.tls, self.state, switched_off(service, self.user), sasl)

    @property
    def rev2(self) -> bool:
        """Whether the client speaks IMAP4rev2 (RFC 9051)."""
        return IMAP4REV2 in self.enabled

    def offers(self, capability: bytes) -> bool:
        """Whether an extension that is there has not been switched off for this client."""
        return capability not in switched_off(self.service, self.user)

    def enter(self, record: Any | None, access: Access) -> None:
        """The client has logged in; without a record it is nobody in particular.

        Raises: Unavailable, Moved, Corrupt, StorageFailed when the account's mail cannot be reached; No when
        the user has as many sessions already as may be.
        """
        access.follow_commands()
        if record is not None:
            _ = access.account  # opened now, and as long as the session lasts
            if not self.service.admission.admit(record.id):
                raise self._too_many(record.name)
        self.record, self.access = record, access
        self.user = ANONYMOUS if record is None else record.name
        self.state = state.AUTHENTICATED
        self._bad = 0
        self.penalty = None
        self.stream.timeout_s = self.service.settings.imapd_autologout
        self.on_login()
        self.service.follower.enter(self, self.user, "logged in")

    def leave(self) -> None:
        """The client has logged out, and may log in again: nothing of before is left (RFC 8437 §4)."""
        self.service.follower.leave(self, "logged out")
        self.stop_notifying()
        self.leave_mailbox()
        self._dismiss()
        self.state = state.NOT_AUTHENTICATED
        self.access = self.record = self.user = None
        self.enabled = frozenset()
        self.utf8 = False
        self.stream.timeout_s = self.service.settings.login_timeout

    def _dismiss(self) -> None:
        """This is no session of its user's any more."""
        record, self.record = self.record, None
        if record is not None:
            self.service.admission.dismiss(record.id)

    def _too_many(self, user: str) -> No:
        service = self.service
        limit = service.settings.imapd_connections_per_user
        service.counters.add_of("connections_refused", "imapd-connections-per-user")
        service.log.warning(
            "too-many-sessions", session=self.id, user=user, sessions=limit, peer=self.stream.peer
        )
        return No(f"You have {limit} connections already; close some", b"LIMIT")

    def enable(self, *words: bytes) -> None:
        """The client uses an extension from now on.

        The first time it shows that it knows of MODSEQs it is told the selected mailbox's (RFC 7162 §3.1).
        """
        if self.enabled.issuperset(words):
            return
        was_aware = CONDSTORE in self.enabled
        self.enabled |= set(words)
        self.utf8 = not UTF8.isdisjoint(self.enabled)
        if self.selected is not None:
            self.adapt(self.selected)
            if CONDSTORE in self.enabled and not was_aware:
                self.send(b"* OK [" + self.selected.format_modseq() + b"] Highest\r\n")

    def adapt(self, selected: Selected) -> None:
        """Have the news of a mailbox told as the extensions in use want it."""
        selected.adapt(CONDSTORE in self.enabled, QRESYNC in self.enabled, self.uid_only)

    def note_own(self, *names: str) -> None:
        """This client changes these names, or who may do what there: it is not told of that (RFC 5465 §5)."""
        if self.notifying is not None:
            self.notifying.note_own(*names)

    def note_own_messages(self, mailbox: Mailbox, uids: Sequence[int] | npt.NDArray[Any]) -> None:
        """This client has added these messages: they are not sent to it unasked (RFC 5465 §5.2)."""
        selected = self.selected
        if selected is not None and selected.mailbox.path == mailbox.path:
            selected.note_own(uids)
        elif self.notifying is not None:
            self.notifying.note_own_messages(mailbox, len(uids))

    def stop_notifying(self) -> None:
        """What NOTIFY has asked for is not told any more."""
        notifying, self.notifying = self.notifying, None
        if notifying is not None:
            notifying.close()

    def leave_mailbox(self) -> None:
        """No mailbox is selected any more."""
        selected, self.selected = self.selected, None
        if selected is not None:
            if self.notifying is not None:
                self.notifying.leave(selected)
            selected.close()
            if self.state == state.SELECTED:
                self.state = state.AUTHENTICATED

    def read_line(self, limit: int) -> bytes:
        """A line that belongs to the command under way, without its end.

        Raises: Bad when it is too long; Bye when the session is being stopped; StreamFailed.
        """
        if not self.idle:
            self.stream.flush()  # else others may be writing now
        try:
            line = self.stream.read_line(limit)
        except LineTooLong:
            raise Bad("line too long") from None
        if not line:
            raise Bye("") if self._stopping else StreamFailed("connection closed by the client")
        return line.rstrip(b"\r\n")

    def say_goodbye(self, text: str, code: bytes | None = None) -> None:
        """The last words, said once, if the client still listens."""
        if self._said_goodbye:
            return
        self._said_goodbye = True
        try:
            code = b"UNAVAILABLE" if self._stopping == STOPPING else code
            self.stream.write(respond.tagged(b"*", b"BYE", text, code))
            self.stream.flush()
        except StreamFailed:
            pass

    # -- the loop ----------------------------------------------------------------------------------------

    def _greet(self) -> bool:
        closed = read_nologin(self.service.settings.nologin_path)
        if closed is not None:
            self.stream.write(respond.tagged(b"*", b"BYE", closed, b"ALERT"))
            return False
        kind, text = b"OK", f"{self.service.settings.server_name} ready"
        if self._user_given is not None:
            try:
                log_in(self, Accepted(self._user_given, self._user_given), "PREAUTH")
            except CommandFailed as failure:
                self.say_goodbye(str(failure))
                return False
            except MStoreError as error:
                self.say_goodbye(str(error))
                return False
            kind, text = b"PREAUTH", f"{text}, logged in as {self.user}"
        code = b"CAPABILITY " + self.capabilities()
        self.stream.write(respond.tagged(b"*", kind, text, code))
        return True

    def _serve(self) -> None:
        stream = self.stream
        while self.state:
            if self._stopping:
                self.say_goodbye(self._stopping)
                return
            if not stream.has_line():
                stream.flush()
                if self.pusher is not None:
                    self.idle = True
                    self.pusher.open()
            limits = self._limits()
            self.idle = True
            try:
                line = stream.read_line(limits.line_bytes)
            except LineTooLong as error:
                self.idle = False
                if self.pusher is not None:
                    self.pusher.hold()
                self._keep_pace()
                if not self._answer_long_line(error, limits):
                    return
                continue
            finally:
                self.idle = False
            if self.pusher is not None:
                self.pusher.hold()
            if not line:
                return
            if self._stopping:
                self.say_goodbye(self._stopping)
                return
            # Who sends commands without a pause must not keep the worker from its other sessions.
            blocking.breathe()
            self._keep_pace()
            if not self._handle(line, limits):
                return

    def _keep_pace(self) -> None:
        if self.pace is not None:
            self.pace.keep(self.service, self)

    def _handle(self, line: bytes, limits: reader.Limits) -> bool:
        """One command; whether the session goes on."""
        tag = b"*"
        literals = None
        try:
            row, at = None, 0
            refusal: CommandFailed | None
            head = _HEAD.match(line)
            if head is None:
                tag, refusal = self._misread(line)
            else:
                tag = head[1]
                row, at, refusal = self._find(line, head)
            if line.endswith((b"}\r\n", b"}\n")) and reader.announces_literal(line):
                literals = self._read_literals(line, limits, row, refusal)
                cursor = Cursor(literals.data, literals.literals, self.enabled)
                self._strip(cursor)
            else:
                if refusal is not None:
                    raise refusal
                cursor = Cursor(line[: -2 if line.endswith(b"\r\n") else -1], (), self.enabled)
            assert row is not None
            cursor.pos = at
            return self._run(tag, row, cursor)
        except CommandFailed as failure:
            return self._fail(tag, failure, None)
        except StreamFailed:
            raise
        except MStoreError as error:
            return self._fail(tag, no_for(error), None)
        finally:
            if literals is not None:
                literals.close()

    def _run(self, tag: bytes, row: Command, cursor: Cursor) -> bool:
        """Run a command that is valid now, report news, reply; whether the session goes on."""
        self.tag, self.command = tag, row
        stream, counters = self.stream, self.service.counters
        counters.add("commands")
        began = clock.steady()
        try:
            if self.access is not None:
                self.access.is_fresh = False
                if row.states == state.SELECTED and not self.mailbox.personal:
                    self.mailbox.follow_rights(stream)
            text = row.run(self, tag, cursor)
            if row.seqs != "none" and self.selected is not None:
                self.selected.report(stream, self.command.seqs != "uses", row.uid)
            if self.notifying is not None and row.seqs == "may-expunge":
                self.notifying.tell_others()
        except CommandFailed as failure:
            return self._fail(self.tag, failure, row)
        except StreamFailed:
            raise
        except MStoreError as error:
            return self._fail(self.tag, no_for(error), row)
        except Exception as error:
            self._faults += 1
            counters.add("errors")
            self.service.log.exception(
                "fault", error, session=self.id, user=self.user, command=row.name.decode()
            )
            self._fail(self.tag, No("Internal error", b"SERVERBUG"), None)
            return self._faults < FAULT_LIMIT or self._fail(self.tag, Bye("Too many internal errors"), None)
        finally:
            if row.kind:
                counters.observe(row.kind, clock.steady() - began)
        if text is None:
            stream.write(self.tag + row.done)
        elif text:
            stream.write(b"%b OK %b\r\n" % (self.tag, text))
        self._bad = 0
        return self.state != state.LOGGED_OUT

    def _find(self, line: bytes, head: re.Match[bytes]) -> tuple[Command | None, int, CommandFailed | None]:
        """The row for a command line, where its arguments begin, and what speaks against running it."""
        name, at = head[2].upper(), head.end()
        if name == b"UID":
            sub = _SUB.match(line, at)
            if sub is None:
                return None, at, Bad("UID needs a command")
            name, at = b"UID " + sub[1].upper(), sub.end()
        row = COMMANDS.get(name)
        if row is None:
            return None, at, Bad(f"unknown command {name.decode()[:40]}")
        if not row.states & self.state:
            return row, at, Bad(f"{name.decode()}: {state.describe(row.states, self.state)}")
        if row.by_number and self.uid_only:
            return row, at, uid_required()
        return row, at, None

    def _misread(self, line: bytes) -> tuple[bytes, CommandFailed]:
        """The tag, if there is one, of a line that is no command."""
        match = _TAG.match(line)
        if match is None:
            return b"*", Bad("a command begins with a tag")
        return match[0], Bad("a tag, a space and a command expected")

    def _limits(self) -> reader.Limits:
        """How much the next command may bring."""
        limits = reader.limits_of(self.service)[self.state != state.NOT_AUTHENTICATED]
        off = switched_off(self.service, self.user)
        if not off or LITERAL_PLUS not in off:
            return limits
        # LITERAL- is a part of IMAP4rev2 (RFC 9051 §4.3).
        none = LITERAL_MINUS in off and not self.rev2
        return replace(limits, unasked_bytes=-1 if none else reader.UNASKED_MINUS_BYTES)

    def _read_literals(
        self, line: bytes, limits: reader.Limits, row: Command | None, failure: CommandFailed | None
    ) -> reader.Reader:
        settings = self.service.settings
        if row is not None and row.takes_message:
            limits = reader.with_message(limits, settings.message_size_limit)
        literals = reader.Reader(
            self.stream, limits, lambda: Spool(settings.spool_path, settings.message_size_limit), failure
        )
        try:
            literals.read(line)
        except BaseException:
            literals.close()
            raise
        return literals

    @staticmethod
    def _strip(cursor: Cursor) -> None:
        data = cursor.data
        cursor.data = data[: -2 if data.endswith(b"\r\n") else -1]

    # -- failures ----------------------------------------------------------------------------------------

    def _fail(self, tag: bytes, failure: CommandFailed, row: Command | None) -> bool:
        """Answer a command that failed; whether the session goes on."""
        stream = self.stream
        if isinstance(failure, Bye):
            if failure.text:
                stream.write(respond.tagged(b"*", b"BYE", failure.text, failure.code))
                stream.drain()
            return False
        if isinstance(failure, No):
            if row is not None and row.seqs != "none" and self.selected is not None:
                self._report_after_failure(row)
            stream.write(respond.tagged(tag, b"NO", failure.text, failure.code))
            return True
        assert isinstance(failure, Bad)
        stream.write(respond.tagged(tag, b"BAD", failure.text, failure.code))
        self._bad += 1
        if self._bad < (EARLY_BAD_LIMIT if self.state == state.NOT_AUTHENTICATED else BAD_LIMIT):
            return True
        stream.write(respond.tagged(b"*", b"BYE", "Too many bad commands"))
        stream.drain()
        return False

    def _report_after_failure(self, row: Command) -> None:
        try:
            if self.selected is not None:
                self.selected.report(self.stream, self.command.seqs != "uses", row.uid)
        except StreamFailed:
            raise
        except MStoreError:
            pass  # The command's own failure is what the client is told.

    def _answer_long_line(self, error: LineTooLong, limits: reader.Limits) -> bool:
        """Refuse a line over the limit, and what literals it announces; whether the session goes on."""
        tag, _ = self._misread(error.head)
        failure: CommandFailed = Bad("line too long")
        try:
            if reader.announces_literal(error.tail):
                self._read_literals(error.tail, limits, None, failure)
        except CommandFailed as other:
            failure = other
        return self._fail(tag, failure, None)
