"""Recovery of a mailbox: a sound generation out of whatever a crash or damage has left.

It runs under the lock, when a journal was written under another boot of the machine or when files are
damaged: it takes every valid group, adopts every whole group of frames nobody published, and begins a new
generation with HIGHESTMODSEQ moved on by 2**20, so that it never goes back to a value that a client may have
seen. Should no index be readable, the table is made again from journals and segments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mstore.base.errors import Corrupt, NotFound
from mstore.files import journal as journals
from mstore.files import raw
from mstore.files.blob import DerivedFile
from mstore.files.checkpoint import check_totals, read_index, read_retained
from mstore.files.column import Array, format_rows
from mstore.files.index import Index
from mstore.files.journal import Group, Journal, Record
from mstore.files.layout import (
    APPENDED,
    FIRST_IN_GROUP,
    LAST_IN_GROUP,
    SEALED,
    TYPE_APPENDED,
    TYPE_SEALED,
)
from mstore.files.lock import RANK_MAILBOX, RANK_UPKEEP, UPKEEP_BYTE, Lock
from mstore.files.readers import ReaderSets
from mstore.files.retained import Retained
from mstore.files.segment import (
    HEADER_BYTES,
    Frame,
    Segments,
    every_segment,
    is_whole,
    parse_header,
    scan,
    segment_numbers,
)
from mstore.mail.summary import summarize
from mstore.store import lost
from mstore.store.generation import (
    Following,
    begin,
    index_path,
    journal_path,
    list_generations,
    remove_old,
    withdraw,
)

MODSEQ_STEP = 1 << 20

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
    """All frames whose headers are sound, of UIDs below a limit, in UID order; of one UID the last, or the
    packed one."""
    frames: dict[int, Frame] = {}
    for number in every_segment(segments.directory):
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


def _adoptable(index: Index, segments: Segments, below: int) -> Iterator[list[Frame]]:
    uid_next = index.uid_next
    for group in unpublished(segments, index.tail_segment, index.tail_offset):
        uids = [frame.uid for frame in group]
        if uids[0] < uid_next or uids[-1] >= below or uids != sorted(set(uids)):
            return
        yield group
        uid_next = uids[-1] + 1


def adopt(index: Index, segments: Segments, below: int = 1 << 32) -> list[Record]:
    """Records that publish the frames nobody published, up to a UID that somebody did."""
    return [rows_of_frames(segments, group) for group in _adoptable(index, segments, below)]


def _adopt_lost(index: Index, segments: Segments, modseq: int, below: int = 1 << 32) -> None:
    """Take in what no journal tells: frames behind the tail, and those that a compaction moved meanwhile."""
    frames = lost.packed_frames(segments, index.uid_next, below)
    for group in _adoptable(index, segments, below):
        frames |= {frame.uid: frame for frame in group}
    if frames:
        index.apply(*rows_of_frames(segments, [frames[uid] for uid in sorted(frames)]), modseq)


# -- recovery


def rebuild(
    directory: Path, from_segments: bool = False, uid_validity: int = 0, retains: bool = False
) -> Index:
    """Begin a new generation from what index and journals say, or from what the segments alone say; gives its
    table.

    From segments alone, flags are those at arrival, readers' own are lost, and expunged messages come back
    whose bytes are there still. Where expunged messages are retained (``retains``), those that are stay so.
    ``uid_validity`` is used when no file tells it.
    Locks: takes upkeep and mailbox lock. Durable: the new generation.
    Raises: Busy, NotFound, StorageFailed, Corrupt.
    """
    lock = directory / "lock"
    try:
        raw.close(raw.open_file(lock, raw.CREATE))
        raw.sync_directory(directory)
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise NotFound("there is no such mailbox") from None
    segments = Segments(directory)
    try:
        with (
            Lock(lock, RANK_UPKEEP, directory.name, UPKEEP_BYTE).hold(),
            Lock(lock, RANK_MAILBOX, directory.name).hold(),
        ):
            return recover(directory, segments, from_segments, uid_validity, retains)
    finally:
        segments.close()


def recover(
    directory: Path,
    segments: Segments,
    from_segments: bool = False,
    uid_validity: int = 0,
    retains: bool = False,
) -> Index:
    """Make a sound new generation out of whatever there is; gives its table.

    Locks: the mailbox lock is held. Durable: the new generation.
    Raises: StorageFailed, NotFound; Corrupt when not even the identity of the mailbox is left.
    """
    indexes, journal_numbers = list_generations(directory)
    newest = max(indexes | journal_numbers | {0})
    rebuilt = False
    index, base = _newest_sound(directory, indexes, journal_numbers)
    if index is not None:
        _replay(index, segments, [number for number in sorted(journal_numbers) if number >= base], directory)
        _sync_tail(index, segments)
        _adopt_lost(index, segments, index.highest_modseq + 1)
        _cut_tail(index, segments)
    else:
        index = _rebuild(directory, segments, sorted(journal_numbers), uid_validity)
        rebuilt = True
    if from_segments:
        index = _from_segments(index, segments, retains)
    lost.find_moved(index, segments)
    lost.take_stock(index, directory, rebuilt)
    _forget_lost_blobs(index, directory)
    if rebuilt or from_segments:
        index.expunges.forget(index.highest_modseq)
    index.highest_modseq += MODSEQ_STEP
    index.generation = newest + 1
    try:
        begin(directory, index, index.generation)
    except BaseException:
        withdraw(directory, index.generation)
        raise
    remove_old(directory, index.generation)  # who has an older journal open notices that it is gone
    return index


def _newest_sound(
    directory: Path, indexes: set[int], journal_numbers: set[int]
) -> tuple[Index | None, int]:
    """The newest sound index, and the number of the first journal that says what it does not.

    One whose journal is missing was cut off by a crash while it got its name: what was changed while it was
    written is in the journal before, and the index before has all the rest.
    """
    complete, others = indexes & journal_numbers, indexes - journal_numbers
    for number in [*sorted(complete, reverse=True), *sorted(others, reverse=True)]:
        try:
            index = read_index(index_path(directory, number), verify=True, keep=True)
            check_totals(index, f"index.{number}")
        except (Corrupt, FileNotFoundError):
            continue
        return index, number if number in complete else number - 1
    return None, 0


def _forget_lost_blobs(index: Index, directory: Path) -> None:
    """Blobs are never synced: places behind the end of what is left would soon be other messages'."""
    derived_file = DerivedFile(directory)
    try:
        end = derived_file.end()
    finally:
        derived_file.close()
    index.columns.derived[index.columns.derived >= np.uint64(end)] = 0


