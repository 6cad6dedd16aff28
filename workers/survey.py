"""How much mail each mailstore has, for the metrics page: found out by one worker, little by little.

Read is what each account's usage file says, never a mailbox. The survey takes a hundredth of its thread's
time at most, however many accounts there are, and what it has found of a mailstore stands in that one's slot
until it has been found out anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import gevent

from mstore.base import blocking
from mstore.base.errors import Corrupt, MStoreError
from mstore.base.log import Log
from mstore.files.usage import read_slots
from mstore.store.directory import is_mailbox_id
from mstore.store.quota import FILE_NAME
from mstore.store.store import Store
from workers.scoreboard import Slot

PAUSE_S = 60.0
"""Between two rounds."""
REST = 99
"""So many times as long as a batch has taken is rested before the next."""
LONGEST_REST_S = 10.0
BATCH = 50
SURVEYOR = 1
"""The number of the worker that does it."""


class Found(NamedTuple):
    """What there is."""

    size_bytes: int = 0
    messages: int = 0
    mailboxes: int = 0
    accounts: int = 0
    counted: int = 0
    """Accounts whose usage is known; of the others, who have had nothing to do since the machine was started,
    size and messages are only those of the mailboxes that were written to."""

    def plus(self, other: Found) -> Found:
        """The sum."""
        return Found(*(mine + its for mine, its in zip(self, other, strict=True)))


def measure_account(directory: Path) -> Found:
    """What one account has.

    Raises: OSError, MStoreError
    """
    mailboxes = sum(1 for entry in os.scandir(directory) if is_mailbox_id(entry.name))
    try:
        slots = read_slots(str(directory / FILE_NAME))
    except (FileNotFoundError, Corrupt):
        return Found(mailboxes=mailboxes, accounts=1)
    return Found(*slots.total(), mailboxes, 1, slots.complete)


def measure_batch(directories: list[Path]) -> Found:
    """What some accounts have; one that goes away meanwhile has nothing."""
    found = Found()
    for directory in directories:
        try:
            found = found.plus(measure_account(directory))
        except (OSError, MStoreError):
            continue
    return found


def batches(directories: Iterator[Path]) -> Iterator[list[Path]]:
    """Some at a time."""
    batch: list[Path] = []
    for directory in directories:
        batch.append(directory)
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def survey(store: Store, mailstore: str) -> Found:
    """What all accounts of a mailstore have: one round; may take minutes.

    Raises: MStoreError
    """
    found = Found()
    for batch in batches(store.directories(mailstore)):
        began = time.monotonic()
        found = found.plus(blocking.call(measure_batch, batch))
        blocking.sleep(min(LONGEST_REST_S, REST * (time.monotonic() - began)))
    return found


def survey_often(store: Store, mailstores: Mapping[str, Slot], log: Log) -> None:
    """Go round as long as the process lives, and write down what was found of each mailstore."""
    while True:
        for name, slot in mailstores.items():
            try:
                note(slot, survey(store, name))
            except MStoreError as error:
                log.warning("survey-failed", mailstore=name, reason=str(error))
        gevent.sleep(PAUSE_S)


def note(slot: Slot, found: Found) -> None:
    """Write down what was found of a mailstore, and that it was."""
    slot.set("store_bytes", found.size_bytes)
    slot.set("store_messages", found.messages)
    slot.set("store_mailboxes", found.mailboxes)
    slot.set("store_accounts", found.accounts)
    slot.set("store_accounts_counted", found.counted)
    slot.beat()
