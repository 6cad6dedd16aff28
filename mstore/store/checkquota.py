"""The invariants of an account's usage file, checked from the files alone.

1. It is sound, or of another boot of the machine, when it says nothing.
2. The slot of each mailbox says exactly what the mailbox holds, or that it is at most so much, and no less.
3. Where the file says that it is complete, each mailbox that holds messages has a slot.
4. Whose slot counts is a mailbox with a name, or marked for removal.

What looks wrong while others write is looked at again under the mailbox's lock.
"""

from __future__ import annotations

from pathlib import Path

from mstore.base.errors import Corrupt, MStoreError
from mstore.base.ids import AccountId, MailboxId
from mstore.files.layout import SLOT_EXACT, SLOT_GONE
from mstore.files.lock import RANK_MAILBOX, Lock
from mstore.files.usage import Outdated, read_slots
from mstore.store import generation
from mstore.store.catalog import Catalog
from mstore.store.check import Problem

FILE_NAME = "quota"


def check_quota(path: Path, account_id: AccountId) -> list[Problem]:
    """Everything wrong with the usage file of the account in a directory.

    Locks: none, but where something looks wrong, the mailbox's for a second look.
    """
    file, catalog = path / FILE_NAME, Catalog(path, account_id)
    try:
        slots = read_slots(str(file))
    except (FileNotFoundError, Outdated):
        return []
    except Corrupt as error:
        return [Problem(file, f"{error}; it is begun anew when it is needed", True)]
    except MStoreError as error:
        return [Problem(file, str(error))]
    try:
        catalog.refresh()
    except MStoreError:
        return []  # which is the catalog's own problem
    problems = []
    entries = [entry for entry in catalog.state.entries.values() if not entry.no_select]
    states, amounts = slots.states(), slots.amounts()
    known = {entry.id for entry in entries} | catalog.state.doomed
    for mailbox_id, state in states.items():
        if state != SLOT_GONE and mailbox_id not in known:
            problems.append(Problem(file, f"mailbox {mailbox_id}, which has no name, is counted", True))
    for entry in entries:
        said, state = amounts.get(entry.id), states.get(entry.id, SLOT_EXACT)
        if _find_wrong(path / entry.id, said, state, slots.complete):
            text = _look_again(path, entry.id)
            if text:
                problems.append(Problem(file, f"({entry.name}) {text}"))
    return problems


def _look_again(path: Path, mailbox_id: MailboxId) -> str:
    try:
        with Lock(path / mailbox_id / "lock", RANK_MAILBOX, mailbox_id).hold():
            slots = read_slots(str(path / FILE_NAME))
            said, state = slots.amounts().get(mailbox_id), slots.states().get(mailbox_id, SLOT_EXACT)
            return _find_wrong(path / mailbox_id, said, state, slots.complete)
    except (FileNotFoundError, MStoreError):
        return ""  # deleted, or the file was begun anew meanwhile


def _find_wrong(directory: Path, said: tuple[int, int] | None, state: int, is_complete: bool) -> str:
    """What is wrong with the slot of a mailbox, empty when nothing is."""
    try:
        index, journal = generation.load(directory)
    except (FileNotFoundError, MStoreError):
        return ""  # which is the mailbox's own problem
    journal.close()
    holds = index.size_bytes, index.messages
    if said is None:
        return f"holds {_amount(holds)} and has no slot" if is_complete and index.messages else ""
    if state == SLOT_EXACT and said != holds:
        return f"holds {_amount(holds)}, and its slot says {_amount(said)}"
    if said[0] < holds[0] or said[1] < holds[1]:
        return f"holds {_amount(holds)}, and its slot says {_amount(said)} at most"
    return ""


def _amount(amount: tuple[int, int]) -> str:
    return f"{amount[0]} bytes in {amount[1]} messages"
