"""A message while it is being received: in memory while it is small, then in an unnamed file.

Whatever its size, a message costs at most ``MEMORY_BYTES`` of memory here. The file has no name, so that
nothing of a message that was never finished can be left behind, whatever dies. It is not durable and need
not be: the store copies it into a segment and syncs that.

The directory is best on a local file system; nothing but unfinished messages ever lies in it.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from mstore.base.errors import StorageFailed, TooBig

MEMORY_BYTES = 256 * 1024
CHUNK_BYTES = 256 * 1024


class Spool:
    """Bytes that arrive in pieces and are read as one, any number of times, until it is closed."""

    __slots__ = ("_directory", "_fd", "_limit_bytes", "_map", "_parts", "_pending_bytes", "size")

    def __init__(self, directory: Path | str, limit_bytes: int | None = None) -> None:
        self.size = 0
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        self._pending_bytes = 0
        self._fd = -1
        self._map: mmap.mmap | None = None

    def append(self, data: bytes) -> None:
        """Add bytes at the end.

        Raises: TooBig beyond the limit, StorageFailed when the file cannot be written; the spool is then
        good for nothing but ``close``.
        """
        size = self.size + len(data)
        if self._limit_bytes is not None and size > self._limit_bytes:
            raise TooBig(f"message is larger than {self._limit_bytes} bytes")
        if self._map is not None:
            self._map = None
        self._parts.append(data)
        self._pending_bytes += len(data)
        self.size = size
        if self._pending_bytes > MEMORY_BYTES:
            self._write_out()

    def append_part(self, data: bytes) -> Part:
        """Add bytes at the end that are to be read by themselves.

        Raises: as ``append``.
        """
        start = self.size
        self.append(data)
        return Part(self, start, len(data))

    def read(self, offset: int, length: int) -> bytes:
        """A stretch of the bytes.

        Raises: StorageFailed.
        """
        if self._fd < 0:
            return bytes(self.buffer()[offset : offset + length])
        self._write_out()
        try:
            data = os.pread(self._fd, length, offset)
        except OSError as error:
            raise StorageFailed(f"cannot read a spool file: {error.strerror}") from error
        if len(data) != length:
            raise StorageFailed("a spool file is shorter than what was written to it")
        return data

    def buffer(self) -> bytes | mmap.mmap:
        """All bytes as one buffer: the bytes themselves while small, a private mapping of the file otherwise.

        The mapping is the same one each time; it stays valid, even after ``close``, while somebody holds it.
        Raises: StorageFailed.
        """
        if self._fd < 0:
            if len(self._parts) != 1:
                self._parts = [b"".join(self._parts)]
            return self._parts[0]
        if self._map is None:
            self._write_out()
            try:
                # Private, because mounts without a page cache refuse shared mappings.
                self._map = mmap.mmap(self._fd, self.size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
            except OSError as error:
                raise StorageFailed(f"cannot map a spool file: {error.strerror}") from error
        return self._map

    def chunks(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """All bytes in order, in pieces of at most the size given.

        Raises: StorageFailed.
        """
        if self._fd < 0:
            data = self.buffer()
            for start in range(0, self.size, chunk_bytes):
                yield data[start : start + chunk_bytes]
            return
        self._write_out()
        offset = 0
        while offset < self.size:
            try:
                piece = os.pread(self._fd, min(chunk_bytes, self.size - offset), offset)
            except OSError as error:
                raise StorageFailed(f"cannot read a spool file: {error.strerror}") from error
            if not piece:
                raise StorageFailed("a spool file is shorter than what was written to it")
            yield piece
            offset += len(piece)

    def close(self) -> None:
        """Give memory and file back; may be called more than once."""
        self._parts = []
        self._pending_bytes = 0
        self._map = None
        self.size = 0
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_out(self) -> None:
        """Move what is held in memory to the file, which is made at the first need."""
        try:
            if self._fd < 0:
                self._fd = _open_unnamed(self._directory)
            for part in self._parts:
                rest = memoryview(part)
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise StorageFailed(f"cannot write a spool file: {error.strerror}") from error
        self._parts = []
        self._pending_bytes = 0


class Part:
    """One of several small messages that are gathered in a spool; read anew each time."""

    __slots__ = ("_spool", "_start", "size")

    def __init__(self, spool: Spool, start: int, size: int) -> None:
        self._spool = spool
        self._start = start
        self.size = size

    def buffer(self) -> bytes:
        """All of it.

        Raises: StorageFailed.
        """
        return self._spool.read(self._start, self.size)

    def chunks(self) -> Iterator[bytes]:
        """All of it, in one piece."""
        yield self.buffer()


def _open_unnamed(directory: Path | str) -> int:
    """Open a new file without a name, for reading and writing by this process alone."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # Some network file systems know no O_TMPFILE: a named file whose name goes at once serves as well.
        fd, name = tempfile.mkstemp(prefix="spool-", dir=directory)
        os.unlink(name)
        return fd
