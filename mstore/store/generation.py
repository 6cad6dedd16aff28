"""Generations of a mailbox: finding the newest, following a seal into the next, and beginning one.

A generation is ``index.<g>`` (the table when it began) and ``journal.<g>`` (what happened since). The one
before is kept, so that a damaged index can be made again exactly; see ``recovery``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mstore.base import blocking
from mstore.base.errors import Corrupt, NotFound, StorageFailed
from mstore.files import journal as journals
from mstore.files import raw
from mstore.files.checkpoint import read_index, write_index
from mstore.files.index import ARRIVAL_BYTES, Index
from mstore.files.journal import Group, Journal, JournalInfo, parse_group
from mstore.files.layout import SEALED, TYPE_APPENDED, TYPE_RECENT, TYPE_SEALED

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

_ATTEMPTS = 20
_PIECE_BYTES = 128 << 10


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
        names = raw.list_directory(directory)
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


def load(
    directory: Path, reader: int | None = None, patient: bool = False, retains: bool = True
) -> tuple[Index, Journal]:
    """The table as of now, a reader's or the owner's, read without a lock, and the journal it goes on with.

    A ``patient`` caller wants to write what it gets: the table keeps the sets of all readers and, if it
    ``retains``, what it knows of expunged messages; all of its index was verified, and other sessions ran
    meanwhile. For all others this never waits.
    Raises: NotFound, Corrupt when no generation can be read.
    """
    problem: Exception = Corrupt("the mailbox has no index")
    for _ in range(_ATTEMPTS):
        indexes, journal_numbers = list_generations(directory)
        for generation in sorted(indexes & journal_numbers, reverse=True):
            try:
                return _load_from(directory, generation, max(journal_numbers), reader, patient, retains)
            except (Corrupt, FileNotFoundError) as error:
                problem = error
        # A long listing may be of two moments, one of them amidst a switch; a second one tells.
        is_steady = not isinstance(problem, FileNotFoundError)
        if is_steady and list_generations(directory) == (indexes, journal_numbers):
            break
    if isinstance(problem, Corrupt):
        raise problem
    raise Corrupt("the mailbox has no readable index")


def _load_from(
    directory: Path, generation: int, newest: int, reader: int | None, patient: bool, retains: bool
) -> tuple[Index, Journal]:
    index = read_index(index_path(directory, generation), patient, reader, patient)
    if not retains:
        index.retained = None
    journal = Journal(journal_path(directory, generation))
    try:
        if journal.info.uid_validity != index.uid_validity or journal.info.generation != generation:
            raise Corrupt(f"journal.{generation} belongs to another mailbox")
        while True:
            following = _follow_patiently(index, journal) if patient else follow(index, journal)
            if following is None:
                if journal.info.generation < newest:
                    raise Corrupt(f"{journal.path.name} does not lead to the newest generation")
                if journal.unresolved and is_damaged(journal):
                    raise Corrupt(f"{journal.path.name} is damaged in the middle")
                return index, journal
            successor = Journal(journal_path(directory, following.generation), following.position)
            journal.close()
            journal, index.generation = successor, following.generation
    except BaseException:
        journal.close()
        raise


class Following(NamedTuple):
    """Where a sealed journal goes on."""

    generation: int
    position: int


def follow(index: Index, journal: Journal) -> Following | None:
    """Apply what a journal says beyond what was followed; gives where it goes on when it is sealed."""
    size = raw.size_of(journal.fd)
    if size < journal.end:
        raise Corrupt(f"{journal.path.name} is shorter than it was")
    return apply_groups(index, journal.read_new(size))


def _follow_patiently(index: Index, journal: Journal) -> Following | None:
    """The same in pieces, between which other sessions run."""
    piece = _PIECE_BYTES
    while True:
        size, at = raw.size_of(journal.fd), journal.end
        if size < at:
            raise Corrupt(f"{journal.path.name} is shorter than it was")
        following = apply_groups(index, journal.read_new(min(size, at + piece)))
        if following is not None or journal.end == size or (journal.end == at and at + piece >= size):
            return following
        piece = _PIECE_BYTES if journal.end > at else piece * 4
        blocking.breathe()


def apply_groups(index: Index, groups: list[Group]) -> Following | None:
    """Apply groups in order; gives where it goes on when the last one sealed the journal.

    Messages that were added one by one are added to the table together.
    """
    following = None
    arrivals: list[bytes] = []
    modseqs: list[int] = []
    for group in groups:
        for kind, flags, payload in group.records:
            if kind == TYPE_APPENDED and len(payload) == ARRIVAL_BYTES:
                arrivals.append(payload)
                modseqs.append(group.modseq)
                continue
            if arrivals and kind != TYPE_RECENT:  # that is not about rows
                index.apply_arrivals(arrivals, modseqs)
                arrivals, modseqs = [], []
            if kind == TYPE_SEALED:
                following = Following(*SEALED.unpack_from(payload))
            else:
                index.apply(kind, flags, payload, group.modseq, group.time_ms)
        if group.modseq > index.highest_modseq:
            index.highest_modseq = group.modseq
    if arrivals:
        index.apply_arrivals(arrivals, modseqs)
    return following


# -- a new generation


def begin(directory: Path, index: Index, generation: int) -> None:
    """Write index and journal of a new generation.

    The journal names no boot until both names are on disk: should its author die before that, the next to
    come recovers once more, instead of changing something in a generation that a power cut may take back.
    Locks: the mailbox lock is held. Durable: the index, and both names.
    """
    passing = directory / f"index.{generation}.new"
    write_index(passing, index, generation)
    raw.rename(passing, index_path(directory, generation))
    info = JournalInfo(index.uid_validity, generation, index.highest_modseq, journals.NO_BOOT)
    path = journal_path(directory, generation)
    journals.write_journal(path, info)
    raw.sync_directory(directory)
    journals.settle_header(path, info._replace(boot=raw.boot_id()))


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


def switch(mailbox: Mailbox, generation: int, position: int, index: Path, journal: Path) -> None:
    """Give the files of the next generation their names, and seal the journal for it.

    They are complete and on disk under passing names; ``position`` is behind the groups carried over. The
    seal is written as pending first: a writer that finds it so knows that its author died, and whether the
    next generation was complete. Locks: the mailbox lock is held. Durable: the new generation."""
    old = mailbox.journal
    seal = [journals.sealed(generation, position)]
    group = journals.format_group(old.info.generation, old.end, mailbox.index.highest_modseq, seal, True)
    at = old.end
    try:
        raw.pwrite(old.fd, group, at)
        raw.rename(index, index_path(mailbox.path, generation))
        raw.rename(journal, journal_path(mailbox.path, generation))
        raw.sync_directory(mailbox.path)
        new = Journal(journal_path(mailbox.path, generation), position)
    except BaseException:
        withdraw(mailbox.path, generation)  # should this fail as well, the seal stays for the next writer
        raw.truncate(old.fd, at)
        raise
    new.confirmed = True
    with mailbox.applying:
        try:
            journals.release(old.fd, at)
        except BaseException:
            new.close()  # it is complete: the next writer releases the seal
            raise
        mailbox.continue_with(new)


def is_damaged(journal: Journal) -> bool:
    """True when valid groups follow what is no group: not a torn tail, but damage."""
    data = raw.pread(journal.fd, raw.size_of(journal.fd) - journal.end, journal.end)
    first = next(journals.salvage(data, journal.end, journal.info.generation), None)
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

    Locks: the mailbox lock is held. Raises: Corrupt when valid groups follow damage, here or in what follows.
    """
    journal = mailbox.journal
    following = journal.info.generation + 1
    data = raw.pread(journal.fd, raw.size_of(journal.fd) - journal.end, journal.end)
    found = parse_group(data, 0, journal.end, journal.info.generation)
    if found and found[1]:
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
    elif journal_path(mailbox.path, following).exists():
        raise Corrupt(f"the seal of {journal.path.name} is damaged")
    raw.truncate(journal.fd, journal.end)
    journal.unresolved = False
