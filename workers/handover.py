"""What storemgr, which may read private keys, hands to daemons that have given up the right to.

A message is one word, with a descriptor of a file in memory that holds the files by their paths: private keys
never lie on disk a second time, and nobody else can open what is handed over. ``reload`` asks for the
configuration to be read anew, ``renew`` only for new certificates.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mstore.base.errors import Unavailable
from mstore.net.certificate import Read, read_file

RELOAD, RENEW = b"reload", b"renew"
LARGEST_BYTES = 64 << 20
_CHANNEL = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


@dataclass(frozen=True, slots=True)
class Handover:
    """One message: what is to be done, and the files for it."""

    word: bytes
    contents: Mapping[str, bytes | str]
    """By path; a string is why that one could not be read."""

    def read(self, path: Path) -> bytes:
        """A file's contents; those that were not handed over are read from where they are.

        Raises: Unavailable
        """
        found = self.contents.get(str(path))
        if found is None:
            return read_file(path)
        if isinstance(found, str):
            raise Unavailable(found)
        return found


def make_channel() -> tuple[socket.socket, socket.socket]:
    """Both ends: storemgr's and the daemon's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, _CHANNEL)
    return ours, theirs


def gather(paths: Iterable[Path], read: Read = read_file) -> bytes:
    """The files as one text; one that cannot be read is there with the reason."""
    found: dict[str, list[str]] = {}
    for path in paths:
        try:
            found[str(path)] = ["data", base64.b64encode(read(path)).decode("ascii")]
        except Unavailable as error:
            found[str(path)] = ["error", str(error)]
    return json.dumps(found).encode()


def send(channel: socket.socket, word: bytes, gathered: bytes) -> None:
    """Hand it over, without waiting.

    Raises: OSError, also when the other side does not take what it was given before.
    """
    fd = os.memfd_create("handover", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(gathered)
        socket.send_fds(channel, [word], [fd])
    finally:
        os.close(fd)


def receive(channel: socket.socket) -> Handover | None:
    """The next message; None when there is none, or no more.

    Raises: OSError, ValueError for what is none.
    """
    try:
        word, fds, _, _ = socket.recv_fds(channel, 64, 1)
    except BlockingIOError:
        return None
    with contextlib.ExitStack() as stack:
        for fd in fds:
            stack.callback(os.close, fd)
        if not word or not fds:
            return None
        with open(fds[0], "rb", closefd=False) as file:
            file.seek(0)  # The writer's place in it is ours as well.
            text = file.read(LARGEST_BYTES)
    contents: dict[str, bytes | str] = {}
    for path, (kind, value) in json.loads(text).items():
        contents[path] = base64.b64decode(value) if kind == "data" else value
    return Handover(word, contents)
