"""A process that dies at its n-th system call, within that of the test: nothing is
undone, its descriptors are closed, its locks are gone."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mstore.files import raw

_ATOMIC_BYTES = 8
"""So much, within a page, is written or is not: nobody can be killed amidst."""


class Died(BaseException):
    """The process is dead: nothing it does from now on has any effect."""


class Quick(raw.System):
    """The real system calls, but nobody waits for the disk."""

    def __init__(self, boot: bytes = b"first boot......") -> None:
        self.boot = boot

    def sync(self, fd: int) -> None:
        os.fstat(fd)

    def sync_directory(self, path: raw.PathLike) -> None:
        os.stat(path)

    def sync_filesystem(self, path: raw.PathLike) -> None:
        os.stat(path)

    def boot_id(self) -> bytes:
        return self.boot


def open_files(beginning: str) -> dict[int, str]:
    """The files that this process has open whose paths begin so: others may be closed at any moment, when
    what an earlier test left behind is collected."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # it was that of the listing, or of such a one
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return {fd: path for fd, path in found.items() if path.startswith(beginning)}


def close_files_under(path: Path) -> None:
    """Close what mailboxes that were abandoned in a test have left open."""
    for fd in open_files(f"{path}/"):
        os.close(fd)


class Mortal(Quick):
    """Dies at call number ``last`` (counted from 0); with ``torn``, when half of a write is done."""

    def __init__(self, last: int, torn: bool = False) -> None:
        super().__init__()
        self.calls = 0
        self.last = last
        self.torn = torn
        self.tore = False
        """A write was really cut in two."""
        self.fds: set[int] = set()

    @property
    def is_dead(self) -> bool:
        return self.calls > self.last

    def _step(self) -> None:
        self.calls += 1
        if self.is_dead:
            raise Died

    def open(self, path: raw.PathLike, flags: int, mode: int) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            self._step()
        elif self.is_dead:
            raise Died
        fd = super().open(path, flags, mode)
        self.fds.add(fd)
        return fd

    def close(self, fd: int) -> None:
        if self.is_dead:
            raise Died
        self.fds.discard(fd)
        super().close(fd)

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        self.calls += 1
        if self.is_dead:
            if self.torn and self.calls == self.last + 1 and len(data) > _ATOMIC_BYTES:
                self.tore = True
                os.pwrite(fd, memoryview(data).cast("B")[: len(data) // 2], offset)
            raise Died
        return super().pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Any, offset: int) -> int:
        self.calls += 1
        if self.is_dead:
            if self.torn and self.calls == self.last + 1:
                self.tore = True
                data = b"".join(buffers)
                os.pwrite(fd, data[: len(data) * 2 // 3], offset)
            raise Died
        return super().pwritev(fd, buffers, offset)

    def copy_range(self, source: int, target: int, count: int, source_at: int, target_at: int) -> int:
        self._step()
        return super().copy_range(source, target, count, source_at, target_at)

    def truncate(self, fd: int, size: int) -> None:
        self._step()
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._step()
        super().sync(fd)

    def sync_directory(self, path: raw.PathLike) -> None:
        self._step()
        super().sync_directory(path)

    def rename(self, source: raw.PathLike, target: raw.PathLike) -> None:
        self._step()
        super().rename(source, target)

    def unlink(self, path: raw.PathLike) -> None:
        self._step()
        super().unlink(path)

    def mkdir(self, path: raw.PathLike, mode: int) -> None:
        self._step()
        super().mkdir(path, mode)


def run_and_die(work: Callable[[], Any], last: int, torn: bool = False) -> Mortal:
    """Do some work in a process of its own that dies at a call; gives what is known of its death."""
    system = Mortal(last, torn)
    before = raw.install(system)
    try:
        contextvars.copy_context().run(work)
    except Died:
        pass
    finally:
        raw.install(before)
        for fd in system.fds:
            os.close(fd)
    return system
