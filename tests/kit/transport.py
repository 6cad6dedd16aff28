"""Connections for tests: a session in a thread behind a socket pair, and a client that reads it strictly.

What the client receives is cut into whole responses, literals included; each must be legal by the grammar
(``tests.kit.imapgrammar``) before a test sees it. Waiting has a limit, so a server that says nothing is a
failure and not a hang.
"""

from __future__ import annotations

import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mstore.net.stream import Stream
from tests.kit.imapgrammar import Listener

WAIT_S = 40.0
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n\Z")


def split_responses(data: bytes) -> Iterator[bytes]:
    """Whole responses, with their line ends; fails when something is left over."""
    start = at = 0
    while start < len(data):
        end = data.find(b"\r\n", at)
        assert end >= 0, f"the server stopped within a response: {data[start:]!r}"
        match = _LITERAL.search(data, at, end + 2)
        if match is not None:
            at = end + 2 + int(match[1])
            continue
        yield data[start : end + 2]
        start = at = end + 2


class Session(Protocol):
    """What is served."""

    def run(self) -> None: ...
    def stop(self) -> None: ...


class Served:
    """A session in a thread of its own; ``join`` gives back what it raised."""

    def __init__(self, make_session: Callable[[Stream], Session], tls: bool = False) -> None:
        near, far = socket.socketpair()
        self.socket = near
        self.stream = Stream(far, peer="test", tls=tls)
        self.session: Any = make_session(self.stream)
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.session.run()
        except BaseException as error:
            self.failure = error
        finally:
            self.stream.close()

    def join(self) -> None:
        """Wait for the session to end; it must not have raised."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the session did not end"
        if self.failure is not None:
            raise AssertionError("the session raised") from self.failure


class DeflatedSocket:
    """A socket both of whose directions are compressed; nothing of the server's is used for it."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._out = zlib.compressobj(9, zlib.DEFLATED, -15)
        self._in = zlib.decompressobj(-15)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def sendall(self, data: bytes | memoryview) -> None:
        self._plain.sendall(self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH))

    def end(self) -> Any:
        """The socket as it is without compression, which has ended on the other side."""
        assert self._in.eof and not self._in.unused_data, "the server has not ended its compression"
        return self._plain

    def recv(self, size: int) -> bytes:
        while data := self._plain.recv(size):
            if text := self._in.decompress(data):
                return text
        return b""


class Client:
    """The client's side: sends bytes as told, reads whole responses."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._socket: Any = served.socket
        self._socket.settimeout(WAIT_S)
        self._buffer = b""
        self._listener = Listener()

    def deflate(self) -> None:
        """Speak and understand DEFLATE from now on."""
        assert not self._buffer, "the server has sent more before compression than it should"
        self._socket = DeflatedSocket(self._socket)

    def inflate(self) -> None:
        """Speak and understand plain text again; the server must have ended its compression."""
        assert not self._buffer, "the server compresses more than it should"
        self._socket = self._socket.end()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """The next whole response, without its last line end; nothing when the server has closed."""
        response = self.receive_raw()
        if response:
            self._listener.check(response)
        return response[:-2]

    def receive_raw(self) -> bytes:
        """The next response, unchecked, with its line end."""
        at = 0
        while True:
            end = self._buffer.find(b"\r\n", at)
            if end < 0:
                if not self._fill():
                    assert not self._buffer, f"the server stopped within a response: {self._buffer!r}"
                    return b""
                continue
            match = _LITERAL.search(self._buffer, at, end + 2)
            if match is None:
                response, self._buffer = self._buffer[: end + 2], self._buffer[end + 2 :]
                return response
            at = end + 2 + int(match[1])
            while len(self._buffer) < at:
                assert self._fill(), "the server stopped within a literal"

    def command(self, text: bytes) -> list[bytes]:
        """Send a line and collect the responses up to the tagged one."""
        self.send(text + b"\r\n")
        tag = text.split(b" ", 1)[0]
        responses = []
        while True:
            response = self.receive()
            assert response, f"closed before the answer to {text!r}; before that {responses!r}"
            responses.append(response)
            if response.startswith(tag + b" "):
                return responses

    def rest(self) -> list[bytes]:
        """Everything up to the server's close."""
        responses = []
        while response := self.receive():
            responses.append(response)
        return responses

    def is_silent(self, wait_s: float = 0.05) -> bool:
        """Whether nothing is there to be read, and nothing comes for a moment."""
        if self._buffer:
            return False
        self._socket.settimeout(wait_s)
        try:
            return not self._fill()
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(WAIT_S)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _fill(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            data = b""
        self._buffer += data
        return bool(data)
