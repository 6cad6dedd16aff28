"""Blobs of ``derived``: what is costly to compute from a message, kept but never trusted.

A blob is verified when read; one that is missing, torn or another message's is simply computed again. Nothing
here is synced. The checksum is a sum of words, because thousands can then be checked by one vector operation.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mstore.files import raw
from mstore.files.layout import BLOB, BLOB_MAGIC, DERIVED, DERIVED_MAGIC, SLOTS, VERSION

_MASK = 0xFFFFFFFF
_SUM_AT = BLOB.offset_of("sum")
_WORD = np.dtype("<u4")
_sum = np.add.reduce
_HEAD = np.dtype(f"V{BLOB.size}")
_ADDRESS = struct.Struct("<III")
"""What a blob begins with: magic, UID, checksum."""
_LENGTHS = [field.name for field in BLOB.fields].index("length0")
_LENGTHS_AT = BLOB.offset_of("length0")
_END = bytes(4)
"""A word behind the last blob, as ``reduceat`` wants it."""


def format_blob(uid: int, version: int, slots: Sequence[bytes]) -> bytes:
    """A blob with its checksum and padding."""
    lengths = [len(slot) for slot in slots]
    lengths += [0] * (SLOTS - len(lengths))
    head = BLOB.pack(BLOB_MAGIC, uid, 0, version, len(slots), *lengths)
    data = bytearray(b"".join([head, *slots]))
    data += bytes(-len(data) & 7)
    total = int(_sum(np.frombuffer(data, _WORD), dtype=np.uint32))
    data[_SUM_AT : _SUM_AT + 4] = (-total & _MASK).to_bytes(4, "little")
    return bytes(data)


def readdress(blob: bytes, uid: int) -> bytes:
    """A blob made out to another UID."""
    _, its_uid, total = _ADDRESS.unpack_from(blob)
    return b"".join((_ADDRESS.pack(BLOB_MAGIC, uid, total + its_uid - uid & _MASK), blob[_ADDRESS.size :]))


def blob_size(data: bytes | bytearray, uid: int, version: int) -> int:
    """How long the blob is that begins ``data``, by its header; 0 when it is no blob of this message."""
    if len(data) < BLOB.size:
        return 0
    magic, its_uid, _, its_version, _, *lengths = BLOB.unpack_from(data)
    if magic != BLOB_MAGIC or its_uid != uid or its_version != version:
        return 0
    size: int = BLOB.size + sum(lengths) + 7 & ~7
    return size


def read_slots(
    data: raw.Buffer, places: Sequence[int], uids: Sequence[int], version: int, slots: Sequence[int]
) -> list[list[bytes]] | None:
    """For each slot asked for that of every blob, of ``uids``, that begins at a place in ``data``; None where
    one is not there or not sound. Of few blobs cheaper than a ``Window``."""
    most, kept = len(data), b"".join((data, _END))
    heads, bounds = [], list[int]()
    for at, uid in zip(places, uids, strict=True):
        if at + BLOB.size > most or at & 3:
            return None
        head = BLOB.unpack_from(kept, at)
        end = at + (BLOB.size + sum(head[_LENGTHS:]) + 7 & ~7)
        if head[0] != BLOB_MAGIC or head[1] != uid or head[3] != version or end > most:
            return None
        heads.append(head)
        bounds += (at >> 2, end >> 2)
    words = np.frombuffer(kept, _WORD, len(kept) >> 2)
    if np.add.reduceat(words, bounds, dtype=np.uint32)[::2].any():
        return None
    found = []
    for slot in slots:
        length = _LENGTHS + slot
        begins = [at + BLOB.size + sum(head[_LENGTHS:length]) for at, head in zip(places, heads, strict=True)]
        found.append([kept[at : at + head[length]] for at, head in zip(begins, heads, strict=True)])
    return found


class Window:
    """The blobs found in one stretch of the file: which of those asked for are sound, and where they lie."""

    __slots__ = ("_lengths", "_positions", "data", "ends", "whole", "within")

    def __init__(
        self,
        data: raw.Buffer,
        positions: npt.NDArray[np.int64],
        uids: npt.NDArray[Any],
        version: int,
        sums: bool = True,
    ) -> None:
        """``positions`` (in ``data``, ascending) are where blobs of ``uids`` are said to begin.

        Without ``sums`` a blob is whole when its header is right and it ends in ``data``.
        What ``slot`` and ``bounds`` give stays when ``data`` is overwritten, but is to be asked for before.
        """
        self.data = data
        self._positions = positions
        self.within = (positions >= 0) & (positions + BLOB.size <= len(data)) & (positions & 7 == 0)
        if len(data) >= BLOB.size:
            everywhere = np.ndarray((len(data) - BLOB.size + 1,), _HEAD, data, 0, (1,))
            heads = everywhere[positions if self.within.all() else np.where(self.within, positions, 0)]
        else:
            heads = np.zeros(len(positions), _HEAD)
        heads = heads.view("<u4").reshape(len(positions), BLOB.size // 4)
        self._lengths = heads[:, _LENGTHS_AT // 4 :]
        self.ends = ends = positions + (self._lengths.sum(axis=1, dtype=np.int64) + (BLOB.size + 7) & ~7)
        self.within &= (heads[:, 0] == BLOB_MAGIC) & (heads[:, 1] == uids) & (heads[:, 3] & 0xFFFF == version)
        self.whole = self.within & (ends <= len(data))
        if sums:
            self._check_sums(np.frombuffer(data, "<u4", len(data) // 4), positions, ends)

    def _check_sums(
        self, words: npt.NDArray[Any], positions: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> None:
        asked = np.flatnonzero(self.whole)
        if not len(asked):
            return
        begins, ends = positions[asked] // 4, ends[asked] // 4
        inner = ends < len(words)  # reduceat wants every bound inside
        bounds = np.column_stack([begins[inner], ends[inner]]).ravel()
        sums = np.zeros(len(asked), np.uint32)
        if len(bounds):
            sums[inner] = np.add.reduceat(words, bounds, dtype=np.uint32)[::2]
        for place in np.flatnonzero(~inner).tolist():
            sums[place] = words[begins[place] :].sum(dtype=np.uint32)
        bad = asked[sums != 0]
        self.whole[bad] = self.within[bad] = False

    def copies(
        self, chosen: npt.NDArray[Any], uids: npt.NDArray[Any]
    ) -> tuple[raw.Buffer, npt.NDArray[np.int64]]:
        """The chosen blobs, with header and padding, made out to other UIDs, and where each begins.

        They are changed in their place, where they are not to be looked for again.
        """
        begins, ends = self._positions[chosen], self.ends[chosen]
        data = memoryview(self.data)
        if data.readonly:
            data = memoryview(bytearray(data))
        words = np.frombuffer(data, "<u4", len(data) // 4)
        at = begins // 4
        words[at + 2] += words[at + 1] - uids.astype(np.uint32)  # the sum stays zero, modulo 2**32
        words[at + 1] = uids
        breaks = np.flatnonzero(begins[1:] != ends[:-1])
        firsts = begins[np.concatenate([[0], breaks + 1])].tolist()
        lasts = ends[np.concatenate([breaks, [len(ends) - 1]])].tolist()
        pieces = [data[first:last] for first, last in zip(firsts, lasts, strict=True)]
        sizes = ends - begins
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), np.cumsum(sizes) - sizes

    def slot(self, slot: int, chosen: npt.NDArray[Any]) -> list[bytes]:
        """One slot of the chosen blobs."""
        data, starts, ends = self.bounds(slot, chosen)
        return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def bounds(
        self, slot: int, chosen: npt.NDArray[Any]
    ) -> tuple[bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The stretch, and where in it the slot of each of the chosen blobs begins and ends."""
        if not isinstance(self.data, bytes):
            self.data = bytes(self.data)
        lengths = self._lengths[chosen]
        starts = self._positions[chosen] + BLOB.size
        if slot:
            starts += np.einsum("ij->i", lengths[:, :slot])
        return self.data, starts, starts + lengths[:, slot]

    def joined(self, slot: int, chosen: npt.NDArray[Any], end: bytes) -> tuple[bytes, npt.NDArray[np.int64]]:
        """One slot of the chosen blobs, each with this behind it, as one; and where each begins."""
        data, starts, ends = self.bounds(slot, chosen)
        pieces = [data[start:stop] for start, stop in zip(starts.tolist(), ends.tolist(), strict=True)]
        sizes = ends - starts + len(end)
        return end.join([*pieces, b""]), np.cumsum(sizes) - sizes


