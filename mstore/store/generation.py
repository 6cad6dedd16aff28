"""Generations of a mailbox: finding the newest, following a seal into the next, beginning one, and recovery.

A generation is ``index.<g>`` (the table when it began) and ``journal.<g>`` (what happened since). The one
before is kept, so that a damaged index can be made again exactly; failing that, from the segments. Recovery
runs under the lock, when a journal was written under another boot of the machine or when files are damaged:
it takes every valid group, adopts every whole group of frames nobody published, and begins a new generation
with HIGHESTMODSEQ moved on by 2**20, so that it never goes back to a value that a client may have seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mstore.base.errors import Corrupt, NotFound, StorageFailed
from mstore.files import journal as journals
from mstore.files import raw
from mstore.files.checkpoint import check_totals, read_index, write_index
from mstore.files.column import Array, format_rows
from mstore.files.index import Index
from mstore.files.journal import Group, Journal, JournalInfo, Record, parse_group
from mstore.files.layout import (
    APPENDED,
    FIRST_IN_GROUP,
    GROUP_MAGIC,
    LAST_IN_GROUP,
    PENDING_MAGIC,
    SEALED,
    TYPE_APPENDED,
    TYPE_SEALED,
)
from mstore.files.segment import (
    HEADER_BYTES,
    Frame,
    Segments,
    is_whole,
    number_of,
    parse_header,
    scan,
)
from mstore.mail.summary import summarize

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

MODSEQ_STEP = 1 << 20
_GROUP_MARKS = tuple(number.to_bytes(4, "little") for number in (GROUP_MAGIC, PENDING_MAGIC))
_ATTEMPTS = 20


def index_path(directory: Path, generation: int) -> Path:
    """Where the checkpoint of a generation is."""
    return directory / f"index.{generation}"


def journal_path(directory: Path, generation: int) -> Path:
    """Where the journal of a generation is."""
    return directory / f"journal.{generation}"


def list_generations(directory: Path) -> tuple[set[int], set[int]]:
    """The generations that have an index, and those that have a journal.

    Raises: NotFound when there is no such mailbox.
    """
    indexes: set[int] = set()
    journal_numbers: set[int] = set()
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound("there is no such mailbox") from None
    for name in names:
        kind, _, number = name.partition(".")
        if number.isdecimal():
            if kind == "index":
                indexes.add(int(number))
            elif kind == "journal":
                journal_numbers.add(int(number))
    return indexes, journal_numbers


def load(directory: Path) -> tuple[Index, Journal]:
    """The table as of now, read without a lock, and the journal that it will go on with.

    Raises: NotFound, Corrupt when no generation can be read.
    """
    problem: Exception = Corrupt("the mailbox has no index")
    for _ in range(_ATTEMPTS):
        indexes, journal_numbers = list_generations(directory)
        for generation in sorted(indexes & journal_numbers, reverse=True):
            try:
                return _load_from(directory, generation, max(journal_numbers))
            except (Corrupt, FileNotFoundError) as error:
                problem = error
        if not isinstance(problem, FileNotFoundError):
            break
    if isinstance(problem, Corrupt):
        raise problem
    raise Corrupt("the mailbox has no readable index")


def _load_from(directory: Path, generation: int, newest: int) -> tuple[Index, Journal]:
    index = read_index(index_path(directory, generation))
    journal = Journal(journal_path(directory, generation))
    try:
        if journal.info.uid_validity != index.uid_validity or journal.info.generation != generation:
            raise Corrupt(f"journal.{generation} belongs to another mailbox")
        while True:
            following = apply_groups(index, journal.read_new(raw.size_of(journal.fd)))
            if following is None:
                if journal.info.generation < newest:
                    raise Corrupt(f"{journal.path.name} does not lead to the newest generation")
                if journal.unresolved and is_damaged(journal):
                    raise Corrupt(f"{journal.path.name} is damaged in the middle")
                return index, journal
            successor = Journal(journal_path(directory, following))
            journal.close()
            journal, index.generation = successor, following
    except BaseException:
        journal.close()
        raise


def apply_groups(index: Index, groups: list[Group]) -> int | None:
    """Apply groups in order; gives the next generation when the last one sealed this one."""
    following = None
    for group in groups:
        for kind, flags, payload in group.records:
            if kind == TYPE_SEALED:
                (following,) = SEALED.unpack_from(payload)
            else:
                index.apply(kind, flags, payload, group.modseq)
        if group.modseq > index.highest_modseq:
            index.highest_modseq = group.modseq
    return following


# -- a new generation


def begin(directory: Path, index: Index, generation: int) -> Journal:
    """Write index and journal of a new generation.

    Locks: the mailbox lock is held. Durable: both files and their names.
    """
    write_index(index_path(directory, generation), index, generation)
    info = JournalInfo(index.uid_validity, generation, index.highest_modseq, raw.boot_id())
    journals.write_journal(journal_path(directory, generation), info)
    raw.sync_directory(directory)
    return Journal(journal_path(directory, generation))


def withdraw(directory: Path, generation: int) -> None:
    """Remove a generation that was begun in vain; its journal first, without which nobody enters it.

    Durable: the removal, before the generation before may go on: a stale one must not come back.
    """
    raw.unlink(journal_path(directory, generation))
    raw.unlink(index_path(directory, generation))
    raw.sync_directory(directory)


def remove_old(directory: Path, oldest: int) -> None:
    """Remove the generations before one; failure to do so harms nobody."""
    indexes, journal_numbers = list_generations(directory)
    try:
        for generation in indexes:
            if generation < oldest:
                raw.unlink(index_path(directory, generation))
        for generation in journal_numbers:
            if generation < oldest:
                raw.unlink(journal_path(directory, generation))
    except StorageFailed:
        pass


def checkpoint(mailbox: Mailbox) -> None:
    """Begin a new generation from the table in memory, and seal the old journal.

    The seal is written as pending first: a writer that finds it so knows that its author died, and whether
    the next generation was complete. Locks: the mailbox lock is held. Durable: the new generation."""
    old, index = mailbox.journal, mailbox.index
    generation = old.info.generation + 1
    seal = [journals.sealed(generation)]
    raw.pwrite(
        old.fd, journals.format_group(old.info.generation, old.end, index.highest_modseq, seal, True), old.end
    )
    try:
        journal = begin(mailbox.path, index, generation)
    except BaseException:
        withdraw(mailbox.path, generation)  # should this fail as well, the seal stays for the next writer
        raw.truncate(old.fd, old.end)
        raise
    journals.release(old.fd, old.end)
    journal.confirmed = True
    with mailbox.applying:
        mailbox.continue_with(journal)
    remove_old(mailbox.path, generation - 1)


def is_damaged(journal: Journal) -> bool:
    """True when valid groups follow what is no group: not a torn tail, but damage."""
    data = raw.pread(journal.fd, raw.size_of(journal.fd) - journal.end, journal.end)
    first = next(salvage(data, journal.end, journal.info.generation), None)
    return first is not None and first[1]


def confirm(mailbox: Mailbox) -> None:
    """Before the first change in a generation: its author may have died just before it released the seal.

    Those who still follow the generation before then find the way. Locks: the mailbox lock is held.
    """
    journal = mailbox.journal
    try:
        fd = raw.open_file(journal_path(mailbox.path, journal.info.generation - 1))
    except FileNotFoundError:
        journal.confirmed = True
        return
    try:
        at = raw.size_of(fd) - journals.SEAL_BYTES
        if at >= journals.START:
            data = raw.pread(fd, journals.SEAL_BYTES, at)
            found = parse_group(data, 0, at, journal.info.generation - 1)
            if found and found[1] and found[0].records[0][0] == TYPE_SEALED:
                raw.sync_directory(mailbox.path)
                journals.release(fd, at)
    finally:
        raw.close(fd)
    journal.confirmed = True


def settle(mailbox: Mailbox) -> None:
    """Deal with what stands behind the last valid group: another writer died there.

    Locks: the mailbox lock is held. Raises: Corrupt when valid groups follow damage.
    """
    journal = mailbox.journal
    data = raw.pread(journal.fd, raw.size_of(journal.fd) - journal.end, journal.end)
    found = parse_group(data, 0, journal.end, journal.info.generation)
    if found and found[1]:
        following = journal.info.generation + 1
        seals = TYPE_SEALED in {record[0] for record in found[0].records}
        if not seals or journal_path(mailbox.path, following).exists():
            if seals:
                raw.sync_directory(mailbox.path)
            raw.sync(journal.fd)
            journals.release(journal.fd, journal.end)
            return
        withdraw(mailbox.path, following)
    elif is_damaged(journal):
        raise Corrupt(f"{journal.path.name} is damaged in the middle")
    raw.truncate(journal.fd, journal.end)
    journal.unresolved = False


def salvage(data: bytes, position: int, generation: int) -> Iterator[tuple[Group, bool]]:
    """Every valid group in a stretch of a journal, and whether damage lies before it."""
    at, gap = 0, False
    while at < len(data):
        found = parse_group(data, at, position + at, generation)
        if found is None:
            gap, at = True, at + 8
            nearest = [place for place in (data.find(mark, at) for mark in _GROUP_MARKS) if place >= 0]
            if not nearest:
                return
            at = min(nearest)
            continue
        yield found[0], gap
        gap, at = False, found[0].end - position


# -- frames that nobody published


def unpublished(segments: Segments, segment: int, offset: int) -> Iterator[list[Frame]]:
    """The whole groups of frames that stand behind a place in the segments, each message's checksum right."""
    group: list[Frame] = []
    for number in segment_numbers(segments.directory):
        if number < segment:
            continue
        fd = segments.fd(number)
        at, size = max(offset if number == segment else 0, HEADER_BYTES), raw.size_of(fd)
        for frame in scan(fd, number, at, size):
            if bool(frame.mark & FIRST_IN_GROUP) == bool(group) or frame.place != len(group) & 0xFFFF:
                return
            if not is_whole(fd, frame):
                return
            group.append(frame)
            at = frame.end
            if frame.mark & LAST_IN_GROUP:
                yield group
                group = []
        if at < size:
            return  # torn here: what stands in the next segment was written later, and synced no sooner


