"""Generations of a mailbox: finding the newest, following a seal into the next, and beginning one.

A generation is ``index.<g>`` (the table when it began) and ``journal.<g>`` (what happened since). The one
before is kept, so that a damaged index can be made again exactly; see ``recovery``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mstore.base.errors import Corrupt, NotFound, StorageFailed
from mstore.files import journal as journals
from mstore.files import raw
from mstore.files.checkpoint import read_index, write_index
from mstore.files.index import Index
from mstore.files.journal import Group, Journal, JournalInfo, parse_group
from mstore.files.layout import SEALED, TYPE_SEALED

if TYPE_CHECKING:
    from mstore.store.mailbox import Mailbox

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
