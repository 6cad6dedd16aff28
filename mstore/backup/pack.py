"""Packs: files of messages, each behind a header that says whose it is and has its checksum.

A pack is written by one backup, under a passing name until that is complete, and never touched again. What an
interrupted backup has left is read through, and what is whole of it is kept for the next.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mstore.base.errors import Corrupt
from mstore.files import raw

PACK_BYTES = 256 << 20
"""A pack that is longer than this is followed by another."""
_HEADER = struct.Struct("<4sIQQQII32s")
_MAGIC = b"MSbk"
_CRC_BYTES = 8
_NAME = re.compile(r"([0-9]+)\.pack(\.new)?\Z")
_PIECE_BYTES = 1 << 20


class Key(NamedTuple):
    """Which message: nothing else ever has these four numbers."""

    account: int
    mailbox: int
    uid_validity: int
    uid: int


class Packed(NamedTuple):
    """Where a message stands, and what it is."""

    pack: int
    at: int
    """Of its header."""
    size: int
    sha256: bytes


def _format_header(key: Key, size: int, sha256: bytes) -> bytes:
    header = _HEADER.pack(_MAGIC, 0, size, *key, sha256)
    return header[:4] + struct.pack("<I", zlib.crc32(header[_CRC_BYTES:])) + header[_CRC_BYTES:]


def _parse_header(data: bytes) -> tuple[Key, int, bytes] | None:
    if len(data) < _HEADER.size:
        return None
    magic, crc, size, account, mailbox, uid_validity, uid, sha256 = _HEADER.unpack(data)
    if magic != _MAGIC or crc != zlib.crc32(data[_CRC_BYTES:]):
        return None
    return Key(account, mailbox, uid_validity, uid), size, sha256


def _numbers(directory: Path) -> dict[int, Path]:
    matches = filter(None, map(_NAME.match, raw.list_directory(directory)))
    return dict(sorted((int(match.group(1)), directory / match.string) for match in matches))


class Reader:
    """The packs of a directory, for reading."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number, self._fd = 0, -1

    def read(self, key: Key, packed: Packed) -> bytes:
        """A message.

        Raises: Corrupt when it is not there, or not what its checksum says; StorageFailed.
        """
        where = f"{packed.pack}.pack"
        if self._number != packed.pack:
            self.close()
            try:
                self._fd = raw.open_file(self._directory / where, raw.READ)
            except FileNotFoundError:
                raise Corrupt(f"{where} is missing") from None
            self._number = packed.pack
        data = raw.pread(self._fd, _HEADER.size + packed.size, packed.at)
        content = data[_HEADER.size :]
        sha256 = hashlib.sha256(content).digest()
        if _parse_header(data[: _HEADER.size]) != (key, packed.size, sha256) or sha256 != packed.sha256:
            raise Corrupt(f"the message at byte {packed.at} of {where} is damaged")
        return content

    def close(self) -> None:
        """Close what is open."""
        if self._fd >= 0:
            raw.close(self._fd)
        self._number, self._fd = 0, -1


class Writer:
    """Adds messages to packs that are this backup's, and those that interrupted ones have left."""

    def __init__(self, directory: Path) -> None:
        """Take over what was left; ``left`` has the messages of it that are whole.

        Raises: StorageFailed.
        """
        self._directory = directory
        numbers = _numbers(directory)
        self.numbers = frozenset(numbers)
        """The packs that were there before."""
        self._number = max(numbers, default=0)
        self._fd, self._end = -1, 0
        self.written_bytes = 0
        self.left: dict[Key, Packed] = {}
        for number, path in numbers.items():
            if path.suffix == ".new":
                self._take_over(number, path)

    def _take_over(self, number: int, path: Path) -> None:
        fd = raw.open_file(path)
        try:
            end = 0
            for key, packed in _whole(fd, number):
                self.left[key] = packed
                end = packed.at + _HEADER.size + packed.size
            raw.truncate(fd, end)
            raw.sync(fd)
        finally:
            raw.close(fd)

    def add(self, key: Key, content: bytes | Iterable[bytes]) -> Packed:
        """Add a message. Durable: not before ``finish``.

        Raises: StorageFailed; what the pieces of the content raise, with nothing added.
        """
        if self._fd < 0 or self._end > PACK_BYTES:
            self._begin()
        digest, at = hashlib.sha256(), self._end
        end = at + _HEADER.size
        for piece in (content,) if isinstance(content, bytes) else content:
            raw.pwrite(self._fd, piece, end)
            digest.update(piece)
            end += len(piece)
        packed = Packed(self._number, at, end - at - _HEADER.size, digest.digest())
        raw.pwrite(self._fd, _format_header(key, packed.size, packed.sha256), at)
        self._end = end
        self.written_bytes += end - at
        return packed

    def _begin(self) -> None:
        self.close()
        self._number += 1
        self._fd = raw.open_file(self._directory / f"{self._number}.pack.new", raw.CREATE)
        self._end = 0

    def finish(self) -> None:
        """Give the packs their names. Durable: all messages.

        Raises: StorageFailed.
        """
        self.close()
        for path in _numbers(self._directory).values():
            if path.suffix == ".new":
                raw.rename(path, path.with_suffix(""))
        raw.sync_directory(self._directory)

    def close(self) -> None:
        """End the pack that is written to; it stays under its passing name."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                raw.truncate(fd, self._end)
                raw.sync(fd)
            finally:
                raw.close(fd)


def verify(directory: Path) -> Iterator[tuple[int, dict[int, tuple[Key, Packed]], int, int]]:
    """Read every pack: its number, the whole messages in it by their places, where they end, and its size.

    Raises: StorageFailed.
    """
    for number, path in _numbers(directory).items():
        if path.suffix == ".new":
            continue
        fd = raw.open_file(path, raw.READ)
        try:
            whole = {packed.at: (key, packed) for key, packed in _whole(fd, number)}
            last = max(whole.values(), key=lambda found: found[1].at, default=None)
            end = last[1].at + _HEADER.size + last[1].size if last else 0
            yield number, whole, end, raw.size_of(fd)
        finally:
            raw.close(fd)


def _whole(fd: int, number: int) -> Iterator[tuple[Key, Packed]]:
    """The messages of a pack up to its end or to the first header that is torn; damaged ones are left out."""
    at, size = 0, raw.size_of(fd)
    while (found := _parse_header(raw.pread(fd, _HEADER.size, at))) is not None:
        key, length, sha256 = found
        start, end = at + _HEADER.size, at + _HEADER.size + length
        if end > size:
            return
        digest = hashlib.sha256()
        for place in range(start, end, _PIECE_BYTES):
            digest.update(raw.pread(fd, min(_PIECE_BYTES, end - place), place))
        if digest.digest() == sha256:
            yield key, Packed(number, at, length, sha256)
        at = end