def every_frame(segments: Segments, below: int) -> list[Frame]:
    """All frames whose headers are sound, of UIDs below a limit, in UID order; of one UID the last."""
    frames: dict[int, Frame] = {}
    for number in segment_numbers(segments.directory):
        fd = segments.fd(number)
        for frame in scan(fd, number, HEADER_BYTES, raw.size_of(fd), resume=True):
            if 0 < frame.uid < below:
                frames[frame.uid] = frame
    return [frames[uid] for uid in sorted(frames)]


def rows_of_frames(segments: Segments, frames: list[Frame]) -> Record:
    """The record that publishes frames found in segments; what only the message tells is computed."""
    sent: list[tuple[int, int]] = []
    for frame in frames:
        header = raw.pread(segments.fd(frame.segment), frame.header_length, frame.offset)
        summary = summarize(header)
        sent.append((summary.sent_date, summary.sent_zone_s))
    zeros = np.zeros(len(frames), np.uint64)
    arrays: dict[str, Array] = {
        "derived": zeros,
        "thread_id": zeros,
        "sent_date": np.array([date for date, _ in sent], np.int64),
        "sent_zone": np.array([zone for _, zone in sent], np.int32),
    }
    for name in (
        "flags",
        "internal_date",
        "save_date",
        "offset",
        "email_id",
        "uid",
        "segment",
        "header_length",
    ):
        kind = np.int64 if name.endswith("date") else np.uint64
        arrays[name] = np.array([getattr(frame, name) for frame in frames], kind)
    arrays["size"] = np.array([frame.length for frame in frames], np.uint32)
    return TYPE_APPENDED, 0, APPENDED.pack(len(frames)) + format_rows(arrays)