def _from_segments(known: Index, segments: Segments, retains: bool) -> Index:
    """A table of every message that the segments hold; what they cannot tell is as it was known."""
    index = Index(known.uid_validity)
    retained = known.retained if retains and known.retained else Retained()
    index.keep_all(ReaderSets(), retained)
    frames = _not_among(retained, every_frame(segments, known.uid_next))
    if frames:
        index.apply(*rows_of_frames(segments, frames), known.highest_modseq + 1)
    for name in ("keywords", "uid_next", "highest_modseq", "first_recent", "packed_next"):
        setattr(index, name, getattr(known, name))
    index.tail_segment, index.tail_offset = known.tail_segment, known.tail_offset
    _name_keywords(index)
    return index


def _rebuild(directory: Path, segments: Segments, journal_numbers: list[int], uid_validity: int) -> Index:
    """A table from segments, and from what the journals say beyond them: no index could be read.

    What is expunged and still lies in a segment comes back, unless a journal, or the record of retained
    messages in a damaged index, knows better.
    """
    index = Index(_identity(directory, segments, journal_numbers) or uid_validity)
    if not index.uid_validity:
        raise Corrupt("neither index, journal nor segments tell what mailbox this is")
    retained = _salvage_retained(directory)
    index.keep_all(ReaderSets(), retained)
    appended = [
        _first_uid(payload)
        for number in journal_numbers
        for group, _ in _groups_of(directory, number)
        for kind, _, payload in group.records
        if kind == TYPE_APPENDED
    ]
    frames = _not_among(retained, every_frame(segments, min(appended, default=1 << 32)))
    if frames:
        index.apply(*rows_of_frames(segments, frames), 1)
    _replay(index, segments, journal_numbers, directory)
    _adopt_lost(index, segments, index.highest_modseq + 1)
    index.highest_modseq = max(index.highest_modseq, _begun_at(directory, journal_numbers))
    index.uid_next = max(index.uid_next, lost.uid_floor(segments))
    lost.mend_headers(index, segments)
    index.tail_segment, index.tail_offset = max(segment_numbers(directory), default=0) + 1, 0
    _name_keywords(index)
    return index


def _not_among(retained: Retained, frames: list[Frame]) -> list[Frame]:
    """Those frames that are not of retained messages."""
    expunged = set(retained.entries()["uid"].tolist())
    return [frame for frame in frames if frame.uid not in expunged]