FILE_HEADER = DERIVED.write(magic=DERIVED_MAGIC, version=VERSION)


class DerivedFile:
    """The file ``derived`` of a mailbox; begun again when it is missing or not ours."""

    __slots__ = ("_known", "_replaced", "fd", "path", "pins")

    def __init__(self, directory: Path) -> None:
        self.path = directory / "derived"
        self.fd = -1
        self.pins = 0
        self._known = False
        """Its header was looked at since it was opened."""
        self._replaced: list[int] = []

    def renew(self) -> None:
        """Let go of a file that was replaced, as soon as nobody reads it."""
        if self.fd >= 0:
            self._replaced.append(self.fd)
            self.fd, self._known = -1, False
        while self._replaced and not self.pins:
            raw.close(self._replaced.pop())

    def open(self) -> int:
        """A descriptor for reading, -1 when there is no such file."""
        if self._replaced or (self.fd >= 0 and os.fstat(self.fd).st_nlink == 0):
            self.renew()
        if self.fd < 0:
            try:
                self.fd = raw.open_best(self.path)
            except FileNotFoundError:
                return -1
        return self.fd

    def _open_to_write(self) -> int:
        """Have a descriptor for writing; gives the offset of the next blob."""
        if self._known and not self._replaced:
            status = os.fstat(self.fd)
            if status.st_nlink and status.st_size >= DERIVED.size:
                return status.st_size + 7 & ~7
        if self.open() < 0:
            self.fd = raw.open_file(self.path, raw.REPLACE)
        elif not self._known and not self.pins and not raw.is_writable(self.fd):
            self.close()  # it was opened while the disk was read-only
            self.open()
        size = raw.size_of(self.fd)
        if size >= DERIVED.size and self._known:
            return size + 7 & ~7
        if raw.pread(self.fd, DERIVED.size, 0) != FILE_HEADER:
            raw.truncate(self.fd, 0)
            raw.pwrite(self.fd, FILE_HEADER, 0)
            size = DERIVED.size
        self._known = True
        return size + 7 & ~7

    def end(self) -> int:
        """Below this offset a blob may be found; 0 when there is no such file, or it will be begun again."""
        if self.open() < 0 or raw.pread(self.fd, DERIVED.size, 0) != FILE_HEADER:
            return 0
        return raw.size_of(self.fd)

    def append(self, blobs: Sequence[bytes]) -> list[int]:
        """Write blobs at the end; gives the offset of each.

        Locks: the mailbox lock is held. Durable: nothing.
        """
        at = self.append_block(b"".join(blobs))
        offsets = []
        for blob in blobs:
            offsets.append(at)
            at += len(blob)
        return offsets

    def append_block(self, block: raw.Buffer) -> int:
        """Write blobs that stand one behind the other at the end; gives the offset of the first.

        Locks: the mailbox lock is held. Durable: nothing.
        """
        at = self._open_to_write()
        raw.pwrite(self.fd, block, at)
        return at

    def close(self) -> None:
        """Close the descriptor unless it is in use just now."""
        if not self.pins:
            self.renew()