def adopt(index: Index, segments: Segments, below: int = 1 << 32) -> list[Record]:
    """Records that publish the frames nobody published, up to a UID that somebody did."""
    records = []
    uid_next = index.uid_next
    for group in unpublished(segments, index.tail_segment, index.tail_offset):
        uids = [frame.uid for frame in group]
        if uids[0] < uid_next or uids[-1] >= below or uids != sorted(set(uids)):
            break
        records.append(rows_of_frames(segments, group))
        uid_next = uids[-1] + 1
    return records


# -- recovery


def recover(directory: Path, segments: Segments) -> tuple[Index, Journal]:
    """Make a sound new generation out of whatever there is.

    Locks: the mailbox lock is held. Durable: the new generation.
    Raises: StorageFailed, NotFound; Corrupt when not even the identity of the mailbox is left.
    """
    indexes, journal_numbers = list_generations(directory)
    newest = max(indexes | journal_numbers | {0})
    index = None
    for base in sorted(indexes, reverse=True):
        try:
            index = read_index(index_path(directory, base), verify=True)
            check_totals(index, f"index.{base}")
            break
        except (Corrupt, FileNotFoundError):
            continue
    if index is not None:
        _replay(index, segments, [number for number in sorted(journal_numbers) if number >= base], directory)
        _sync_tail(index, segments)
        for record in adopt(index, segments):
            index.apply(*record, index.highest_modseq + 1)
        _cut_tail(index, segments)
    else:
        index = _rebuild(directory, segments, sorted(journal_numbers))
    index.highest_modseq += MODSEQ_STEP
    index.generation = newest + 1
    try:
        journal = begin(directory, index, index.generation)
    except BaseException:
        withdraw(directory, index.generation)
        raise
    remove_old(directory, index.generation)  # who has an older journal open notices that it is gone
    return index, journal


