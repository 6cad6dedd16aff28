"""inotify by ctypes: which files were modified, as events on one descriptor."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE_SELF = 0x400
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
_EVENT = struct.Struct("iIII")
_READ_BYTES = 64 << 10


class Inotify:
    """One inotify instance.

    Raises: OSError when the system refuses one (a limit, or no such thing); do without it then.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise self._error()

    def _error(self) -> OSError:
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number))

    def add(self, path: str | os.PathLike[str], mask: int = IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF) -> int:
        """Watch a file, or those of a directory; gives the number that events carry. Raises: OSError."""
        watch: int = self._libc.inotify_add_watch(self.fd, os.fsencode(path), mask)
        if watch < 0:
            raise self._error()
        return watch

    def remove(self, watch: int) -> None:
        """Watch it no more; nothing happens when the watch is gone already."""
        self._libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> Iterator[tuple[int, int, str]]:
        """The events there are now: watch (-1 on overflow), mask, and which file of a watched directory."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            name = data[at : at + length].rstrip(b"\0")
            at += length
            yield watch, mask, os.fsdecode(name)

    def close(self) -> None:
        """End all watches."""
        os.close(self.fd)
