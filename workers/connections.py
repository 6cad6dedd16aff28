"""Connections of one worker: accept, TLS, a session in a greenlet for each, and the end of all of them.

A listener is read until its queue is empty each time it wakes us. A session's greenlet is a plain function
that holds a socket, a stream and the session: idle connections must stay small.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import gevent
import gevent.socket
import gevent.ssl

from mstore.base import clock
from mstore.base.log import Log
from mstore.net.stream import CHUNK_BYTES, Stream, StreamFailed
from mstore.net.tls import describe_failure
from workers.crowd import Door, limit_of
from workers.listeners import Listener
from workers.proxyheader import BadHeader, read_header
from workers.scoreboard import Slot
from workers.transport import Transport

HANDSHAKE_S = 30.0
PROXY_HEADER_S = 10.0
COMPLAINT_S = 60.0
"""How often to say that no more connections can be accepted."""


class Session(Protocol):
    """What the session classes of the protocols have in common."""

    idle: bool
    user: str | None
    on_login: Callable[[], object]

    def run(self) -> None: ...
    def stop(self) -> None: ...


MakeSession = Callable[[Any, str, Listener], tuple[Any, Session]]
"""From a socket, the peer and where it came in: what to close in the end, and the session."""


class Secured(gevent.ssl.SSLSocket):  # type: ignore[misc, unused-ignore]
    """gevent's socket for TLS, with a time limit of its own for sending, as ``Transport`` has one."""

    send_timeout_s: float | None = None

    def sendall(self, data: bytes, flags: int = 0) -> None:
        """Send all of it.

        Raises: TimeoutError when the peer takes none, or nothing of a piece, in time; OSError.
        """
        for at in range(0, len(data), CHUNK_BYTES):
            with gevent.Timeout(self.send_timeout_s, TimeoutError("timed out")):
                super().sendall(data[at : at + CHUNK_BYTES], flags)


class Entrance(NamedTuple):
    """Where those who come by TCP are counted, and what is told to one too many."""

    door: Door
    refusal: bytes


def start_tls(sock: Transport, context: Any) -> Any:
    """Turn a connection into a TLS one; the handshake may take ``HANDSHAKE_S``.

    Raises: OSError (ssl.SSLError is one)
    """
    family, kind, protocol, fd = sock.detach()
    plain = gevent.socket.socket(family, kind, protocol, fd)
    secured = Secured(sock=plain, server_side=True, do_handshake_on_connect=False, _context=context)
    secured.send_timeout_s = sock.send_timeout_s
    try:
        # The limit is of the whole: who sends a byte now and then would never reach one of each wait.
        with gevent.Timeout(HANDSHAKE_S, TimeoutError("timed out")):
            secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured


class Connections:
    """All connections of a worker."""

    def __init__(
        self,
        listeners: list[Listener],
        make_session: MakeSession,
        context: Any,
        slot: Slot,
        log: Log,
        entrance: Entrance | None = None,
        send_timeout_s: float | None = None,
    ) -> None:
        self._listeners = listeners
        self._make_session = make_session
        self._context = context
        self._slot = slot
        self._log = log
        self._entrance = entrance
        self._send_timeout_s = send_timeout_s
        self._kinds = {
            each: (int(each.socket.family), int(each.socket.type), each.socket.proto) for each in listeners
        }
        self._watchers: list[Any] = []
        self._sessions: dict[int, Session] = {}
        self._open: dict[int, Any] = {}
        self._since_s: dict[int, int] = {}
        self._counted: dict[int, tuple[int, int]] = {}
        """Of whose bytes so many are in our counters already."""
        self._next = 0
        self._complained_s = self._refused_s = -COMPLAINT_S
        self.stopping = False
        self.begun: Callable[[], object] = lambda: None
        """Called when a connection has come."""

    def __len__(self) -> int:
        return len(self._open)

    def idle(self) -> int:
        """How many sessions wait for their clients."""
        return sum([session.idle for session in self._sessions.values()])

    def states(self) -> tuple[int, int]:
        """How many sessions have logged in, and how many of these have a mailbox selected."""
        users = [session for session in self._sessions.values() if session.user is not None]
        return len(users), sum([getattr(session, "selected", None) is not None for session in users])

    def count_bytes(self) -> None:
        """Count what has come and gone on the connections that are open."""
        for number, connection in self._open.items():
            if isinstance(connection, Stream):
                self._count_bytes(number, connection)

    def _count_bytes(self, number: int, stream: Stream) -> None:
        now = stream.bytes_in, stream.bytes_out
        before = self._counted.get(number, (0, 0))
        if now != before:
            self._slot.add("bytes_in", now[0] - before[0])
            self._slot.add("bytes_out", now[1] - before[1])
            self._counted[number] = now

    def answer(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Describe the sessions that are asked for, and for ``kick`` ask each to end as soon as it may.

        Who counts beside, as ``msadm top``, finds the bytes of open connections counted.
        """
        self.count_bytes()
        user, chosen = request.get("user"), request.get("session")
        for number, session in list(self._sessions.items()):
            identifier = _identify(number, session)
            if number not in self._sessions or (user is not None and session.user != user):
                continue
            if chosen in (None, identifier):
                yield self._describe(number, session, identifier)
                if request["do"] == "kick":
                    kick: Any = session
                    gevent.spawn_raw(self._end_session, kick.kick)  # Its last words may have to wait.

    def sessions_of(self, user: str | None) -> list[tuple[Session, int]]:
        """The sessions of a user, or of everybody, with when they began, in seconds since 1970."""
        return [
            (session, self._since_s[number])
            for number, session in self._sessions.items()
            if user is None or session.user == user
        ]

    def identify(self, session: Session) -> str:
        """How ``answer`` calls a session."""
        numbers = [number for number, each in self._sessions.items() if each is session]
        return _identify(numbers[0], session) if numbers else ""

    @property
    def accepting(self) -> bool:
        """Whether new connections are welcome."""
        return bool(self._watchers)

    def adopt(self, accepted: Any, user: str) -> None:
        """Serve a connection as this user's from the beginning; by whom that may be wanted is known."""
        self._next += 1
        sock = self._open[self._next] = Transport(accepted, self._send_timeout_s)
        self._slot.add("connections")
        self.begun()
        gevent.spawn_raw(self._serve, self._next, sock, "local", Listener(accepted), user)

    def _describe(self, number: int, session: Session, identifier: str) -> dict[str, Any]:
        stream = self._open[number]
        selected = getattr(session, "selected", None)
        return {
            "session": identifier,
            "user": session.user,
            "peer": stream.peer,
            "tls": bool(stream.tls),
            "since": self._since_s[number],
            "mailbox": None if selected is None else selected.name,
            "idle": session.idle,
            "silent_s": round(clock.steady() - stream.heard_s, 3),
            "bytes_in": stream.bytes_in,
            "bytes_out": stream.bytes_out,
        }

    def start(self) -> None:
        """Accept from now on."""
        loop = gevent.get_hub().loop
        for listener in self._listeners:
            listener.socket.setblocking(False)
            watcher = loop.io(listener.socket.fileno(), 1)
            watcher.start(self._accept_all, listener)
            self._watchers.append(watcher)

    def stop_accepting(self) -> None:
        """Take what the kernel has accepted for us already, then close the doors."""
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        self._watchers.clear()
        for listener in self._listeners:
            self._accept_all(listener)
            listener.socket.close()

    def stop(self) -> None:
        """Ask every session to end as soon as it may, those that begin from now on too."""
        self.stopping = True
        for session in list(self._sessions.values()):
            self._end_session(session.stop)

    def cut(self) -> None:
        """Close every connection that is left; its session ends with an error."""
        for connection in list(self._open.values()):
            self._close(connection)

    def _end_session(self, end: Callable[[], None]) -> None:
        try:
            end()
        except (StreamFailed, OSError):
            pass  # Its client is gone; the session finds out itself.
        except Exception as error:
            self._log.exception("stop-failed", error)

    def _accept_all(self, listener: Listener) -> None:
        door: Any = listener.socket
        kind, entrance = self._kinds[listener], self._entrance
        while True:
            try:
                # What accept() itself does, without the socket object that it makes.
                fd, address = door._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause(listener, error)
                    return
                if error.errno in (errno.EBADF, errno.EINVAL):
                    return
                continue  # That connection is gone already; the next one need not be.
            peer = f"{address[0]}" if isinstance(address, tuple) else "local"
            accepted = socket.SocketType(*kind, fd)
            accepted.setblocking(False)
            self._next += 1
            counted = entrance if isinstance(address, tuple) and not listener.proxied else None
            if counted is not None and self._keep_out(counted, self._next, accepted, peer, listener.tls):
                accepted.close()
                continue
            sock = Transport(accepted, self._send_timeout_s)
            self._open[self._next] = sock
            self._slot.add("connections")
            self.begun()
            gevent.spawn_raw(self._serve, self._next, sock, peer, listener)

    def _keep_out(self, entrance: Entrance, number: int, sock: Any, peer: str, tls: bool) -> bool:
        """Count a new connection; True when it is one too many, after saying why unless that is in TLS."""
        reason = entrance.door.enter(number, peer)
        if reason is None:
            return False
        self._slot.add_of("connections_refused", limit_of(reason))
        if time.monotonic() - self._refused_s > COMPLAINT_S:
            self._refused_s = time.monotonic()
            self._log.warning("connection-refused", peer=peer, reason=reason)
        try:
            if not tls and entrance.refusal:
                sock.sendall(entrance.refusal % reason.encode("ascii"))
        except OSError:
            pass  # Gone already.
        return True

    def _learn_peer(self, number: int, sock: Transport, proxy: str, listener: Listener) -> str | None:
        """Whom a connection is from that a proxy passes on; None when it is not to be served.

        Raises: OSError
        """
        try:
            with gevent.Timeout(PROXY_HEADER_S, BadHeader("no PROXY header came in time")):
                peer = read_header(sock) or proxy
        except BadHeader as error:
            self._log.warning("proxy-header", proxy=proxy, listener=listener.name, reason=str(error))
            return None
        entrance = self._entrance
        if entrance is not None and self._keep_out(entrance, number, sock, peer, listener.tls):
            return None
        return peer

    def _pause(self, listener: Listener, error: OSError) -> None:
        if time.monotonic() - self._complained_s > COMPLAINT_S:
            self._complained_s = time.monotonic()
            self._log.error("cannot-accept", listener=listener.name, error=error.strerror)
        for place, watcher in enumerate(self._watchers):
            if self._listeners[place] is listener:
                watcher.stop()
                timer = gevent.get_hub().loop.timer(0.2)
                timer.start(self._resume, place, listener, timer)

    def _resume(self, place: int, listener: Listener, timer: Any) -> None:
        timer.close()
        if place < len(self._watchers):
            self._watchers[place].start(self._accept_all, listener)

    def _serve(
        self, number: int, sock: Transport, peer: str, listener: Listener, user: str | None = None
    ) -> None:
        log = self._log
        try:
            if listener.proxied:
                found = self._learn_peer(number, sock, peer, listener)
                if found is None:
                    return
                peer = found
            door: Any = sock
            if listener.tls:
                try:
                    door = self._open[number] = start_tls(sock, self._context)
                except OSError as error:
                    log.info("tls-failed", peer=peer, reason=describe_failure(error))
                    return
            connection, session = self._make_session(door, peer, listener)
            self._open[number] = connection
            self._sessions[number] = session
            self._since_s[number] = int(time.time())
            if self._entrance is not None:
                session.on_login = partial(self._entrance.door.recognise, number)
            if self.stopping:
                self._end_session(session.stop)
            if user is not None:
                beginning: Any = session
                beginning.preauthenticate(user)
            session.run()
        except (StreamFailed, OSError) as error:
            if getattr(error, "errno", None) != errno.EBADF:  # Not one that was cut.
                log.info("connection-lost", peer=peer, reason=str(error) or type(error).__name__)
        except gevent.GreenletExit:
            pass
        except Exception as error:
            self._slot.add("errors")
            log.exception("session-failed", error, peer=peer)
        finally:
            session_ended = self._sessions.pop(number, None)
            self._since_s.pop(number, None)
            if self._entrance is not None:
                self._entrance.door.leave(number)
            connection = self._open.pop(number)
            if isinstance(connection, Stream):
                if connection.is_stalled and session_ended is not None:
                    name = _identify(number, session_ended)
                    log.info("session-stalled", session=name, user=session_ended.user, peer=peer)
                for tap in connection.taps:
                    tap.note("connection closed")
                self._count_bytes(number, connection)
                self._counted.pop(number, None)
            self._close(connection)

    def _close(self, connection: Any) -> None:
        try:
            connection.close()
        except OSError:
            pass  # It is closed in any case.


def _identify(number: int, session: Session) -> str:
    """How people call a session: as the log does, where it has a name there."""
    return getattr(session, "id", f"{os.getpid()}.{number}")


def drain(
    connections: Connections, grace_s: float, show: Callable[[], None], wake: Callable[[], None]
) -> None:
    """End all sessions within a limit; those that do not are cut. ``wake`` wakes those that sleep, also those
    that begin to only now: a login that was being judged may be refused yet."""
    connections.stop_accepting()
    gevent.sleep(0)
    connections.stop()
    wake()
    show()
    deadline = time.monotonic() + grace_s
    while len(connections) and time.monotonic() < deadline:
        gevent.sleep(0.02)
        wake()
    if len(connections):
        connections.cut()
        deadline = time.monotonic() + 2
        while len(connections) and time.monotonic() < deadline:
            gevent.sleep(0.02)
