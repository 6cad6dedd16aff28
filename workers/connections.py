"""Connections of one worker: accept, TLS, a session in a greenlet for each, and the end of all of them.

A listener is read until its queue is empty each time it wakes us. A session's greenlet is a plain function
that holds a socket, a stream and the session: idle connections must stay small.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import gevent
import gevent.socket
import gevent.ssl

from mstore.base.log import Log
from mstore.net.stream import Stream, StreamFailed
from mstore.net.tls import describe_failure
from workers.crowd import Door
from workers.listeners import Listener
from workers.scoreboard import Slot
from workers.transport import Transport

HANDSHAKE_S = 30.0
COMPLAINT_S = 60.0
"""How often to say that no more connections can be accepted."""


class Session(Protocol):
    """What the session classes of the protocols have in common."""

    idle: bool
    user: str | None

    def run(self) -> None: ...
    def stop(self) -> None: ...


MakeSession = Callable[[Any, str, Listener], tuple[Any, Session]]
"""From a socket, the peer and where it came in: what to close in the end, and the session."""


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
    secured = gevent.ssl.SSLSocket(
        sock=plain, server_side=True, do_handshake_on_connect=False, _context=context
    )
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
    ) -> None:
        self._listeners = listeners
        self._make_session = make_session
        self._context = context
        self._slot = slot
        self._log = log
        self._entrance = entrance
        self._kinds = {
            each: (int(each.socket.family), int(each.socket.type), each.socket.proto) for each in listeners
        }
        self._watchers: list[Any] = []
        self._sessions: dict[int, Session] = {}
        self._open: dict[int, Any] = {}
        self._next = 0
        self._complained_s = self._refused_s = -COMPLAINT_S
        self.stopping = False

    def __len__(self) -> int:
        return len(self._open)

    def idle(self) -> int:
        """How many sessions wait for their clients."""
        return sum([session.idle for session in self._sessions.values()])

    def recognise(self) -> None:
        """Count those whose users have logged in as what they are."""
        if self._entrance is not None:
            door, sessions = self._entrance.door, self._sessions
            for number in list(door.strangers):
                session = sessions.get(number)
                if session is not None and session.user is not None:
                    door.recognise(number)

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
            self._stop_session(session)

    def cut(self) -> None:
        """Close every connection that is left; its session ends with an error."""
        for connection in list(self._open.values()):
            self._close(connection)

    def _stop_session(self, session: Session) -> None:
        try:
            session.stop()
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
            counted = entrance if isinstance(address, tuple) else None
            if counted is not None and self._keep_out(counted, accepted, peer, listener.tls):
                continue
            sock = Transport(accepted)
            self._open[self._next] = sock
            self._slot.add("connections")
            gevent.spawn_raw(self._serve, self._next, sock, peer, listener)

    def _keep_out(self, entrance: Entrance, accepted: socket.SocketType, peer: str, tls: bool) -> bool:
        """Count the newest connection; close it when it is one too many, saying why unless that is in TLS."""
        reason = entrance.door.enter(self._next, peer)
        if reason is not None:
            self.recognise()
            reason = entrance.door.enter(self._next, peer)
        if reason is None:
            return False
        self._slot.add("connections_refused")
        if time.monotonic() - self._refused_s > COMPLAINT_S:
            self._refused_s = time.monotonic()
            self._log.warning("connection-refused", peer=peer, reason=reason)
        try:
            if not tls and entrance.refusal:
                accepted.send(entrance.refusal % reason.encode("ascii"))
        except OSError:
            pass  # Gone already.
        finally:
            accepted.close()
        return True

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

    def _serve(self, number: int, sock: Transport, peer: str, listener: Listener) -> None:
        log = self._log
        try:
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
            if self.stopping:
                self._stop_session(session)
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
            self._sessions.pop(number, None)
            if self._entrance is not None:
                self._entrance.door.leave(number)
            connection = self._open.pop(number)
            if isinstance(connection, Stream):
                self._slot.add("bytes_in", connection.bytes_in)
                self._slot.add("bytes_out", connection.bytes_out)
            self._close(connection)

    def _close(self, connection: Any) -> None:
        try:
            connection.close()
        except OSError:
            pass  # It is closed in any case.


def drain(connections: Connections, grace_s: float, show: Callable[[], None]) -> None:
    """End all sessions within a limit; those that do not are cut."""
    connections.stop_accepting()
    gevent.sleep(0)
    connections.stop()
    show()
    deadline = time.monotonic() + grace_s
    while len(connections) and time.monotonic() < deadline:
        gevent.sleep(0.02)
    if len(connections):
        connections.cut()
        deadline = time.monotonic() + 2
        while len(connections) and time.monotonic() < deadline:
            gevent.sleep(0.02)
