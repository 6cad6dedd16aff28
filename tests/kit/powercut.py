"""A disk that loses its power: records what a process asks of it, and gives every state it may then be in.

``Recorder`` stands in for the system calls, does what is asked and keeps a log of it. ``Disk`` follows such a
log step by step. Of what was not synced before the power went, any part may have arrived: a file's blocks of
4 KiB (each piece of a write for itself), a cut, the new size without the data (zeros), the entries of a
directory. Only a rename is one step. No order among them is promised: that is less than any file system
gives, and a store that survives it survives them all."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mstore.files import raw
from tests.kit.dying import Died, Quick

BLOCK_BYTES = 4096
ROOT = 0
LAZY = ("derived", "quota")
"""Files that are never synced and never trusted: all that they lack counts as one piece, but for samples."""
Event = tuple[Any, ...]
Tree = dict[int, dict[str, int]]


class Recorder(Quick):
    """Does what is asked below ``root`` and writes it down; files are numbered, directories too."""

    def __init__(self, root: Path, boot: bytes = b"first boot......") -> None:
        super().__init__(boot)
        self.root = os.fspath(root)
        self.tree: Tree = {ROOT: {}}
        self.content: dict[int, bytearray] = {}
        self.log: list[Event] = []
        self.calls = 0
        self.armed = False
        """A subclass that refuses calls does so now."""
        self.last: int | None = None
        """Who works here dies at this call, counted from 0; nothing it does afterwards has any effect."""
        self._numbers = 0
        self._fds: dict[int, int] = {}
        self._scan(self.root, ROOT)
        self._begin = _copied(self.tree, self.content)

    def disk(self) -> Disk:
        """The disk as it was when recording began."""
        return Disk(*_copied(*self._begin))

    def mark(self, *what: Any) -> None:
        """Note in the log what is known outside at this moment."""
        self.log.append(("mark", *what))

    def step(self, call: str) -> bool:
        """Before each call: raises ``OSError`` to refuse it; True lets a write be done by half only."""
        self.calls += 1
        if self.last is not None and self.calls > self.last:
            raise Died
        return False

    def revive(self) -> None:
        """Another process comes after the dead one, whose descriptors and locks are gone."""
        self.last = None
        for fd in list(self._fds):
            self.close(fd)

    def _scan(self, path: str, directory: int) -> None:
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            self._numbers += 1
            number = self.tree[directory][entry.name] = self._numbers
            if entry.is_dir():
                self.tree[number] = {}
                self._scan(entry.path, number)
            else:
                self.content[number] = bytearray(Path(entry.path).read_bytes())

    def _place(self, path: raw.PathLike) -> tuple[int, str] | None:
        """Directory and name of a path; None when it lies elsewhere."""
        text = os.fspath(path)
        if not text.startswith(self.root + "/"):
            return None
        *parents, name = text[len(self.root) + 1 :].split("/")
        directory = ROOT
        for parent in parents:
            directory = self.tree[directory][parent]
        return directory, name

    def open(self, path: raw.PathLike, flags: int, mode: int) -> int:
        self.step("open")
        fd = super().open(path, flags, mode)
        place = self._place(path)
        if place is None:
            return fd
        directory, name = place
        number = self.tree[directory].get(name)
        if number is None:
            number = self._new(directory, name)
            self.content[number] = bytearray()
            self.log.append(("create", directory, name, number))
        elif flags & os.O_TRUNC:
            self._cut(number, 0)
        self._fds[fd] = number
        return fd

    def _new(self, directory: int, name: str) -> int:
        self._numbers += 1
        self.tree[directory][name] = self._numbers
        return self._numbers

    def close(self, fd: int) -> None:
        self._fds.pop(fd, None)
        super().close(fd)

    def _wrote(self, fd: int, data: bytes, offset: int) -> int:
        number = self._fds.get(fd)
        if number is not None and data:
            content = self.content[number]
            content.extend(bytes(max(0, offset - len(content))))
            content[offset : offset + len(data)] = data
            self.log.append(("write", number, offset, data))
        return len(data)

    def _cut(self, number: int, size: int) -> None:
        content = self.content[number]
        content.extend(bytes(max(0, size - len(content))))
        del content[size:]
        self.log.append(("truncate", number, size))

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        half = self.step("pwrite")
        copy = bytes(data)
        copy = copy[: len(copy) // 2] if half else copy
        return self._wrote(fd, copy, offset) if not copy or super().pwrite(fd, copy, offset) else 0

    def pwritev(self, fd: int, buffers: Sequence[Any], offset: int) -> int:
        half = self.step("pwritev")
        data = b"".join(buffers)
        data = data[: len(data) // 2] if half else data
        super().pwrite(fd, data, offset)
        return self._wrote(fd, data, offset)

    def copy_range(self, source: int, target: int, count: int, source_at: int, target_at: int) -> int:
        count = count // 2 if self.step("copy_range") and count > 1 else count
        done = super().copy_range(source, target, count, source_at, target_at)
        self._wrote(target, os.pread(target, done, target_at), target_at)
        return done

    def truncate(self, fd: int, size: int) -> None:
        self.step("truncate")
        super().truncate(fd, size)
        if fd in self._fds:
            self._cut(self._fds[fd], size)

    def sync(self, fd: int) -> None:
        self.step("sync")
        super().sync(fd)
        if fd in self._fds:
            self.log.append(("sync", self._fds[fd], _caller()))

    def sync_directory(self, path: raw.PathLike) -> None:
        self.step("sync_directory")
        super().sync_directory(path)
        place = self._place(path)
        if place is not None or os.fspath(path) == self.root:
            number = ROOT if place is None else self.tree[place[0]][place[1]]
            self.log.append(("sync_directory", number, _caller()))

    def rename(self, source: raw.PathLike, target: raw.PathLike) -> None:
        self.step("rename")
        super().rename(source, target)
        old, new = self._place(source), self._place(target)
        assert old is not None and new is not None, "a rename out of the mailstore, or into it"
        number = self.tree[new[0]][new[1]] = self.tree[old[0]].pop(old[1])
        self.log.append(("rename", new[0], new[1], number, *old))

    def link(self, source: raw.PathLike, target: raw.PathLike) -> None:
        self.step("link")
        super().link(source, target)
        old, new = self._place(source), self._place(target)
        assert old is not None and new is not None
        number = self.tree[new[0]][new[1]] = self.tree[old[0]][old[1]]
        self.log.append(("create", *new, number))

    def _removed(self, path: raw.PathLike) -> None:
        place = self._place(path)
        if place is not None:
            del self.tree[place[0]][place[1]]
            self.log.append(("unlink", *place))

    def unlink(self, path: raw.PathLike) -> None:
        self.step("unlink")
        super().unlink(path)
        self._removed(path)

    def rmdir(self, path: raw.PathLike) -> None:
        self.step("rmdir")
        super().rmdir(path)
        self._removed(path)

    def mkdir(self, path: raw.PathLike, mode: int) -> None:
        self.step("mkdir")
        super().mkdir(path, mode)
        place = self._place(path)
        if place is not None:
            number = self._new(*place)
            self.tree[number] = {}
            self.log.append(("mkdir", *place, number))


def _caller() -> str:
    """Module and function of the store that want a sync."""
    frame: Any = sys._getframe(2)
    while frame.f_globals["__name__"] in ("mstore.files.raw", "mstore.base.blocking", "tests.crash.world"):
        frame = frame.f_back
    return f"{frame.f_globals['__name__'].rpartition('.')[2]}.{frame.f_code.co_name}"


def _copied(tree: Tree, content: dict[int, bytearray]) -> tuple[Tree, dict[int, bytearray]]:
    return (
        {number: dict(entries) for number, entries in tree.items()},
        {number: bytearray(data) for number, data in content.items()},
    )


class Piece(NamedTuple):
    """Something that was asked of the disk and has arrived, or has not."""

    number: int
    """In the order of asking."""
    owner: int
    """The file, or the directory."""
    event: Event
    lazy: bool = False


class _File:
    __slots__ = ("base", "lazy", "pieces", "size", "version")

    def __init__(self, base: bytes) -> None:
        self.base = base
        self.size = len(base)
        self.pieces: list[Piece] = []
        self.version = 0
        self.lazy = False


class State(NamedTuple):
    """What the disk holds: files by path, directories as None."""

    files: dict[str, bytes | None]
    key: bytes
    """The same for the same content."""
    part_of: dict[str, bytes]
    """For each directory, a key for its own files."""


class Disk:
    """The disk after some steps: what is on it for certain, and what may be."""

    def __init__(self, tree: Tree, content: dict[int, bytearray]) -> None:
        self._tree = tree
        self._files = {number: _File(bytes(data)) for number, data in content.items()}
        for entries in tree.values():
            for name in set(LAZY).intersection(entries):
                self._files[entries[name]].lazy = True
        self._entries: list[Piece] = []
        self._numbers = 0
        self._contents: dict[Any, tuple[bytes, bytes]] = {}

    def apply(self, event: Event) -> bool:
        """Take one step; True when another set of states is possible now."""
        kind = event[0]
        if kind == "write":
            self._write(*event[1:])
        elif kind == "truncate":
            self._note(event[1], event)
            self._files[event[1]].size = event[2]
        elif kind == "sync":
            file = self._files[event[1]]
            file.base, _ = self._content(event[1], {piece.number for piece in file.pieces}, True)
            file.pieces, file.version = [], file.version + 1
        elif kind == "sync_directory":
            kept = []
            for piece in self._entries:
                if piece.owner == event[1]:
                    _enter(self._tree, piece.event)
                else:
                    kept.append(piece)
            self._entries = kept
        elif kind == "mark":
            return False
        else:
            self._numbers += 1
            self._entries.append(Piece(self._numbers, event[1], event))
            if kind == "create" and event[3] not in self._files:
                self._files[event[3]] = _File(b"")
                self._files[event[3]].lazy = event[2] in LAZY
            elif kind == "mkdir":
                self._tree[event[3]] = {}
        return True

    def _note(self, number: int, event: Event) -> None:
        self._numbers += 1
        file = self._files[number]
        file.pieces.append(Piece(self._numbers, number, event, file.lazy))

    def _write(self, number: int, offset: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            end = min(len(data), (offset + at) // BLOCK_BYTES * BLOCK_BYTES + BLOCK_BYTES - offset)
            self._note(number, ("write", number, offset + at, data[at:end]))
            at = end
        file = self._files[number]
        file.size = max(file.size, offset + len(data))

    def pieces(self) -> list[Piece]:
        """All that is uncertain, in the order of asking; a file's size without its data comes last."""
        found = list(self._entries)
        named = {number for entries in self._tree.values() for number in entries.values()}
        named |= {piece.event[3] for piece in self._entries if piece.event[0] != "unlink"}
        for number in named.intersection(self._files):
            file = self._files[number]
            found += file.pieces
            if file.pieces and not file.lazy and file.size > len(file.base):
                found.append(Piece(-number - 1, number, ("size", number, file.size)))
        return sorted(found, key=lambda piece: (piece.number < 0, piece.number))

    def state(self, chosen: set[int]) -> State:
        """The disk when these pieces have arrived and no others."""
        tree = {number: dict(entries) for number, entries in self._tree.items()}
        for piece in self._entries:
            if piece.number in chosen:
                _enter(tree, piece.event)
        files: dict[str, bytes | None] = {}
        parts: dict[str, bytes] = {}
        whole = hashlib.blake2b(digest_size=16)
        self._walk(tree, ROOT, "", chosen, files, parts, whole, set())
        return State(files, whole.digest(), parts)

    def _walk(
        self, tree: Tree, number: int, path: str, chosen: set[int], files: dict[str, bytes | None],
        parts: dict[str, bytes], whole: Any, above: set[int],
    ) -> None:  # fmt: skip
        mine = hashlib.blake2b(digest_size=16)
        for name, child in sorted(tree[number].items()):
            mine.update(name.encode() + b"/")
            if child in tree:
                if child not in above:
                    files[path + name] = None
                    self._walk(tree, child, f"{path}{name}/", chosen, files, parts, whole, above | {child})
            else:
                data, key = self._content(child, chosen, -child - 1 in chosen)
                mine.update(key)
                files[path + name] = data
        parts[path.rstrip("/")] = mine.digest()
        whole.update(path.encode() + b"\0" + mine.digest())

    def _content(self, number: int, chosen: set[int], full: bool) -> tuple[bytes, bytes]:
        file = self._files[number]
        arrived = tuple([piece.number for piece in file.pieces if piece.number in chosen])
        memo = (number, file.version, arrived, full and file.size)
        found = self._contents.get(memo)
        if found is None:
            data = bytearray(file.base)
            for piece in file.pieces:
                if piece.number not in chosen:
                    continue
                kind, _, place, *rest = piece.event
                data.extend(bytes(max(0, place - len(data))))
                if kind == "write":
                    data[place : place + len(rest[0])] = rest[0]
                else:
                    del data[place:]
            if full:
                data.extend(bytes(max(0, file.size - len(data))))
            found = self._contents[memo] = bytes(data), hashlib.blake2b(data, digest_size=16).digest()
        return found