def _salvage_retained(directory: Path) -> Retained:
    """The newest record of retained messages that is sound, though nothing else of its index may be."""
    indexes, _ = list_generations(directory)
    for number in sorted(indexes, reverse=True):
        try:
            return read_retained(index_path(directory, number))
        except (Corrupt, FileNotFoundError):
            continue
    return Retained()


def _name_keywords(index: Index) -> None:
    """Give names to flag bits in use whose keyword nothing tells any more."""
    used = int(np.bitwise_or.reduce(index.columns.flags)) >> 8 if index.columns.count else 0
    while used >> len(index.keywords):
        index.keywords.append(b"lost-keyword-%d" % len(index.keywords))


def _groups_of(directory: Path, generation: int) -> Iterator[tuple[Group, bool]]:
    fd = raw.open_file(journal_path(directory, generation), raw.READ)
    try:
        data = raw.pread(fd, max(0, raw.size_of(fd) - journals.START), journals.START)
    finally:
        raw.close(fd)
    return journals.salvage(data, journals.START, generation)


def _groups_once(directory: Path, generations: list[int]) -> list[tuple[Group, bool]]:
    """The groups of several journals in order; those carried over from one to the next only once."""
    groups: list[tuple[Group, bool]] = []
    sealed_for = Following(0, 0)
    for generation in generations:
        carried_to = sealed_for.position if sealed_for.generation == generation else 0
        own = [found for found in _groups_of(directory, generation) if found[0].end > carried_to]
        seals = [payload for group, _ in own for kind, _, payload in group.records if kind == TYPE_SEALED]
        base = _base(directory, generation + 1)
        if base:
            own = [found for found in own if found[0].end <= base]
        elif seals:
            sealed_for = Following(*SEALED.unpack_from(seals[-1]))
        groups += own
    return groups


def _base(directory: Path, generation: int) -> int:
    """Up to where the index of a generation has what the journal before says; 0 when it has all, or there is
    no such journal."""
    try:
        journal = Journal(journal_path(directory, generation))
    except (Corrupt, FileNotFoundError):
        return 0
    journal.close()
    return journal.info.base


def _replay(index: Index, segments: Segments, generations: list[int], directory: Path) -> None:
    groups = _groups_once(directory, generations)
    for place, (group, gap) in enumerate(groups):
        if gap:
            rest = (record for later, _ in groups[place:] for record in later.records)
            below = next((_first_uid(payload) for kind, _, payload in rest if kind == TYPE_APPENDED), 1 << 32)
            _adopt_lost(index, segments, index.highest_modseq, below)
            index.expunges.forget(group.modseq)  # one may be among what is missing
        for kind, flags, payload in group.records:
            try:
                if kind != TYPE_SEALED:
                    index.apply(kind, flags, payload, group.modseq, group.time_ms)
            except Corrupt:
                continue
        index.highest_modseq = max(index.highest_modseq, group.modseq)


def _first_uid(payload: bytes) -> int:
    (count,) = APPENDED.unpack_from(payload)
    return int(np.frombuffer(payload, "<u4", 1, APPENDED.size + 8 * 8 * count)[0])


def _begun_at(directory: Path, journal_numbers: list[int]) -> int:
    """The highest MODSEQ that the headers of journals give, which may have no group yet."""
    modseq = 0
    for generation in journal_numbers:
        try:
            journal = Journal(journal_path(directory, generation))
        except (Corrupt, FileNotFoundError):
            continue
        journal.close()
        modseq = max(modseq, journal.info.modseq)
    return modseq


def _identity(directory: Path, segments: Segments, journal_numbers: list[int]) -> int:
    """The UIDVALIDITY that journals or segments give, 0 when none does; no index could be read."""
    for generation in reversed(journal_numbers):
        try:
            journal = Journal(journal_path(directory, generation))
        except (Corrupt, FileNotFoundError):
            continue
        journal.close()
        return journal.info.uid_validity
    for number in every_segment(directory):
        info = parse_header(raw.pread(segments.fd(number), HEADER_BYTES, 0))
        if info is not None:
            return info.uid_validity
    return 0


def _sync_tail(index: Index, segments: Segments) -> None:
    """What is to be adopted may never have been synced: visible means durable."""
    for number in segment_numbers(segments.directory):
        if number >= index.tail_segment:
            raw.sync(segments.fd_to_write(number))


def _cut_tail(index: Index, segments: Segments) -> None:
    """Cut what is torn behind the last message, so that nothing stands in the way of the next."""
    for number in segment_numbers(segments.directory):
        end = index.tail_offset if number == index.tail_segment else HEADER_BYTES
        if number >= index.tail_segment:
            fd = segments.fd(number)
            if raw.size_of(fd) > end:
                raw.truncate(fd, end)
