"""The only caller of open, write, sync, rename, unlink, mkdir, truncate and copy_file_range for the store.

A failed system call becomes ``StorageFailed`` with a sentence for the user. What may wait long (a sync) goes
through ``blocking.call``, so a worker's other sessions run meanwhile. ``install`` replaces the system calls
by a recorder or by one that fails, for tests; nobody else may keep state here."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mstore.base import blocking, clock, measure
from mstore.base.errors import StorageFailed

Buffer = Any
PathLike = str | Path
READ = os.O_RDONLY | os.O_CLOEXEC
WRITE = os.O_RDWR | os.O_CLOEXEC
CREATE = os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL
REPLACE = os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_TRUNC
_VECTOR = 512
_LITTLE_BYTES = 64 << 10
"""What is on disk in a moment, where disks are as they should be."""


class System:
    """The system calls themselves; a test's subclass records them or makes them fail."""

    def open(self, path: PathLike, flags: int, mode: int) -> int:
        return os.open(path, flags, mode)

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        return os.pwritev(fd, buffers, offset)

    def copy_range(self, source: int, target: int, count: int, source_at: int, target_at: int) -> int:
        return os.copy_file_range(source, target, count, source_at, target_at)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        began = clock.steady()
        os.fdatasync(fd)
        measure.observe(measure.SYNC, clock.steady() - began)

    def sync_directory(self, path: PathLike) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            began = clock.steady()
            os.fsync(fd)
            measure.observe(measure.SYNC, clock.steady() - began)
        finally:
            os.close(fd)

    def sync_filesystem(self, path: PathLike) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            library = ctypes.CDLL(None, use_errno=True)  # Python has no syncfs(2).
            if library.syncfs(fd):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(fd)

    def rename(self, source: PathLike, target: PathLike) -> None:
        os.rename(source, target)

    def link(self, source: PathLike, target: PathLike) -> None:
        os.link(source, target)

    def unlink(self, path: PathLike) -> None:
        os.unlink(path)

    def mkdir(self, path: PathLike, mode: int) -> None:
        os.mkdir(path, mode)

    def rmdir(self, path: PathLike) -> None:
        os.rmdir(path)

    def close(self, fd: int) -> None:
        os.close(fd)

    _boot_id = b""

    def boot_id(self) -> bytes:
        if not self._boot_id:
            try:
                with open("/proc/sys/kernel/random/boot_id", "rb") as file:
                    self._boot_id = bytes.fromhex(file.read().replace(b"-", b"").strip().decode("ascii"))
            except (OSError, ValueError):
                self._boot_id = bytes(16)
        return self._boot_id


_system = System()


def install(system: System) -> System:
    """Use these system calls from now on; gives back those in use until now."""
    global _system
    before, _system = _system, system
    return before


def _failed(action: str, error: OSError) -> StorageFailed:
    return StorageFailed(f"cannot {action}: {error.strerror or error}")


def open_file(path: PathLike, flags: int = WRITE, mode: int = 0o600) -> int:
    """Open a file; ``FileNotFoundError`` and ``FileExistsError`` pass, all else is ``StorageFailed``."""
    try:
        return _system.open(path, flags, mode)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise _failed(f"open {os.path.basename(path)}", error) from error


def open_best(path: PathLike) -> int:
    """Open a file for reading and writing, or for reading alone where that is all there is to be had."""
    try:
        return _system.open(path, WRITE, 0o600)
    except PermissionError:
        pass
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno != 30:  # EROFS
            raise _failed(f"open {os.path.basename(path)}", error) from error
    return open_file(path, READ)


def is_writable(fd: int) -> bool:
    """Whether a descriptor is for writing: ``open_best`` may have got one that is not."""
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def close(fd: int) -> None:
    """Close a descriptor."""
    _system.close(fd)


def pwrite(fd: int, data: Buffer, offset: int) -> None:
    """Write all of it at an offset, however often the system has to be asked."""
    try:
        done = _system.pwrite(fd, data, offset)
        if done != len(data):
            view = memoryview(data).cast("B")
            while done < len(view):
                count = _system.pwrite(fd, view[done:], offset + done)
                if count == 0:
                    raise StorageFailed("cannot write: nothing was accepted")
                done += count
    except OSError as error:
        raise _failed("write", error) from error


def pwrite_each(fd: int, data: bytes, size: int, offsets: Sequence[int]) -> None:
    """Write pieces of one size, which stand in ``data`` one behind the other, each at its offset."""
    write = os.pwrite if type(_system) is System else _system.pwrite
    try:
        for at, offset in zip(range(0, len(data), size), offsets, strict=True):
            piece = data[at : at + size]
            done = write(fd, piece, offset)
            if done != size:
                pwrite(fd, piece[done:], offset + done)
    except OSError as error:
        raise _failed("write", error) from error