def _enter(tree: Tree, event: Event) -> None:
    kind, directory, name = event[:3]
    if kind == "unlink":
        tree[directory].pop(name, None)
        return
    if kind == "rename" and tree[event[4]].get(event[5]) == event[3]:
        del tree[event[4]][event[5]]
    tree[directory][name] = event[3]


def choices(
    pieces: Sequence[Piece], exhaustive: int, samples: int, chance: random.Random
) -> Iterator[set[int]]:
    """Sets of pieces that may have arrived: all sets when the pieces are few; otherwise none, all, the first
    so many, all but one, only one, all of one file and none of it, and some by chance. With ``exhaustive`` 0
    no more than none, all, and all but those of one file or directory."""
    units: list[tuple[int, ...]] = [(piece.number,) for piece in pieces if not piece.lazy]
    lazy = tuple([piece.number for piece in pieces if piece.lazy])
    if lazy:
        units.append(lazy)
    everything = _join(units)
    if not exhaustive:
        yield set()
        yield everything
        for owner in sorted({piece.owner for piece in pieces}):
            yield everything - {piece.number for piece in pieces if piece.owner == owner}
        return
    if len(units) <= exhaustive:
        for bits in range(1 << len(units)):
            yield _join(unit for place, unit in enumerate(units) if bits >> place & 1)
        return
    for end in range(len(units) + 1):
        yield _join(units[:end])
    for unit in units:
        yield everything.difference(unit)
        yield set(unit)
    for owner in {piece.owner for piece in pieces}:
        mine = {piece.number for piece in pieces if piece.owner == owner}
        yield mine
        yield everything - mine
    numbers = [piece.number for piece in pieces]
    for _ in range(samples):
        share = chance.choice((0.2, 0.5, 0.8, 0.93))
        yield {number for number in numbers if chance.random() < share}


def _join(units: Iterable[tuple[int, ...]]) -> set[int]:
    return {number for unit in units for number in unit}


def build(state: State, path: Path, below: str = "") -> None:
    """Lay a state, or one directory of it, out at a path that is not there yet."""
    os.mkdir(path)
    skip = len(below) + 1 if below else 0
    for name, data in state.files.items():
        if below and not name.startswith(below + "/"):
            continue
        target = f"{path}/{name[skip:]}"
        if data is None:
            os.mkdir(target)
        else:
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.write(fd, data)
            os.close(fd)
