"""One client's connection as lines, counted bytes and coalesced writes, within limits.

Works over anything with ``recv``, ``sendall``, ``settimeout`` and ``close``: a plain or gevent socket, a
TLS socket, a test's transport. What is written is queued and goes out at ``flush`` in one call, or when
much is queued. Nothing here grows with what the peer sends: a line has a limit, the rest comes in chunks.
An idle stream holds no buffer.

One session reads; another greenlet may write meanwhile (IDLE), never two at once.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Protocol

from mstore.base import clock
from mstore.base.errors import MStoreError
from mstore.net.deflate import Deflated
from mstore.net.peer import ClientCertificate
from mstore.net.tls import channel_bindings, client_certificate, describe_failure
from mstore.net.trace import Tap

LINE_LIMIT_BYTES = 65536
RECEIVE_BYTES = 16384
CHUNK_BYTES = 65536
QUEUE_BYTES = 32768
_EDGE_BYTES = 256


class Transport(Protocol):
    """What a stream needs of a socket."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes | memoryview, /) -> None: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


class StreamFailed(MStoreError):
    """The connection is of no more use."""


class Disconnected(StreamFailed):
    """The peer has gone."""


class TimedOut(StreamFailed):
    """The peer sent nothing for too long."""


class Stalled(StreamFailed):
    """The peer takes nothing of what it is being sent, for too long: nothing more can be said to it."""


class LineTooLong(MStoreError):
    """A line was longer than its limit; it has been read to its end and dropped.

    ``head`` and ``tail`` are its first and last bytes, to name the command and to see a literal announced.
    """

    def __init__(self, head: bytes, tail: bytes) -> None:
        super().__init__("line too long")
        self.head = head
        self.tail = tail


class Peer(Enum):
    """How the peer is, as far as the system knows."""

    THERE = "there"
    SILENT = "silent"
    """It has ended its side: it will send nothing more, and may read or not."""
    GONE = "gone"