def pread_each(fd: int, size: int, offsets: Sequence[int]) -> bytes:
    """Read pieces of one size, one behind the other in the result; fewer bytes where the file ends."""
    try:
        return b"".join([os.pread(fd, size, offset) for offset in offsets])
    except OSError as error:
        raise _failed("read", error) from error


def pwritev(fd: int, buffers: Sequence[Buffer], offset: int) -> int:
    """Write buffers one behind the other at an offset; gives the offset behind the last."""
    for start in range(0, len(buffers), _VECTOR):
        part = buffers[start : start + _VECTOR]
        size = sum(map(len, part))
        try:
            done = _system.pwritev(fd, part, offset)
        except OSError as error:
            raise _failed("write", error) from error
        if done != size:
            pwrite(fd, b"".join(part)[done:], offset + done)
        offset += size
    return offset


def copy_range(source: int, target: int, count: int, source_at: int, target_at: int) -> None:
    """Let the kernel copy bytes from file to file, sharing them where the file system can."""
    try:
        while count:
            done = _system.copy_range(source, target, count, source_at, target_at)
            if done == 0:
                raise StorageFailed("cannot copy: the source is shorter than its index says")
            count, source_at, target_at = count - done, source_at + done, target_at + done
    except OSError as error:
        if error.errno not in (18, 22, 38, 95):  # EXDEV, EINVAL, ENOSYS, EOPNOTSUPP
            raise _failed("copy", error) from error
        _copy_by_hand(source, target, count, source_at, target_at)


def _copy_by_hand(source: int, target: int, count: int, source_at: int, target_at: int) -> None:
    while count:
        piece = pread(source, min(count, 1 << 20), source_at)
        if not piece:
            raise StorageFailed("cannot copy: the source is shorter than its index says")
        pwrite(target, piece, target_at)
        count, source_at, target_at = count - len(piece), source_at + len(piece), target_at + len(piece)


def pread(fd: int, count: int, offset: int) -> bytes:
    """Read up to ``count`` bytes at an offset."""
    try:
        return os.pread(fd, count, offset)
    except OSError as error:
        raise _failed("read", error) from error


def size_of(fd: int) -> int:
    """The size of an open file."""
    return os.fstat(fd).st_size


def truncate(fd: int, size: int) -> None:
    """Cut a file, or lengthen it by a hole."""
    try:
        _system.truncate(fd, size)
    except OSError as error:
        raise _failed("truncate", error) from error


def sync(fd: int, size_bytes: int | None = None) -> None:
    """Wait until all that was written to a file is on disk; other sessions run meanwhile.

    ``size_bytes`` tells how much that is about; None: who knows.
    """
    try:
        if size_bytes is not None and size_bytes <= _LITTLE_BYTES:
            blocking.call_briefly(_system.sync, fd)
        else:
            blocking.call(_system.sync, fd)
    except OSError as error:
        raise _failed("sync", error) from error


def sync_directory(path: PathLike) -> None:
    """Wait until the names in a directory are on disk; other sessions run meanwhile."""
    try:
        blocking.call(_system.sync_directory, path)
    except OSError as error:
        raise _failed("sync a directory", error) from error


def sync_filesystem(path: PathLike) -> None:
    """Wait until all that was written to the file system of a directory is on disk."""
    try:
        blocking.call(_system.sync_filesystem, path)
    except OSError as error:
        raise _failed("write to disk", error) from error


def rename(source: PathLike, target: PathLike) -> None:
    """Give a file another name, replacing what had it."""
    try:
        _system.rename(source, target)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _failed("rename", error) from error


def link(source: PathLike, target: PathLike) -> None:
    """Give a file a second name."""
    try:
        _system.link(source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise _failed("link", error) from error


def unlink(path: PathLike) -> None:
    """Remove a name; nothing happens when there is none."""
    try:
        _system.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed("remove", error) from error


def list_directory(path: PathLike) -> list[str]:
    """The names in a directory; ``FileNotFoundError`` and ``NotADirectoryError`` pass."""
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise _failed("read a directory", error) from error


def mkdir(path: PathLike, mode: int = 0o700) -> None:
    """Make a directory; ``FileExistsError`` passes."""
    try:
        _system.mkdir(path, mode)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        raise _failed("make a directory", error) from error


def rmdir(path: PathLike) -> None:
    """Remove an empty directory; nothing happens when there is none."""
    try:
        _system.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed("remove a directory", error) from error


def write_file(path: PathLike, buffers: Sequence[tuple[int, Buffer]], size: int, mode: int = 0o600) -> None:
    """Write a whole file under a passing name, sync it and give it its name.

    Durable: the content; the name is, once the caller has synced the directory.
    """
    passing = f"{path}.new"
    fd = open_file(passing, REPLACE, mode)
    try:
        for offset, data in buffers:
            pwrite(fd, data, offset)
        truncate(fd, size)
        sync(fd)
    finally:
        close(fd)
    rename(passing, path)


def boot_id() -> bytes:
    """Sixteen bytes that differ from one start of the machine to the next."""
    return _system.boot_id()
