"""Blobs of ``derived``: what is costly to compute from a message, kept but never trusted.

A blob is verified when read; one that is missing, torn or another message's is simply computed again. Nothing
here is synced. The checksum is a sum of words, because thousands can then be checked by one vector operation.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mstore.files import raw
from mstore.files.layout import BLOB, BLOB_MAGIC, DERIVED, DERIVED_MAGIC, SLOTS, VERSION

_MASK = 0xFFFFFFFF
_SMALL_BYTES = 2048
_SUM_AT = BLOB.offset_of("sum")
_LENGTHS_AT = BLOB.offset_of("length0")


def format_blob(uid: int, version: int, slots: Sequence[bytes]) -> bytes:
    """A blob with its checksum and padding."""
    lengths = [len(slot) for slot in slots]
    lengths += [0] * (SLOTS - len(lengths))
    head = BLOB.pack(BLOB_MAGIC, uid, 0, version, len(slots), *lengths)
    data = bytearray(b"".join([head, *slots]))
    data += bytes(-len(data) & 7)
    if len(data) < _SMALL_BYTES:
        total = sum(memoryview(data).cast("I")) & _MASK
    else:
        total = int(np.frombuffer(data, "<u4").sum(dtype=np.uint64)) & _MASK
    data[_SUM_AT : _SUM_AT + 4] = (-total & _MASK).to_bytes(4, "little")
    return bytes(data)


def blob_size(data: bytes | bytearray, uid: int, version: int) -> int:
    """How long the blob is that begins ``data``, by its header; 0 when it is no blob of this message."""
    if len(data) < BLOB.size:
        return 0
    magic, its_uid, _, its_version, _, *lengths = BLOB.unpack_from(data)
    if magic != BLOB_MAGIC or its_uid != uid or its_version != version:
        return 0
    size: int = BLOB.size + sum(lengths) + 7 & ~7
    return size


def read_slots(blob: bytes, slots: Sequence[int]) -> list[bytes] | None:
    """Slots of one whole blob, None when its sum is wrong; for one message cheaper than a ``Window``."""
    if sum(memoryview(blob).cast("I")) & _MASK:
        return None
    ends = list(accumulate(BLOB.unpack_from(blob)[5:], initial=BLOB.size))
    return [blob[ends[slot] : ends[slot + 1]] for slot in slots]


class Window:
    """The blobs found in one stretch of the file: which of those asked for are sound, and where they lie."""

    __slots__ = ("data", "ends", "starts", "whole", "within")

    def __init__(
        self, data: bytes, positions: npt.NDArray[np.int64], uids: npt.NDArray[Any], version: int
    ) -> None:
        """``positions`` (in ``data``, ascending) are where blobs of ``uids`` are said to begin."""
        self.data = data
        words = np.frombuffer(data, "<u4", len(data) // 4)
        self.within = (positions >= 0) & (positions + BLOB.size <= len(data)) & (positions & 7 == 0)
        heads = (
            words[np.where(self.within, positions, 0)[:, None] // 4 + np.arange(BLOB.size // 4)]
            if len(words) >= BLOB.size // 4
            else np.zeros((len(positions), BLOB.size // 4), "<u4")
        )
        lengths = heads[:, _LENGTHS_AT // 4 :].astype(np.int64)
        self.ends = (positions + BLOB.size)[:, None] + np.cumsum(lengths, axis=1)
        self.starts = self.ends - lengths
        ends = self.ends[:, -1] + 7 & ~7
        self.within &= (heads[:, 0] == BLOB_MAGIC) & (heads[:, 1] == uids) & (heads[:, 3] & 0xFFFF == version)
        self.whole = self.within & (ends <= len(data))
        self._check_sums(words, positions, ends)

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

    def blobs(self, chosen: npt.NDArray[Any], uids: npt.NDArray[Any]) -> list[bytes]:
        """The chosen blobs themselves, with header and padding, made out to other UIDs: for copies."""
        begins = self.starts[chosen, 0] - BLOB.size
        data = bytearray(self.data[: len(self.data) & ~3])
        words = np.frombuffer(data, "<u4")
        at = begins // 4
        words[at + 2] += words[at + 1] - uids.astype(np.uint32)  # the sum stays zero, modulo 2**32
        words[at + 1] = uids
        copies = bytes(data)
        ends = self.ends[chosen, -1] + 7 & ~7
        return [copies[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]

    def slot(self, slot: int, chosen: npt.NDArray[Any]) -> list[bytes]:
        """One slot of the chosen blobs."""
        data = self.data
        return [
            data[start:end]
            for start, end in zip(
                self.starts[chosen, slot].tolist(), self.ends[chosen, slot].tolist(), strict=True
            )
        ]


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
        at = self._open_to_write()
        raw.pwrite(self.fd, b"".join(blobs), at)
        offsets = []
        for blob in blobs:
            offsets.append(at)
            at += len(blob)
        return offsets

    def close(self) -> None:
        """Close the descriptor unless it is in use just now."""
        if not self.pins:
            self.renew()
