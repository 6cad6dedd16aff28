"""The invariants of a mailbox, each checked from the files alone; ``msadm check`` and every test on close use
it.

1. There is a lock file, and a generation whose index and journal are sound and of one mailbox.
2. The journal is a row of valid groups to its end; no modseq in it goes back; none is pending.
3. The index equals its totals; replaying the journal from it gives the table, and so does replaying from the
   generation before, where that is still there.
4. UIDs ascend strictly, UIDNEXT is above them all, and no MODSEQ is above HIGHESTMODSEQ.
5. Every row has a frame in a segment, whole, with the row's UID, size and EMAILID, and the message's checksum
   is right.
6. No two frames in use overlap; none lies beyond the tail; nothing whole lies unpublished behind it. Packed
   segments in use are of numbers that the table knows to be taken; no header has a UID floor above UIDNEXT.
7. Totals (messages, unseen, deleted, bytes) are those of the rows.
8. Flag bits in use have a keyword; keywords are distinct; the recent mark is not above UIDNEXT.
9. A blob of ``derived`` is sound or counts as absent; it is never another message's.
10. What is dead in the segments is no more than the table says, so that it is given back in time.
11. Each retained message is no live one, its UID is below UIDNEXT, and it has its frame, unless the segment
   was given back; the generation before tells of it as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mstore.base.errors import Corrupt, MStoreError, NotFound
from mstore.base.flags import FIRST_KEYWORD_BIT
from mstore.files import raw
from mstore.files.checkpoint import check_totals, read_index
from mstore.files.index import Index
from mstore.files.journal import START, Journal
from mstore.files.layout import COLUMNS
from mstore.files.segment import (
    HEADER_BYTES,
    PACKED,
    Segments,
    every_segment,
    is_whole,
    parse_frame,
    parse_header,
    segment_name,
    segment_numbers,
)
from mstore.store import generation, recovery
from mstore.store.diskuse import dead_bytes, measure


class Problem(NamedTuple):
    """One thing that is not as it should be."""

    path: Path
    text: str
    heals: bool = False
    """What a writer that died has left behind: the next one deals with it, and nothing is lost."""
    is_note: bool = False
    """Nothing is wrong: it is only told."""

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" + (" (the next change deals with it)" if self.heals else "")


def check_mailbox(path: Path, messages: bool = True, uid_validity: int | None = None) -> list[Problem]:
    """Everything wrong with a mailbox; ``messages`` reads every message as well.

    The mailbox should be at rest: what a writer is doing just now may look like a problem.
    """
    problems: list[Problem] = []
    path = Path(path)

    def report(text: str, heals: bool = False) -> None:
        problem = Problem(path, text, heals)
        if problem not in problems:  # the last journal is read from either generation
            problems.append(problem)

    segments = Segments(path)
    try:
        if not (path / "lock").exists():
            report("the lock file is missing")
        found = _check_generations(path, report)
        if found is not None:
            index = found
            if uid_validity is not None and index.uid_validity != uid_validity:
                report(f"its UIDVALIDITY is {index.uid_validity}, not {uid_validity}")
            _check_rows(index, report)
            _check_segments(index, segments, messages, report)
            _check_retained(index, segments, report)
            _check_derived(path, index, report)
    except NotFound as error:
        report(str(error))
    except MStoreError as error:
        report(f"{type(error).__name__}: {error}")
    except FileNotFoundError as error:
        report(f"{Path(error.filename).name} is missing" if error.filename else str(error))
    except OSError as error:
        report(f"{Path(error.filename).name if error.filename else 'it'} cannot be read: {error.strerror}")
    finally:
        segments.close()
    return problems


class Report(Protocol):
    """Takes note of something wrong."""

    def __call__(self, text: str, heals: bool = False) -> None: ...


def _check_generations(path: Path, report: Report) -> Index | None:
    indexes, journals = generation.list_generations(path)
    newest = max(indexes & journals, default=0)
    if not newest:
        report("there is no generation with both index and journal")
        return None
    tables = []
    for number in sorted(indexes & journals)[-2:]:
        try:
            index = read_index(generation.index_path(path, number), verify=True, keep=True)
            tables.append(_replay(path, index, number, newest, report))
        except Corrupt as error:
            report(str(error))
            if number == newest:
                return None
    if len(tables) == 2:
        _compare(tables[0], tables[1], report)
    return tables[-1]


def _replay(path: Path, index: Index, number: int, newest: int, report: Report) -> Index:
    """Follow a table through the journals to the end of the newest."""
    position = START
    while True:
        journal = Journal(generation.journal_path(path, number), position)
        try:
            if journal.info.uid_validity != index.uid_validity:
                report(f"{journal.path.name} has another UIDVALIDITY than its index")
            size = raw.size_of(journal.fd)
            groups = journal.read_new(size)
            modseq = 0
            for group in groups:
                if group.modseq < modseq:
                    report(f"{journal.path.name} goes back in MODSEQ before byte {group.end}")
                modseq = group.modseq
            is_torn = journal.end != size
            following = generation.apply_groups(index, groups)
            # a recovery has begun anew behind a journal that a crash had torn
            was_left = following is None and number != newest and _was_recovered(path, index, newest)
            if is_torn and not was_left:
                heals = not generation.is_damaged(journal)
                report(f"{journal.path.name} is torn or pending at byte {journal.end}", heals)
        finally:
            journal.close()
        if following is None:
            if number != newest and size > START and not was_left:
                report(f"{journal.path.name} is not sealed", is_torn)
            return index
        number, position = following
        index.generation = number


def _was_recovered(path: Path, older: Index, newest: int) -> bool:
    """Whether the newest generation was begun by a recovery, which leaves the journal before without a
    seal."""
    journal = Journal(generation.journal_path(path, newest))
    journal.close()
    return journal.info.modseq >= older.highest_modseq + recovery.MODSEQ_STEP


def _compare(older: Index, newer: Index, report: Report) -> None:
    """The table replayed from the generation before must be the present one."""
    if older.generation != newer.generation:
        return  # the older one ended in a recovery, which begins anew
    for name in ("uid_next", "first_recent", "keywords", "messages", "unseen", "deleted", "size_bytes"):
        if getattr(older, name) != getattr(newer, name):
            report(
                f"{name} differs between the generations: {getattr(older, name)} and {getattr(newer, name)}"
            )
    rows, others = older.live_rows(), newer.live_rows()
    if _seen_by(older) != _seen_by(newer):
        report("what readers have seen differs from what the generation before gives")
    assert older.retained is not None and newer.retained is not None
    if not np.isin(newer.retained.entries()["uid"], older.retained.entries()["uid"]).all():
        report("a message is retained that is not so in what the generation before gives")
    if len(rows) == len(others):
        for column in COLUMNS:
            if column.name == "derived":
                continue
            mine, theirs = (
                getattr(older.columns, column.name)[rows],
                getattr(newer.columns, column.name)[others],
            )
            if not (mine == theirs).all():
                report(f"column {column.name} differs from what the generation before gives")


def _seen_by(index: Index) -> dict[int, list[int]]:
    """The UIDs that each reader has seen."""
    kept, uids, live = index.kept, index.columns.uid, index.live_rows()
    assert kept is not None
    seen = {reader: uids[live][kept.bits(reader, uids)[live]].tolist() for reader in kept.readers()}
    return {reader: found for reader, found in seen.items() if found}


def _check_rows(index: Index, report: Report) -> None:
    columns = index.columns
    uids = columns.uid
    if len(uids) and not (uids[1:] > uids[:-1]).all():
        report("UIDs do not ascend")
    if len(uids) and uids.item(-1) >= index.uid_next:
        report(f"UIDNEXT {index.uid_next} is not above UID {uids.item(-1)}")
    if len(uids) and int(columns.modseq.max()) > index.highest_modseq:
        report(f"a MODSEQ is above HIGHESTMODSEQ {index.highest_modseq}")
    if index.first_recent > index.uid_next:
        report("the recent mark is above UIDNEXT")
    folded = [keyword.upper() for keyword in index.keywords]
    if len(set(folded)) != len(folded):
        report("two flag bits have one keyword")
    used = int(np.bitwise_or.reduce(columns.flags)) >> FIRST_KEYWORD_BIT if len(uids) else 0
    if used >> len(index.keywords):
        report("a flag bit in use has no keyword")
    try:
        check_totals(index, "the table")
    except Corrupt as error:
        report(str(error))


def _check_segments(index: Index, segments: Segments, messages: bool, report: Report) -> None:
    numbers = segment_numbers(segments.directory)
    for number in every_segment(segments.directory):
        if index.tail_segment < number < PACKED:
            continue  # begun by a writer that died; the next one begins it again
        info = parse_header(raw.pread(segments.fd(number), HEADER_BYTES, 0))
        if info is None or info.number != number or info.uid_validity != index.uid_validity:
            report(f"{segment_name(number)} has a damaged or foreign header")
        elif info.uid_floor > index.uid_next:
            report(f"UIDNEXT {index.uid_next} is below the floor of {segment_name(number)}")
    columns, live = index.columns.full, index.live_rows()
    order = live[np.lexsort((columns.offset[live], columns.segment[live]))]
    last = tail = (0, 0)
    for row in order.tolist():
        last = _check_frame(index, segments, row, last, messages, report)
        if last[0] < PACKED:
            tail = last
    if tail > (index.tail_segment, index.tail_offset):
        report("a message lies beyond the tail of the segments")
    if last[0] >= max(PACKED, index.packed_next):
        report(f"{segment_name(last[0])} is in use and yet counts as free")
    dead = dead_bytes(measure(segments.directory, index).values(), index.packed_next)
    if dead > index.dead_bytes:
        report(f"{dead} bytes are dead in the segments; the table says {index.dead_bytes}")
    if numbers and index.tail_segment in numbers:
        fd = segments.fd(index.tail_segment)
        if raw.size_of(fd) < index.tail_offset:
            report(f"messages.{index.tail_segment} is shorter than it should be")
        for record in recovery.adopt(index, segments):
            report(f"a whole group of frames is unpublished ({len(record[2])} bytes of rows)", heals=True)


def _check_frame(
    index: Index, segments: Segments, row: int, last: tuple[int, int], messages: bool, report: Report
) -> tuple[int, int]:
    full = index.columns.full
    uid, number, offset = full.uid.item(row), full.segment.item(row), full.offset.item(row)
    end = (number, offset + full.size.item(row))
    if not segments.exists(number):
        report(f"segment {number} of UID {uid} is missing")
        return end
    if (number, offset - HEADER_BYTES) < last:
        report(f"the frame of UID {uid} overlaps another")
    fd = segments.fd(number)
    frame = parse_frame(raw.pread(fd, HEADER_BYTES, offset - HEADER_BYTES), number, offset - HEADER_BYTES)
    if frame is None:
        report(f"UID {uid} has no frame at byte {offset - HEADER_BYTES} of {segment_name(number)}")
    elif (frame.uid, frame.length, frame.email_id) != (uid, full.size.item(row), full.email_id.item(row)):
        report(f"the frame of UID {uid} is another message's")
    elif messages and not is_whole(fd, frame):
        report(f"the message of UID {uid} is damaged in {segment_name(number)}")
    return end


def _check_retained(index: Index, segments: Segments, report: Report) -> None:
    assert index.retained is not None
    entries = index.retained.entries()
    uids = entries["uid"]
    if len(uids) and not (uids[1:] > uids[:-1]).all():
        report("the UIDs of retained messages do not ascend")
    if len(uids) and uids.item(-1) >= index.uid_next:
        report(f"UIDNEXT {index.uid_next} is not above the retained UID {uids.item(-1)}")
    if np.isin(uids, index.columns.uid[index.live_rows()]).any():
        report("a retained message is live")
    for entry in entries:
        uid, number, begin = int(entry["uid"]), int(entry["segment"]), int(entry["offset"]) - HEADER_BYTES
        if not segments.exists(number):
            continue
        frame = parse_frame(raw.pread(segments.fd(number), HEADER_BYTES, begin), number, begin)
        wanted = (uid, entry["size"], entry["email_id"])
        if frame is None or (frame.uid, frame.length, frame.email_id) != wanted:
            report(f"the retained message {uid} has no frame at byte {begin} of {segment_name(number)}")


def _check_derived(path: Path, index: Index, report: Report) -> None:
    try:
        size = (path / "derived").stat().st_size
    except FileNotFoundError:
        return
    used = index.columns.full.derived[index.live_rows()]
    used = used[used != 0]
    if len(used) and int(used.max()) & 7 and size:
        report("a blob is not aligned")