class Stream:
    """A connection, read by lines and counts, written in batches."""

    __slots__ = (
        "_at",
        "_buffer",
        "_queue",
        "_queued_bytes",
        "_socket",
        "_timeout_s",
        "_wrap_tls",
        "bytes_in",
        "bytes_out",
        "deflated",
        "heard_s",
        "is_stalled",
        "peer",
        "taps",
        "tls",
    )

    def __init__(
        self,
        transport: Transport,
        peer: str = "",
        tls: bool = False,
        timeout_s: float | None = None,
        wrap_tls: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        """``wrap_tls(socket, context)`` makes the TLS socket, when the context's own method will not do."""
        self._socket = transport
        self._buffer = b""
        self._at = 0
        self._queue: list[bytes | memoryview] = []
        self._queued_bytes = 0
        self._timeout_s: float | None = None
        self._wrap_tls = wrap_tls
        self.peer = peer
        self.tls = tls
        self.deflated = False
        """Both directions are compressed; ``bytes_in`` and ``bytes_out`` count what is so afterwards."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.heard_s = clock.steady()
        """When the peer has sent something, on the steady clock."""
        self.taps: tuple[Tap, ...] = ()
        """Who is told of all that is said here."""
        self.is_stalled = False
        """A wait for the peer to take something has lasted too long."""
        self.timeout_s = timeout_s

    @property
    def timeout_s(self) -> float | None:
        """How long one wait for the peer may last; None for ever. Of writing where the transport has no limit
        of its own for that."""
        return self._timeout_s

    @timeout_s.setter
    def timeout_s(self, seconds: float | None) -> None:
        self._timeout_s = seconds
        self._socket.settimeout(seconds)

    # -- reading ---------------------------------------------------------------------------------------

    def read_line(self, limit: int = LINE_LIMIT_BYTES) -> bytes:
        """The next line with its line end (LF or CR LF), or nothing when the peer has closed.

        A last line without an end is dropped: nobody can know that it is whole.
        Raises: LineTooLong after reading and dropping the whole line; TimedOut.
        """
        buffer, at = self._buffer, self._at
        end = buffer.find(b"\n", at) + 1
        while not end:
            if len(buffer) - at > limit:
                return self._drop_line()
            received = self._receive(RECEIVE_BYTES)
            if not received:
                self._buffer, self._at = b"", 0
                return b""
            start = len(buffer) - at
            buffer = buffer[at:] + received if start else received
            at = 0
            self._buffer, self._at = buffer, 0
            end = buffer.find(b"\n", start) + 1
        if end - at > limit:
            return self._drop_line()
        if end == len(buffer):
            self._buffer, self._at = b"", 0
            line = buffer[at:] if at else buffer
        else:
            self._at = end
            line = buffer[at:end]
        if self.taps:
            for tap in self.taps:
                tap.line(line)
        return line

    def read_exact(self, count: int) -> bytes:
        """Exactly so many bytes; for counts that the caller has limited.

        Raises: Disconnected, TimedOut.
        """
        at = self._at
        if len(self._buffer) - at >= count:
            data = self._buffer[at : at + count]
            self._consume(count)
            return self._show_content(data)
        parts = [self._buffer[at:]]
        missing = count - len(parts[0])
        self.discard_input()
        while missing > 0:
            # A little more is taken than is missing: the line behind a literal usually comes with it.
            data = self._receive(missing + RECEIVE_BYTES)
            if not data:
                raise Disconnected("connection closed by the client")
            if len(data) > missing:
                self._buffer = data[missing:]
                data = data[:missing]
            parts.append(data)
            missing -= len(data)
        return self._show_content(b"".join(parts))

    def read_chunks(self, count: int, chunk: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Exactly so many bytes in pieces of at most ``chunk``.

        Raises: Disconnected, TimedOut.
        """
        while count > 0:
            data = self.read_some(min(count, chunk))
            if not data:
                raise Disconnected("connection closed by the client")
            count -= len(data)
            yield data

    def read_some(self, limit: int = CHUNK_BYTES) -> bytes:
        """What is buffered, otherwise what one receive brings; nothing when the peer has closed.

        Raises: TimedOut.
        """
        at = self._at
        if at < len(self._buffer):
            data = self._buffer[at : at + limit]
            self._consume(len(data))
            return self._show_content(data)
        return self._show_content(self._receive(limit))

    def unread(self, data: bytes) -> None:
        """Put bytes back, to be read next."""
        self._buffer = data + self._buffer[self._at :]
        self._at = 0
        for tap in self.taps:
            tap.unread(len(data))

    def has_input(self) -> bool:
        """Whether bytes are buffered here already: the peer has sent more without waiting."""
        return self._at < len(self._buffer)

    def has_line(self) -> bool:
        """Whether a whole line is buffered: it can be read without waiting."""
        return self._buffer.find(b"\n", self._at) >= 0

    def ahead(self) -> bytes:
        """What is buffered and not read yet; it stays so until ``skip``."""
        return self._buffer[self._at :]

    def skip(self, count: int) -> None:
        """Take so many bytes of what is ``ahead``, whole lines, as read."""
        for line in self.ahead()[:count].splitlines(keepends=True) if self.taps else ():
            for tap in self.taps:
                tap.line(line)
        self._consume(count)

    def has_arrived(self) -> bool:
        """Whether anything of the peer's is here or in the system, whole or not, that nobody has read yet."""
        if self._at < len(self._buffer):
            return True
        pending = getattr(self._socket, "pending", None)
        try:
            if pending is not None and pending():
                return True
        except (OSError, ValueError):
            return False
        number = getattr(self._socket, "fileno", None)
        fd = number() if number is not None else -1
        if fd < 0:
            return False
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))

    def discard_input(self) -> None:
        """Forget what is buffered."""
        self._buffer, self._at = b"", 0

    def drain(self, limit_bytes: int = 1 << 20, timeout_s: float = 2.0) -> None:
        """Before a close in mid-command: end our side, and read away what is still coming.

        Otherwise the system would answer it with a reset, which may overtake our last words.
        """
        try:
            self.flush()
            self._shutdown(socket.SHUT_WR)
            self.timeout_s = timeout_s
            self.discard_input()
            while limit_bytes > 0:
                data = self._receive(CHUNK_BYTES)
                if not data:
                    return
                limit_bytes -= len(data)
        except (StreamFailed, OSError):
            pass

    # -- writing ---------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Queue bytes for the peer; they are sent at once when much is queued, otherwise at ``flush``.

        What a view shows may change afterwards: it has been sent then, or copied.
        Raises: Disconnected, Stalled.
        """
        if self.taps:
            for tap in self.taps:
                tap.wrote(bytes(data))
        self._queued_bytes += len(data)
        if self._queued_bytes >= QUEUE_BYTES:
            self._queue.append(data)
            self.flush()
        else:
            self._queue.append(bytes(data))

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Queue many pieces at once."""
        self.write(b"".join(parts))

    def flush(self) -> None:
        """Send what is queued, in one call.

        Raises: Disconnected, Stalled.
        """
        queue = self._queue
        if not queue:
            return
        data = queue[0] if len(queue) == 1 else b"".join(queue)
        queue.clear()
        self._queued_bytes = 0
        try:
            self._socket.sendall(data)
        except TimeoutError:
            self.is_stalled = True
            raise Stalled("the client takes no data") from None
        except (OSError, ValueError) as error:
            raise Disconnected("connection lost") from error
        self.bytes_out += len(data)

    # -- the connection as a whole -----------------------------------------------------------------------

    def start_tls(self, context: Any) -> None:
        """Go on under TLS, as the server; whatever came in plain text behind the request is dropped.

        Raises: Disconnected when the handshake fails.
        """
        self.flush()
        self.discard_input()
        if isinstance(self._socket, Deflated):
            self._socket = self._socket.inner
        try:
            if self._wrap_tls is not None:
                self._socket = self._wrap_tls(self._socket, context)
            else:
                self._socket = context.wrap_socket(self._socket, server_side=True)
        except (OSError, ValueError) as error:
            raise Disconnected(f"TLS handshake failed: {describe_failure(error)}") from error
        self.tls = True
        self._socket.settimeout(self._timeout_s)

    def client_certificate(self) -> ClientCertificate | None:
        """Whom the client has proved to be by a certificate; None where it has not, as without TLS."""
        return client_certificate(self._socket) if self.tls else None

    def channel_bindings(self) -> Mapping[str, bytes]:
        """What binds an authentication to this connection, by type of channel binding; empty without TLS."""
        return channel_bindings(self._socket) if self.tls else {}

    def start_deflate(self) -> None:
        """Go on compressed in both directions (RFC 4978); what was written before goes out as it is.

        Raises: Disconnected, Stalled.
        """
        self.flush()
        if isinstance(self._socket, Deflated):
            self._socket.begin()
        else:
            self._socket = Deflated(self._socket)
        self.deflated = True

    def end_deflate(self) -> None:
        """Go on without compression behind the answer that is queued, and behind the peer's (RFC 8437 §4.1).

        Raises: Disconnected, Stalled.
        """
        assert isinstance(self._socket, Deflated)
        self._socket.end()
        self.flush()
        self.deflated = False

    def acknowledge(self) -> None:
        """Let the system acknowledge at once what has come, in the middle of something.

        A client that collects small pieces (Nagle's algorithm) keeps the rest of its command until then, and
        the system would wait 40 ms for an answer to ride along with.
        """
        option = getattr(self._socket, "setsockopt", None)
        if option is not None:
            try:
                option(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            except OSError:
                pass  # No TCP, or no more.

    def look_at_peer(self) -> Peer:
        """How the peer is just now; never waits, reads nothing."""
        number = getattr(self._socket, "fileno", None)
        fd = number() if number is not None else -1
        if fd < 0:
            return Peer.THERE
        poll = select.poll()
        poll.register(fd, select.POLLRDHUP)
        events = 0
        for _, event in poll.poll(0):
            events |= event
        if events & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
            return Peer.GONE
        return Peer.SILENT if events & select.POLLRDHUP else Peer.THERE

    def interrupt(self) -> None:
        """Make a read that waits in another greenlet, and every later one, find the end of input.

        Under TLS nothing can be written any more either.
        """
        # OpenSSL takes an end of input unasked for an attack, and would say so to the peer.
        self._end_tls()
        try:
            self._shutdown(socket.SHUT_RD)
        except OSError:
            pass

    def close(self) -> None:
        """End the connection; may be called more than once."""
        self._buffer, self._at = b"", 0
        self._queue.clear()
        self._queued_bytes = 0
        self._end_tls()
        try:
            self._socket.close()
        except OSError:
            pass

    # -- inside ----------------------------------------------------------------------------------------

    def _end_tls(self) -> None:
        """Say close_notify without waiting for the peer's: some clients report its absence."""
        if not self.tls:
            return
        try:
            self._socket.settimeout(0.0)
            self._socket.unwrap()  # type: ignore[attr-defined]
        except (OSError, ValueError):
            pass

    def _receive(self, size: int) -> bytes:
        try:
            data = self._socket.recv(size)
        except TimeoutError:
            raise TimedOut("the client is silent") from None
        except (OSError, ValueError):
            return b""
        self.bytes_in += len(data)
        self.heard_s = clock.steady()
        return data

    def _show_content(self, data: bytes) -> bytes:
        for tap in self.taps:
            tap.content(data)
        return data

    def _consume(self, count: int) -> None:
        self._at += count
        if self._at >= len(self._buffer):
            self._buffer, self._at = b"", 0

    def _drop_line(self) -> bytes:
        """Read the current line to its end, keeping only its edges; only raises, or ends with the input."""
        data = self._buffer[self._at :]
        self.discard_input()
        head, tail = data[:_EDGE_BYTES], b""
        while True:
            end = data.find(b"\n") + 1
            if end:
                self._buffer, self._at = data[end:], 0
                for tap in self.taps:
                    tap.dropped()
                raise LineTooLong(head, (tail + data[:end])[-_EDGE_BYTES:])
            tail = (tail + data[-_EDGE_BYTES:])[-_EDGE_BYTES:]
            data = self._receive(RECEIVE_BYTES)
            if not data:
                return b""

    def _shutdown(self, how: int) -> None:
        """Shut the connection down in the system, around TLS, whose own state stays as it is."""
        number = getattr(self._socket, "fileno", None)
        if number is None:
            shutdown = getattr(self._socket, "shutdown", None)
            if shutdown is not None:
                shutdown(how)
            return
        if number() < 0:
            return
        with socket.socket(fileno=os.dup(number())) as twin:
            twin.shutdown(how)