def _rebuild(directory: Path, segments: Segments, journal_numbers: list[int]) -> Index:
    """A table from segments, and from what the journals say beyond them: no index could be read.

    What is expunged and still lies in a segment comes back, unless a journal knows better.
    """
    index = Index(_identity(directory, segments, journal_numbers))
    appended = [
        _first_uid(payload)
        for number in journal_numbers
        for group, _ in _groups_of(directory, number)
        for kind, _, payload in group.records
        if kind == TYPE_APPENDED
    ]
    frames = every_frame(segments, min(appended, default=1 << 32))
    if frames:
        index.apply(*rows_of_frames(segments, frames), 1)
    _replay(index, segments, journal_numbers, directory)
    for record in adopt(index, segments):
        index.apply(*record, index.highest_modseq + 1)
    numbers = segment_numbers(directory)
    for number in numbers:
        info = parse_header(raw.pread(segments.fd(number), HEADER_BYTES, 0))
        index.uid_next = max(index.uid_next, info.uid_floor if info else 1)
    index.tail_segment, index.tail_offset = max(numbers, default=0) + 1, 0
    used = int(np.bitwise_or.reduce(index.columns.flags)) >> 8 if index.columns.count else 0
    while used >> len(index.keywords):
        index.keywords.append(b"lost-keyword-%d" % len(index.keywords))
    return index


def _groups_of(directory: Path, generation: int) -> Iterator[tuple[Group, bool]]:
    fd = raw.open_file(journal_path(directory, generation), raw.READ)
    try:
        data = raw.pread(fd, max(0, raw.size_of(fd) - journals.START), journals.START)
    finally:
        raw.close(fd)
    return salvage(data, journals.START, generation)


def _replay(index: Index, segments: Segments, generations: list[int], directory: Path) -> None:
    groups = [found for generation in generations for found in _groups_of(directory, generation)]
    for place, (group, gap) in enumerate(groups):
        if gap:
            rest = (record for later, _ in groups[place:] for record in later.records)
            below = next((_first_uid(payload) for kind, _, payload in rest if kind == TYPE_APPENDED), 0)
            for record in adopt(index, segments, below):
                index.apply(*record, index.highest_modseq)
        for kind, flags, payload in group.records:
            try:
                if kind != TYPE_SEALED:
                    index.apply(kind, flags, payload, group.modseq)
            except Corrupt:
                continue
        index.highest_modseq = max(index.highest_modseq, group.modseq)


def _first_uid(payload: bytes) -> int:
    (count,) = APPENDED.unpack_from(payload)
    return int(np.frombuffer(payload, "<u4", 1, APPENDED.size + 8 * 8 * count)[0])


def _identity(directory: Path, segments: Segments, journal_numbers: list[int]) -> int:
    """The UIDVALIDITY that journals or segments give; no index could be read."""
    for generation in reversed(journal_numbers):
        try:
            journal = Journal(journal_path(directory, generation))
        except (Corrupt, FileNotFoundError):
            continue
        journal.close()
        return journal.info.uid_validity
    for number in segment_numbers(directory):
        info = parse_header(raw.pread(segments.fd(number), HEADER_BYTES, 0))
        if info is not None:
            return info.uid_validity
    raise Corrupt("neither index, journal nor segments tell what mailbox this is")


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of the segments there are, ascending."""
    numbers = [number_of(name) for name in os.listdir(directory)]
    return sorted(number for number in numbers if number is not None)


def _sync_tail(index: Index, segments: Segments) -> None:
    """What is to be adopted may never have been synced: visible means durable."""
    for number in segment_numbers(segments.directory):
        if number >= index.tail_segment:
            raw.sync(segments.fd(number))


def _cut_tail(index: Index, segments: Segments) -> None:
    """Cut what is torn behind the last message, so that nothing stands in the way of the next."""
    for number in segment_numbers(segments.directory):
        end = index.tail_offset if number == index.tail_segment else HEADER_BYTES
        if number >= index.tail_segment:
            fd = segments.fd(number)
            if raw.size_of(fd) > end:
                raw.truncate(fd, end)
